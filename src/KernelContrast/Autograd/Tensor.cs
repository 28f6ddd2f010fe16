using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// A dense array on a device, with its place on the tape. Shapes are given as NCHW; tensors of rank 4 are stored
/// channels-innermost (N, H, W, C), every other rank row-major.
/// </summary>
/// <remarks>
/// A tensor holds pooled memory: dispose it, or create it within a <see cref="TensorScope"/>, which disposes every
/// tensor made in it but those it is told to keep. Forgotten tensors are released by the garbage collector.
/// </remarks>
public sealed partial class Tensor : IDisposable
{
    private DeviceBuffer? _buffer;
    private Node? _node;

    /// <summary>Takes over one reference to <paramref name="buffer"/>.</summary>
    internal Tensor(DeviceBuffer buffer, Shape shape, DType type)
    {
        _buffer = buffer;
        Shape = shape;
        Type = type;
        TensorScope.Register(this);
    }

    /// <summary>The sizes, NCHW for rank 4.</summary>
    public Shape Shape { get; }

    /// <summary>The elements' type.</summary>
    public DType Type { get; }

    /// <summary>Where the elements are.</summary>
    public Device Device => Buffer.Device;

    /// <summary>Number of elements.</summary>
    public long Count => Shape.Count;

    /// <summary>Whether <see cref="Dispose"/> was called.</summary>
    public bool IsDisposed => _buffer is null;

    internal DeviceBuffer Buffer => _buffer ?? throw new ObjectDisposedException(nameof(Tensor),
        "This tensor was disposed, by hand or at the end of its TensorScope. Keep it with scope.Keep(tensor).");

    /// <summary>Address of the first element, on the device.</summary>
    internal nint Pointer => Buffer.Pointer;

    /// <summary>The elements, on the CPU device.</summary>
    internal unsafe float* Floats => (float*)Buffer.Pointer;

    internal long Bytes => Count * Type.Size();

    /// <summary>An uninitialised tensor.</summary>
    internal static Tensor Empty(Shape shape, Device device, DType type = DType.Float32) =>
        new(device.Allocate(shape.Count * type.Size()), shape, type);

    /// <summary>A tensor of zeros.</summary>
    public static Tensor Zeros(Shape shape, Device? device = null, DType type = DType.Float32)
    {
        Tensor tensor = Empty(shape, device ?? Device.Cpu, type);
        tensor.Device.Clear(tensor.Buffer, tensor.Bytes);
        return tensor;
    }

    /// <summary>A tensor filled with one value.</summary>
    public static Tensor Full(Shape shape, float value, Device? device = null)
    {
        var values = new float[shape.Count];
        values.AsSpan().Fill(value);
        Tensor tensor = Empty(shape, device ?? Device.Cpu);
        tensor.Device.CopyFromHost(tensor.Buffer, MemoryMarshal.AsBytes(values.AsSpan()));
        return tensor;
    }

    /// <summary>Standard normal numbers: <see cref="PhiloxStream"/> of <paramref name="seed"/>, in row-major (NCHW) order.</summary>
    public static Tensor RandomNormal(Shape shape, ulong seed, Device? device = null)
    {
        if (shape.Count > int.MaxValue / sizeof(float))
            throw new ArgumentException($"The shape {shape} has {shape.Count} elements; numbers are drawn for at most {int.MaxValue / sizeof(float)} at once.");
        var random = new PhiloxStream(seed, stream: 0);
        var values = new float[shape.Count];
        foreach (ref float value in values.AsSpan()) value = random.NextNormal();
        return From<float>(values, shape, device);
    }

    /// <summary>A copy of <paramref name="values"/>, given in row-major (NCHW for rank 4) order.</summary>
    /// <typeparam name="T">
    /// <see cref="float"/>, <see cref="int"/>, <see cref="byte"/>, or <see cref="ushort"/> for the bits of bfloat16.
    /// </typeparam>
    /// <exception cref="ArgumentException">The number of values is not the shape's.</exception>
    public static Tensor From<T>(ReadOnlySpan<T> values, Shape shape, Device? device = null) where T : unmanaged
    {
        if (values.Length != shape.Count)
            throw new ArgumentException($"The shape {shape} has {shape.Count} elements, but {values.Length} values were given.");
        Tensor tensor = Empty(shape, device ?? Device.Cpu, DTypes.Of<T>());
        if (shape.Rank != 4) tensor.Device.CopyFromHost(tensor.Buffer, MemoryMarshal.AsBytes(values));
        else
        {
            var stored = new T[values.Length];
            ChannelsLast.FromNchw(values, stored, shape);
            tensor.Device.CopyFromHost(tensor.Buffer, MemoryMarshal.AsBytes(stored.AsSpan()));
        }
        return tensor;
    }

    /// <summary>
    /// A copy of the elements in row-major (NCHW for rank 4) order. A bfloat16 tensor gives its numbers as
    /// <see cref="float"/>, or its bits as <see cref="ushort"/>.
    /// </summary>
    /// <exception cref="InvalidOperationException"><typeparamref name="T"/> is not the tensor's type.</exception>
    public T[] ToArray<T>() where T : unmanaged
    {
        if (typeof(T) == typeof(float) && Type == DType.BFloat16)
            return (T[])(object)Array.ConvertAll(ToArray<ushort>(), BFloat16Bits.ToSingle);
        if (DTypes.Of<T>() != Type)
            throw new InvalidOperationException($"This tensor holds {Type}, not {typeof(T).Name}.");
        var stored = new T[Count];
        Device.CopyToHost(MemoryMarshal.AsBytes(stored.AsSpan()), Buffer);
        if (Shape.Rank != 4) return stored;
        var values = new T[Count];
        ChannelsLast.ToNchw(stored, values, Shape);
        return values;
    }

    /// <summary>A copy of the elements of a float or bfloat16 tensor in row-major (NCHW for rank 4) order.</summary>
    public float[] ToArray() => ToArray<float>();

    /// <summary>The value of a one-element float tensor.</summary>
    public float Item() => Count == 1 ? ToArray()[0]
        : throw new InvalidOperationException($"Item() reads a tensor of one element, but this one has shape {Shape}.");

    /// <summary>
    /// The elements in storage order (rank 4: N, H, W, C), without a copy. Valid until the tensor is disposed; writing
    /// to it is not seen by the tape.
    /// </summary>
    /// <exception cref="InvalidOperationException">The tensor is not on the CPU, or holds another type.</exception>
    public unsafe Span<T> AsSpan<T>() where T : unmanaged
    {
        if (Device is not CpuDevice)
            throw new InvalidOperationException($"Only tensors on the CPU have a span; this one is on {Device}. Copy it with To(Device.Cpu) or ToArray().");
        if (DTypes.Of<T>() != Type) throw new InvalidOperationException($"This tensor holds {Type}, not {typeof(T).Name}.");
        return new Span<T>((void*)Pointer, checked((int)Count));
    }

    /// <summary>This tensor on another device: itself when it is there already, else a copy cut from the tape.</summary>
    public Tensor To(Device device)
    {
        if (device == Device) return this;
        Tensor copy = Empty(Shape, device, Type);
        var bytes = new byte[Bytes];
        Device.CopyToHost(bytes, Buffer);
        device.CopyFromHost(copy.Buffer, bytes);
        return copy;
    }

    /// <summary>A copy on the same device, cut from the tape.</summary>
    public Tensor Clone()
    {
        Tensor copy = Empty(Shape, Device, Type);
        Device.Copy(copy.Buffer, Buffer, Bytes);
        return copy;
    }

    /// <summary>Overwrites the elements with those of <paramref name="source"/>: the same shape, any device. Not seen by the tape.</summary>
    /// <exception cref="ArgumentException">The shapes or types differ.</exception>
    public void CopyFrom(Tensor source)
    {
        if (source.Shape != Shape || source.Type != Type)
            throw new ArgumentException($"Cannot copy a {source.Type} tensor of shape {source.Shape} into one of {Type} and shape {Shape}.");
        if (source.Device == Device) Device.Copy(Buffer, source.Buffer, Bytes);
        else
        {
            using Tensor here = source.To(Device);
            Device.Copy(Buffer, here.Buffer, Bytes);
        }
    }

    /// <summary>The same memory under another handle, cut from the tape (stop-gradient).</summary>
    public Tensor Detach() => new(Buffer.Retain(), Shape, Type);

    /// <summary>The same memory seen with another shape of the same storage order, cut from the tape.</summary>
    internal Tensor View(Shape shape) => new(Buffer.Retain(), shape, Type);

    /// <summary>Gives the memory back, unless the tape or a view still needs it.</summary>
    public void Dispose()
    {
        DeviceBuffer? buffer = Interlocked.Exchange(ref _buffer, null);
        if (buffer is null) return;
        buffer.Release();
        Interlocked.Exchange(ref _node, null)?.Release();
        Interlocked.Exchange(ref _grad, null)?.Dispose();
    }

    /// <inheritdoc/>
    public override string ToString() => IsDisposed ? $"Tensor {Shape} (disposed)" : $"Tensor {Shape} {Type} on {Device}";
}
