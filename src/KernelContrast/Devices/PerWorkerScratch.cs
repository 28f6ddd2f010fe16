namespace KernelContrast.Devices;

/// <summary>Pooled memory for each worker of a job, returned when disposed. Uninitialised.</summary>
internal sealed unsafe class PerWorkerScratch : IDisposable
{
    private readonly CpuDevice _cpu;
    private readonly nint[] _blocks;
    private readonly long _bytes;

    internal PerWorkerScratch(CpuDevice cpu, long floatsEach)
    {
        (_cpu, _bytes, _blocks) = (cpu, floatsEach * 4, new nint[cpu.Threads]);
        for (int i = 0; i < _blocks.Length; i++) _blocks[i] = cpu.Pool.Rent(_bytes);
    }

    internal float* this[int worker] => (float*)_blocks[worker];

    public void Dispose()
    {
        foreach (nint block in _blocks) _cpu.Pool.Return(block, _bytes);
    }
}
