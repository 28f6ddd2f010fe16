namespace KernelContrast.Devices;

/// <summary>When the kernels for compute capability 9.0 are used, on a GPU that has it.</summary>
public enum HopperKernels
{
    /// <summary>Never: kernels of every GPU from 8.0 on compute all.</summary>
    Off,

    /// <summary>Where their tiles of 128 × 128 fill a large GPU.</summary>
    On,

    /// <summary>At every size: for tests.</summary>
    Always,
}

public sealed partial class CudaDevice
{
    /// <summary>
    /// Environment variable: <c>on</c>, the losses' and the cosine matrix's products in bfloat16 are computed by wgmma on a
    /// GPU of compute capability 9.0, where 128 × 128 tiles fill it; <c>always</c>, at every size; <c>off</c> and unset, by
    /// the kernels of every other GPU. It stays off until a GPU has shown which is faster.
    /// </summary>
    public const string HopperVariable = "KERNELCONTRAST_HOPPER_KERNELS";

    /// <summary>
    /// When the kernels for compute capability 9.0 are used: as <see cref="HopperVariable"/> says when the device is opened, and
    /// never unless the device has that capability. What a forward pass saves is laid out for the kernels that made it, and
    /// workspaces are asked for by size, so it must not change between a call's sizes, its forward and its backward pass.
    /// </summary>
    public HopperKernels HopperKernels { get; set; }

    /// <summary>
    /// Whether, where <see cref="HopperKernels"/> are used, the losses' backward pass keeps its weights in registers when rows
    /// have at most 128 numbers, as it does at first. Off, weights go through memory: for comparing. It must not change between
    /// a call's sizes, its forward and its backward pass either.
    /// </summary>
    public bool KeepsLossWeightsInRegisters { get; set; } = true;

    /// <summary>How many blocks of that pass run at a time: one for each multiprocessor of a large GPU. Tests of long loops take fewer.</summary>
    internal int FusedBlocks { get; set; } = ContrastFused.LargeGpu;

    private HopperKernels HopperKernelsAtFirst() => Environment.GetEnvironmentVariable(HopperVariable) switch
    {
        null or "" or "off" => HopperKernels.Off,
        "on" => ComputeCapability == (9, 0) ? HopperKernels.On : HopperKernels.Off,
        "always" => ComputeCapability == (9, 0) ? HopperKernels.Always : HopperKernels.Off,
        string other => throw new NotSupportedException($"{HopperVariable}={other}: expected 'on', 'always' or 'off'."),
    };
}
