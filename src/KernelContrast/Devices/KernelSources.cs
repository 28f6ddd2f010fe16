using System.Reflection;
using System.Security.Cryptography;
using System.Text;

namespace KernelContrast.Devices;

/// <summary>The files of <c>kernels/</c>, which travel inside this library so that they can be compiled anywhere.</summary>
internal static class KernelSources
{
    private const string Root = "kernels/", Ending = ".cu";

    private static readonly Dictionary<string, byte[]> Files = Read();

    /// <summary>Kernel files without their ending, as <see cref="CudaKernel"/> names them: <c>nn/relu</c>.</summary>
    internal static IReadOnlyList<string> Modules { get; } =
        [.. Files.Keys.Where(f => f.EndsWith(Ending, StringComparison.Ordinal)).Select(f => f[..^Ending.Length]).Order(StringComparer.Ordinal)];

    /// <summary>What kernel files include, by the names under which they do: <c>common/prelude.cuh</c>.</summary>
    internal static IReadOnlyList<(string Name, string Text)> Headers { get; } =
        [.. HeaderNames().Select(f => (f, Encoding.UTF8.GetString(Files[f])))];

    private static readonly string HeaderHashes = string.Concat(HeaderNames().Select(f => Hash(Files[f])));

    /// <exception cref="FileNotFoundException">There is no such kernel file.</exception>
    internal static string Text(string module) => Encoding.UTF8.GetString(Bytes(module));

    /// <summary>
    /// What images of the module are stamped with: a hash of the file and of everything it may include. The builds of the
    /// emulator and of nvcc compute the same.
    /// </summary>
    internal static string HashOf(string module) => Hash(Encoding.ASCII.GetBytes(Hash(Bytes(module)) + HeaderHashes));

    private static byte[] Bytes(string module) => Files.TryGetValue(module + Ending, out byte[]? bytes) ? bytes
        : throw new FileNotFoundException($"There is no kernel file '{module}{Ending}' among the {Modules.Count} that this library carries.");

    private static IEnumerable<string> HeaderNames() =>
        Files.Keys.Where(f => f.EndsWith(".cuh", StringComparison.Ordinal)).Order(StringComparer.Ordinal);

    private static string Hash(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static Dictionary<string, byte[]> Read()
    {
        Assembly assembly = typeof(KernelSources).Assembly;
        var files = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (string name in assembly.GetManifestResourceNames())
        {
            string file = name.Replace('\\', '/');
            if (!file.StartsWith(Root, StringComparison.Ordinal)) continue;
            using Stream stream = assembly.GetManifestResourceStream(name)!;
            byte[] bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            files.Add(file[Root.Length..], bytes);
        }
        return files;
    }
}
