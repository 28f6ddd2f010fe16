namespace KernelContrast.Interop;

/// <summary>
/// A library of NVIDIA's that is used where it is found and done without where it is not. It is looked for by the names
/// that the versions which fit have, newest first.
/// </summary>
public sealed class VendorLibrary
{
    private readonly (int Major, string Linux, string Windows)[] _versions;
    private readonly Lock _guard = new();
    private nint _library;

    private VendorLibrary(string name, string variable, params (int, string, string)[] versions) => (Name, Variable, _versions) = (name, variable, versions);

    /// <summary>cuBLASLt of CUDA 11.8 to 13; its versions are those of CUDA.</summary>
    public static VendorLibrary CublasLt { get; } = new("cuBLASLt", "KERNELCONTRAST_CUBLASLT",
        (13, "libcublasLt.so.13", "cublasLt64_13.dll"), (12, "libcublasLt.so.12", "cublasLt64_12.dll"), (11, "libcublasLt.so.11", "cublasLt64_11.dll"));

    /// <summary>cuDNN 8 and 9.</summary>
    public static VendorLibrary Cudnn { get; } = new("cuDNN", "KERNELCONTRAST_CUDNN", (9, "libcudnn.so.9", "cudnn64_9.dll"), (8, "libcudnn.so.8", "cudnn64_8.dll"));

    /// <summary>What the library is called in messages.</summary>
    public string Name { get; }

    /// <summary>Environment variable with its path, or that of its folder, in place of the usual names.</summary>
    public string Variable { get; }

    /// <summary>Where it was found; empty before.</summary>
    public string Path { get; private set; } = "";

    /// <summary>Whether <see cref="Variable"/> is set: then the library is to be that, and none is no way out.</summary>
    public bool IsNamed => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 };

    /// <summary>Loads the library, if it is there. Doing so again is fine.</summary>
    /// <param name="newestMajor">The newest major version that may be taken.</param>
    /// <param name="problem">When it is not there: every path tried, and what to do.</param>
    /// <exception cref="NotSupportedException"><see cref="Variable"/> names what does not load.</exception>
    public bool TryUse(int newestMajor, out string problem)
    {
        lock (_guard)
        {
            problem = "";
            if (_library != 0) return true;
            string[] names = [.. from version in _versions where version.Major <= newestMajor select OperatingSystem.IsWindows() ? version.Windows : version.Linux];
            var tried = new List<string>();
            if (!LibrarySearch.TryLoad(LibrarySearch.Candidates(Variable, names), tried, out nint library, out string path))
            {
                if (IsNamed)
                {
                    throw new NotSupportedException($"{Variable}={Environment.GetEnvironmentVariable(Variable)}: {(tried.Count == 0 ? $"there is no version of {Name} for this driver"
                        : $"could not load {string.Join(", ", tried)}")}. Give the path of {Name}, or of its folder, or unset it: then the usual places are searched.");
                }
                problem = tried.Count == 0 ? $"{Name}: there is no version for this driver."
                    : $"No {Name}: could not load {string.Join(", ", tried)}. Without it our own kernels run; to use it, install it or give its path in {Variable}.";
                return false;
            }
            CudaLibrary.Register();
            (_library, Path) = (library, path);
            return true;
        }
    }

    internal nint Handle => _library != 0 ? _library : throw new InvalidOperationException($"Find {Name} with TryUse before calling it.");
}

/// <summary>A library of NVIDIA's refused a call.</summary>
public sealed class VendorException : Exception
{
    internal VendorException(int code, string message) : base(message) => Code = code;

    /// <summary>The library's status.</summary>
    public int Code { get; }

    /// <summary>The call's text up to its arguments, the status, and what the libraries for tests say of it.</summary>
    internal static VendorException Of(int code, string call, string status)
    {
        int parenthesis = call.IndexOf('(', StringComparison.Ordinal);
        string name = parenthesis > 0 ? call[(call.LastIndexOf('.', parenthesis) + 1)..parenthesis] : call;
        return new(code, $"{name}: {status}{CudaException.EmulatorDetail()}.");
    }
}
