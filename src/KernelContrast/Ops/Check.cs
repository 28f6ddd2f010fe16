using System.Runtime.CompilerServices;

namespace KernelContrast;

/// <summary>Argument checks of the ops, in one place, before any work; messages name the op and both sides.</summary>
internal static class Check
{
    /// <summary>All on one device and of floats. Returns the device.</summary>
    internal static Device SameDevice(string op, Tensor first, params ReadOnlySpan<Tensor?> others)
    {
        Device device = first.Device;
        Floats(op, first);
        foreach (Tensor? other in others)
        {
            if (other is null) continue;
            if (other.Device != device)
                throw new ArgumentException($"{op}: its inputs are on different devices, {device} and {other.Device}. Move one with To(device).");
            Floats(op, other);
        }
        return device;
    }

    internal static void Floats(string op, Tensor tensor, [CallerArgumentExpression(nameof(tensor))] string? name = null)
    {
        if (tensor.Type != DType.Float32)
            throw new ArgumentException($"{op}: {name} holds {tensor.Type}, expected Float32.{(tensor.Type == DType.BFloat16 ? " Convert it with To(DType.Float32)." : "")}");
    }

    /// <summary>All on one device and of one type: float32, or bfloat16 where the device computes in it. Returns the device.</summary>
    internal static Device SameDeviceAndType(string op, Tensor first, params ReadOnlySpan<Tensor?> others)
    {
        if (first.Type != DType.BFloat16) return SameDevice(op, first, others);
        if (!first.Device.ComputesInBFloat16)
            throw new ArgumentException($"{op}: x holds BFloat16, but {first.Device} computes in Float32. Convert it with To(DType.Float32).");
        foreach (Tensor? other in others)
        {
            if (other is null) continue;
            if (other.Device != first.Device)
                throw new ArgumentException($"{op}: its inputs are on different devices, {first.Device} and {other.Device}. Move one with To(device).");
            That(other.Type == first.Type, $"{op}: its inputs hold {first.Type} and {other.Type}. Convert one with To(DType.{first.Type}).");
        }
        return first.Device;
    }

    internal static void Rank(string op, Tensor tensor, int rank, [CallerArgumentExpression(nameof(tensor))] string? name = null)
    {
        if (tensor.Shape.Rank != rank)
            throw new ArgumentException($"{op}: {name} has shape {tensor.Shape}, expected {rank} dimensions.");
    }

    internal static void Shape(string op, Tensor tensor, Shape expected, [CallerArgumentExpression(nameof(tensor))] string? name = null)
    {
        if (tensor.Shape != expected)
            throw new ArgumentException($"{op}: {name} has shape {tensor.Shape}, expected {expected}.");
    }

    /// <summary>Elements of a matrix that a call on addresses takes: far beyond any device's memory, and sizes in bytes stay far below 2⁶³.</summary>
    internal const long MostElements = 1L << 44;

    /// <summary>A misaligned address would end a GPU's context, or make sums of other values.</summary>
    internal static void Aligned(string op, nint address, int bytes, string name) =>
        That(address % bytes == 0, $"{op}: the address of {name} is {address:x}, expected a multiple of {bytes}.");

    internal static void That(bool condition, string message)
    {
        if (!condition) throw new ArgumentException(message);
    }

    /// <summary>The same for interpolated messages, which are formatted only when they are needed.</summary>
    internal static void That(bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] ref Message message)
    {
        if (!condition) throw new ArgumentException(message.Text);
    }

    [InterpolatedStringHandler]
    internal ref struct Message
    {
        private DefaultInterpolatedStringHandler _text;

        public Message(int literalLength, int formattedCount, bool condition, out bool isNeeded)
        {
            isNeeded = !condition;
            if (isNeeded) _text = new(literalLength, formattedCount, System.Globalization.CultureInfo.InvariantCulture);
        }

        internal string Text => _text.ToStringAndClear();

        public void AppendLiteral(string value) => _text.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _text.AppendFormatted(value);

        public void AppendFormatted<T>(T value, string? format) => _text.AppendFormatted(value, format);
    }
}
