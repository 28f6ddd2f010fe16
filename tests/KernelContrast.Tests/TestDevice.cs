using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>
/// The CUDA device that tests run on: the emulated driver, or the GPU that <see cref="Variable"/> names. A process uses
/// one CUDA driver, so in a run on a GPU the tests of the emulated driver are skipped.
/// </summary>
internal static class TestDevice
{
    /// <summary><c>cuda</c> or <c>cuda:1</c>; unset, tests run on <c>cuda-emulated</c>.</summary>
    internal const string Variable = "KERNELCONTRAST_TEST_DEVICE";

    internal static string CudaName => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } name ? name : "cuda-emulated";

    /// <summary>Whether a run names its device: then each case runs there once, whatever orders of threads there are.</summary>
    internal static bool IsChosen => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 };

    internal static bool IsEmulated => CudaName == "cuda-emulated";

    /// <summary>The devices of a test that runs on each.</summary>
    internal static string[] Names => ["cpu", CudaName];

    /// <exception cref="Interop.CudaNotFoundException">Its driver is not there; the message says what to do.</exception>
    internal static CudaDevice Cuda => Device.Parse(CudaName) as CudaDevice
        ?? throw new InvalidOperationException($"{Variable} names {CudaName}, which is no CUDA device.");
}
