using KernelContrast.Devices;

namespace KernelContrast.Cli.Bench;

/// <summary>
/// What issuing work costs: the floor of small problems, such as a loss of 1,024 rows, whose kernels are shorter than the
/// gaps between them.
/// </summary>
internal sealed class LaunchRows : IKernelRows
{
    private const int Kernels = 8;

    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        yield return new("launch", "empty kernel", "f32", 0, 0, device =>
        {
            var empty = new DeviceCeilings(device, 4, 1, 4);
            return new(empty.Launch, [empty]);
        });
        foreach (int kernels in new[] { 1, Kernels })
            yield return new("launch", kernels == 1 ? "graph replay, empty kernel" : $"graph replay, {kernels} empty kernels", "f32", 0, 0, device =>
            {
                var empty = new DeviceCeilings(device, 4, 1, 4);
                CudaGraph graph = ((CudaDevice)device).Capture(() =>
                {
                    for (int i = 0; i < kernels; i++) empty.Launch();
                });
                return new(graph.Replay, [graph, empty]);
            })
            {
                NeedsGraphs = true,
            };
    }
}
