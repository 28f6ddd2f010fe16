namespace KernelContrast.Devices;

/// <summary>A kernel over a range of items, generic over the vector width. A struct, so that the JIT specialises it.</summary>
internal interface ISimdRange
{
    /// <param name="part">Which of the parts; partial sums are keyed by it.</param>
    /// <param name="start">First item.</param>
    /// <param name="end">One past the last item.</param>
    void Run<T>(int part, long start, long end) where T : struct, ISimd<T>;
}

/// <summary>Runs an <see cref="ISimdRange"/> on all threads at the chosen vector width, without allocating.</summary>
internal static class SimdRanges
{
    /// <summary>Into how many parts <paramref name="length"/> items are cut, at least <paramref name="grain"/> each.</summary>
    internal static int Parts(CpuDevice cpu, long length, long grain) =>
        (int)Math.Clamp(length / Math.Max(1, grain), 1, 4L * cpu.Threads);

    /// <summary>Cuts [0, length) into parts that begin at multiples of <paramref name="unit"/> and runs the kernel on each.</summary>
    internal static void Run<TKernel>(CpuDevice cpu, long length, int parts, TKernel kernel, int unit = 1) where TKernel : struct, ISimdRange
    {
        if (length <= 0) return;
        var job = new Job<TKernel> { Kernel = kernel, Length = length, Units = (length + unit - 1) / unit, Unit = unit, Parts = parts };
        unsafe { cpu.Workers.For(parts, ref job, &RunPart); }
    }

    /// <summary>An elementwise pass; parts begin on cache lines.</summary>
    internal static void Elementwise<TKernel>(CpuDevice cpu, long length, TKernel kernel) where TKernel : struct, ISimdRange =>
        Run(cpu, length, Parts(cpu, length, CpuGrain.Elementwise), kernel, unit: 16);

    private struct Job<TKernel>
    {
        internal TKernel Kernel;
        internal long Length, Units;
        internal int Unit, Parts;
    }

    private static void RunPart<TKernel>(ref Job<TKernel> job, int worker, int part) where TKernel : struct, ISimdRange
    {
        long start = job.Units * part / job.Parts * job.Unit;
        long end = Math.Min(job.Length, job.Units * (part + 1) / job.Parts * job.Unit);
        TKernel kernel = job.Kernel;
        switch (Simd.Bits)
        {
            case 512: kernel.Run<F512>(part, start, end); break;
            case 256: kernel.Run<F256>(part, start, end); break;
            default: kernel.Run<F128>(part, start, end); break;
        }
    }
}
