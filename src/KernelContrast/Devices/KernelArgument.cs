using System.Runtime.CompilerServices;

namespace KernelContrast.Devices;

/// <summary>One argument of a launch: a tensor's address or a number, of exactly the type the kernel declares.</summary>
internal readonly struct KernelArgument
{
    private readonly object? _owner; // keeps a tensor's memory from being collected before the launch is issued

    private KernelArgument(ulong bits, int size, object? owner = null)
    {
        Bits = bits;
        Size = size;
        _owner = owner;
    }

    internal ulong Bits { get; }

    /// <summary>In bytes.</summary>
    internal int Size { get; }

    internal object? Owner => _owner;

    /// <summary>Null is a null pointer: an optional input that is absent.</summary>
    public static implicit operator KernelArgument(Tensor? tensor) =>
        tensor is null ? new(0, 8) : new((ulong)tensor.Pointer, 8, tensor.Buffer);

    public static implicit operator KernelArgument(int value) => new((uint)value, 4);

    public static implicit operator KernelArgument(float value) => new(BitConverter.SingleToUInt32Bits(value), 4);

    public static implicit operator KernelArgument(long value) => new((ulong)value, 8);

    public static implicit operator KernelArgument(ulong value) => new(value, 8);

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
