// What the contrastive losses do with tiles of scores: formulas and how the work is cut are in contrast/contrastive.cu. Kernel
// files that instantiate these templates include this beside the prelude: contrastive.cu, and contrastive_hopper.cu for the
// tile of compute capability 9.0.
#pragma once

using namespace product;

// Which columns of a row are positives: Ops/ContrastPlan.Cuda.cs.
enum Positives
{
    Halves,      // a == b; rows i and i + rows/2 are a pair, self excluded
    Interleaved, // a == b; rows 2i and 2i + 1
    Diagonal,    // column first_positive + i; other columns from `negatives` on are neither
    Labelled,    // a == b; every other row with the same label
};

enum Score
{
    LogSum,
    LogSumOnline,
    Sigmoid,
};

// Passed by value, as part of the kernels' arguments.
struct Scores
{
    const void* a;            // [rows, pitch]
    const void* b;            // [columns, pitch]
    const int* row_labels;    // [rows] or null. Unless Labelled: negatives with the row's label are left out
    const int* column_labels; // [negatives] or null; a negative label equals no other
    const float* scalars;     // [2] 1 / tau and the bias
    int rows, columns, pitch, positives;
    int first_positive;       // Diagonal: the column of row 0's positive
    int negatives;            // columns from here on are positives only
    int score;
};

struct StatisticsArguments
{
    Scores scores;
    float* row_maximum;         // [column groups, rows], or null with LogSum
    float* row_sum;             // [column groups, rows]
    double* row_positives;      // [column groups, rows] with Labelled, else null
    float* column_maximum;      // [row groups, columns], or null with LogSum
    float* column_sum;          // [row groups, columns], or null: rows only
    double* column_positives;   // [row groups, columns] with Labelled, else null
    float* positive;            // [rows] s of each row's positive
    int tiles_per_group, symmetric;
};

struct WeightsArguments
{
    Scores scores;
    void* weights;              // [stripe rows, weights_pitch], both whole tiles: zeros where there is no pair
    const float* row_shift;     // [rows] m, or null with LogSum and Sigmoid
    const float* row_scale;     // [rows]
    const float* row_offset;    // [rows]
    const float* column_shift;  // [columns] or null
    const float* column_scale;  // [columns], or null: the loss has rows only
    const float* column_offset; // [columns] or null
    float* by_tile;             // [tiles of rows, tiles of columns] sum of w s before w is rounded, or null
    int64_t weights_pitch;
    int first_row;
};

struct ProductArguments
{
    float* out;                 // [slices, lines, pitch]
    const void* weights;        // [stripe rows, weights_pitch]
    const void* z;              // [depth, pitch], the other side's rows
    int64_t weights_pitch;
    int lines;                  // of out
    int depth;                  // rows of z; the weights have zeros from there to a whole tile
    int depth_per_slice;        // a multiple of the tile
    int pitch;
    int by_column;              // out = w^T z rather than w z
    int accumulate;             // add to out
    int exchanged;              // the grid's x is lines: the other axes have 65,535 blocks at most
};

enum Role
{
    Neither,
    Negative,
    Positive,
};

DEV bool same_label(const Scores& p, int i, int j)
{
    const int label = p.row_labels[i];
    return label >= 0 && label == p.column_labels[j];
}

DEV int role(const Scores& p, int i, int j)
{
    if (i >= p.rows || j >= p.columns) return Neither;
    const int half = p.rows / 2;
    switch (p.positives)
    {
    case Halves:
        if (j == i) return Neither;
        if (j == (i < half ? i + half : i - half)) return Positive;
        break;
    case Interleaved:
        if (j == i) return Neither;
        if (j == (i ^ 1)) return Positive;
        break;
    case Labelled:
        if (j == i) return Neither;
        return same_label(p, i, j) ? Positive : Negative;
    default:
        if (j == p.first_positive + i) return Positive;
        if (j >= p.negatives) return Neither;
    }
    return p.row_labels && same_label(p, i, j) ? Neither : Negative;
}

// Whether all of a tile's elements are negatives, which nearly all tiles' are.
template <int EDGE> DEV bool plain(const Scores& p, int row0, int column0)
{
    if (row0 + EDGE > p.rows || column0 + EDGE > p.columns || p.row_labels) return false;
    const int apart = column0 - row0 - p.first_positive, half = p.rows / 2;
    if (abs(apart) < EDGE || column0 + EDGE > p.negatives) return false;
    return p.positives != Halves || (abs(apart - half) >= EDGE && abs(apart + half) >= EDGE);
}

// What this thread's elements of a tile are, a bit each: element (r, c) is bit Columns r + c.
struct Roles
{
    uint64_t neither, positive;
};

// In a loop that is not unrolled: there are few such tiles, and registers are dear. `exchanged`: the tile's rows are columns.
template <class Number> DEV Roles roles_of(const Scores& p, int row0, int column0, bool exchanged = false)
{
    constexpr int Rows = Tile<Number>::Rows, Columns = Tile<Number>::Columns;
    Roles roles = {0, 0};
#pragma unroll 1
    for (int e = 0; e < Rows * Columns; e++)
    {
        const int i = row0 + Tile<Number>::row(e / Columns), j = column0 + Tile<Number>::column(e % Columns);
        const int is = exchanged ? role(p, j, i) : role(p, i, j);
        roles.neither |= static_cast<uint64_t>(is == Neither) << e;
        roles.positive |= static_cast<uint64_t>(is == Positive) << e;
    }
    return roles;
}

DEV bool has(uint64_t bits, int e) { return bits >> e & 1; }

template <class Number> DEV void score_tile(Tile<Number>& tile, unsigned char* shared, const Scores& p, int row0, int column0)
{
    using T = typename Number::Type;
    const Operand<T> a = {static_cast<const T*>(p.a), p.pitch, row0, p.rows, 0};
    const Operand<T> b = {static_cast<const T*>(p.b), p.pitch, column0, p.columns, 0};
    tile.clear();
    multiply<Number, true, true>(tile, shared, a, b, 0, p.pitch);
}

// ---- Statistics ----

DEV float softplus(float t) { return (t > 0.0f ? t : 0.0f) + log1pf(expf(-fabsf(t))) + (t - t); } // NaN and infinity stay
DEV float sigmoid(float t) { return 1.0f / (1.0f + expf(-t)); }

// What one thread, then all, know of a line. With LogSumOnline sum is relative to the maximum; with Sigmoid maximum is a
// sum as well.
struct Line
{
    float maximum, sum;
};

DEV float relative_to(float maximum, const Line& line, float inv_temperature)
{
    return line.maximum == maximum ? line.sum : line.sum * expf((line.maximum - maximum) * inv_temperature);
}

DEV Line merge(const Line& x, const Line& y, int score, float inv_temperature)
{
    if (score != LogSumOnline) return {x.maximum + y.maximum, x.sum + y.sum};
    const float maximum = max_op(x.maximum, y.maximum);
    return {maximum, relative_to(maximum, x, inv_temperature) + relative_to(maximum, y, inv_temperature)};
}

// A thread's part of one line of the tile. `at` gives the line's elements; what is no negative is -infinity. With LogSum
// they are the exponentials already, formed once for both lines.
template <int SIDE, class At> DEV Line part(int score, float inv_temperature, float bias, At at)
{
    Line line = {0.0f, 0.0f};
    if (score == LogSum)
    {
#pragma unroll
        for (int e = 0; e < SIDE; e++) line.sum += at(e);
    }
    else if (score == LogSumOnline)
    {
        line.maximum = -INFINITY;
#pragma unroll
        for (int e = 0; e < SIDE; e++) line.maximum = max_op(line.maximum, at(e));
        if (line.maximum == -INFINITY) return line;
#pragma unroll
        for (int e = 0; e < SIDE; e++) line.sum += expf((at(e) - line.maximum) * inv_temperature);
    }
    else
    {
#pragma unroll
        for (int e = 0; e < SIDE; e++)
        {
            if (at(e) == -INFINITY) continue;
            const float t = at(e) * inv_temperature + bias;
            line.sum += softplus(t);
            line.maximum += sigmoid(t);
        }
    }
    return line;
}

// The parts that each line of a side has, and where they meet: side 0 are rows, 1 columns; channel 0 is the maximum, 1 the
// sum. It takes the place of the stages. The padding makes lines, or parts, that are read together meet
// different banks.
template <class Number> DEV int members(int side) { return side == 0 ? Tile<Number>::RowMembers : Tile<Number>::ColumnMembers; }

template <class Number> constexpr int MeetingFloats = 2 * Number::Edge * (Tile<Number>::RowMembers + 1 + Tile<Number>::ColumnMembers + 1);

template <class Number> DEV float* meeting(float* scratch, int side, int channel, int line)
{
    return scratch + side * 2 * Number::Edge * (Tile<Number>::RowMembers + 1) + (channel * Number::Edge + line) * (members<Number>(side) + 1);
}

template <class Number> DEV void meet(float* scratch, int side, int line, int member, const Line& part)
{
    meeting<Number>(scratch, side, 0, line)[member] = part.maximum;
    meeting<Number>(scratch, side, 1, line)[member] = part.sum;
}

template <class Number> DEV Line met(float* scratch, int side, int line, int member)
{
    return {meeting<Number>(scratch, side, 0, line)[member], meeting<Number>(scratch, side, 1, line)[member]};
}

// For tiles that join parts within a warp before they meet.
DEV Line across(const Line& line, int lanes) { return {across(line.maximum, lanes), across(line.sum, lanes)}; }

DEV float add(float x, float y) { return x + y; }

// The parts of the tile's columns go to their meeting place. What LogSum has no use for is not carried between lanes.
template <class Number> DEV void meet_columns(Tile<Number>& tile, float* scratch, int score, float inv_temperature, float bias)
{
    auto part_of = [&](int c) { return part<Tile<Number>::Rows>(score, inv_temperature, bias, [&](int r) { return tile.value(r, c); }); };
    if constexpr (Tile<Number>::Joins)
        if (score == LogSum)
        {
            tile.meet_columns([&](int c) { return part_of(c).sum; }, add,
                              [&](int line, int member, float sum) { meet<Number>(scratch, 1, line, member, {0.0f, sum}); });
            return;
        }
    tile.meet_columns(part_of, [&](const Line& x, const Line& y) { return merge(x, y, score, inv_temperature); },
                      [&](int line, int member, const Line& all) { meet<Number>(scratch, 1, line, member, all); });
}

// Whether this tile is the first of its group that has a part of a line of the side.
DEV bool begins(const StatisticsArguments& arguments, int side, int row0, int column0, int edge)
{
    const int first_row = blockIdx.y * arguments.tiles_per_group * edge, first_column = blockIdx.x * arguments.tiles_per_group * edge;
    return side == 0 ? column0 == (arguments.symmetric ? max(first_column, row0) : first_column) : row0 == first_row;
}

// A sum whose rounding is kept too: 1 / tau would magnify it, and where all rows are the same nothing else would err.
struct TwoFloats
{
    float sum, lost;
};

DEV void add_to(TwoFloats& total, float x)
{
    const float sum = total.sum + x, added = sum - total.sum;
    total.lost += (total.sum - (sum - added)) + (x - added); // exact (Knuth)
    total.sum = sum;
}

// Adds the similarities of a tile's many positives to the groups' sums of its lines. By way of shared memory, where a line
// is one thread's, so that two floats per sum are few registers.
template <class Number> DEV void sum_positives(Tile<Number>& tile, const StatisticsArguments& arguments, float* scratch, int row0, int column0)
{
    constexpr int Edge = Number::Edge, Pitch = Edge + 1;
    static_assert(Edge * Pitch * static_cast<int>(sizeof(float)) <= SharedBytes<Number>, "the tile fits in the stages");
    const Scores& p = arguments.scores;
#pragma unroll
    for (int r = 0; r < Tile<Number>::Rows; r++)
#pragma unroll
        for (int c = 0; c < Tile<Number>::Columns; c++) scratch[tile.row(r) * Pitch + tile.column(c)] = tile.value(r, c);
    __syncthreads(); // the whole tile is there
    const int side = threadIdx.x / Edge, line = threadIdx.x % Edge, own = (side == 0 ? row0 : column0) + line, other = side == 0 ? column0 : row0;
    if (side < (row0 == column0 ? 1 : 2) && own < p.rows)
    {
        const float* similarity = scratch + line * (side == 0 ? Pitch : 1);
        const int step = side == 0 ? 1 : Pitch, end = min(Edge, p.rows - other);
        TwoFloats total = {0.0f, 0.0f};
#pragma unroll 1
        for (int e = 0; e < end; e++)
            if (other + e != own && same_label(p, own, other + e)) add_to(total, similarity[e * step]);
        double* to = side == 0 ? arguments.row_positives + static_cast<int64_t>(blockIdx.x) * p.rows + own
                               : arguments.column_positives + static_cast<int64_t>(blockIdx.y) * p.rows + own;
        const double sum = static_cast<double>(total.sum) + total.lost;
        *to = begins(arguments, side, row0, column0, Edge) ? sum : *to + sum;
    }
    __syncthreads(); // the tile was read
}

// Handles the tile's elements that are no negatives: stores a single positive, sums many, and makes what does not belong
// into the sums -infinity.
template <class Number> DEV void set_apart(Tile<Number>& tile, const StatisticsArguments& arguments, float* scratch, int row0, int column0)
{
    constexpr int Rows = Tile<Number>::Rows, Columns = Tile<Number>::Columns;
    const Scores& p = arguments.scores;
    if (p.positives == Labelled) sum_positives(tile, arguments, scratch, row0, column0);
    Roles roles = roles_of<Number>(p, row0, column0);
    if (p.positives == Labelled) roles.positive = 0; // they are in the sums as well
#pragma unroll
    for (int r = 0; r < Rows; r++)
#pragma unroll
        for (int c = 0; c < Columns; c++)
        {
            if (has(roles.positive, Columns * r + c)) // one thread of the grid has this pair
            {
                const int i = row0 + tile.row(r), j = column0 + tile.column(c);
                arguments.positive[i] = tile.value(r, c);
                if (arguments.symmetric && row0 != column0) arguments.positive[j] = tile.value(r, c);
            }
            if (has(roles.positive | roles.neither, Columns * r + c)) tile.value(r, c) = -INFINITY;
        }
}

// Adds a tile's part of a line to the group's, or begins it.
DEV void keep(int score, float inv_temperature, float* maximum, float* sum, int64_t at, Line line, bool first)
{
    if (!first) line = merge({maximum ? maximum[at] : 0.0f, sum[at]}, line, score, inv_temperature);
    sum[at] = line.sum;
    if (maximum) maximum[at] = line.maximum;
}

template <class Number> DEV void tile_statistics(const StatisticsArguments& arguments, unsigned char* shared, int row0, int column0)
{
    constexpr int Edge = Number::Edge, Rows = Tile<Number>::Rows, Columns = Tile<Number>::Columns;
    static_assert(MeetingFloats<Number> * static_cast<int>(sizeof(float)) <= SharedBytes<Number>, "the lines' parts fit in the stages");
    const Scores& p = arguments.scores;
    float* scratch = reinterpret_cast<float*>(shared);
    Tile<Number> tile;
    score_tile(tile, shared, p, row0, column0);

    const bool columns = arguments.column_sum && !(arguments.symmetric && row0 == column0);
    const float inv_temperature = p.scalars[0], bias = p.scalars[1];
    if (!plain<Edge>(p, row0, column0)) set_apart(tile, arguments, scratch, row0, column0);
    if (p.score == LogSum)
    {
#pragma unroll
        for (int r = 0; r < Rows; r++)
#pragma unroll
            for (int c = 0; c < Columns; c++) tile.value(r, c) = expf((tile.value(r, c) - 1.0f) * inv_temperature);
    }
#pragma unroll
    for (int r = 0; r < Rows; r++)
        meet<Number>(scratch, 0, tile.row(r), tile.row_member(), part<Columns>(p.score, inv_temperature, bias, [&](int c) { return tile.value(r, c); }));
    if (columns) meet_columns(tile, scratch, p.score, inv_temperature, bias);
    __syncthreads(); // the lines' parts are there
    const int side = threadIdx.x / Edge, line = threadIdx.x % Edge;
    if (side < (columns ? 2 : 1))
    {
        Line all = met<Number>(scratch, side, line, 0);
        for (int member = 1; member < members<Number>(side); member++) all = merge(all, met<Number>(scratch, side, line, member), p.score, inv_temperature);
        const int i = row0 + line, j = column0 + line;
        const bool first = begins(arguments, side, row0, column0, Edge);
        if (side == 0 && i < p.rows)
            keep(p.score, inv_temperature, arguments.row_maximum, arguments.row_sum, static_cast<int64_t>(blockIdx.x) * p.rows + i, all, first);
        if (side == 1 && j < p.columns)
            keep(p.score, inv_temperature, arguments.column_maximum, arguments.column_sum, static_cast<int64_t>(blockIdx.y) * p.columns + j, all, first);
    }
    __syncthreads(); // the parts were read: the stages may be filled again
}

// Grid: (column groups, row groups). Symmetric: only groups and tiles on and above the diagonal are visited; the results
// of a group that is not, are not written, and not read by contrastive_losses.
template <class Number> DEV void statistics(const StatisticsArguments& arguments)
{
    DYN_SHARED(unsigned char, shared);
    constexpr int Edge = Number::Edge;
    const Scores& p = arguments.scores;
    const int group = arguments.tiles_per_group, first_row = blockIdx.y * group, first_column = blockIdx.x * group;
    if (arguments.symmetric && first_column < first_row) return; // with its whole block
    // One counter, from which the rest follows: registers are dear.
#pragma unroll 1
    for (int tile = 0; tile < group * group; tile++)
    {
        const int r = first_row + tile / group, c = first_column + tile % group;
        if (r * Edge >= p.rows || c * Edge >= p.columns || (arguments.symmetric && c < r)) continue; // with its whole block
        tile_statistics<Number>(arguments, shared, r * Edge, c * Edge);
    }
}

// ---- Weights ----

// A line's part of its weights' exponentials.
struct Side
{
    float shift, scale;
};

// The weight of a pair that is not neither. A loss has weights of its rows, of its columns or of both; offset() gives the
// positives' offset, exponential(shift) is exp((s - shift) / tau). With Sigmoid, and with LogSum, a side that the loss has
// not has the scale 0.
template <class Exponential, class Offset>
DEV float weight_of(const Scores& p, int score, float s, float inv_temperature, float bias, bool rows, const Side& row, bool columns, const Side& column,
                    bool is_positive, Exponential exponential, Offset offset)
{
    if (score == Sigmoid)
    {
        const float t = s * inv_temperature + bias, scale = row.scale + column.scale;
        return is_positive ? -scale * sigmoid(-t) : scale * sigmoid(t);
    }
    float weight;
    if (score == LogSum) weight = exponential(1.0f) * (row.scale + column.scale);
    else weight = (rows ? exponential(row.shift) * row.scale : 0.0f) + (columns ? exponential(column.shift) * column.scale : 0.0f);
    if (!is_positive) return weight;
    return p.positives == Labelled ? weight + offset() : offset();
}

// Grid: (tiles of columns, tiles of the stripe's rows).
template <class Number> DEV void weights(const WeightsArguments& arguments)
{
    DYN_SHARED(unsigned char, shared);
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge, Rows = Tile<Number>::Rows, Columns = Tile<Number>::Columns;
    const Scores& p = arguments.scores;
    const int row0 = arguments.first_row + blockIdx.y * Edge, column0 = blockIdx.x * Edge;
    Tile<Number> tile;
    score_tile(tile, shared, p, row0, column0);

    const bool online = p.score == LogSumOnline, columns = arguments.column_scale;
    const float inv_temperature = p.scalars[0], bias = p.scalars[1];
    const Roles roles = plain<Edge>(p, row0, column0) ? Roles{0, 0} : roles_of<Number>(p, row0, column0);
    auto row_of = [&](int r) { return min(row0 + tile.row(r), p.rows - 1); };
    auto column_of = [&](int c) { return min(column0 + tile.column(c), p.columns - 1); };
    auto side_of_row = [&](int i) { return Side{online ? arguments.row_shift[i] : 1.0f, arguments.row_scale[i]}; };
    auto side_of_column = [&](int j) { return Side{columns && online ? arguments.column_shift[j] : 1.0f, columns ? arguments.column_scale[j] : 0.0f}; };
    float along = 0.0f;
    auto weight_at = [&](int r, int c, const Side& row, const Side& column)
    {
        const float s = tile.value(r, c);
        float weight = weight_of(p, p.score, s, inv_temperature, bias, true, row, columns, column, has(roles.positive, Columns * r + c),
            [&](float shift) { return expf((s - shift) * inv_temperature); },
            [&] { return arguments.row_offset[row_of(r)] + (columns ? arguments.column_offset[column0 + tile.column(c)] : 0.0f); });
        if (has(roles.neither, Columns * r + c)) weight = 0.0f;
        else along += weight * s;
        return weight;
    };
    T* const out = static_cast<T*>(arguments.weights) + blockIdx.y * Edge * arguments.weights_pitch + column0;
    if constexpr (Tile<Number>::Joins) // two rows of a thread, many columns: by way of shared memory, so that whole rows are written
    {
        Side rows[Rows];
#pragma unroll
        for (int r = 0; r < Rows; r++) rows[r] = side_of_row(row_of(r));
        constexpr int Pitch = Edge + 16 / static_cast<int>(sizeof(T)), Chunk = 16 / static_cast<int>(sizeof(T));
        T* const whole = reinterpret_cast<T*>(shared);
#pragma unroll
        for (int c = 0; c < Columns; c++)
        {
            const Side column = side_of_column(column_of(c));
#pragma unroll
            for (int r = 0; r < Rows; r++) round_to(whole[tile.row(r) * Pitch + tile.column(c)], weight_at(r, c, rows[r], column), Number());
        }
        __syncthreads(); // the whole tile is there
#pragma unroll
        for (int i = 0; i < Edge * Edge / Chunk / Threads; i++)
        {
            const int chunk = threadIdx.x + i * Threads, row = chunk / (Edge / Chunk), column = chunk % (Edge / Chunk) * Chunk;
            *reinterpret_cast<float4*>(out + row * arguments.weights_pitch + column) = load4(reinterpret_cast<const float*>(whole + row * Pitch + column));
        }
    }
    else
    {
        Side sides[Columns];
#pragma unroll
        for (int c = 0; c < Columns; c++) sides[c] = side_of_column(column_of(c));
#pragma unroll
        for (int r = 0; r < Rows; r++)
        {
            const Side row = side_of_row(row_of(r));
            T* const to = out + tile.row(r) * arguments.weights_pitch;
#pragma unroll
            for (int c = 0; c < Columns; c++) round_to(to[tile.column(c)], weight_at(r, c, row, sides[c]), Number());
        }
    }
    if (!arguments.by_tile) return;
    const double sum = block_sum(static_cast<double>(along), reinterpret_cast<double*>(shared));
    if (threadIdx.x == 0) arguments.by_tile[(static_cast<int64_t>(arguments.first_row / Edge) + blockIdx.y) * gridDim.x + blockIdx.x] = static_cast<float>(sum);
}

// ---- Products ----

enum class Exchange
{
    Load,
    Store,
    Add,
};

// Loads, stores or adds a tile of out.
template <class Number, bool BY_COLUMN, Exchange HOW> DEV void exchange(Tile<Number>& tile, float* out, int pitch, int lines, int columns)
{
#pragma unroll
    for (int r = 0; r < Tile<Number>::Rows; r++)
#pragma unroll
        for (int c = 0; c < Tile<Number>::Columns; c++)
        {
            const int line = tile.template row<!BY_COLUMN>(r), column = tile.template column<false>(c);
            if (line >= lines || column >= columns) continue;
            float& there = out[line * pitch + column]; // within a tile 32 bits are enough
            if (HOW == Exchange::Load) tile.value(r, c) = there;
            else there = HOW == Exchange::Add ? there + tile.value(r, c) : tile.value(r, c);
        }
}

template <class Number, bool BY_COLUMN> DEV void product_tile(const ProductArguments& arguments)
{
    DYN_SHARED(unsigned char, shared);
    using T = typename Number::Type;
    constexpr int Edge = Number::Edge;
    const int line0 = (arguments.exchanged ? blockIdx.x : blockIdx.y) * Edge, column0 = (arguments.exchanged ? blockIdx.y : blockIdx.x) * Edge;
    const int begin = blockIdx.z * arguments.depth_per_slice;
    const int end = min(begin + arguments.depth_per_slice, (arguments.depth + PadOf<Number> - 1) / PadOf<Number> * PadOf<Number>);
    // The weights are whole tiles in memory, so their lines and depths are all there.
    const Operand<T> w = {static_cast<const T*>(arguments.weights), arguments.weights_pitch, line0, line0 + Edge, end};
    const Operand<T> z = {static_cast<const T*>(arguments.z), arguments.pitch, column0, arguments.pitch, arguments.depth};
    float* out = arguments.out + (static_cast<int64_t>(blockIdx.z) * arguments.lines + line0) * arguments.pitch + column0;
    const int lines = arguments.lines - line0, columns = arguments.pitch - column0;
    Tile<Number> tile;
    tile.clear();
    if constexpr (Tile<Number>::Joins) // wgmma waits for what else defines its accumulators
    {
        multiply<Number, !BY_COLUMN, false>(tile, shared, w, z, begin, end);
        if (arguments.accumulate) exchange<Number, BY_COLUMN, Exchange::Add>(tile, out, arguments.pitch, lines, columns);
        else exchange<Number, BY_COLUMN, Exchange::Store>(tile, out, arguments.pitch, lines, columns);
    }
    else
    {
        if (arguments.accumulate) exchange<Number, BY_COLUMN, Exchange::Load>(tile, out, arguments.pitch, lines, columns);
        multiply<Number, !BY_COLUMN, false>(tile, shared, w, z, begin, end);
        exchange<Number, BY_COLUMN, Exchange::Store>(tile, out, arguments.pitch, lines, columns);
    }
}

// Grid: (tiles of z's columns, tiles of out's lines, slices of the depth), or the first two exchanged.
template <class Number> DEV void gradient_product(const ProductArguments& arguments)
{
    if (arguments.by_column) product_tile<Number, true>(arguments);
    else product_tile<Number, false>(arguments);
}
