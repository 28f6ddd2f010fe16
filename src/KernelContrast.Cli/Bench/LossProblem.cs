using KernelContrast.Losses;

namespace KernelContrast.Cli.Bench;

/// <summary>One loss of the family on random embeddings, to be timed: inputs, the work it needs, and one pass each way.</summary>
internal sealed class LossProblem : IDisposable
{
    /// <summary>The names of the kinds, as the tool and the papers write them.</summary>
    internal static IReadOnlyDictionary<string, LossKind> Kinds { get; } = new Dictionary<string, LossKind>
    {
        ["nt-xent"] = LossKind.NtXent,
        ["info-nce"] = LossKind.InfoNce,
        ["moco"] = LossKind.Moco,
        ["clip"] = LossKind.Clip,
        ["siglip"] = LossKind.SigLip,
        ["supcon"] = LossKind.SupCon,
        ["dcl"] = LossKind.Dcl,
    };

    /// <summary>SigLIP's b at the start of training (Zhai et al. 2023).</summary>
    internal const float Bias = -10;

    private readonly LossKind _kind;
    private readonly float _temperature;
    private readonly Precision _precision;

    internal LossProblem(LossKind kind, int rows, int dim, float temperature, int? queue = null, Device? device = null, Precision precision = Precision.Float32,
        bool constantKeys = false)
    {
        HasKeysGradient = !IsWithin(kind) && kind != LossKind.Moco && !constantKeys;
        (_kind, Rows, Dim, _temperature, _precision) = (kind, rows, dim, temperature, precision);
        Columns = kind == LossKind.Moco ? queue ?? DefaultQueue : rows;
        Embeddings = Leaf(rows, 3, wanted: true);
        if (!IsWithinBatch) Keys = Leaf(Columns, 4, wanted: HasKeysGradient);
        if (kind == LossKind.Moco) Positives = Leaf(rows, 5, wanted: false);
        if (kind == LossKind.SupCon) Labels = Tensor.From<int>([.. Enumerable.Range(0, rows).Select(i => i % Math.Clamp(rows / 8, 1, 100))], new(rows), device);

        Tensor Leaf(int count, ulong seed, bool wanted)
        {
            Tensor tensor = Tensor.RandomNormal(new(count, dim), seed, device);
            tensor.RequiresGrad = wanted;
            return tensor;
        }
    }

    /// <summary>MoCo's queue when none is asked for.</summary>
    internal const int DefaultQueue = 65536;

    internal int Rows { get; }

    internal int Columns { get; }

    internal int Dim { get; }

    internal LossKind Kind => _kind;

    internal float Temperature => _temperature;

    internal bool IsWithinBatch => IsWithin(_kind);

    /// <summary>Whether the keys want a gradient; when not, they may be swept once.</summary>
    internal bool HasKeysGradient { get; }

    internal Tensor Embeddings { get; }

    internal Tensor? Keys { get; }

    internal Tensor? Positives { get; }

    internal Tensor? Labels { get; }

    /// <summary>Operations of one product of all rows with all columns: the unit of <see cref="Products"/>.</summary>
    internal double ProductFlops => 2.0 * Rows * Columns * Dim;

    /// <summary>
    /// Such products that a pass each way needs when no matrix of similarities is kept: similarities twice, and one for each
    /// side's gradient; half of the similarities and weights serve both sides when the rows are contrasted with themselves, and
    /// one sweep over MoCo's queue, or InfoNCE's constant keys, can give sums and gradient.
    /// </summary>
    internal double Products => IsWithinBatch || _kind == LossKind.Moco || _kind == LossKind.InfoNce && !HasKeysGradient ? 2 : 4;

    internal double Flops => Products * ProductFlops;

    internal string Name => NameOf(_kind, Rows, Dim, _temperature, Columns);

    private static bool IsWithin(LossKind kind) => kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;

    internal static string NameOf(LossKind kind, int rows, int dim, float temperature, int queue = DefaultQueue) =>
        $"{NameOf(kind)} fwd+bwd N={rows}{(kind == LossKind.Moco ? $" queue={queue}" : "")} D={dim} τ={temperature}";

    internal static string NameOf(LossKind kind) => kind switch
    {
        LossKind.NtXent => "NT-Xent",
        LossKind.InfoNce => "InfoNCE",
        LossKind.Moco => "MoCo",
        LossKind.Clip => "CLIP",
        LossKind.SigLip => "SigLIP",
        LossKind.SupCon => "SupCon",
        _ => "DCL",
    };

    internal Tensor Loss() => _kind switch
    {
        LossKind.NtXent => NtXent.Loss(Embeddings, _temperature, precision: _precision),
        LossKind.Dcl => Dcl.Loss(Embeddings, _temperature, precision: _precision),
        LossKind.SupCon => SupCon.Loss(Embeddings, Labels!, _temperature, precision: _precision),
        LossKind.InfoNce => InfoNce.Loss(Embeddings, Keys!, _temperature, precision: _precision),
        LossKind.Clip => Clip.Loss(Embeddings, Keys!, _temperature, precision: _precision),
        LossKind.SigLip => SigLip.Loss(Embeddings, Keys!, _temperature, Bias, precision: _precision),
        _ => Moco.Loss(Embeddings, Positives!, Keys!, _temperature, precision: _precision),
    };

    /// <summary>Forward and backward; the gradients are dropped.</summary>
    internal void Run()
    {
        using (new TensorScope()) Loss().Backward();
        ClearGradients();
    }

    /// <summary>The loss, and the gradients of all embeddings that have one, one after the other.</summary>
    internal (double Loss, float[] Gradients) Evaluate()
    {
        using var scope = new TensorScope();
        Tensor loss = Loss();
        loss.Backward();
        float[] gradients = [.. Embeddings.Grad!.ToArray(), .. Keys?.Grad?.ToArray() ?? []];
        ClearGradients();
        return (loss.Item(), gradients);
    }

    /// <summary>Inputs and gradients as safetensors, for another program to compute the same.</summary>
    internal void Write(string path)
    {
        using var scope = new TensorScope();
        Loss().Backward();
        (string Name, Tensor? Tensor)[] tensors = [("embeddings", Embeddings), ("keys", Keys), ("positives", Positives), ("labels", Labels),
            ("grad_embeddings", Embeddings.Grad), ("grad_keys", Keys?.Grad)];
        Safetensors.Write(path, tensors.Where(t => t.Tensor is not null).Select(t => KeyValuePair.Create(t.Name, t.Tensor!)));
        ClearGradients();
    }

    /// <summary>By the tool's names.</summary>
    internal static Precision PrecisionOf(string name) => name switch
    {
        "f32" => Precision.Float32,
        "tf32" => Precision.Tf32,
        "bf16" => Precision.BFloat16,
        _ => throw new ArgumentException($"There is no precision '{name}'. Choose f32, tf32 or bf16."),
    };

    public void Dispose()
    {
        foreach (Tensor? tensor in new[] { Embeddings, Keys, Positives, Labels }) tensor?.Dispose();
    }

    private void ClearGradients()
    {
        Embeddings.ClearGrad();
        Keys?.ClearGrad();
    }
}
