namespace KernelContrast.Devices;

/// <summary>
/// The work whose rates bound every op of a device: copying, exponentials, launching. Each call issues one such piece of
/// work, to be timed with <see cref="DeviceTimer"/>.
/// </summary>
public sealed class DeviceCeilings : IDisposable
{
    private static readonly CudaKernel Empty = new("bench/ceilings", "empty_kernel"), Exponentials = new("bench/ceilings", "exp_only");

    private readonly CudaDevice _device;
    private readonly DeviceBuffer _from, _to;
    private readonly Tensor _sums;
    private readonly int _blocks, _repeats;

    /// <summary>Allocates two arrays of <paramref name="copyBytes"/> bytes and what the exponentials need.</summary>
    /// <param name="device">A CUDA device.</param>
    /// <param name="copyBytes">Size of the copy; larger than the device's caches.</param>
    /// <param name="blocks">Blocks of 256 threads that compute exponentials.</param>
    /// <param name="repeats">Exponentials of each thread, a multiple of 4.</param>
    /// <exception cref="ArgumentException">The device has no kernels to time.</exception>
    public DeviceCeilings(Device device, long copyBytes, int blocks, int repeats)
    {
        ArgumentNullException.ThrowIfNull(device);
        _device = device as CudaDevice ?? throw new ArgumentException($"Ceilings are those of a CUDA device, and {device} is none.");
        ArgumentOutOfRangeException.ThrowIfLessThan(copyBytes, 4);
        ArgumentOutOfRangeException.ThrowIfLessThan(blocks, 1);
        if (repeats < 4 || repeats % 4 != 0) throw new ArgumentException($"Repeats are a multiple of 4 from 4 up, not {repeats}.");
        (CopyBytes, _blocks, _repeats) = (copyBytes, blocks, repeats);
        _from = device.Allocate(copyBytes);
        _to = device.Allocate(copyBytes);
        _device.Clear(_from, copyBytes);
        _sums = Tensor.Empty(new(blocks, 256), device);
    }

    /// <summary>Bytes that a copy reads, and writes again.</summary>
    public long CopyBytes { get; }

    /// <summary>Exponentials that <see cref="Exponentiate"/> computes.</summary>
    public long ExponentialCount => (long)_blocks * 256 * _repeats;

    /// <summary>Copies on the device.</summary>
    public void Copy() => _device.Copy(_to, _from, CopyBytes);

    /// <summary>Computes <see cref="ExponentialCount"/> exponentials.</summary>
    public void Exponentiate() => Exponentials.Launch(_device, new(_blocks, 256), _sums, _repeats);

    /// <summary>Launches a kernel that does nothing.</summary>
    public void Launch() => Empty.Launch(_device, new(1, 32));

    /// <summary>What the last <see cref="Exponentiate"/> summed, thread by thread, to see that it ran.</summary>
    public float[] Sums() => _sums.ToArray();

    /// <summary>Releases the arrays.</summary>
    public void Dispose()
    {
        _from.Release();
        _to.Release();
        _sums.Dispose();
    }
}
