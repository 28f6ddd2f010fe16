using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal sealed partial class TensorGroup
{
    // As kernels/common/tensor_table.cuh.
    private const int ChunkElements = 4096;

    private Entry[] _rows = [], _sent = [];
    private Tensor? _table;
    private long _sentAt;

    /// <summary>
    /// The table in the device's memory, sent again only when it has changed: gradients usually come back to the addresses
    /// they had. A graph that is replayed sends one of its own.
    /// </summary>
    /// <param name="chunks">Blocks that the kernels need; 0: there is nothing to do.</param>
    internal Tensor Table(out int chunks)
    {
        if (_rows.Length != Count) _rows = new Entry[Count];
        long next = 0;
        for (int i = 0; i < _rows.Length; i++)
        {
            GroupEntry entry = this[i];
            _rows[i] = new(entry, next);
            next += (entry.Parameter.Count + ChunkElements - 1) / ChunkElements;
        }
        chunks = checked((int)next);
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(_rows.AsSpan());
        long epoch = ((CudaDevice)Device).Epoch;
        if (_table is { } table && table.Device == Device && _sentAt == epoch && bytes.SequenceEqual(MemoryMarshal.AsBytes(_sent.AsSpan()))) return table;
        if (_table is null || _table.Bytes != bytes.Length || _table.Device != Device)
        {
            _table?.Dispose();
            using TensorScope.Suspension suspended = TensorScope.Suspend();
            _table = Tensor.Empty(new(bytes.Length), Device, DType.UInt8);
        }
        Device.Upload(_table.Buffer, bytes);
        (_sent, _sentAt) = ([.. _rows], epoch);
        return _table;
    }

    public void Dispose()
    {
        _table?.Dispose();
        (_table, _sent) = (null, []);
    }

    /// <summary>The kernels' <c>TensorEntry</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct Entry(in GroupEntry entry, long firstChunk)
    {
        private readonly nint _parameter = entry.Parameter.Pointer, _source = entry.Source.Pointer;
        private readonly nint _first = entry.First?.Pointer ?? 0, _second = entry.Second?.Pointer ?? 0;
        private readonly long _count = entry.Parameter.Count, _firstChunk = firstChunk;
        private readonly float _decay = (float)entry.Decay;
        private readonly int _scaled = entry.Scaled ? 1 : 0;
    }
}
