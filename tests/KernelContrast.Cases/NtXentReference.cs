using KernelContrast.Losses;

namespace KernelContrast.Cases;

/// <summary>NT-Xent in double precision, with the whole matrix of similarities; the formulas as they stand in the paper.</summary>
internal sealed class NtXentReference
{
    private readonly int _rows, _dim;
    private readonly double _temperature;
    private readonly PairLayout _layout;
    private readonly double[] _norm, _z;

    /// <summary>p[i, j]: what softmax of row i, self excluded, gives to j.</summary>
    private readonly double[,] _p;

    internal NtXentReference(double[] embeddings, int rows, int dim, double temperature, PairLayout layout)
    {
        (_rows, _dim, _temperature, _layout) = (rows, dim, temperature, layout);
        _norm = new double[rows];
        _z = new double[rows * dim];
        for (int i = 0; i < rows; i++)
        {
            for (int k = 0; k < dim; k++) _norm[i] += embeddings[i * dim + k] * embeddings[i * dim + k];
            _norm[i] = Math.Sqrt(_norm[i]);
            for (int k = 0; k < dim; k++) _z[i * dim + k] = _norm[i] == 0 ? 0 : embeddings[i * dim + k] / _norm[i];
        }
        _p = new double[rows, rows];
        for (int i = 0; i < rows; i++)
        {
            double largest = double.NegativeInfinity, sum = 0, positive = 0;
            var logits = new double[rows];
            for (int j = 0; j < rows; j++)
            {
                for (int k = 0; k < dim; k++) logits[j] += _z[i * dim + k] * _z[j * dim + k];
                logits[j] /= temperature;
                if (j != i) largest = Math.Max(largest, logits[j]);
                if (j == Partner(i)) positive = logits[j];
            }
            for (int j = 0; j < rows; j++)
                if (j != i) sum += _p[i, j] = Math.Exp(logits[j] - largest);
            for (int j = 0; j < rows; j++) _p[i, j] /= sum;
            Loss += (Math.Log(sum) + largest - positive) / rows;
        }
    }

    internal double Loss { get; }

    internal double[] Gradient(double gradLoss)
    {
        var gradient = new double[_rows * _dim];
        for (int i = 0; i < _rows; i++)
        {
            if (_norm[i] == 0) continue;
            var g = new double[_dim];
            double along = 0;
            for (int k = 0; k < _dim; k++)
            {
                for (int j = 0; j < _rows; j++)
                    g[k] += (_p[i, j] + _p[j, i] - (j == Partner(i) ? 2 : 0)) * _z[j * _dim + k];
                along += g[k] * _z[i * _dim + k];
            }
            for (int k = 0; k < _dim; k++)
                gradient[i * _dim + k] = gradLoss / (_rows * _temperature) * (g[k] - along * _z[i * _dim + k]) / _norm[i];
        }
        return gradient;
    }

    /// <summary>Size of a row's terms before they cancel: Σ weights · ‖z‖/‖h‖, the same for all its elements.</summary>
    internal double[] GradientScale(double gradLoss)
    {
        var scale = new double[_rows * _dim];
        for (int i = 0; i < _rows; i++)
        {
            double weights = 2;
            for (int j = 0; j < _rows; j++) weights += _p[i, j] + _p[j, i];
            double size = _norm[i] == 0 ? 0 : Math.Abs(gradLoss) / (_rows * _temperature) * weights / _norm[i];
            scale.AsSpan(i * _dim, _dim).Fill(size);
        }
        return scale;
    }

    private int Partner(int i) =>
        _layout == PairLayout.Interleaved ? i ^ 1 : i < _rows / 2 ? i + _rows / 2 : i - _rows / 2;
}
