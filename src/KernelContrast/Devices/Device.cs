using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// A place where tensors live and ops run: <c>cpu</c> (C#, SIMD and threads), <c>cuda</c> (an NVIDIA driver) or
/// <c>cuda-emulated</c> (the same kernels and launch code on the emulated driver).
/// </summary>
/// <remarks>Only <c>Ops/*.Cpu.cs</c>, <c>Ops/*.Cuda.cs</c> and this folder know which device they are on.</remarks>
public abstract partial class Device
{
    private protected Device(string name) => Name = name;

    /// <summary>The device's name, as the tool's <c>--device</c> takes it.</summary>
    public string Name { get; }

    /// <summary>The CPU device of this process.</summary>
    public static CpuDevice Cpu { get; } = new();

    /// <summary>What this device's memory pool holds, in bytes.</summary>
    public abstract MemoryStatistics Memory { get; }

    /// <summary>Counts <see cref="MemoryStatistics.PeakLiveBytes"/> from what is in use now.</summary>
    public abstract void ResetPeakMemory();

    /// <summary>Gives pooled memory that no tensor uses back to the system.</summary>
    public abstract void ReleaseUnusedMemory();

    /// <summary>
    /// Gives the pages of some unused memory back to the system and keeps the memory pooled: using it again costs their zeroing
    /// by the system. Does nothing where that is not known to help.
    /// </summary>
    /// <param name="bytes">About so many, the largest blocks first.</param>
    /// <param name="since">Only what was returned after the pool's so manieth request (<see cref="MemoryStatistics.Requests"/>); 0: all.</param>
    internal virtual void DiscardUnused(long bytes, long since) { }

    /// <summary>Waits until every op issued so far has finished. Returns at once on the CPU.</summary>
    public abstract void Synchronize();

    /// <summary>Whether ops take bfloat16 tensors here; else they are storage only, to be converted.</summary>
    internal abstract bool ComputesInBFloat16 { get; }

    /// <summary>Whether products round float32 factors to TF32 themselves when asked to; else they are given rounded ones.</summary>
    internal abstract bool ComputesInTf32 { get; }

    /// <summary>Uninitialised memory of at least <paramref name="bytes"/> bytes (never zero-length).</summary>
    internal abstract DeviceBuffer Allocate(long bytes);

    internal abstract void CopyFromHost(DeviceBuffer destination, ReadOnlySpan<byte> source);

    /// <summary>
    /// As <see cref="CopyFromHost"/>, for what ops read: the source may be overwritten as soon as this returns, which it
    /// does without waiting for the ops issued before, where the device can.
    /// </summary>
    /// <param name="destination">Where to.</param>
    /// <param name="source">What.</param>
    /// <param name="offset">Byte of the destination that the copy begins at.</param>
    internal abstract void Upload(DeviceBuffer destination, ReadOnlySpan<byte> source, long offset = 0);

    /// <summary>Whether ops finish later than they are issued, so that reading a value waits for all of them.</summary>
    internal abstract bool RunsBehind { get; }

    /// <summary>The most bytes of images that training may keep on the device; 0 where ops read the host's memory.</summary>
    internal abstract long ImageBudget { get; }

    internal abstract void CopyToHost(Span<byte> destination, DeviceBuffer source);

    internal abstract void Copy(DeviceBuffer destination, DeviceBuffer source, long bytes);

    internal abstract void Clear(DeviceBuffer buffer, long bytes);

    /// <summary>The kernels of an op that runs on every device; the compiler demands both classes.</summary>
    internal abstract TKernels Pick<TKernels, TCpu, TCuda>()
        where TKernels : class where TCpu : TKernels, new() where TCuda : TKernels, new();

    /// <summary>The kernels of an op that has no CUDA side yet.</summary>
    internal abstract TKernels Pick<TKernels, TCpu>() where TKernels : class where TCpu : TKernels, new();

    /// <inheritdoc/>
    public override string ToString() => Name;
}

/// <summary>What a device's memory pool holds, and what it was asked for since the device was opened.</summary>
/// <param name="LiveBytes">Bytes in use by tensors and saved activations.</param>
/// <param name="PooledBytes">Bytes kept for reuse.</param>
/// <param name="PeakLiveBytes">The most bytes that were in use at once.</param>
/// <param name="Requests">How often memory was asked for.</param>
/// <param name="Allocations">How often the driver, on the CPU the system, had to give some: the other requests were met from the pool.</param>
public readonly record struct MemoryStatistics(long LiveBytes, long PooledBytes, long PeakLiveBytes, long Requests, long Allocations);
