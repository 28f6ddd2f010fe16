using KernelContrast.Losses;

namespace KernelContrast.Cases;

/// <summary>
/// The contrastive losses in double precision, each as its paper writes it, with the whole matrix of logits. Rows are
/// contrasted with columns; within one batch these are the same, for MoCo they are the queue and then the keys. In a lower
/// precision it is the plain implementation that rounds what enters a product, and bfloat16's results, and nothing else.
/// </summary>
internal sealed class ContrastReference
{
    private readonly LossKind _kind;
    private readonly int _rows, _columns, _dim;
    private readonly double _temperature;
    private readonly PairLayout _layout;
    private readonly int[]? _labels;
    private readonly Side _left, _right;
    private readonly Func<double, double> _factor, _result;

    /// <summary>
    /// What rounding rows to float32 adds to the size of a softmax's or a sigmoid's weight P, in units of P(1 − P) and of the contract's 1e-5: each z is off by
    /// up to 2⁻²⁴ of itself, so each s by 2⁻²³, the difference of two by 2⁻²², and e^(s/τ) by 2⁻²²/τ of itself. Below τ = 0.02
    /// no float32 gradient of a key that is nobody's positive, and has such weights alone, is exact to 1e-5.
    /// </summary>
    internal double Magnified { get; set; }

    /// <summary>
    /// The least a similarity counts for in the size of τ's gradient, in units of ‖h‖‖k‖ and of the contract's 1e-5: s may be off by 2⁻²², as above,
    /// however small it is. It matters where few pairs have all the weight, and an s near 0.
    /// </summary>
    private const double LeastSimilarity = 1.0 / (1 << 22) / 1e-5;

    /// <summary>x[i, j], the logit of row i and column j.</summary>
    private readonly double[,] _x;

    internal ContrastReference(LossKind kind, double[] embeddings, double[]? keys, double[]? positives, int dim, double temperature,
        double bias = 0, PairLayout layout = PairLayout.Halves, int[]? labels = null, bool normalize = true, Precision precision = Precision.Float32)
    {
        // What a plain implementation rounds: the factors of products and, of bfloat16, their results.
        _factor = precision switch { Precision.BFloat16 => BFloat16Cases.Rounded, Precision.Tf32 => Tf32Cases.Rounded, _ => x => x };
        _result = precision == Precision.BFloat16 ? BFloat16Cases.Rounded : x => x;
        (_kind, _dim, _temperature, _layout, _labels) = (kind, dim, temperature, layout, labels);
        Magnified = normalize ? Math.ScaleB(1, -22) / (1e-5 * temperature) : 0;
        _left = new(embeddings, dim, normalize, _factor);
        _right = keys is null ? _left : new([.. keys, .. positives ?? []], dim, normalize, _factor);
        _rows = embeddings.Length / dim;
        _columns = _right.Values.Length / dim;
        _x = new double[_rows, _columns];
        for (int i = 0; i < _rows; i++)
            for (int j = 0; j < _columns; j++)
                _x[i, j] = _result(Similarity(i, j)) / temperature + bias;
        Losses = [.. Enumerable.Range(0, _rows).Select(i => Counts(i) ? RowLoss(i) : 0)];
        Counted = Enumerable.Range(0, _rows).Count(Counts);
    }

    /// <summary>One per row.</summary>
    internal double[] Losses { get; }

    internal double Loss(Reduction reduction) => reduction == Reduction.Mean ? Losses.Sum() / Math.Max(1, Counted) : Losses.Sum();

    private int Counted { get; }

    internal sealed record Gradients(double[] Rows, double[] Columns, double Temperature, double Bias);

    /// <summary>The gradient, and the size of its terms before they cancel.</summary>
    internal (Gradients Value, Gradients Scale) Gradient(double[] gradLoss, Reduction reduction)
    {
        double[,] w = new double[_rows, _columns], size = new double[_rows, _columns];
        for (int i = 0; i < _rows; i++)
            if (Counts(i)) AddWeights(i, Upstream(i), w, size);
        Gradients value = Back(w, 1), scale = Back(size, 0);
        return (value, scale);

        double Upstream(int i) => reduction switch { Reduction.Mean => gradLoss[0] / Counted, Reduction.Sum => gradLoss[0], _ => gradLoss[i] };
    }

    private double Similarity(int i, int j)
    {
        double sum = 0;
        for (int k = 0; k < _dim; k++) sum += _left.Values[i * _dim + k] * _right.Values[j * _dim + k];
        return sum;
    }

    private bool WithinBatch => _kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;

    private bool SameLabel(int i, int j)
    {
        if (_labels is null) return false;
        // MoCo's labels: the queries', then the queue's.
        int column = _kind == LossKind.Moco ? _rows + j : j;
        return _labels[i] >= 0 && _labels[i] == _labels[column];
    }

    private bool IsPositive(int i, int j) => _kind switch
    {
        LossKind.NtXent or LossKind.Dcl => j == (_layout == PairLayout.Interleaved ? i ^ 1 : (i + _rows / 2) % _rows),
        LossKind.SupCon => j != i && SameLabel(i, j),
        LossKind.Moco => j == _columns - _rows + i,
        _ => j == i,
    };

    private bool IsNegative(int i, int j) => _kind switch
    {
        LossKind.NtXent or LossKind.Dcl => j != i && !IsPositive(i, j) && !SameLabel(i, j),
        LossKind.SupCon => j != i && !SameLabel(i, j),
        LossKind.Moco => j < _columns - _rows && !SameLabel(i, j),
        _ => j != i && !SameLabel(i, j),
    };

    private IEnumerable<int> Positives(int i) => Enumerable.Range(0, _columns).Where(j => IsPositive(i, j));

    private IEnumerable<int> Negatives(int i) => Enumerable.Range(0, _columns).Where(j => IsNegative(i, j));

    private bool Counts(int i) => _kind == LossKind.SupCon ? Positives(i).Any() : _labels is null || Negatives(i).Any();

    /// <summary>What the logarithm sums over for row i.</summary>
    private int[] Denominator(int i) => _kind == LossKind.Dcl ? [.. Negatives(i)] : [.. Negatives(i).Concat(Positives(i)).Order()];

    private double RowLoss(int i)
    {
        int[] positives = [.. Positives(i)];
        double Row(int[] over) => LogSumExp([.. over.Select(j => _x[i, j])]) - positives.Average(p => _x[i, p]);
        return _kind switch
        {
            LossKind.SigLip => Softplus(-_x[i, i]) + Negatives(i).Sum(j => Softplus(_x[i, j])),
            LossKind.Clip => (Row(Denominator(i)) + LogSumExp([.. Denominator(i).Select(j => _x[j, i])]) - _x[i, i]) / 2,
            _ => Row(Denominator(i)),
        };
    }

    /// <summary>Adds u · ∂l_i/∂x to the weights, and the sizes of its terms to theirs.</summary>
    private void AddWeights(int i, double u, double[,] w, double[,] size)
    {
        if (_kind == LossKind.SigLip)
        {
            AddProbability(i, i, -u, Sigmoid(-_x[i, i]));
            foreach (int j in Negatives(i)) AddProbability(i, j, u, Sigmoid(_x[i, j]));
            return;
        }
        double share = _kind == LossKind.Clip ? u / 2 : u;
        int[] over = Denominator(i), positives = [.. Positives(i)];
        double log = LogSumExp([.. over.Select(j => _x[i, j])]);
        foreach (int j in over) AddProbability(i, j, share, Math.Exp(_x[i, j] - log));
        foreach (int p in positives) Add(i, p, -share / positives.Length);
        if (_kind != LossKind.Clip) return;
        log = LogSumExp([.. over.Select(j => _x[j, i])]);
        foreach (int j in over) AddProbability(j, i, share, Math.Exp(_x[j, i] - log));
        Add(i, i, -share);

        void AddProbability(int row, int column, double factor, double probability)
        {
            Add(row, column, factor * probability);
            size[row, column] += Math.Abs(factor) * probability * (1 - probability) * Magnified;
        }

        void Add(int row, int column, double weight)
        {
            w[row, column] += weight;
            size[row, column] += Math.Abs(weight);
        }
    }

    /// <summary>From weights ∂L/∂x to the inputs; with <paramref name="along"/> 0, from their sizes to bounds.</summary>
    private Gradients Back(double[,] w, double along)
    {
        double[] rows = new double[_rows * _dim], columns = new double[_columns * _dim];
        double temperature = 0, bias = 0;
        for (int i = 0; i < _rows; i++)
            for (int j = 0; j < _columns; j++)
            {
                double s = Similarity(i, j);
                temperature -= w[i, j] * (along == 0 ? -Math.Abs(s) - LeastSimilarity * _left.Length(i) * _right.Length(j) : s) / (_temperature * _temperature);
                bias += w[i, j];
                for (int k = 0; k < _dim; k++)
                {
                    // Of a bound, every element of a row is as large as the vectors are long.
                    rows[i * _dim + k] += _factor(w[i, j]) / _temperature * (along == 0 ? _right.Length(j) : _right.Values[j * _dim + k]);
                    columns[j * _dim + k] += _factor(w[i, j]) / _temperature * (along == 0 ? _left.Length(i) : _left.Values[i * _dim + k]);
                }
            }
        (rows, columns) = (Array.ConvertAll(rows, x => _result(x)), Array.ConvertAll(columns, x => _result(x)));
        if (WithinBatch)
            for (int i = 0; i < rows.Length; i++) rows[i] += columns[i];
        return new(_left.Back(rows, along), _right.Back(columns, along), temperature, bias);
    }

    private static double LogSumExp(double[] x)
    {
        if (x.Length == 0) return double.NegativeInfinity;
        double largest = x.Any(double.IsNaN) ? double.NaN : x.Max();
        return largest + Math.Log(x.Sum(v => Math.Exp(v - largest)));
    }

    private static double Softplus(double x) => Math.Max(x, 0) + Math.Log(1 + Math.Exp(-Math.Abs(x)));

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    /// <summary>Rows divided by their norms, or as they are.</summary>
    private sealed class Side
    {
        private readonly int _dim;
        private readonly double[]? _norms;
        private readonly double[] _lengths;

        internal Side(double[] rows, int dim, bool normalize, Func<double, double> round)
        {
            _dim = dim;
            Values = (double[])rows.Clone();
            if (normalize)
            {
                _norms = Lengths(rows, dim);
                for (int i = 0; i < rows.Length; i++) Values[i] = _norms[i / dim] == 0 ? 0 : rows[i] / _norms[i / dim];
            }
            Values = Array.ConvertAll(Values, v => round(v));
            _lengths = Lengths(Values, dim);
        }

        internal double[] Values { get; }

        internal double Length(int row) => _lengths[row];

        private static double[] Lengths(double[] rows, int dim) => [.. rows.Chunk(dim).Select(row => Math.Sqrt(row.Sum(v => v * v)))];

        /// <summary>grad_h = (g − z (z·g))/‖h‖; without the subtraction when <paramref name="along"/> is 0.</summary>
        internal double[] Back(double[] gradient, double along)
        {
            if (_norms is null) return gradient;
            var result = new double[gradient.Length];
            for (int row = 0; row < _norms.Length; row++)
            {
                if (_norms[row] == 0) continue;
                double dot = 0;
                for (int k = row * _dim; k < (row + 1) * _dim; k++) dot += gradient[k] * Values[k];
                for (int k = row * _dim; k < (row + 1) * _dim; k++) result[k] = (gradient[k] - along * dot * Values[k]) / _norms[row];
            }
            return result;
        }
    }
}
