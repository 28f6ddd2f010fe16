using KernelContrast.Devices;

namespace KernelContrast.Cli.Bench;

/// <summary>The rate of this device's own matrix product in this run: what a loss's time is held against.</summary>
internal static class GemmRate
{
    /// <summary>GFLOP/s of one product of two size × size matrices: the median of five, after a warm-up.</summary>
    /// <exception cref="NotSupportedException">There is no product at this precision.</exception>
    internal static double Measure(Device device, int size = 2048, Precision precision = Precision.Float32)
    {
        using Autocast numbers = Autocast.To(precision);
        using var unrecorded = new NoGrad();
        DType type = precision == Precision.BFloat16 && device is CudaDevice ? DType.BFloat16 : DType.Float32;
        using Tensor a = Factor(1), b = Factor(2);
        using var timer = new DeviceTimer(device);
        Once();
        double[] milliseconds = [.. Enumerable.Range(0, 5).Select(_ => timer.Milliseconds(Once)).Order()];
        return 2.0 * size * size * size / milliseconds[2] / 1e6;

        void Once()
        {
            using Tensor c = Functional.MatMul(a, b);
        }

        Tensor Factor(ulong seed)
        {
            Tensor x = Tensor.RandomNormal(new(size, size), seed, device);
            if (type == DType.Float32) return x;
            using (x) return x.To(type);
        }
    }
}
