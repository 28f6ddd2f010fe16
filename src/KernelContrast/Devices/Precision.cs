namespace KernelContrast;

/// <summary>In which numbers products are formed; sums are float32 or wider in every case.</summary>
public enum Precision
{
    /// <summary>float32 throughout: 24 bits of significand. The tool's <c>f32</c>.</summary>
    Float32,

    /// <summary>Factors rounded to TF32, 11 bits of significand and float32's range. The tool's <c>tf32</c>.</summary>
    Tf32,

    /// <summary>Factors rounded to bfloat16, 8 bits of significand and float32's range. The tool's <c>bf16</c>.</summary>
    BFloat16,
}
