using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>Checks labels and indices on a CUDA device before they index anything.</summary>
internal static class IndexCheck
{
    private static readonly CudaKernel Kernel = new("nn/find_outside", "find_outside");

    /// <summary>
    /// First position of a number outside of [0, bound), with the number; (−1, 0) when there is none. Waits for the
    /// device: an error is reported by the call that caused it.
    /// </summary>
    internal static (int Position, int Value) FindOutside(Tensor values, int bound)
    {
        Device device = values.Device;
        using Tensor found = Tensor.Empty(new(2), device, DType.Int32);
        Kernel.Launch(device, new(1, 256), found, values, bound, checked((int)values.Count));
        Span<int> result = stackalloc int[2];
        device.CopyToHost(MemoryMarshal.AsBytes(result), found.Buffer);
        return (result[0], result[1]);
    }
}
