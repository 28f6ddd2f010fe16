using System.Security.Cryptography;
using System.Text;
using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>Compiles kernel files for a GPU with NVRTC. Call <see cref="NvrtcLibrary.Use"/> first.</summary>
internal static class KernelCompiler
{
    private static readonly string[] Options = ["--std=c++17"];

    /// <summary>
    /// What to compile for: <c>sm_86</c> makes a cubin. A GPU that NVRTC is too old to know gets PTX of the newest
    /// architecture it knows, <c>compute_90</c>, which the driver translates when it loads it.
    /// </summary>
    /// <param name="capability">The GPU's compute capability.</param>
    /// <param name="known">Architectures that NVRTC knows: 80 for 8.0.</param>
    /// <param name="source">The kernel file: one that has code for sm_90a alone is compiled for that on a GPU of 9.0.</param>
    /// <exception cref="NotSupportedException">The GPU is older than 8.0, or than all that NVRTC knows.</exception>
    internal static string TargetFor((int Major, int Minor) capability, IReadOnlyCollection<int> known, string source)
    {
        int wanted = 10 * capability.Major + capability.Minor;
        KernelImage.CheckCapability(capability);
        if (wanted == 90 && known.Contains(90) && UsesArchitectureFeatures(source)) return "sm_90a";
        if (known.Contains(wanted)) return $"sm_{wanted}";
        int older = known.Where(k => k < wanted).DefaultIfEmpty(0).Max();
        return older >= 80 ? $"compute_{older}" : throw new NotSupportedException(
            $"This NVRTC ({NvrtcLibrary.Path}) knows no architecture between compute capability 8.0 and your GPU's {capability.Major}.{capability.Minor}. Install a newer CUDA toolkit.");
    }

    /// <summary>Whether a kernel file has code for sm_90a alone, by the macro that nvcc and NVRTC define for it.</summary>
    internal static bool UsesArchitectureFeatures(string source) => source.Contains("__CUDA_ARCH_FEAT_SM90_ALL", StringComparison.Ordinal);

    /// <summary>An image's name in the cache: it changes with all that the image depends on.</summary>
    internal static string KeyOf(string module, string target) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(
        string.Join('\n', [KernelSources.HashOf(module), module, target, $"nvrtc {NvrtcLibrary.Version.Major}.{NvrtcLibrary.Version.Minor}", .. Options]))));

    /// <param name="module">The kernel file below <c>kernels/</c>, without its ending.</param>
    /// <param name="target">As <see cref="TargetFor"/> names it.</param>
    /// <param name="log">What the compiler said.</param>
    /// <param name="more">Options beyond the usual.</param>
    /// <exception cref="NvrtcException">It does not compile; the message holds the log and what to do.</exception>
    internal static byte[] Compile(string module, string target, out string log, params ReadOnlySpan<string> more)
    {
        try
        {
            return Nvrtc.Compile($"kernels/{module}.cu", KernelSources.Text(module), KernelSources.Headers,
                [.. Options, $"--gpu-architecture={target}", .. more], out log);
        }
        catch (NvrtcException e)
        {
            throw new NvrtcException(
                $"{e.Message}{Environment.NewLine}The compiler is NVRTC {NvrtcLibrary.Version.Major}.{NvrtcLibrary.Version.Minor}, {NvrtcLibrary.Path}. Try another (11.8 or newer) with {NvrtcLibrary.Variable}=PATH, or build the kernels with nvcc: ./build.sh kernels.");
        }
    }
}
