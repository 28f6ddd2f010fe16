using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>The emulated CUDA device for tests, and the orders it can run threads in.</summary>
internal static class Emulated
{
    /// <summary>The default order first. Between them they expose every missing barrier that changes a result.</summary>
    internal static readonly string[] Orders = ["forward-late", "reverse-late", "forward-early", "reverse-early"];

    /// <exception cref="CudaNotFoundException">It was not built; the message says how.</exception>
    internal static CudaDevice Device
    {
        get
        {
            Only();
            return TestDevice.Cuda;
        }
    }

    /// <summary>Skips a test that is about the emulated driver where tests run on a GPU.</summary>
    internal static void Only()
    {
        if (!TestDevice.IsEmulated) Assert.Ignore($"About the emulated driver; tests run on {TestDevice.CudaName}.");
    }

    /// <summary>Runs threads and asynchronous copies in the given order until disposed.</summary>
    internal static IDisposable InOrder(string order)
    {
        _ = Device;
        Configure(order);
        return new Restore();
    }

    /// <summary>Runs the modules in which every access to memory is checked, until disposed.</summary>
    internal static IDisposable Checked()
    {
        Device.Kernels.Checked = true;
        return new Restore();
    }

    private static void Configure(string order) => CudaException.Check(CudaDriver.kceConfigure(
        order.StartsWith("reverse", StringComparison.Ordinal) ? 1 : 0, order.EndsWith("late", StringComparison.Ordinal) ? 1 : 0));

    private sealed class Restore : IDisposable
    {
        public void Dispose()
        {
            Configure(Orders[0]);
            TestDevice.Cuda.Kernels.Checked = false;
        }
    }
}
