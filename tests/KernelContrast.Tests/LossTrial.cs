using KernelContrast.Cases;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>One loss on given numbers, by a call on addresses, held against double precision at the bounds of docs/losses.md.</summary>
internal sealed record LossTrial(LossKind Kind, int Dim, float Temperature, float[] Rows)
{
    /// <summary>Of the kinds that have any; MoCo's queue.</summary>
    internal float[] Keys { get; init; } = [];

    /// <summary>MoCo's keys, one for each row.</summary>
    internal float[] Positives { get; init; } = [];
    internal int[]? Labels { get; init; }
    internal float Bias { get; init; }
    internal bool Normalize { get; init; } = true;
    internal PairLayout Layout { get; init; }
    internal Reduction Reduction { get; init; }

    /// <summary>Whether τ and b lie on the device, unknown to the host.</summary>
    internal bool ScalarsOnDevice { get; init; }

    /// <summary>Whether backward finds the similarities that forward formed.</summary>
    internal bool KeepsSimilarities { get; init; }

    /// <summary>Whether keys are constants, which lets the CPU sweep them once.</summary>
    internal bool ConstantKeys { get; init; }

    /// <summary>The upstream gradient: one for each row with <see cref="Reduction.None"/>, else one.</summary>
    internal float[] Upstream { get; init; } = [1];

    private int Count => Rows.Length / Dim;

    internal bool IsWithinBatch => Kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;

    private bool HasKeysGradient => !IsWithinBatch && Kind != LossKind.Moco && !ConstantKeys;

    private bool HasBias => Kind == LossKind.SigLip;

    internal sealed record Outputs(float[] Losses, float[] Rows, float[] Keys, float Temperature, float Bias);

    /// <summary>The largest error of each output as a share of its bound, and where that is.</summary>
    internal readonly record struct Ratio(string What, double Worst, string Where);

    internal ContrastReference Exact() => new(Kind, Doubles(Rows), IsWithinBatch ? null : Doubles(Keys), Kind == LossKind.Moco ? Doubles(Positives) : null,
        Dim, Temperature, HasBias ? Bias : 0, Layout, Labels, Normalize);

    /// <param name="device">By name.</param>
    /// <param name="exact">What <see cref="Exact"/> gives.</param>
    /// <param name="alike">Rows are the same, or orthogonal: similarities do not differ by their roundings.</param>
    internal Ratio[] Check(string device, ContrastReference exact, bool alike = false)
    {
        Outputs got = Run(Device.Parse(device));
        double[] upstream = Doubles(Upstream);
        double rounding = alike ? 0 : Allowed(device);
        if (device != "cpu" && !Normalize) exact.Magnified = rounding / 1e-5;
        (ContrastReference.Gradients value, ContrastReference.Gradients scale) = exact.Gradient(upstream, Reduction);
        double[] losses = Reduction == Reduction.None ? exact.Losses : [exact.Loss(Reduction)];
        if (Reduction != Reduction.None && device == "cpu") rounding = 0;
        if (Kind == LossKind.SigLip) rounding *= Keys.Length / Dim; // of each pair
        if (Reduction == Reduction.Sum) rounding *= Count;
        return
        [
            Compare("loss", got.Losses, losses, [.. losses.Select(l => 1e-5 * Math.Max(1, Math.Abs(l)) + rounding)]),
            Compare("rows' gradient", got.Rows, value.Rows, [.. scale.Rows.Select(s => 1e-5 * s)]),
            HasKeysGradient ? Compare("keys' gradient", got.Keys, value.Columns, [.. scale.Columns.Select(s => 1e-5 * s)]) : default,
            Compare("τ's gradient", [got.Temperature], [value.Temperature], [1e-5 * scale.Temperature]),
            HasBias ? Compare("b's gradient", [got.Bias], [value.Bias], [1e-5 * scale.Bias]) : default,
        ];
    }

    /// <summary>What 1/τ makes of the roundings of float32 similarities, in a row's loss.</summary>
    private double Allowed(string device)
    {
        bool cpu = device == "cpu", fixedShift = Normalize && Temperature >= 0.023f;
        double length = Normalize ? 1 : Longest(Rows) * (IsWithinBatch ? Longest(Rows) : Math.Max(Longest(Keys), Longest(Positives)));
        return !cpu ? Math.ScaleB(length, -21) / Temperature : fixedShift ? Math.ScaleB(3, -23) / Temperature : 0;

        double Longest(float[] x) => x.Length == 0 ? 0 : x.Chunk(Dim).Max(row => Math.Sqrt(row.Sum(v => (double)v * v)));
    }

    private Ratio Compare(string what, float[] got, double[] expected, double[] bounds)
    {
        var worst = new Ratio(what, 0, "");
        // Probabilities below 1e-30 need no digits, nor have the smallest floats any; those of rows near 0 are magnified.
        double shortest = Normalize ? Math.Min(1, Rows.Concat(Keys).Chunk(Dim).Select(row => Math.Sqrt(row.Sum(v => (double)v * v))).Where(norm => norm > 0).DefaultIfEmpty(1).Min()) : 1;
        double floor = Math.Max(1e-44, 1e-30 * Upstream.Max(Math.Abs) / shortest);
        for (int i = 0; i < got.Length; i++)
        {
            double ratio = Math.Abs(got[i] - expected[i]) / Math.Max(bounds[i], floor);
            if (Math.Abs(expected[i]) >= float.MaxValue && float.IsInfinity(got[i])) ratio = 0;
            if (double.IsNaN(ratio)) ratio = double.PositiveInfinity;
            if (ratio > worst.Worst) worst = new(what, ratio, $"[{i}] is {got[i]:g9}, expected {expected[i]:g9} ± {bounds[i]:g3}");
        }
        return worst;
    }

    internal Outputs Run(Device device)
    {
        using var scope = new TensorScope();
        int columns = Keys.Length / Dim;
        LossCall call = new(Kind, Count, columns, Dim, Temperature)
        {
            Bias = HasBias ? Bias : 0,
            Normalize = Normalize,
            Layout = Layout,
            Reduction = Reduction,
            WantsKeysGradient = HasKeysGradient,
            MostKeptBytes = KeepsSimilarities ? long.MaxValue : 0,
        };
        Tensor rows = Matrix(Rows), keys = Matrix(Keys), positives = Matrix(Positives), temperature = Tensor.From<float>([Temperature], new(), device), bias = Tensor.From<float>([Bias], new(), device);
        Tensor labels = Tensor.From<int>(Labels ?? [0], new(Labels?.Length ?? 1), device), upstream = Tensor.From<float>(Upstream, Reduction == Reduction.None ? new(Count) : new(), device);
        Tensor loss = Tensor.Full(upstream.Shape, float.NaN, device), gradRows = Tensor.Full(rows.Shape, float.NaN, device), gradKeys = Tensor.Full(keys.Shape, float.NaN, device);
        Tensor gradTemperature = Tensor.Full(new(), float.NaN, device), gradBias = Tensor.Full(new(), float.NaN, device);
        call.Embeddings = new(rows.Pointer, Dim);
        if (!IsWithinBatch) call.Keys = new(keys.Pointer, Dim);
        if (Kind == LossKind.Moco) call.Positives = new(positives.Pointer, Dim);
        if (Labels is not null) call.Labels = labels.Pointer;
        if (ScalarsOnDevice) (call.TemperatureAt, call.BiasAt) = (temperature.Pointer, HasBias ? bias.Pointer : 0);
        (call.Loss, call.GradLoss) = (loss.Pointer, upstream.Pointer);
        call.GradEmbeddings = new(gradRows.Pointer, Dim);
        if (HasKeysGradient) call.GradKeys = new(gradKeys.Pointer, Dim);
        call.GradTemperature = gradTemperature.Pointer;
        if (HasBias) call.GradBias = gradBias.Pointer;
        Tensor saved = Tensor.Empty(new((int)(call.SavedBytes(device) / 4) + 1), device), workspace = Tensor.Empty(new((int)(call.WorkspaceBytes(device) / 4) + 1), device);
        (call.Saved, call.Workspace) = (saved.Pointer, workspace.Pointer);
        call.Forward(device);
        call.Backward(device);
        GC.KeepAlive((rows, keys, positives, labels, temperature, bias));
        return new(loss.ToArray(), gradRows.ToArray(), gradKeys.ToArray(), gradTemperature.Item(), gradBias.Item());

        Tensor Matrix(float[] values) => Tensor.From<float>(values.Length == 0 ? new float[Dim] : values, new(Math.Max(1, values.Length / Dim), Dim), device);
    }

    private static double[] Doubles(float[] values) => Array.ConvertAll(values, v => (double)v);
}
