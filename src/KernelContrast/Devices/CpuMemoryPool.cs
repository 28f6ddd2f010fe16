using System.Runtime.InteropServices;

namespace KernelContrast.Devices;

/// <summary>
/// Pooled native memory, in size classes of at most 12.5 % slack. A training step asks for the same sizes again and
/// again, so after the first step nothing is allocated, page-faulted or zeroed by the system.
/// </summary>
internal sealed unsafe class CpuMemoryPool
{
    private const int Alignment = 64;
    private const int GuardBytes = 64;
    private const byte GuardValue = 0xA5;

    private const long LeastDiscarded = 1 << 16;

    private readonly Lock _lock = new();
    private readonly Dictionary<long, Stack<Unused>> _free = [];
    private long _live, _pooled, _peak, _requests, _allocations;

    /// <summary>
    /// Fills fresh memory with NaN and checks a guard region before and after every block when it is returned. The op
    /// cases run with it. Switch it only while no tensor is alive.
    /// </summary>
    internal bool Checked { get; set; }

    internal MemoryStatistics Statistics
    {
        get { lock (_lock) return new(_live, _pooled, _peak, _requests, _allocations); }
    }

    internal nint Rent(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        long size = SizeClass(bytes);
        nint block = 0;
        lock (_lock)
        {
            if (_free.TryGetValue(size, out Stack<Unused>? stack) && stack.TryPop(out Unused unused))
            {
                block = unused.Block;
                _pooled -= size;
            }
            else _allocations++;
            _requests++;
            _live += size;
            _peak = Math.Max(_peak, _live);
        }
        if (block == 0)
        {
            block = (nint)NativeMemory.AlignedAlloc((nuint)(size + 2 * GuardBytes), Alignment);
            new Span<byte>((void*)block, GuardBytes).Fill(GuardValue);
        }
        nint pointer = block + GuardBytes;
        if (Checked)
        {
            for (long i = 0; i < bytes / 4; i++) ((float*)pointer)[i] = float.NaN;
            new Span<byte>((byte*)pointer + bytes, (int)(size - bytes + GuardBytes)).Fill(GuardValue);
        }
        return pointer;
    }

    internal void Return(nint pointer, long bytes)
    {
        long size = SizeClass(bytes);
        if (Checked) CheckGuards(pointer, bytes, size);
        lock (_lock)
        {
            if (!_free.TryGetValue(size, out Stack<Unused>? stack)) _free[size] = stack = new();
            stack.Push(new(pointer - GuardBytes, _requests));
            _live -= size;
            _pooled += size;
        }
    }

    internal void Trim()
    {
        lock (_lock)
        {
            foreach (Stack<Unused> stack in _free.Values)
                while (stack.TryPop(out Unused unused)) NativeMemory.AlignedFree((void*)unused.Block);
            _free.Clear();
            _pooled = 0;
        }
    }

    /// <summary>See <see cref="Device.DiscardUnused"/>.</summary>
    internal void Discard(long bytes, long since)
    {
        if (!Pages.CanDiscard) return;
        lock (_lock)
        {
            foreach (long size in _free.Keys.Where(size => size >= LeastDiscarded).OrderDescending())
            {
                Unused[] blocks = _free[size].ToArray(); // the last returned first
                for (int i = blocks.Length - 1; i >= 0 && bytes > 0; i--)
                {
                    if (blocks[i].Returned <= since) continue;
                    Pages.Discard(blocks[i].Block + GuardBytes, size);
                    blocks[i].Returned = 0;
                    bytes -= size;
                }
                Array.Reverse(blocks);
                _free[size] = new(blocks);
            }
        }
    }

    internal void ResetPeak() { lock (_lock) _peak = _live; }

    /// <summary>Guard violations seen since the last call; the cases fail on any.</summary>
    internal int TakeGuardViolations() => Interlocked.Exchange(ref _violations, 0);

    private int _violations;

    private void CheckGuards(nint pointer, long bytes, long size)
    {
        var before = new ReadOnlySpan<byte>((void*)(pointer - GuardBytes), GuardBytes);
        var after = new ReadOnlySpan<byte>((byte*)pointer + bytes, (int)(size - bytes + GuardBytes));
        // A finalizer may be the caller, so this counts and does not throw.
        if (before.ContainsAnyExcept(GuardValue) || after.ContainsAnyExcept(GuardValue))
            Interlocked.Increment(ref _violations);
    }

    /// <summary>Rounds up to a multiple of 1/8 of the power of two below, and to whole cache lines.</summary>
    private static long SizeClass(long bytes)
    {
        long size = Math.Max(bytes, Alignment);
        long step = Math.Max(Alignment, 1L << Math.Max(0, 63 - System.Numerics.BitOperations.LeadingZeroCount((ulong)size) - 3));
        return (size + step - 1) / step * step;
    }

    /// <param name="Block">With its guards.</param>
    /// <param name="Returned">How many requests there had been; 0 once its pages were given back.</param>
    private record struct Unused(nint Block, long Returned);
}
