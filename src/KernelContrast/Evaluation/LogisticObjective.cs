using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast.Evaluation;

/// <summary>
/// The objective of multinomial logistic regression over some rows of a matrix, and its gradient:
/// mean_i (logsumexp_c a_ic − a_i,label(i)) + λ/2 ‖W‖², a_ic = x_i·w_c + b_c; ∂/∂w_c = mean_i (p_ic − [c = label(i)]) x_i + λ w_c.
/// The biases are not regularised.
/// </summary>
/// <remarks>
/// Forward and backward in one pass over the rows, so that a row is fetched from memory once. The rows are divided
/// into blocks that depend on their number alone; each block sums in float32, the blocks' sums are added in double in
/// their order: bit-identical for any number of threads. Parameters are [classes, columns] then [classes] biases.
/// </remarks>
internal sealed unsafe class LogisticObjective : IDisposable
{
    private const int RowsAtOnce = 4;
    private const int RowsPerBlock = 512;
    private const int MostBlocks = 64;

    private readonly PaddedMatrix _x;
    private readonly int[] _rows, _labels;
    private readonly int _classes, _stride, _blocks;
    private readonly float* _scratch;
    private readonly double[] _losses;

    /// <param name="x">The features, standardised.</param>
    /// <param name="rows">Which of its rows take part.</param>
    /// <param name="labels">The class of every row of <paramref name="x"/>.</param>
    /// <param name="classes">Number of classes.</param>
    internal LogisticObjective(PaddedMatrix x, int[] rows, int[] labels, int classes)
    {
        (_x, _rows, _labels, _classes, _stride) = (x, rows, labels, classes, x.Stride);
        _blocks = Math.Clamp((rows.Length + RowsPerBlock - 1) / RowsPerBlock, 1, MostBlocks);
        _losses = new double[_blocks];
        // Each block: gradient of W, of b, and the logits of RowsAtOnce rows; then one copy of W and b.
        _scratch = (float*)NativeMemory.AlignedAlloc((nuint)((long)BlockFloats * _blocks + WeightFloats) * sizeof(float), 64);
    }

    private int WeightFloats => _classes * _stride + _classes;

    private int BlockFloats => (WeightFloats + RowsAtOnce * _classes + 15) / 16 * 16;

    internal int Parameters => _classes * _x.Columns + _classes;

    internal double Evaluate(ReadOnlySpan<double> parameters, Span<double> gradient, double regularisation)
    {
        int columns = _x.Columns;
        float* weights = _scratch + (long)BlockFloats * _blocks, biases = weights + _classes * _stride;
        new Span<float>(weights, WeightFloats).Clear();
        for (int c = 0; c < _classes; c++)
        {
            for (int d = 0; d < columns; d++) weights[c * _stride + d] = (float)parameters[c * columns + d];
            biases[c] = (float)parameters[_classes * columns + c];
        }

        Device.Cpu.Workers.For(_blocks, (_, block) =>
        {
            switch (Simd.Bits)
            {
                case 512: Block<F512>(block); break;
                case 256: Block<F256>(block); break;
                default: Block<F128>(block); break;
            }
        });

        double loss = 0;
        gradient.Clear();
        for (int block = 0; block < _blocks; block++)
        {
            loss += _losses[block];
            float* sum = _scratch + (long)BlockFloats * block;
            for (int c = 0; c < _classes; c++)
            {
                for (int d = 0; d < columns; d++) gradient[c * columns + d] += sum[c * _stride + d];
                gradient[_classes * columns + c] += sum[_classes * _stride + c];
            }
        }
        double penalty = 0, share = 1.0 / _rows.Length;
        for (int i = 0; i < gradient.Length; i++)
        {
            gradient[i] *= share;
            if (i >= _classes * columns) continue;
            gradient[i] += regularisation * parameters[i];
            penalty += parameters[i] * parameters[i];
        }
        return loss * share + regularisation / 2 * penalty;
    }

    private void Block<T>(int block) where T : struct, ISimd<T>
    {
        int from = (int)((long)_rows.Length * block / _blocks), to = (int)((long)_rows.Length * (block + 1) / _blocks);
        float* weights = _scratch + (long)BlockFloats * _blocks, biases = weights + _classes * _stride;
        float* sum = _scratch + (long)BlockFloats * block, sumBiases = sum + _classes * _stride, logits = sumBiases + _classes;
        new Span<float>(sum, WeightFloats).Clear();
        double loss = 0;
        for (int row = from; row < to; row += RowsAtOnce)
        {
            int last = to - 1, here = Math.Min(RowsAtOnce, to - row);
            // Behind the end stands the last row again, with a weight of zero.
            float* x0 = _x.Row(_rows[row]);
            float* x1 = _x.Row(_rows[Math.Min(row + 1, last)]);
            float* x2 = _x.Row(_rows[Math.Min(row + 2, last)]);
            float* x3 = _x.Row(_rows[Math.Min(row + 3, last)]);
            for (int c = 0; c < _classes; c++)
            {
                float* w = weights + c * _stride;
                T a0 = T.Zero, a1 = T.Zero, a2 = T.Zero, a3 = T.Zero;
                for (int d = 0; d < _stride; d += T.Width)
                {
                    T v = T.Load(w + d);
                    a0 = T.Fma(T.Load(x0 + d), v, a0);
                    a1 = T.Fma(T.Load(x1 + d), v, a1);
                    a2 = T.Fma(T.Load(x2 + d), v, a2);
                    a3 = T.Fma(T.Load(x3 + d), v, a3);
                }
                logits[c] = T.Sum(a0) + biases[c];
                logits[_classes + c] = T.Sum(a1) + biases[c];
                logits[2 * _classes + c] = T.Sum(a2) + biases[c];
                logits[3 * _classes + c] = T.Sum(a3) + biases[c];
            }
            for (int r = 0; r < RowsAtOnce; r++)
            {
                var of = new Span<float>(logits + r * _classes, _classes);
                if (r < here) loss += ToDelta(of, _labels[_rows[row + r]]);
                else of.Clear();
            }
            for (int c = 0; c < _classes; c++)
            {
                float p0 = logits[c], p1 = logits[_classes + c], p2 = logits[2 * _classes + c], p3 = logits[3 * _classes + c];
                sumBiases[c] += p0 + p1 + p2 + p3;
                T d0 = T.Create(p0), d1 = T.Create(p1), d2 = T.Create(p2), d3 = T.Create(p3);
                float* g = sum + c * _stride;
                for (int d = 0; d < _stride; d += T.Width)
                {
                    T v = T.Fma(T.Load(x0 + d), d0, T.Fma(T.Load(x1 + d), d1, T.Load(g + d)));
                    T.Store(g + d, T.Fma(T.Load(x2 + d), d2, T.Fma(T.Load(x3 + d), d3, v)));
                }
            }
        }
        _losses[block] = loss;
    }

    /// <summary>Replaces logits by softmax − one-hot; returns the cross-entropy.</summary>
    private static double ToDelta(Span<float> logits, int label)
    {
        float most = System.Numerics.Tensors.TensorPrimitives.Max<float>(logits);
        double atLabel = logits[label], sum = 0;
        foreach (ref float logit in logits)
        {
            logit = MathF.Exp(logit - most);
            sum += logit;
        }
        float scale = (float)(1 / sum);
        foreach (ref float logit in logits) logit *= scale;
        logits[label] -= 1;
        return Math.Log(sum) + most - atLabel;
    }

    public void Dispose() => NativeMemory.AlignedFree(_scratch);
}

/// <summary>A matrix whose rows begin at 64-byte boundaries and are filled up with zeros, so that kernels have no tails.</summary>
internal sealed unsafe class PaddedMatrix : IDisposable
{
    private readonly float* _values;

    internal PaddedMatrix(int rows, int columns)
    {
        (Rows, Columns, Stride) = (rows, columns, (columns + 15) / 16 * 16);
        _values = (float*)NativeMemory.AlignedAlloc((nuint)Math.Max(64, (long)rows * Stride * sizeof(float)), 64);
        for (int row = 0; row < rows; row++) new Span<float>(Row(row) + columns, Stride - columns).Clear();
    }

    internal int Rows { get; }
    internal int Columns { get; }
    internal int Stride { get; }

    internal float* Row(int row) => _values + (long)row * Stride;

    public void Dispose() => NativeMemory.AlignedFree(_values);
}
