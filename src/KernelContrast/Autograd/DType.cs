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
}

internal static class DTypes
{
    internal static int Size(this DType type) => type == DType.UInt8 ? 1 : 4;

    internal static DType Of<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.Float32
        : typeof(T) == typeof(int) ? DType.Int32
        : typeof(T) == typeof(byte) ? DType.UInt8
        : throw new NotSupportedException($"Tensors hold float, int or byte, not {typeof(T).Name}.");
}
