// NT-Xent (SimCLR, Chen et al. 2020, eq. 1) in float32, streaming: similarities live in tiles, never as a matrix.
//
//   z_i = h_i / |h_i|, s_ij = z_i . z_j      an all-zero row stays zero
//   E_ij = exp((s_ij - m_i) / tau)           j != i, for any shift m_i
//   N_i = sum_{j != i, p} E_ij               the negatives; p = p(i) is the other view of row i
//   loss = mean_i log(1 + N_i / E_ip)
//
//   r_i = 1 / (E_ip + N_i), share_i = N_i r_i
//   d loss / d z_i = 1/(rows tau) sum_{j != i} w_ij z_j
//   w_ij = E_ij r_i + E_ji r_j,  w_ip = -(share_i + share_p)
//   d loss / d h_i = (g - z_i (z_i . g)) / |h_i|,  g = d loss / d z_i
//
// w_ip is E_ip r_i + E_pi r_p - 2 written through the negatives: of a pair that has converged little is left of that
// difference, and less of its digits.
//
// Layout: `rows` embeddings of `dim` floats; the pairs are rows i and i + rows/2, or, `interleaved`, 2i and 2i + 1.
// Saved for backward: z and four numbers per row, rows * (dim + 4) floats.
// Shift: with tau >= 0.023 exp((s - 1) / tau) cannot underflow, so m = 1 serves all rows, and one exponential serves
// row i and row j. Below (`online`), m_i is the row's greatest similarity, which each thread keeps up as it goes.
// Work: one tile row per block, columns cut into stripes that fill the device; the stripes' partial results are folded
// in a fixed order, so that every run gives the same bits. 2 rows^2 dim FLOPs forward, 4 backward.
// Launched by Ops/NtXent.Cuda.cs, in the order of this file. Everything overwrites its outputs.
#include "common/prelude.cuh"

constexpr int Tile = 64;       // rows and columns of a similarity tile
constexpr int Depth = 32;      // of dim per step of its product
constexpr int Pitch = Tile + 4; // of a tile's lines in shared memory: keeps them 16-byte aligned, spreads the banks
constexpr int Threads = 256;   // 16 x 16, each with 4 x 4 elements of a tile
constexpr int RowsPerBlock = Threads / 32; // of the kernels that give each row a warp
constexpr float LargestFloat = 3.402823466e38f;

// The other view of row i.
DEV int partner(int i, int rows, int interleaved)
{
    if (interleaved) return i ^ 1;
    return i < rows / 2 ? i + rows / 2 : i - rows / 2;
}

// Columns [k0, k0 + Depth) of 64 rows of z, transposed: stage[k][row]. Rows past the end repeat the last one; their
// results are never used. With Tail, columns past dim are zero.
template <bool Tail> DEV void load_transposed(float (*stage)[Pitch], const float* z, int row0, int k0, int rows, int dim)
{
    const int k = threadIdx.x % Depth;
#pragma unroll
    for (int i = 0; i < Tile / (Threads / Depth); i++)
    {
        const int row = threadIdx.x / Depth + i * (Threads / Depth);
        const int64_t from = static_cast<int64_t>(min(row0 + row, rows - 1)) * dim + k0 + k;
        stage[k][row] = !Tail || k0 + k < dim ? z[from] : 0.0f;
    }
}

// Adds the product over one step of dim. Each step is summed by itself first: the rounding of a long dot product then
// grows with the root of dim / Depth + Depth terms, not of dim, and at small tau the exponential magnifies it.
template <bool Tail>
DEV void add_step(float (&similarity)[4][4], float (*stage)[Pitch], const float* z, int row0, int column0, int k0, int rows, int dim)
{
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
    __syncthreads(); // the stage's last readers are done with it
    load_transposed<Tail>(stage, z, row0, k0, rows, dim);
    load_transposed<Tail>(stage + Depth, z, column0, k0, rows, dim);
    __syncthreads(); // both halves are there
    float step[4][4] = {};
#pragma unroll 8
    for (int k = 0; k < Depth; k++) outer4(step, load4(&stage[k][y]), load4(&stage[Depth + k][x]));
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) similarity[r][c] += step[r][c];
}

// similarity[r][c] = z[row0 + y + r] . z[column0 + x + c], for this thread's x, y.
DEV void similarity_tile(float (&similarity)[4][4], float (*stage)[Pitch], const float* z, int row0, int column0, int rows, int dim)
{
#pragma unroll
    for (int r = 0; r < 4; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) similarity[r][c] = 0.0f;
    int k0 = 0;
    for (; k0 + Depth <= dim; k0 += Depth) add_step<false>(similarity, stage, z, row0, column0, k0, rows, dim);
    if (k0 < dim) add_step<true>(similarity, stage, z, row0, column0, k0, rows, dim);
}

// A sum of exponentials relative to the greatest similarity seen: sum = Sum exp((s - maximum) / tau).
struct ExpSum
{
    float maximum, sum;
};

// The sum relative to another maximum. Both may be -infinity: nothing was summed yet.
DEV float relative_to(float maximum, ExpSum sum, float inv_temperature)
{
    return sum.maximum == maximum ? sum.sum : sum.sum * expf((sum.maximum - maximum) * inv_temperature);
}

DEV ExpSum merge(ExpSum a, ExpSum b, float inv_temperature)
{
    const float maximum = max_op(a.maximum, b.maximum);
    return {maximum, relative_to(maximum, a, inv_temperature) + relative_to(maximum, b, inv_temperature)};
}

// z = h / |h| and inverse_norm = 1 / |h|, but at most the largest float, and 0 for an all-zero row. The row is divided
// by its greatest magnitude first, so that no square over- or underflows. A warp per row.
extern "C" __global__ void __launch_bounds__(Threads) nt_xent_normalise(float* __restrict__ z,            // [rows, dim]
                                                                        float* __restrict__ inverse_norm, // [rows]
                                                                        const float* __restrict__ h,      // [rows, dim]
                                                                        int rows, int dim)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * RowsPerBlock + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* from = h + static_cast<int64_t>(row) * dim;
    float* to = z + static_cast<int64_t>(row) * dim;

    float largest = 0.0f;
    for (int d = lane; d < dim; d += 32) largest = max_op(largest, fabsf(from[d]));
    largest = warp_max(largest);
    if (largest == 0.0f)
    {
        for (int d = lane; d < dim; d += 32) to[d] = 0.0f;
        if (lane == 0) inverse_norm[row] = 0.0f;
        return;
    }
    float squares = 0.0f;
    for (int d = lane; d < dim; d += 32)
    {
        const float scaled = from[d] / largest;
        squares += scaled * scaled;
    }
    const float scaled_norm = sqrtf(warp_sum(squares)); // between 1 and sqrt(dim)
    for (int d = lane; d < dim; d += 32) to[d] = from[d] / largest / scaled_norm;
    const float inverse = 1.0f / scaled_norm / largest;
    if (lane == 0) inverse_norm[row] = inverse > LargestFloat ? LargestFloat : inverse;
}

template <bool Online>
DEV void row_sums(float* partial_maximum, float* partial_sum, float* positive, const float* z, float inv_temperature,
                  int rows, int dim, int interleaved, int tiles_per_stripe, float (*stage)[Pitch])
{
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
    const int row0 = blockIdx.x * Tile, stripe = blockIdx.y;
    const int tiles = (rows + Tile - 1) / Tile, last_tile = min(tiles, (stripe + 1) * tiles_per_stripe);

    ExpSum sums[4];
#pragma unroll
    for (int r = 0; r < 4; r++) sums[r] = {Online ? -INFINITY : 1.0f, 0.0f};
    for (int tile = stripe * tiles_per_stripe; tile < last_tile; tile++)
    {
        const int column0 = tile * Tile;
        float similarity[4][4];
        similarity_tile(similarity, stage, z, row0, column0, rows, dim);
#pragma unroll
        for (int r = 0; r < 4; r++)
        {
            const int i = row0 + y + r;
#pragma unroll
            for (int c = 0; c < 4; c++)
            {
                const int j = column0 + x + c;
                if (i >= rows || j >= rows || j == i) continue;
                const float s = similarity[r][c];
                if (j == partner(i, rows, interleaved)) positive[i] = s; // one thread of the grid has this pair
                else if (Online) sums[r] = merge(sums[r], {s, 1.0f}, inv_temperature);
                else sums[r].sum += expf((s - 1.0f) * inv_temperature);
            }
        }
    }
    // The 16 threads of a row are half a warp.
#pragma unroll
    for (int r = 0; r < 4; r++)
    {
        const float maximum = Online ? warp_max<16>(sums[r].maximum) : 1.0f;
        const float sum = warp_sum<16>(relative_to(maximum, sums[r], inv_temperature));
        const int i = row0 + y + r;
        if (x != 0 || i >= rows) continue;
        partial_maximum[static_cast<int64_t>(stripe) * rows + i] = maximum;
        partial_sum[static_cast<int64_t>(stripe) * rows + i] = sum;
    }
}

// Every stripe's part of each row's negatives, and each row's similarity to its partner. Grid: (tiles, stripes).
extern "C" __global__ void __launch_bounds__(Threads) nt_xent_row_sums(float* __restrict__ partial_maximum, // [stripes, rows]
                                                                       float* __restrict__ partial_sum,     // [stripes, rows]
                                                                       float* __restrict__ positive,        // [rows]
                                                                       const float* __restrict__ z,         // [rows, dim]
                                                                       float inv_temperature, int rows, int dim,
                                                                       int interleaved, int online, int tiles_per_stripe)
{
    SHARED(float, stage, [2 * Depth][Pitch]);
    if (online)
        row_sums<true>(partial_maximum, partial_sum, positive, z, inv_temperature, rows, dim, interleaved, tiles_per_stripe, stage);
    else
        row_sums<false>(partial_maximum, partial_sum, positive, z, inv_temperature, rows, dim, interleaved, tiles_per_stripe, stage);
}

// Folds the stripes, first to last, and takes the mean in double precision. One block.
extern "C" __global__ void __launch_bounds__(Threads) nt_xent_loss(float* __restrict__ loss,                  // []
                                                                   float* __restrict__ shift,                 // [rows] m
                                                                   float* __restrict__ inverse_sum,           // [rows] r
                                                                   float* __restrict__ negative_share,        // [rows]
                                                                   const float* __restrict__ partial_maximum, // [stripes, rows]
                                                                   const float* __restrict__ partial_sum,     // [stripes, rows]
                                                                   const float* __restrict__ positive,        // [rows]
                                                                   float inv_temperature, int rows, int online, int stripes)
{
    SHARED(double, scratch, [Threads / 32]);
    double total = 0;
    for (int i = threadIdx.x; i < rows; i += Threads)
    {
        ExpSum negatives = {partial_maximum[i], partial_sum[i]};
        for (int s = 1; s < stripes; s++)
        {
            const int64_t at = static_cast<int64_t>(s) * rows + i;
            negatives = merge(negatives, {partial_maximum[at], partial_sum[at]}, inv_temperature);
        }
        const float m = online ? max_op(negatives.maximum, positive[i]) : 1.0f;
        const float sum_negatives = relative_to(m, negatives, inv_temperature);
        const float logit = (positive[i] - m) * inv_temperature, sum = expf(logit) + sum_negatives;
        // Once the positive outweighs the negatives, log1p keeps the digits of what is left.
        const float ratio = sum_negatives / expf(logit);
        total += ratio < 1.0f ? log1pf(ratio) : logf(sum) - logit;
        shift[i] = m;
        inverse_sum[i] = 1.0f / sum;
        negative_share[i] = sum_negatives / sum;
    }
    total = block_sum(total, scratch);
    if (threadIdx.x == 0) loss[0] = static_cast<float>(total / rows);
}

// w_ij of this thread's 4 x 4 elements, transposed into weights[column][row]; zero on the diagonal and past the end.
template <bool Online>
DEV void store_weights(float (*weights)[Pitch], const float (&similarity)[4][4], const float* shift, const float* inverse_sum,
                       const float* negative_share, float inv_temperature, int row0, int column0, int rows, int interleaved)
{
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
#pragma unroll
    for (int c = 0; c < 4; c++)
    {
        const int j = column0 + x + c, in_j = min(j, rows - 1);
#pragma unroll
        for (int r = 0; r < 4; r++)
        {
            const int i = row0 + y + r, in_i = min(i, rows - 1);
            const float s = similarity[r][c];
            float weight;
            if (j == partner(i, rows, interleaved)) weight = -(negative_share[in_i] + negative_share[in_j]);
            else if (Online)
                weight = expf((s - shift[in_i]) * inv_temperature) * inverse_sum[in_i] +
                         expf((s - shift[in_j]) * inv_temperature) * inverse_sum[in_j];
            else weight = expf((s - 1.0f) * inv_temperature) * (inverse_sum[in_i] + inverse_sum[in_j]);
            weights[x + c][y + r] = i >= rows || j >= rows || j == i ? 0.0f : weight;
        }
    }
}

// partial[row0 + y + r, d0 + x + c] (+)= Sum_j weights[j][y + r] * z[column0 + j, d0 + x + c]. Each element belongs to
// one thread, which alone reads it again for the stripe's next tile.
template <bool Tail>
DEV void add_gradient_chunk(float* partial, float (*stage)[Pitch], float (*weights)[Pitch], const float* z, int row0,
                            int column0, int d0, int rows, int dim, bool first)
{
    const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
    __syncthreads(); // the weights are there, and the stage's last readers are done with it
#pragma unroll
    for (int i = 0; i < Tile * Tile / Threads; i++)
    {
        const int j = threadIdx.x / Tile + i * (Threads / Tile), d = threadIdx.x % Tile;
        const int64_t from = static_cast<int64_t>(min(column0 + j, rows - 1)) * dim + d0 + d;
        stage[j][d] = !Tail || d0 + d < dim ? z[from] : 0.0f;
    }
    __syncthreads(); // the columns' rows of z are there
    float gradient[4][4] = {};
#pragma unroll 8
    for (int j = 0; j < Tile; j++) outer4(gradient, load4(&weights[j][y]), load4(&stage[j][x]));
#pragma unroll
    for (int r = 0; r < 4; r++)
    {
        if (row0 + y + r >= rows) continue;
        float* to = partial + static_cast<int64_t>(row0 + y + r) * dim + d0 + x;
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (!Tail || d0 + x + c < dim) to[c] = first ? gradient[r][c] : to[c] + gradient[r][c];
    }
}

// Every stripe's part of Sum_j w_ij z_j. Grid: (tiles, stripes). Two blocks share a multiprocessor: without that bound
// the compiler of CUDA 12.4 aims at 64 registers for sm_80, and spills.
extern "C" __global__ void __launch_bounds__(Threads, 2) nt_xent_grad_z(float* __restrict__ partial_grad_z, // [stripes, rows, dim]
                                                                     const float* __restrict__ z,              // [rows, dim]
                                                                     const float* __restrict__ shift,          // [rows]
                                                                     const float* __restrict__ inverse_sum,    // [rows]
                                                                     const float* __restrict__ negative_share, // [rows]
                                                                     float inv_temperature, int rows, int dim,
                                                                     int interleaved, int online, int tiles_per_stripe)
{
    SHARED(float, stage, [2 * Depth][Pitch]); // the two sides of a similarity step, then 64 x 64 of z
    SHARED(float, weights, [Tile][Pitch]);
    const int row0 = blockIdx.x * Tile, stripe = blockIdx.y;
    const int tiles = (rows + Tile - 1) / Tile, first_tile = stripe * tiles_per_stripe;
    const int last_tile = min(tiles, first_tile + tiles_per_stripe);
    float* partial = partial_grad_z + static_cast<int64_t>(stripe) * rows * dim;

    for (int tile = first_tile; tile < last_tile; tile++)
    {
        const int column0 = tile * Tile;
        float similarity[4][4];
        similarity_tile(similarity, stage, z, row0, column0, rows, dim);
        // The last tile's weights have no readers left: similarity_tile began with a barrier.
        if (online)
            store_weights<true>(weights, similarity, shift, inverse_sum, negative_share, inv_temperature, row0, column0, rows, interleaved);
        else
            store_weights<false>(weights, similarity, shift, inverse_sum, negative_share, inv_temperature, row0, column0, rows, interleaved);
        int d0 = 0;
        for (; d0 + Tile <= dim; d0 += Tile)
            add_gradient_chunk<false>(partial, stage, weights, z, row0, column0, d0, rows, dim, tile == first_tile);
        if (d0 < dim) add_gradient_chunk<true>(partial, stage, weights, z, row0, column0, d0, rows, dim, tile == first_tile);
    }
}

// Folds the stripes, first to last, and goes back through the norm. A warp per row.
extern "C" __global__ void __launch_bounds__(Threads) nt_xent_grad_h(float* __restrict__ grad_h,               // [rows, dim]
                                                                     const float* __restrict__ partial_grad_z, // [stripes, rows, dim]
                                                                     const float* __restrict__ z,              // [rows, dim]
                                                                     const float* __restrict__ inverse_norm,   // [rows]
                                                                     const float* __restrict__ grad_loss,      // []
                                                                     float inv_temperature, int rows, int dim, int stripes)
{
    const int lane = threadIdx.x % 32, row = blockIdx.x * RowsPerBlock + threadIdx.x / 32;
    if (row >= rows) return; // with its whole warp
    const float* unit = z + static_cast<int64_t>(row) * dim;
    float* to = grad_h + static_cast<int64_t>(row) * dim;

    float along = 0.0f; // z . g
    for (int d = lane; d < dim; d += 32)
    {
        float g = 0.0f;
        for (int s = 0; s < stripes; s++) g += partial_grad_z[(static_cast<int64_t>(s) * rows + row) * dim + d];
        along += g * unit[d];
        to[d] = g; // read again below by the same thread
    }
    along = warp_sum(along);
    const float scale = grad_loss[0] * inv_temperature / rows, inverse = inverse_norm[row];
    for (int d = lane; d < dim; d += 32) to[d] = scale * (to[d] - unit[d] * along) * inverse;
}
