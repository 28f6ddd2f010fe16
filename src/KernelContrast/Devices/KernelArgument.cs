using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace KernelContrast.Devices;

/// <summary>
/// One argument of a launch: a tensor's address, a number or a struct passed by value, of exactly the type the kernel
/// declares.
/// </summary>
internal readonly struct KernelArgument
{
    private readonly object? _owner; // keeps a tensor's memory from being collected before the launch is issued

    private KernelArgument(ulong bits, int size, object? owner = null)
    {
        Bits = bits;
        Size = size;
        _owner = owner;
    }

    /// <summary>The value; of a struct its address.</summary>
    internal ulong Bits { get; }

    /// <summary>Whether <see cref="Bits"/> is where the value is, not the value.</summary>
    internal bool IsStruct => Size > sizeof(ulong);

    /// <summary>In bytes.</summary>
    internal int Size { get; }

    internal object? Owner => _owner;

    /// <summary>Null is a null pointer: an optional input that is absent.</summary>
    public static implicit operator KernelArgument(Tensor? tensor) =>
        tensor is null ? new(0, 8) : new((ulong)tensor.Pointer, 8, tensor.Buffer);

    public static implicit operator KernelArgument(int value) => new((uint)value, 4);

    public static implicit operator KernelArgument(float value) => new(BitConverter.SingleToUInt32Bits(value), 4);

    public static implicit operator KernelArgument(double value) => new(BitConverter.DoubleToUInt64Bits(value), 8);

    public static implicit operator KernelArgument(long value) => new((ulong)value, 8);

    public static implicit operator KernelArgument(ulong value) => new(value, 8);

    /// <summary>A struct of more than 8 bytes, laid out as the kernel's: read at the launch, so a local variable will do.</summary>
    internal static unsafe KernelArgument Struct<T>(T* value) where T : unmanaged
    {
        Debug.Assert(sizeof(T) > sizeof(ulong));
        return new((ulong)value, sizeof(T));
    }

    /// <summary>A flag, an int to the kernel.</summary>
    public static implicit operator KernelArgument(bool value) => new(value ? 1u : 0u, 4);
}

internal static class KernelArguments
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static void KeepAlive(this ReadOnlySpan<KernelArgument> arguments)
    {
        foreach (ref readonly KernelArgument argument in arguments) GC.KeepAlive(argument.Owner);
    }
}
