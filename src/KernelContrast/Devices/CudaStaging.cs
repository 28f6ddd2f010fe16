using KernelContrast.Interop;

namespace KernelContrast.Devices;

/// <summary>
/// Pinned host memory that copies to the device go through, so that nobody waits for them: a copy from other memory may
/// wait for the whole stream. A ring of slots, each free again once the event behind its last copy has come.
/// </summary>
internal sealed unsafe class CudaStaging(CudaDevice device) : IDisposable
{
    private const int SlotCount = 16;

    /// <summary>Larger copies take several slots: 64 MB in all are pinned at most.</summary>
    internal const int MostSlotBytes = 4 << 20;

    private readonly Lock _lock = new();
    private readonly Slot[] _slots = new Slot[SlotCount];
    private int _next;

    /// <summary>Copies <paramref name="source"/> to the device, in order with everything on its stream. The source may be overwritten at once.</summary>
    internal void Copy(ulong destination, ReadOnlySpan<byte> source)
    {
        lock (_lock)
            for (int start = 0; start < source.Length; start += MostSlotBytes)
            {
                ReadOnlySpan<byte> part = source[start..Math.Min(source.Length, start + MostSlotBytes)];
                ref Slot slot = ref _slots[_next];
                _next = (_next + 1) % SlotCount;
                slot.Prepare(part.Length);
                part.CopyTo(new Span<byte>(slot.Memory, part.Length));
                CudaException.Check(CudaDriver.cuMemcpyHtoDAsync_v2(destination + (ulong)start, slot.Memory, (nuint)part.Length, device.Stream));
                CudaException.Check(CudaDriver.cuEventRecord(slot.Event, device.Stream));
            }
    }

    /// <summary>Frees the slots, once their copies are done.</summary>
    public void Dispose()
    {
        lock (_lock)
            foreach (ref Slot slot in _slots.AsSpan()) slot.Free();
    }

    private struct Slot
    {
        private int _bytes;

        internal void* Memory { get; private set; }

        internal nint Event { get; private set; }

        /// <summary>Waits until the last copy from this slot is done, and makes room.</summary>
        internal void Prepare(int bytes)
        {
            if (Event == 0)
            {
                CudaException.Check(CudaDriver.cuEventCreate(out nint created, CudaDriver.EventDisableTiming));
                Event = created;
            }
            else CudaException.Check(CudaDriver.cuEventSynchronize(Event));
            if (bytes <= _bytes) return;
            if (Memory != null) CudaException.Check(CudaDriver.cuMemFreeHost(Memory));
            Memory = null;
            _bytes = 0;
            int room = Math.Max(4096, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)bytes));
            CudaException.Check(CudaDriver.cuMemHostAlloc(out void* memory, (nuint)room, 0), "pinned memory");
            Memory = memory;
            _bytes = room;
        }

        internal void Free()
        {
            if (Event != 0) _ = CudaDriver.cuEventDestroy_v2(Event);
            if (Memory != null) _ = CudaDriver.cuMemFreeHost(Memory);
            this = default;
        }
    }
}
