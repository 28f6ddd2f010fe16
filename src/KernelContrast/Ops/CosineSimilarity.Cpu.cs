using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class CosineSimilarityOp
{
    /// <summary>
    /// Rows are normalised into saved memory. The matrix, which is written whole and read once, is a product of its own
    /// (<see cref="CosineForward"/>), and so are the sums of the backward pass (<see cref="CosineBackward"/>). Rows with
    /// themselves take half a product forward and one backward, not one and two.
    /// </summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override long SavedBytes(Device device, in CosineSimilarityCall call) => new CpuCosine(call).SavedBytes;

        internal override long WorkspaceBytes(Device device, in CosineSimilarityCall call) => new CpuCosine(call).WorkspaceBytes;

        internal override void Forward(Device device, in CosineSimilarityCall call)
        {
            foreach (DeviceMatrix matrix in (ReadOnlySpan<DeviceMatrix>)[call.A, call.B])
                if (matrix.Pointer != 0 && matrix.Type != DType.Float32) throw new NotSupportedException($"{Name} on cpu: a matrix is of {matrix.Type}; the CPU reads Float32.");
            new CpuCosine(call).Forward((CpuDevice)device);
        }

        internal override void Backward(Device device, in CosineSimilarityCall call) => new CpuCosine(call).Backward((CpuDevice)device);
    }
}

/// <summary>Where everything of a call is.</summary>
internal readonly unsafe struct CpuCosine
{
    private readonly CosineSimilarityCall _call;

    /// <summary>Saved: [rows, dim] normalised rows and [rows] 1/‖row‖.</summary>
    private readonly float* _x, _y, _inverseX, _inverseY;

    /// <summary>Workspace: [rows or columns, dim].</summary>
    private readonly float* _sums;

    internal CpuCosine(in CosineSimilarityCall call)
    {
        _call = call;
        long dim = call.Dim;
        float* at = (float*)call.Saved;
        _x = Take(call.Rows * dim);
        _inverseX = Take(call.Rows);
        _y = call.WithItself ? _x : Take(call.Columns * dim);
        _inverseY = call.WithItself ? _inverseX : Take(call.Columns);
        SavedBytes = (byte*)at - (byte*)call.Saved;
        at = (float*)call.Workspace;
        _sums = Take(Math.Max(call.Rows, call.Columns) * dim);
        WorkspaceBytes = (byte*)at - (byte*)call.Workspace;

        float* Take(long floats)
        {
            float* here = at;
            at += (floats + 15) / 16 * 16;
            return here;
        }
    }

    internal long SavedBytes { get; }

    internal long WorkspaceBytes { get; }

    internal void Forward(CpuDevice cpu)
    {
        Rows(cpu, _call.Rows, new UnitRows { Z = _x, InverseNorm = _inverseX, H = _call.A, Dim = _call.Dim, Precision = _call.Precision });
        if (!_call.WithItself) Rows(cpu, _call.Columns, new UnitRows { Z = _y, InverseNorm = _inverseY, H = _call.B, Dim = _call.Dim, Precision = _call.Precision });
        CosineForward.Run(cpu, (float*)_call.Similarities, _x, _y, _call.Rows, _call.Columns, _call.Dim);
    }

    internal void Backward(CpuDevice cpu)
    {
        float* g = (float*)_call.GradSimilarities;
        int rows = _call.Rows, columns = _call.Columns, dim = _call.Dim;
        if (_call.GradA.Pointer != 0)
        {
            CosineBackward.Run(cpu, _sums, g, _call.WithItself ? CosineBackward.Turn.Both : CosineBackward.Turn.Turned, _y, columns, rows, dim);
            Rows(cpu, rows, new ThroughNorm { Gradient = _call.GradA, Sums = _sums, Z = _x, InverseNorm = _inverseX, Dim = dim });
        }
        if (_call.GradB.Pointer == 0) return;
        CosineBackward.Run(cpu, _sums, g, CosineBackward.Turn.Straight, _x, rows, columns, dim);
        Rows(cpu, columns, new ThroughNorm { Gradient = _call.GradB, Sums = _sums, Z = _y, InverseNorm = _inverseY, Dim = dim });
    }

    private void Rows<TKernel>(CpuDevice cpu, int rows, TKernel kernel) where TKernel : struct, ISimdRange =>
        SimdRanges.Run(cpu, rows, SimdRanges.Parts(cpu, rows, CpuGrain.Elementwise / Math.Max(1, _call.Dim)), kernel);

    private struct UnitRows : ISimdRange
    {
        internal float* Z, InverseNorm;
        internal DeviceMatrix H;
        internal int Dim;
        internal Precision Precision;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            for (long row = start; row < end; row++)
                InverseNorm[row] = ContrastRows<T>.UnitRow(Z + row * Dim, (float*)H.Pointer + row * H.RowStride, Dim, Precision);
        }
    }

    /// <summary>grad = (g − z (z·g)) / ‖h‖; 0 for a row of zeros.</summary>
    private struct ThroughNorm : ISimdRange
    {
        internal DeviceMatrix Gradient;
        internal float* Sums, Z, InverseNorm;
        internal int Dim;

        public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
        {
            int whole = Dim - Dim % T.Width, tail = Dim - whole;
            for (long row = start; row < end; row++)
            {
                float* g = Sums + row * Dim, z = Z + row * Dim, to = (float*)Gradient.Pointer + row * Gradient.RowStride;
                T last = T.LoadPartial(g + whole, tail, 0), lastZ = T.LoadPartial(z + whole, tail, 0);
                T dot = T.Mul(last, lastZ);
                for (int d = 0; d < whole; d += T.Width) dot = T.Fma(T.Load(g + d), T.Load(z + d), dot);
                T minus = T.Create(-T.Sum(dot)), inverse = T.Create(InverseNorm[row]);
                for (int d = 0; d < whole; d += T.Width) T.Store(to + d, T.Mul(T.Fma(minus, T.Load(z + d), T.Load(g + d)), inverse));
                if (tail > 0) T.StorePartial(to + whole, T.Mul(T.Fma(minus, lastZ, last), inverse), tail);
            }
        }
    }
}
