using System.Runtime.InteropServices;

namespace KernelContrast.Interop;

/// <summary>Looks for a library of the CUDA toolkit: bare names first, for the loader's own search; then known folders.</summary>
internal static class LibrarySearch
{
    /// <summary>
    /// Every place where one of <paramref name="names"/> may be, best first. When the variable is set, only what it
    /// names: a library, or a folder with one of the names in it.
    /// </summary>
    internal static IEnumerable<string> Candidates(string variable, string[] names)
    {
        if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } path)
            return Directory.Exists(path) ? names.Select(name => Path.Combine(path, name)) : [path];
        return names.Concat(from folder in ToolkitFolders() from name in names select Path.Combine(folder, name));
    }

    /// <summary>Loads the first candidate that loads; each that was tried is added to <paramref name="tried"/>.</summary>
    internal static bool TryLoad(IEnumerable<string> candidates, List<string> tried, out nint library, out string path)
    {
        foreach (string candidate in candidates)
        {
            tried.Add(candidate);
            if (!NativeLibrary.TryLoad(candidate, out library)) continue;
            path = candidate;
            return true;
        }
        library = 0;
        path = "";
        return false;
    }

    private static IEnumerable<string> ToolkitFolders()
    {
        string[] homes = [.. new[] { "CUDA_PATH", "CUDA_HOME" }.Select(Environment.GetEnvironmentVariable).OfType<string>().Where(h => h.Length > 0)];
        if (OperatingSystem.IsWindows()) return homes.SelectMany(home => new[] { Path.Combine(home, "bin", "x64"), Path.Combine(home, "bin") }).Distinct();
        return homes.Append("/usr/local/cuda").Select(home => Path.Combine(home, "lib64")).Distinct();
    }
}
