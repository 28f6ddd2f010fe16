using System.Runtime.CompilerServices;
using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class CosineTopKOp
{
    /// <summary>
    /// Keys are normalised and packed once; then a thread takes a block of queries through a run of keys, a product of
    /// registers at a time, and passes over each product in which nothing beats its row's k-th best so far, which soon is
    /// nearly all. Where queries are few, the keys are cut into slices whose results are merged. A similarity does not
    /// depend on how the work was cut, and the order of the results is total, so neither do they.
    /// </summary>
    internal sealed class Cpu : Kernels
    {
        internal override long WorkspaceBytes(Device device, in CosineTopKCall call)
        {
            CosineTopKCall sizes = call;
            sizes.Workspace = 0;
            return new CpuTopK(sizes, ((CpuDevice)device).Workers.Count, Simd.Bits / 32).WorkspaceBytes;
        }

        internal override void Run(Device device, in CosineTopKCall call)
        {
            foreach (DeviceMatrix matrix in (ReadOnlySpan<DeviceMatrix>)[call.Queries, call.Keys])
                if (matrix.Type != DType.Float32) throw new NotSupportedException($"{Name} on cpu: a matrix is of {matrix.Type}; the CPU reads Float32.");
            var cpu = (CpuDevice)device;
            var job = new CpuTopK(call, cpu.Workers.Count, Simd.Bits / 32);
            switch (Simd.Bits)
            {
                case 512: job.Run<F512>(cpu); break;
                case 256: job.Run<F256>(cpu); break;
                default: job.Run<F128>(cpu); break;
            }
        }
    }
}

/// <summary>Where everything is, how the work is divided, and its parts.</summary>
internal unsafe struct CpuTopK
{
    /// <summary>A block of packed queries stays in the L2 cache.</summary>
    private const int MostBlockBytes = 256 << 10, MostBlockRows = 112;

    /// <summary>Rows finished by one item of a parallel job, and the fewest keys of a slice.</summary>
    private const int RowsPerItem = 64, FewestKeys = 512;

    private readonly CosineTopKCall _call;
    private readonly int _panel, _tileRows, _panels, _blockRows, _blocks, _slices;

    /// <summary>[panels][dim][rows of a panel]: normalised keys; a row that is not finite is zeros here.</summary>
    private readonly float* _keys;

    /// <summary>[padded keys], [queries]: 1 where a row is not finite.</summary>
    private readonly byte* _oddKeys, _oddQueries;

    /// <summary>[slices][queries] how many are kept, and of slices after the first [slices − 1][queries][k] which; the first slice's are in the outputs.</summary>
    private readonly int* _counts, _indices;
    private readonly float* _similarities;

    /// <summary>Of each thread: packed queries, unit rows, a product, thresholds, zeros.</summary>
    private readonly float* _scratch;
    private readonly long _scratchFloats;

    /// <summary>Whether any key is not finite.</summary>
    private bool _anyOdd;

    /// <param name="call">The problem; a workspace at 0 counts for sizes only.</param>
    /// <param name="threads">Of the device.</param>
    /// <param name="width">Floats of a vector.</param>
    internal CpuTopK(in CosineTopKCall call, int threads, int width) : this()
    {
        _call = call;
        _panel = 2 * width;
        _tileRows = width == 16 ? 14 : 6;
        _panels = Gemm.CeilDivide(call.KeyRows, _panel);
        _blockRows = Math.Clamp(MostBlockBytes / 4 / call.Dim / _tileRows, 1, MostBlockRows / _tileRows) * _tileRows;
        _blocks = Math.Max(1, Gemm.CeilDivide(call.QueryRows, _blockRows));
        int most = Math.Max(1, call.KeyRows / FewestKeys);
        _slices = _blocks >= 4 * threads || threads == 1 ? 1 : Math.Min(most, Gemm.CeilDivide(4 * threads, _blocks));
        _scratchFloats = RoundUp((long)_blockRows * call.Dim) + RoundUp((long)_panel * call.Dim) + MicroFloats + RoundUp(_blockRows) + _panel;

        byte* at = (byte*)call.Workspace;
        long rows = call.QueryRows;
        _keys = (float*)Take(4L * _panels * _panel * call.Dim);
        _scratch = (float*)Take(4 * _scratchFloats * threads);
        _oddKeys = Take((long)_panels * _panel);
        _oddQueries = Take(rows);
        _counts = (int*)Take(4 * rows * _slices);
        _indices = (int*)Take(4 * rows * call.K * (_slices - 1));
        _similarities = (float*)Take(4 * rows * call.K * (_slices - 1));
        WorkspaceBytes = at - (byte*)call.Workspace;

        byte* Take(long bytes)
        {
            byte* here = at;
            at += (bytes + 63) / 64 * 64;
            return here;
        }
    }

    internal long WorkspaceBytes { get; }

    private static int MicroFloats => ContrastScratch.MicroFloats;

    private static long RoundUp(long floats) => (floats + 15) / 16 * 16;

    internal void Run<T>(CpuDevice cpu) where T : struct, ISimd<T>
    {
        cpu.Workers.For(_panels, ref this, &PackKeys<T>);
        _anyOdd = new ReadOnlySpan<byte>(_oddKeys, _call.KeyRows).Contains((byte)1);
        cpu.Workers.For(_blocks * _slices, ref this, &Search<T>);
        cpu.Workers.For(Gemm.CeilDivide(_call.QueryRows, RowsPerItem), ref this, &Finish);
    }

    private readonly TopKHeap Heap(int slice, int row)
    {
        int k = _call.K;
        long at = ((long)(slice - 1) * _call.QueryRows + row) * k;
        int* indices = slice == 0 ? (int*)_call.Indices + (long)row * k : _indices + at;
        float* similarities = slice == 0 ? (float*)_call.Similarities + (long)row * k : _similarities + at;
        return new(new(indices, k), new(similarities, k), _counts[(long)slice * _call.QueryRows + row]);
    }

    private static void PackKeys<T>(ref CpuTopK job, int worker, int panel) where T : struct, ISimd<T>
    {
        int row = panel * job._panel, count = Math.Min(job._panel, job._call.KeyRows - row), dim = job._call.Dim;
        new Span<byte>(job._oddKeys + row, job._panel).Clear();
        job.PackUnit<T>(job._keys + (long)row * dim, job._call.Keys, row, count, job._panel, job._oddKeys, job._scratch + worker * job._scratchFloats + RoundUp((long)job._blockRows * dim));
    }

    /// <summary>Normalises rows into <paramref name="unit"/> and from there into a panel [dim][width], zeros past the last.</summary>
    private readonly void PackUnit<T>(float* panel, DeviceMatrix from, int row, int count, int width, byte* odd, float* unit) where T : struct, ISimd<T>
    {
        int dim = _call.Dim;
        for (int i = 0; i < count; i++)
        {
            float* z = unit + (long)i * dim;
            bool isOdd = float.IsNaN(ContrastRows<T>.UnitRow(z, (float*)from.Pointer + (row + i) * from.RowStride, dim, _call.Precision));
            if (isOdd) new Span<float>(z, dim).Clear();
            odd[row + i] = isOdd ? (byte)1 : (byte)0;
        }
        Pack.Transposed(panel, unit, dim, count, width, dim);
    }

    private static void Search<T>(ref CpuTopK job, int worker, int item) where T : struct, ISimd<T>
    {
        int block = item / job._slices, slice = item % job._slices, dim = job._call.Dim, panel = job._panel, tileRows = job._tileRows;
        int row0 = block * job._blockRows, rows = Math.Min(job._blockRows, job._call.QueryRows - row0);
        float* packed = job._scratch + worker * job._scratchFloats, unit = packed + RoundUp((long)job._blockRows * dim);
        float* product = unit + RoundUp((long)panel * dim), thresholds = product + MicroFloats, zeros = thresholds + RoundUp(job._blockRows);
        new Span<float>(zeros, panel).Clear();
        byte* odd = stackalloc byte[MostBlockRows];
        for (int row = 0; row < rows; row += tileRows)
            job.PackUnit<T>(packed + (long)row * dim, job._call.Queries with { Pointer = job._call.Queries.Pointer + (nint)(4L * row0 * job._call.Queries.RowStride) },
                row, Math.Min(tileRows, rows - row), tileRows, odd, unit);
        for (int row = 0; row < rows; row++)
        {
            job._counts[(long)slice * job._call.QueryRows + row0 + row] = 0;
            if (slice == 0) job._oddQueries[row0 + row] = odd[row];
            // Nothing is above infinity: Finish fills the row.
            thresholds[row] = odd[row] != 0 ? float.PositiveInfinity : slice == 0 && job._anyOdd ? job.KeepOdd(row0 + row) : -float.MaxValue;
        }

        var tile = new Tile { ARow = 4, AStep = 4 * tileRows, BStep = 4 * panel, Inner = dim, Initial0 = zeros, Out0 = product, OutRow = panel };
        int end = (int)((long)job._panels * (slice + 1) / job._slices);
        for (int p = (int)((long)job._panels * slice / job._slices); p < end; p++)
        {
            int column = p * panel;
            bool masked = column + panel > job._call.KeyRows || (job._anyOdd && new ReadOnlySpan<byte>(job._oddKeys + column, panel).Contains((byte)1));
            for (int row = 0; row < rows; row += tileRows)
            {
                int count = Math.Min(tileRows, rows - row);
                tile.A0 = packed + (long)row * dim;
                tile.B = job._keys + (long)column * dim;
                tile.Run<T>(count, panel);
                if (masked || (job._call.ExcludeSelf && row0 + row < column + panel && column < row0 + row + count)) job.Mask(product, row0 + row, count, column);
                if (AnyAbove<T>(product, thresholds + row, count)) job.Keep<T>(slice, product, thresholds + row, row0 + row, count, column);
            }
        }
    }

    /// <summary>Minus infinity for what is no candidate: padding, keys that are not finite, and self where it is left out.</summary>
    private readonly void Mask(float* product, int row, int rows, int column)
    {
        for (int c = 0; c < _panel; c++)
            if (column + c >= _call.KeyRows || _oddKeys[column + c] != 0)
                for (int r = 0; r < rows; r++) product[r * _panel + c] = float.NegativeInfinity;
        if (!_call.ExcludeSelf) return;
        for (int r = Math.Max(0, column - row); r < Math.Min(rows, column + _panel - row); r++) product[r * _panel + row + r - column] = float.NegativeInfinity;
    }

    /// <summary>Whether any similarity of a product is above its row's threshold. No operand is NaN, and no threshold minus infinity.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool AnyAbove<T>(float* product, float* thresholds, int rows) where T : struct, ISimd<T>
    {
        T most = T.Create(-1);
        for (int r = 0; r < rows; r++, product += 2 * T.Width)
        {
            T threshold = T.Create(thresholds[r]);
            most = T.Max(most, T.Max(T.Sub(T.Load(product), threshold), T.Sub(T.Load(product + T.Width), threshold)));
        }
        return T.MaxAcross(most) > 0;
    }

    private readonly void Keep<T>(int slice, float* product, float* thresholds, int row, int rows, int column) where T : struct, ISimd<T>
    {
        for (int r = 0; r < rows; r++, product += _panel)
        {
            if (!AnyAbove<T>(product, thresholds + r, 1)) continue;
            TopKHeap heap = Heap(slice, row + r);
            // Keys come in order of their index: an equal one is later, and does not get in.
            for (int c = 0; c < _panel; c++)
                if (product[c] > heap.Threshold) heap.Offer(product[c], column + c);
            thresholds[r] = heap.Threshold;
            _counts[(long)slice * _call.QueryRows + row + r] = heap.Count;
        }
    }

    /// <summary>Keys that are not finite are similar to every row by NaN, which comes first: infinity until <see cref="Finish"/>.</summary>
    private readonly float KeepOdd(int row)
    {
        TopKHeap heap = Heap(0, row);
        for (int j = 0; j < _call.KeyRows && heap.Count < _call.K; j++)
            if (_oddKeys[j] != 0 && !(_call.ExcludeSelf && j == row)) heap.Offer(float.PositiveInfinity, j);
        _counts[row] = heap.Count;
        return heap.Threshold;
    }

    /// <summary>Merges the slices and sorts.</summary>
    private static void Finish(ref CpuTopK job, int worker, int item)
    {
        int k = job._call.K, end = Math.Min((item + 1) * RowsPerItem, job._call.QueryRows);
        for (int row = item * RowsPerItem; row < end; row++)
        {
            var indices = new Span<int>((int*)job._call.Indices + (long)row * k, k);
            var similarities = new Span<float>((float*)job._call.Similarities + (long)row * k, k);
            if (job._oddQueries[row] != 0)
            {
                similarities.Fill(float.NaN);
                for (int i = 0; i < k; i++) indices[i] = job._call.ExcludeSelf && i >= row ? i + 1 : i;
                continue;
            }
            TopKHeap heap = job.Heap(0, row);
            for (int slice = 1; slice < job._slices; slice++)
            {
                long from = ((long)(slice - 1) * job._call.QueryRows + row) * k;
                for (int i = 0; i < job._counts[(long)slice * job._call.QueryRows + row]; i++) heap.Offer(job._similarities[from + i], job._indices[from + i]);
            }
            heap.Sort();
            for (int i = 0; i < k && similarities[i] == float.PositiveInfinity; i++) similarities[i] = float.NaN;
        }
    }
}
