using System.Security.Cryptography;
using System.Text;

namespace KernelContrast.Devices;

/// <summary>
/// Compiled kernels on disk, shared by all processes of a user. Files appear whole (<see cref="AtomicFile"/>); each ends in a hash of its key and content, so that one that is torn or not ours counts
/// as missing. A folder that cannot be written only costs time.
/// </summary>
/// <param name="folder">Made when it is first needed; null keeps nothing.</param>
internal sealed class KernelCache(string? folder)
{
    /// <summary>Environment variable with the cache's folder; empty keeps nothing on disk.</summary>
    internal const string Variable = "KERNELCONTRAST_CACHE";

    /// <summary>The user's: <c>kernelcontrast</c> in $XDG_CACHE_HOME, else in ~/.cache, on Windows in the local application data.</summary>
    internal static KernelCache OfUser => new(DefaultFolder());

    internal byte[]? Find(string name, string key)
    {
        if (folder is null) return null;
        try
        {
            byte[] file = File.ReadAllBytes(PathOf(name, key));
            if (file.Length <= SHA256.HashSizeInBytes) return null;
            byte[] image = file[..^SHA256.HashSizeInBytes];
            return file.AsSpan(image.Length).SequenceEqual(Seal(key, image)) ? image : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { return null; }
    }

    internal void Keep(string name, string key, byte[] image)
    {
        if (folder is null) return;
        try
        {
            Directory.CreateDirectory(folder);
            AtomicFile.Write(PathOf(name, key), stream =>
            {
                stream.Write(image);
                stream.Write(Seal(key, image));
            });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException) { }
    }

    internal string PathOf(string name, string key) => Path.Combine(folder!, $"{name}.{key[..16]}");

    private static byte[] Seal(string key, byte[] image)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.ASCII.GetBytes(key));
        hash.AppendData(image);
        return hash.GetHashAndReset();
    }

    internal static string? DefaultFolder()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { } chosen) return chosen.Length > 0 ? chosen : null;
        // The XDG specification has relative paths ignored.
        string? root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { } xdg && Path.IsPathRooted(xdg) ? xdg : null;
        if (root is null && OperatingSystem.IsWindows()) root = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
        if (root is null && Environment.GetFolderPath(Environment.SpecialFolder.UserProfile) is { Length: > 0 } home) root = Path.Combine(home, ".cache");
        return string.IsNullOrEmpty(root) ? null : Path.Combine(root, "kernelcontrast");
    }
}
