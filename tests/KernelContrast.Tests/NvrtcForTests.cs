using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>NVRTC for the tests that compile kernels: without it they are skipped, or fail where it is insisted on.</summary>
internal static class NvrtcForTests
{
    /// <summary>Set by .ci/run, which fetches NVRTC: a test that has none then fails.</summary>
    internal const string RequiredVariable = "KERNELCONTRAST_REQUIRE_NVRTC";

    internal static void Need()
    {
        try { NvrtcLibrary.Use(); }
        catch (CudaNotFoundException e)
        {
            string what = $"{e.Message} For tests: ./build.sh nvrtc";
            if (Environment.GetEnvironmentVariable(RequiredVariable) == "1") Assert.Fail(what);
            Assert.Ignore(what);
        }
    }
}
