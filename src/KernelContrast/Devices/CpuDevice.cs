using System.Runtime.InteropServices;

namespace KernelContrast.Devices;

/// <summary>The CPU: plain C#, float32, SIMD of the widest kind at hand, a small persistent thread pool.</summary>
public sealed class CpuDevice : Device
{
    private const int MostThreads = 1024;
    private readonly CpuMemoryPool _pool = new();

    internal CpuDevice() : base("cpu")
    {
        string? asked = Environment.GetEnvironmentVariable("KERNELCONTRAST_THREADS");
        int threads = Math.Min(Environment.ProcessorCount, MostThreads);
        if (!string.IsNullOrEmpty(asked) && (!int.TryParse(asked, out threads) || threads is < 1 or > MostThreads))
            throw new NotSupportedException($"KERNELCONTRAST_THREADS={asked}: expected 1 to {MostThreads}.");
        Workers = new CpuThreadPool(threads);
    }

    /// <summary>
    /// Number of threads ops use, the calling one included. Starts as <c>KERNELCONTRAST_THREADS</c> or the number of
    /// processors. Results are bit-identical from run to run for the same value.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is not between 1 and 1024.</exception>
    public int Threads { get => Workers.Count; set => Workers.Resize(value); }

    internal CpuThreadPool Workers { get; }

    internal CpuMemoryPool Pool => _pool;

    /// <inheritdoc/>
    public override string Description => $"{Threads} thread{(Threads == 1 ? "" : "s")}, SIMD of {Simd.Bits} bits";

    /// <inheritdoc/>
    public override MemoryStatistics Memory => _pool.Statistics;

    /// <inheritdoc/>
    public override void ResetPeakMemory() => _pool.ResetPeak();

    /// <inheritdoc/>
    public override void ReleaseUnusedMemory() => _pool.Trim();

    internal override void DiscardUnused(long bytes, long since) => _pool.Discard(bytes, since);

    /// <inheritdoc/>
    public override void Synchronize() { }

    internal override bool ComputesInBFloat16 => false;

    internal override bool ComputesInTf32 => false;

    internal override DeviceBuffer Allocate(long bytes) => new CpuBuffer(this, bytes);

    internal override unsafe void CopyFromHost(DeviceBuffer destination, ReadOnlySpan<byte> source) =>
        source.CopyTo(new Span<byte>((void*)destination.Pointer, source.Length));

    internal override unsafe void Upload(DeviceBuffer destination, ReadOnlySpan<byte> source, long offset = 0) =>
        source.CopyTo(new Span<byte>((byte*)destination.Pointer + offset, source.Length));

    internal override bool RunsBehind => false;

    internal override long ImageBudget => 0;

    internal override unsafe void CopyToHost(Span<byte> destination, DeviceBuffer source) =>
        new ReadOnlySpan<byte>((void*)source.Pointer, destination.Length).CopyTo(destination);

    internal override unsafe void Copy(DeviceBuffer destination, DeviceBuffer source, long bytes) =>
        NativeMemory.Copy((void*)source.Pointer, (void*)destination.Pointer, (nuint)bytes);

    internal override unsafe void Clear(DeviceBuffer buffer, long bytes) =>
        NativeMemory.Clear((void*)buffer.Pointer, (nuint)bytes);

    internal override TKernels Pick<TKernels, TCpu, TCuda>() => Instance<TCpu>.Value;

    internal override TKernels Pick<TKernels, TCpu>() => Instance<TCpu>.Value;

    private static class Instance<T> where T : new()
    {
        internal static readonly T Value = new();
    }

    private sealed class CpuBuffer(CpuDevice device, long bytes)
        : DeviceBuffer(device, device._pool.Rent(bytes), bytes)
    {
        private protected override void Free(nint pointer) => ((CpuDevice)Device)._pool.Return(pointer, Bytes);
    }
}
