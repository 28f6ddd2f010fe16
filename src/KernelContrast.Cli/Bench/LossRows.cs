using KernelContrast.Losses;

namespace KernelContrast.Cli.Bench;

/// <summary>NT-Xent in bfloat16, forward and backward, at the size that the goals are set for.</summary>
internal sealed class LossRows : IKernelRows
{
    private const float Temperature = 0.1f;

    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        foreach ((int rows, int dim) in tiny ? [(40, 24)] : new[] { (16384, 128), (16384, 512) })
        {
            long product = 2L * rows * rows * dim;
            yield return new("nt-xent", $"{rows} rows of {dim}, forward + backward", "bf16", 3L * sizeof(float) * rows * dim, 2 * product, device =>
            {
                var problem = new LossProblem(LossKind.NtXent, rows, dim, Temperature, device: device, precision: Precision.BFloat16);
                return new(problem.Run, [problem]);
            })
            {
                GemmFlops = product,
                Exponentials = (long)rows * rows,
                KeepsWeights = dim <= 128,
            };
        }
    }
}
