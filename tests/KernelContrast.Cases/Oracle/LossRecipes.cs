using KernelContrast.Losses;

namespace KernelContrast.Cases.Oracle;

/// <summary>The contrastive losses, each with gradients of all it takes, for libtorch to repeat.</summary>
public static class LossRecipes
{
    public const int Rows = 12, Keys = 15, Queue = 20, Dim = 7;
    public const float Temperature = 0.2f, Bias = -2;

    /// <summary>Row 4 and row 7 have no partner.</summary>
    public static int[] Labels => [0, 1, 2, 0, 5, 2, 1, 6, 0, 2, 1, 1];

    public static float[] Embeddings => OracleRecipes.Numbers(new(Rows, Dim), 40);

    /// <summary>The keys; of those kinds that take no more than rows, the first.</summary>
    public static float[] KeysOf(int count) => OracleRecipes.Numbers(new(Keys, Dim), 41)[..(count * Dim)];

    public static float[] QueueValues => OracleRecipes.Numbers(new(Queue, Dim), 42);

    public static IReadOnlyDictionary<string, Func<Dictionary<string, float[]>>> All { get; } = new Dictionary<string, Func<Dictionary<string, float[]>>>
    {
        ["nt-xent"] = () => Of((h, _, tau, _) => NtXent.Loss(h, tau)),
        ["dcl"] = () => Of((h, _, tau, _) => Dcl.Loss(h, tau)),
        ["supcon"] = () => Of((h, _, tau, _) => SupCon.Loss(h, Tensor.From<int>(Labels, new(Rows)), tau)),
        ["info-nce"] = () => Of((h, k, tau, _) => InfoNce.Loss(h, k!, tau), Keys),
        ["info-nce 2tau"] = () => Of((h, k, tau, _) => InfoNce.Loss(h, k!, tau, scaleBy2Tau: true), Keys),
        ["clip"] = () => Of((h, k, tau, _) => Clip.Loss(h, k!, tau), Rows),
        ["siglip"] = () => Of((h, k, tau, b) => SigLip.Loss(h, k!, tau, b!), Keys, biased: true),
        ["moco"] = () => Of((h, _, tau, _) => Moco.Loss(h, Tensor.From<float>(KeysOf(Rows), new(Rows, Dim)), Tensor.From<float>(QueueValues, new(Queue, Dim)), tau)),
    };

    private static Dictionary<string, float[]> Of(Func<Tensor, Tensor?, Tensor, Tensor?, Tensor> call, int keys = 0, bool biased = false)
    {
        using var scope = new TensorScope();
        Tensor h = Leaf(Embeddings, new(Rows, Dim)), tau = Leaf([Temperature], new());
        Tensor? k = keys == 0 ? null : Leaf(KeysOf(keys), new(keys, Dim)), bias = biased ? Leaf([Bias], new()) : null;
        Tensor loss = call(h, k, tau, bias);
        loss.Backward();
        var results = new Dictionary<string, float[]> { ["loss"] = [loss.Item()], ["grad embeddings"] = h.Grad!.ToArray(), ["grad temperature"] = tau.Grad!.ToArray() };
        if (k is not null) results["grad keys"] = k.Grad!.ToArray();
        if (bias is not null) results["grad bias"] = bias.Grad!.ToArray();
        return results;
    }

    private static Tensor Leaf(float[] values, Shape shape)
    {
        Tensor tensor = Tensor.From<float>(values, shape);
        tensor.RequiresGrad = true;
        return tensor;
    }
}
