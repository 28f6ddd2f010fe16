using KernelContrast.Losses;

namespace KernelContrast.Cases;

/// <summary>A loss and its gradient in double precision, to hold a fast one against.</summary>
public static class ContrastExact
{
    /// <summary>The mean loss, ∂/∂embeddings and, behind it, ∂/∂keys for the kinds whose keys have a gradient.</summary>
    /// <remarks>Costs rows · columns · dim, plainly: for a thousand rows or so.</remarks>
    public static (double Loss, double[] Gradients) Of(LossKind kind, float[] embeddings, float[]? keys, float[]? positives, int dim, float temperature, float bias, int[]? labels)
    {
        var exact = new ContrastReference(kind, Doubles(embeddings), keys is null ? null : Doubles(keys), positives is null ? null : Doubles(positives), dim, temperature, bias, labels: labels);
        ContrastReference.Gradients gradient = exact.Gradient([1], Reduction.Mean).Value;
        bool both = kind is LossKind.InfoNce or LossKind.Clip or LossKind.SigLip;
        return (exact.Loss(Reduction.Mean), both ? [.. gradient.Rows, .. gradient.Columns] : gradient.Rows);

        static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);
    }
}
