using KernelContrast.Cases.Oracle;
using TorchSharp;
using static TorchSharp.torch.nn;
using TorchTensor = TorchSharp.torch.Tensor;

namespace KernelContrast.Oracle;

/// <summary>
/// The contrastive losses as their authors' code has them, with the matrix of logits and torch's own autograd, in double
/// precision: the oracle for ours.
/// </summary>
internal static class TorchLosses
{
    internal static IReadOnlyDictionary<string, Func<Dictionary<string, float[]>>> All { get; } = new Dictionary<string, Func<Dictionary<string, float[]>>>
    {
        ["nt-xent"] = () => Of((h, _, tau, _) => functional.cross_entropy(WithoutSelf(Similarities(h, h) / tau), Partners())),
        ["dcl"] = () => Of((h, _, tau, _) =>
        {
            TorchTensor logits = Similarities(h, h) / tau, partner = functional.one_hot(Partners(), LossRecipes.Rows).to(torch.ScalarType.Bool);
            return (torch.logsumexp(WithoutSelf(logits).masked_fill(partner, double.NegativeInfinity), 1) - logits.masked_select(partner)).mean();
        }),
        ["supcon"] = () => Of((h, _, tau, _) => SupCon(Similarities(h, h) / tau)),
        ["info-nce"] = () => Of((h, k, tau, _) => functional.cross_entropy(Similarities(h, k!) / tau, Targets()), LossRecipes.Keys),
        ["info-nce 2tau"] = () => Of((h, k, tau, _) => functional.cross_entropy(Similarities(h, k!) / tau, Targets()) * (2 * tau), LossRecipes.Keys),
        ["clip"] = () => Of((h, k, tau, _) =>
        {
            TorchTensor logits = Similarities(h, k!) / tau;
            return (functional.cross_entropy(logits, Targets()) + functional.cross_entropy(logits.t(), Targets())) / 2;
        }, LossRecipes.Rows),
        ["siglip"] = () => Of((h, k, tau, b) =>
        {
            // labels = 2 * eye(n) - ones(n); -sum(log_sigmoid(labels * logits)) / n
            TorchTensor labels = 2 * torch.eye(LossRecipes.Rows, LossRecipes.Keys, dtype: torch.ScalarType.Float64) - 1;
            return -functional.logsigmoid(labels * (Similarities(h, k!) / tau + b!)).sum() / LossRecipes.Rows;
        }, LossRecipes.Keys, biased: true),
        ["moco"] = () => Of((h, _, tau, _) =>
        {
            TorchTensor q = Unit(h), k = Unit(Matrix(LossRecipes.KeysOf(LossRecipes.Rows)));
            TorchTensor positive = (q * k).sum(1, keepdim: true), negatives = q.mm(Unit(Matrix(LossRecipes.QueueValues)).t());
            return functional.cross_entropy(torch.cat([positive, negatives], 1) / tau, torch.zeros(LossRecipes.Rows, dtype: torch.ScalarType.Int64));
        }),
    };

    /// <summary>L_out; rows without a positive are left out of the mean.</summary>
    private static TorchTensor SupCon(TorchTensor logits)
    {
        TorchTensor labels = torch.tensor(LossRecipes.Labels).unsqueeze(1), self = torch.eye(LossRecipes.Rows, dtype: torch.ScalarType.Bool);
        TorchTensor positives = labels.eq(labels.t()).logical_and(self.logical_not()).to(torch.ScalarType.Float64), count = positives.sum(1);
        TorchTensor logProbabilities = logits - torch.logsumexp(WithoutSelf(logits), 1, keepdim: true);
        TorchTensor losses = -(positives * logProbabilities).sum(1) / count.clamp_min(1);
        return losses.masked_select(count.gt(0)).mean();
    }

    private static TorchTensor WithoutSelf(TorchTensor logits) =>
        logits.masked_fill(torch.eye(LossRecipes.Rows, dtype: torch.ScalarType.Bool), double.NegativeInfinity);

    private static TorchTensor Partners() => (torch.arange(LossRecipes.Rows) + LossRecipes.Rows / 2).remainder(LossRecipes.Rows);

    private static TorchTensor Targets() => torch.arange(LossRecipes.Rows);

    private static TorchTensor Similarities(TorchTensor a, TorchTensor b) => Unit(a).mm(Unit(b).t());

    private static TorchTensor Unit(TorchTensor x) => functional.normalize(x, dim: 1);

    private static TorchTensor Matrix(float[] values) => torch.tensor(values, [values.Length / LossRecipes.Dim, LossRecipes.Dim]).to(torch.ScalarType.Float64);

    private static Dictionary<string, float[]> Of(Func<TorchTensor, TorchTensor?, TorchTensor, TorchTensor?, TorchTensor> call, int keys = 0, bool biased = false)
    {
        using var scope = torch.NewDisposeScope();
        TorchTensor h = Matrix(LossRecipes.Embeddings).requires_grad_(), tau = Scalar(LossRecipes.Temperature);
        TorchTensor? k = keys == 0 ? null : Matrix(LossRecipes.KeysOf(keys)).requires_grad_(), bias = biased ? Scalar(LossRecipes.Bias) : null;
        TorchTensor loss = call(h, k, tau, bias);
        loss.backward();
        var results = new Dictionary<string, float[]> { ["loss"] = Values(loss), ["grad embeddings"] = Values(h.grad!), ["grad temperature"] = Values(tau.grad!) };
        if (k is not null) results["grad keys"] = Values(k.grad!);
        if (bias is not null) results["grad bias"] = Values(bias.grad!);
        return results;

        static TorchTensor Scalar(float value) => torch.tensor(value).to(torch.ScalarType.Float64).requires_grad_();
    }

    private static float[] Values(TorchTensor x)
    {
        using TorchTensor dense = x.detach().to(torch.ScalarType.Float32).contiguous();
        return dense.data<float>().ToArray();
    }
}
