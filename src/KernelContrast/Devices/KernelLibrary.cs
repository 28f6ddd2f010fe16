using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>The kernel modules and functions loaded on one device.</summary>
internal sealed class KernelLibrary(CudaDevice device) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, CudaModuleHandle> _modules = [];
    private CudaFunction?[] _functions = new CudaFunction?[64];

    /// <summary>Loads the emulated driver's checked modules, in which every access to memory is checked, from now on.</summary>
    internal bool Checked
    {
        get;
        set
        {
            lock (_lock)
            {
                if (field == value) return;
                field = value;
                Dispose();
            }
        }
    }

    /// <summary>Unloads the modules; those that are used again are loaded again.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _functions = new CudaFunction?[64];
            foreach (CudaModuleHandle module in _modules.Values) module.Dispose();
            _modules.Clear();
        }
    }

    internal CudaFunction Find(CudaKernel kernel)
    {
        CudaFunction?[] functions = Volatile.Read(ref _functions);
        return kernel.Index < functions.Length && functions[kernel.Index] is { } function ? function : Load(kernel);
    }

    private CudaFunction Load(CudaKernel kernel)
    {
        lock (_lock)
        {
            // Another thread may have been first; a function has one limit of shared memory, so there must be one of it.
            if (kernel.Index < _functions.Length && _functions[kernel.Index] is { } found) return found;
            if (!_modules.TryGetValue(kernel.Module, out CudaModuleHandle? module))
                _modules[kernel.Module] = module = new CudaModuleHandle(KernelImage.Find(device, kernel.Module, Checked));
            CudaException.Check(CudaDriver.cuModuleGetFunction(out nint handle, module.DangerousGetHandle(), kernel.Name),
                $"kernel '{kernel.Name}' of module '{kernel.Module}'");
            if (kernel.Index >= _functions.Length) Array.Resize(ref _functions, Math.Max(kernel.Index + 1, 2 * _functions.Length));
            return _functions[kernel.Index] = new CudaFunction(kernel.Name, handle);
        }
    }
}
