using KernelContrast.Losses;

namespace KernelContrast.Cases;

/// <summary>The whole family against its double-precision reference: every kind, every choice.</summary>
internal sealed class ContrastCases : ICaseSource
{
    /// <summary>What a case varies beside kind, sizes and values.</summary>
    internal sealed record Choice(float Temperature, float Bias = 0, PairLayout Layout = PairLayout.Halves, Reduction Reduction = Reduction.Mean,
        bool Normalize = true, bool LearnScalars = false, int Classes = 0, bool ConstantKeys = false, Precision Precision = Precision.Float32);

    public IEnumerable<OpCase> Cases()
    {
        foreach (LossKind kind in Enum.GetValues<LossKind>())
        {
            int least = kind == LossKind.Dcl ? 4 : 2, classes = kind == LossKind.SupCon ? 3 : 0;
            foreach ((int rows, int more, int dim, float temperature) in new[]
            {
                (least, 0, 3, 0.5f), (6, 3, 1, 0.1f), (34, 5, 20, 0.1f), (34, 0, 20, 0.01f), (130, 70, 33, 0.07f), (66, 31, 128, 0.02f), (10, 1, 7, 10f), (18, 0, 9, 1e-3f), (18, 2, 9, 1e-3f), (6, 9, 5, 1e-3f), (40, 70, 33, 2e-3f), (6, 3, 2047, 0.1f),
            })
                yield return Case(kind, "", rows, rows + more, dim, new(temperature, Bias: -2, Classes: classes));
            foreach (float temperature in new[] { 0.1f, 0.01f })
            {
                var plain = new Choice(temperature, Bias: -1.5f, Classes: classes);
                yield return Case(kind, "each row's loss", 36, 40, 11, plain with { Reduction = Reduction.None });
                yield return Case(kind, "sum", 10, 10, 11, plain with { Reduction = Reduction.Sum, Layout = PairLayout.Interleaved });
                yield return Case(kind, "scalars learned", 38, 45, 19, plain with { LearnScalars = true });
                yield return Case(kind, "not normalised", 38, 45, 19, plain with { Normalize = false, LearnScalars = true, Temperature = 10 * temperature });
                yield return Case(kind, "labels", 38, 45, 19, plain with { Classes = 5, Layout = PairLayout.Interleaved });
                yield return Case(kind, "labels, each row's loss, scalars learned", 70, 81, 19, plain with { Classes = 40, Reduction = Reduction.None, LearnScalars = true });
                yield return Case(kind, "one label for all", 8, 9, 5, plain with { Classes = 1 });
                yield return Case(kind, "a zero row", 8, 8, 5, plain, (i, k) => i == 3 ? 0 : Math.Sin(1 + i * 24 + k));
                yield return Case(kind, "all rows zero", 6, 7, 5, plain, (_, _) => 0);
                // Of pairs, one row is none.
                if (kind is not (LossKind.NtXent or LossKind.Dcl)) yield return Case(kind, "a single row", 1, 1, 3, plain);
                // Vectors are of 4, 8 or 16, and packed two side by side.
                if (kind is not (LossKind.NtXent or LossKind.Dcl)) yield return Case(kind, "all but one of a whole number of vectors", 63, 63, 20, plain);
                yield return Case(kind, "identical rows", 40, 41, 24, plain, (_, k) => k - 7);
                yield return Case(kind, "norms 1e-22 and 1e22", 12, 13, 24, plain, (i, k) => (i % 3 == 0 ? 1e-22 : i % 3 == 1 ? 1e22 : 1) * Math.Sin(1 + i * 24 + k));
                yield return Case(kind, "converged", 34, 34, 40, plain, (i, k) => Math.Sin(1 + 3.7 * (i % 17 * 40 + k) * (i % 17 + 1)) + 1e-4 * Math.Cos(5 + i * 40 + k));
                yield return Case(kind, "NaN in one row", 8, 8, 5, plain, (i, k) => i == 2 && k == 3 ? double.NaN : 1 + i * k);
                foreach (Precision precision in new[] { Precision.Tf32, Precision.BFloat16 })
                {
                    Choice lower = plain with { Precision = precision, Reduction = Reduction.None };
                    yield return Case(kind, precision.ToString(), 66, 70, 37, lower);
                    yield return Case(kind, precision.ToString(), 34, 40, 200, lower);
                    yield return Case(kind, $"{precision}, labels", 66, 90, 20, lower with { Classes = 9 });
                    yield return Case(kind, $"{precision}, not normalised", 38, 45, 24, lower with { Normalize = false, Temperature = 10 * temperature });
                }
            }
        }
        // Biases so large that only pairs, or only what are none, cost something, or that logits of nearly equal rows cancel.
        foreach (float temperature in new[] { 0.1f, 0.023f, 0.01f })
            foreach (float bias in new[] { -300f, -100, -42, 42, 100, 300 })
            {
                var far = new Choice(temperature, bias, Reduction: Reduction.None, LearnScalars: true);
                yield return Case(LossKind.SigLip, $"bias {bias}", 34, 40, 20, far);
                yield return Case(LossKind.SigLip, $"bias {bias}, near", 10, 13, 20, far, (i, k) => Math.Sin(1 + k) + 0.05 * Math.Sin(5 + i * 20 + k));
            }
        // Where only rows get a gradient, a device may go over the columns once: more than one block of them, and its edges.
        foreach (LossKind kind in new[] { LossKind.Moco, LossKind.InfoNce })
            foreach (float temperature in new[] { 0.1f, 0.023f, 0.01f })
            {
                var constant = new Choice(temperature, ConstantKeys: true);
                yield return Case(kind, "constant keys", 150, 1300, 35, constant);
                yield return Case(kind, "constant keys, labels, each row's loss", 70, 600, 19, constant with { Classes = 7, Reduction = Reduction.None });
                if (kind == LossKind.Moco) continue;
                yield return Case(kind, "constant keys, sum", 33, 33, 16, constant with { Reduction = Reduction.Sum });
                yield return Case(kind, "constant keys, scalars learned", 38, 45, 19, constant with { LearnScalars = true });
                yield return Case(kind, "constant keys, not normalised", 38, 45, 19, constant with { Normalize = false, Temperature = 10 * temperature });
                yield return Case(kind, "constant keys, a zero row", 8, 8, 5, constant, (i, k) => i == 3 ? 0 : Math.Sin(1 + i * 24 + k));
                yield return Case(kind, "constant keys, identical rows", 40, 41, 24, constant, (_, k) => k - 7);
                yield return Case(kind, "constant keys, converged", 34, 34, 40, constant, (i, k) => Math.Sin(1 + 3.7 * (i % 17 * 40 + k) * (i % 17 + 1)) + 1e-4 * Math.Cos(5 + i * 40 + k));
                yield return Case(kind, "constant keys, NaN in one row", 8, 8, 5, constant, (i, k) => i == 2 && k == 3 ? double.NaN : 1 + i * k);
            }
    }

    /// <summary>Columns are the rows themselves within one batch; for CLIP they are as many.</summary>
    internal static OpCase Case(LossKind kind, string name, int rows, int columns, int dim, Choice choice, Func<int, int, double>? element = null)
    {
        if (kind == LossKind.Clip) columns = rows;
        bool withinBatch = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon, moco = kind == LossKind.Moco;
        var inputs = new List<CaseInput> { Matrix(rows, 1) };
        if (!withinBatch) inputs.Add(Matrix(columns, 2, differentiable: !moco && !choice.ConstantKeys));
        if (moco) inputs.Add(Matrix(rows, 3, differentiable: false));
        int scalars = inputs.Count;
        inputs.Add(Scalar(choice.Temperature));
        inputs.Add(Scalar(choice.Bias));
        int[]? labels = choice.Classes == 0 ? null
            : [.. CaseInput.Labels(moco ? rows + columns : withinBatch ? rows : columns, choice.Classes, 5).Values.Select((v, i) => choice.Classes > 1 && i % 9 == 4 ? -1 : (int)v)];

        // The inputs of a case never change, so one evaluation serves the loss, the gradient and its scale.
        ContrastReference? reference = null, naive = null;
        ContrastReference Reference(double[][] x) => reference ??= Of(x, Precision.Float32);
        ContrastReference Naive(double[][] x) => naive ??= Of(x, choice.Precision);
        ContrastReference Of(double[][] x, Precision precision) => new(kind, x[0], withinBatch ? null : x[1], moco ? x[2] : null, dim,
            x[scalars][0], kind == LossKind.SigLip ? x[scalars + 1][0] : 0, choice.Layout, labels, choice.Normalize, precision);
        double[] Loss(ContrastReference of) => choice.Reduction == Reduction.None ? of.Losses : [of.Loss(choice.Reduction)];
        bool lower = choice.Precision != Precision.Float32;
        double[]?[] InOrder(ContrastReference.Gradients g) => withinBatch ? [g.Rows, [g.Temperature], [g.Bias]]
            : moco ? [g.Rows, null, null, [g.Temperature], [g.Bias]] : [g.Rows, choice.ConstantKeys ? null : g.Columns, [g.Temperature], [g.Bias]];
        return new()
        {
            Op = ContrastNames.Of(kind),
            Name = $"{name}{(name == "" ? "" : ", ")}{rows} rows, {columns} columns of {dim}, τ {choice.Temperature}",
            Inputs = [.. inputs],
            Run = t => Run(kind, t, scalars, choice, labels),
            Precision = choice.Precision,
            Reference = x => Loss(Reference(x)),
            Naive = lower ? x => Loss(Naive(x)) : null,
            NaiveErrors = 3,
            NaiveGradient = lower ? (x, cotangent) => InOrder(Naive(x).Gradient(cotangent, choice.Reduction).Value) : null,
            ReferenceGradient = (x, cotangent) => InOrder(Reference(x).Gradient(cotangent, choice.Reduction).Value),
            GradientScale = lower ? null : (x, cotangent) => InOrder(Reference(x).Gradient(cotangent, choice.Reduction).Scale),
            Forward = new(1e-5, 0, Floor: 1e-5),
            Gradient = new(1e-5, 0, Floor: 1e-30),
        };

        CaseInput Matrix(int count, ulong seed, bool differentiable = true)
        {
            double[] values = element is null ? CaseInput.Normal(new(count, dim), seed + (ulong)(100 * rows + dim)).Values
                : CaseInput.Of(new(count, dim), [.. Enumerable.Range(0, count * dim).Select(e => element(e / dim, e % dim) * (seed == 2 && e % 7 == 0 ? 0.9 : 1))]).Values;
            return new() { Shape = new(count, dim), Values = values, Differentiable = differentiable };
        }

        CaseInput Scalar(float value) => new() { Shape = new(), Values = [value], Differentiable = choice.LearnScalars };
    }

    private static Tensor Run(LossKind kind, Tensor[] t, int scalars, Choice c, int[]? classes)
    {
        Tensor? labels = classes is null ? null : Tensor.From<int>(classes, new(classes.Length), t[0].Device);
        Tensor tau = t[scalars], bias = t[scalars + 1];
        // A bias that no kind but SigLIP has still gets its gradient of 0.
        if (c.LearnScalars && kind != LossKind.SigLip) tau = Functional.Add(tau, Functional.Scale(bias, 0));
        return (kind, c.LearnScalars) switch
        {
            (LossKind.NtXent, true) => NtXent.Loss(t[0], tau, c.Layout, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.NtXent, false) => NtXent.Loss(t[0], c.Temperature, c.Layout, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.Dcl, true) => Dcl.Loss(t[0], tau, c.Layout, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.Dcl, false) => Dcl.Loss(t[0], c.Temperature, c.Layout, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.SupCon, true) => SupCon.Loss(t[0], labels!, tau, c.Reduction, c.Normalize, c.Precision),
            (LossKind.SupCon, false) => SupCon.Loss(t[0], labels!, c.Temperature, c.Reduction, c.Normalize, c.Precision),
            (LossKind.InfoNce, true) => InfoNce.Loss(t[0], t[1], tau, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.InfoNce, false) => InfoNce.Loss(t[0], t[1], c.Temperature, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.Clip, true) => Clip.Loss(t[0], t[1], tau, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.Clip, false) => Clip.Loss(t[0], t[1], c.Temperature, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.SigLip, true) => SigLip.Loss(t[0], t[1], tau, bias, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.SigLip, false) => SigLip.Loss(t[0], t[1], c.Temperature, c.Bias, c.Reduction, c.Normalize, c.Precision, labels),
            (LossKind.Moco, true) => Moco.Loss(t[0], t[2], t[1], tau, c.Reduction, c.Normalize, c.Precision, labels),
            (_, _) => Moco.Loss(t[0], t[2], t[1], c.Temperature, c.Reduction, c.Normalize, c.Precision, labels),
        };
    }
}

internal static class ContrastNames
{
    internal static string Of(LossKind kind) => kind switch
    {
        LossKind.NtXent => "nt-xent",
        LossKind.InfoNce => "info-nce",
        _ => kind.ToString().ToLowerInvariant(),
    };
}
