namespace KernelContrast;

/// <summary>The type of a tensor's elements.</summary>
public enum DType
{
    /// <summary>IEEE single precision.</summary>
    Float32,
    /// <summary>Signed 32-bit whole numbers: labels and indices.</summary>
    Int32,
    /// <summary>Bytes: images before augmentation.</summary>
    UInt8,
    /// <summary>
    /// The upper half of a float32: its range, with 8 bits of significand. CUDA devices compute in it, with sums in
    /// float32; the CPU stores it only.
    /// </summary>
    BFloat16,
}

internal static class DTypes
{
    internal static int Size(this DType type) => type switch { DType.UInt8 => 1, DType.BFloat16 => 2, _ => 4 };

    /// <summary>Whether tensors of the type can have gradients.</summary>
    internal static bool IsFloat(this DType type) => type is DType.Float32 or DType.BFloat16;

    internal static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.Float32
        : typeof(T) == typeof(int) ? DType.Int32
        : typeof(T) == typeof(byte) ? DType.UInt8
        : typeof(T) == typeof(ushort) ? DType.BFloat16
        : throw new NotSupportedException($"Tensors hold float, int, byte or, as the bits of bfloat16, ushort; not {typeof(T).Name}.");
}
