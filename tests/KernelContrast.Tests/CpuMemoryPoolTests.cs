using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>Pages of unused memory go back to the system; the memory stays in the pool.</summary>
[TestFixture, Platform("Linux")]
internal sealed unsafe class CpuMemoryPoolTests
{
    private const long Large = 3 << 20, Small = 1 << 20, Tiny = 1 << 12;

    [Test]
    public void Discarded_memory_is_no_longer_resident_and_comes_back_as_zeros()
    {
        const long size = 64 << 20;
        var pool = new CpuMemoryPool();
        nint block = Filled(pool, size);
        pool.Return(block, size);
        long before = ResidentBytes();
        pool.Discard(long.MaxValue, since: 0);
        Assert.That(before - ResidentBytes(), Is.GreaterThan(size * 9 / 10));
        Assert.That(pool.Statistics.PooledBytes, Is.EqualTo(size), "still pooled");
        Assert.That(pool.Rent(size), Is.EqualTo(block));
        Assert.That(((byte*)block)[size / 2], Is.Zero);
        Assert.That(pool.TakeGuardViolations(), Is.Zero);
        pool.Return(block, size);
        pool.Trim();
    }

    [Test]
    public void The_largest_blocks_go_first_and_small_ones_never()
    {
        var pool = new CpuMemoryPool();
        nint tiny = Filled(pool, Tiny), small = Filled(pool, Small), large = Filled(pool, Large);
        pool.Return(tiny, Tiny);
        pool.Return(small, Small);
        pool.Return(large, Large);
        pool.Discard(Large, since: 0);
        Assert.That((IsZero(large, Large), IsZero(small, Small), IsZero(tiny, Tiny)), Is.EqualTo((true, false, false)));
        // what is gone already does not count as given back
        pool.Discard(Small, since: 0);
        Assert.That((IsZero(small, Small), IsZero(tiny, Tiny)), Is.EqualTo((true, false)));
        pool.Discard(long.MaxValue, since: 0);
        Assert.That(IsZero(tiny, Tiny), Is.False);
        pool.Trim();
    }

    [Test]
    public void Since_a_request_only_what_was_returned_after_it_goes()
    {
        var pool = new CpuMemoryPool();
        nint early = Filled(pool, Small), used = Filled(pool, Large), late = Filled(pool, Small);
        pool.Return(early, Small);
        pool.Return(used, Large);
        long mark = pool.Statistics.Requests;
        Assert.That(pool.Rent(Large), Is.EqualTo(used));
        pool.Return(late, Small);
        pool.Return(used, Large);
        pool.Discard(long.MaxValue, mark);
        Assert.That((IsZero(early, Small), IsZero(used, Large), IsZero(late, Small)), Is.EqualTo((false, true, true)));
        // in the order it had: the last returned is used first
        Assert.That(pool.Rent(Small), Is.EqualTo(late));
        Assert.That(pool.Rent(Small), Is.EqualTo(early));
        pool.Return(early, Small);
        pool.Return(late, Small);
        pool.Trim();
    }

    private static nint Filled(CpuMemoryPool pool, long bytes)
    {
        nint block = pool.Rent(bytes);
        new Span<byte>((void*)block, (int)bytes).Fill(7);
        return block;
    }

    /// <summary>Of a block that the pool has: its memory is there all the same, and its middle tells.</summary>
    private static bool IsZero(nint block, long bytes) => ((byte*)block)[bytes / 2] == 0;

    private static long ResidentBytes() =>
        1024 * long.Parse(File.ReadLines("/proc/self/status").First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal))[6..].Trim().Split(' ')[0]);
}
