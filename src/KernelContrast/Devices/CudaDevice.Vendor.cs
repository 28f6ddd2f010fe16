using KernelContrast.Interop;

namespace KernelContrast.Devices;

public sealed partial class CudaDevice
{
    /// <summary>
    /// Environment variable: <c>off</c>, no library of NVIDIA's computes; <c>on</c>, on the emulated driver too.
    /// </summary>
    public const string VendorVariable = "KERNELCONTRAST_VENDOR_LIBRARIES";

    private readonly Lock _vendorGuard = new();
    private CublasLtProducts? _products;
    private CudnnConvolutions? _convolutions;
    private string? _productsDescription, _convolutionsDescription;

    /// <summary>
    /// Whether products and convolutions are left to NVIDIA's libraries where those are found: on a GPU yes, on the emulated driver no,
    /// unless <see cref="VendorVariable"/> says otherwise. Our own kernels compute all else. May be changed at any time. Where
    /// <c>KERNELCONTRAST_CUBLASLT</c> or <c>KERNELCONTRAST_CUDNN</c> names a library that does not load, opening the device, or the
    /// first op that would use it, throws a <see cref="NotSupportedException"/>.
    /// </summary>
    public bool UsesVendorLibraries { get; set; }

    /// <summary>The libraries of NVIDIA's that are in use here, with version and path, or why there are none.</summary>
    public string VendorLibraries
    {
        get
        {
            if (!UsesVendorLibraries) return "switched off";
            _ = Products;
            _ = Convolutions;
            return $"{_productsDescription}; {_convolutionsDescription}";
        }
    }

    /// <summary>Whether cuBLASLt computes matrix products now.</summary>
    public bool HasVendorProducts => Products is not null;

    /// <summary>cuBLASLt, when it is to be used and is there.</summary>
    internal CublasLtProducts? Products
    {
        get
        {
            if (!UsesVendorLibraries) return null;
            if (Volatile.Read(ref _productsDescription) is not null) return _products;
            lock (_vendorGuard)
            {
                if (_productsDescription is not null) return _products;
                _products = CublasLtProducts.Open(this, out string description);
                Volatile.Write(ref _productsDescription, description);
                return _products;
            }
        }
    }

    /// <summary>cuDNN, when it is to be used and is there.</summary>
    internal CudnnConvolutions? Convolutions
    {
        get
        {
            if (!UsesVendorLibraries) return null;
            if (Volatile.Read(ref _convolutionsDescription) is not null) return _convolutions;
            lock (_vendorGuard)
            {
                if (_convolutionsDescription is not null) return _convolutions;
                _convolutions = CudnnConvolutions.Open(this, out string description);
                Volatile.Write(ref _convolutionsDescription, description);
                return _convolutions;
            }
        }
    }

    /// <summary>A library that an environment variable names is to be there from the first, not from the first product on.</summary>
    /// <exception cref="NotSupportedException">It does not load.</exception>
    private void CheckNamedVendorLibraries()
    {
        if (VendorLibrary.CublasLt.IsNamed) VendorLibrary.CublasLt.TryUse(DriverVersion.Major, out _);
        if (VendorLibrary.Cudnn.IsNamed) VendorLibrary.Cudnn.TryUse(int.MaxValue, out _);
    }

    private static bool UsesVendorLibrariesAtFirst(CudaDriverKind kind) => Environment.GetEnvironmentVariable(VendorVariable) switch
    {
        null or "" => kind == CudaDriverKind.Nvidia,
        "on" => true,
        "off" => false,
        string other => throw new NotSupportedException($"{VendorVariable}={other}: expected 'on' or 'off'."),
    };
}
