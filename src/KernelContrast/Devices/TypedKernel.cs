namespace KernelContrast.Devices;

/// <summary>A kernel in two forms: <c>name</c> takes float32 tensors, <c>name_bf16</c> the same in bfloat16.</summary>
/// <param name="module">The kernel file below <c>kernels/</c>, without its ending.</param>
/// <param name="name">The float32 kernel's name in the file.</param>
internal sealed class TypedKernel(string module, string name)
{
    private readonly CudaKernel _float = new(module, name), _bfloat16 = new(module, name + "_bf16");

    internal string Module => _float.Module;

    internal CudaKernel For(DType type) => type == DType.BFloat16 ? _bfloat16 : _float;
}
