using System.CommandLine;
using System.Diagnostics;
using KernelContrast.Datasets;
using KernelContrast.Losses;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>loss</c>: a loss and its gradient of embeddings from files, to hold other programs' numbers against.</summary>
internal static class LossCommand
{
    private static readonly (string Name, LossKind Kind)[] Kinds =
    [
        ("nt-xent", LossKind.NtXent), ("info-nce", LossKind.InfoNce), ("moco", LossKind.Moco), ("clip", LossKind.Clip),
        ("siglip", LossKind.SigLip), ("supcon", LossKind.SupCon), ("dcl", LossKind.Dcl),
    ];

    /// <summary>All that was asked for, read and checked.</summary>
    private sealed record Problem(string Name, LossKind Kind, EmbeddingsFile Embeddings, EmbeddingsFile? Keys, EmbeddingsFile? Queue, int[]? Labels,
        float Temperature, float Bias, PairLayout Layout, Reduction Reduction, bool Normalize, Precision Precision, bool ScaleBy2Tau, string? Gradients);

    internal static VerbCommand Create()
    {
        var kind = new Argument<string>("kind") { Description = "Which loss", HelpName = "KIND" };
        kind.AcceptOnlyFromAmong([.. Kinds.Select(k => k.Name)]);
        Option<string> Matrix(string name, string what, bool required = false) => new(name)
        {
            Description = $"{what} [rows, dim], not normalised: .npy (float32, float64) or .safetensors (key {(name == "--embeddings" ? "" : name[2..] + " or ")}{EmbeddingsFile.Key})",
            HelpName = "FILE",
            Required = required,
        };
        Option<string> Choice(string name, string description, params string[] among)
        {
            var option = new Option<string>(name) { Description = description, DefaultValueFactory = _ => among[0] };
            option.AcceptOnlyFromAmong(among);
            return option;
        }
        Option<string> embeddings = Matrix("--embeddings", "Rows; for info-nce, moco, clip and siglip queries or images", required: true);
        Option<string> keys = Matrix("--keys", "info-nce, moco, clip, siglip: keys or texts, row i with row i");
        Option<string> queue = Matrix("--queue", "moco: the queue of negatives");
        var labels = new Option<string?>("--labels")
        {
            Description = "Whole numbers: supcon's classes; for other kinds, negatives of a row's own label are left out. One per row or key; moco's queries first, then the queue's. "
                + "Negative: like none",
            HelpName = "FILE",
        };
        var temperature = new Option<float>("--temperature") { Description = "τ", HelpName = "T", DefaultValueFactory = _ => 0.5f };
        var bias = new Option<float?>("--bias") { Description = "siglip: b of the logits s/τ + b; 0 when not given", HelpName = "B" };
        Option<string> layout = Choice("--layout", "nt-xent, dcl: partner of row i, i + rows/2 or its neighbour", "halves", "interleaved");
        Option<string> reduction = Choice("--reduction", "Mean over the rows that count, sum, or each row's loss", "mean", "sum", "none");
        Option<string> precision = Choice("--precision", "Numbers whose products are formed; sums are float32 or wider", "f32", "tf32", "bf16");
        var noNormalize = new Option<bool>("--no-normalize") { Description = "Take rows as they are, not divided by their norm" };
        var scale = new Option<bool>("--scale-2tau") { Description = "info-nce: multiply the loss by 2τ, as MoCo v3 does" };
        var losses = new Option<string?>("--losses") { Description = "With --reduction none: write the losses here, not into the line", HelpName = "OUT.npy" };
        var gradients = new Option<string?>("--gradients")
        {
            Description = "Write gradients with respect to what was given: embeddings, keys (not moco's), temperature, bias (siglip); of the sum with --reduction none",
            HelpName = "OUT.safetensors",
        };
        var check = new Option<bool>("--check") { Description = "Refuse embeddings that are not finite, naming the row" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("loss",
            "Compute a contrastive loss of embeddings from files. Prints one JSON line; \"milliseconds\" is the forward pass, with --gradients the backward too, after a warm-up.",
            "kernelcontrast loss nt-xent --embeddings embeddings.npy --temperature 0.1 --gradients gradients.safetensors",
            "kernelcontrast loss clip --embeddings images.npy --keys texts.npy --temperature 0.07")
        { kind, embeddings, keys, queue, labels, temperature, bias, layout, reduction, precision, noNormalize, scale, losses, gradients, check };
        device.AddTo(verb);
        verb.Outputs = [losses, gradients];
        verb.SetAction(parsed =>
        {
            float tau = parsed.GetValue(temperature);
            if (!(tau > 0) || !float.IsNormal(tau)) throw new UserError($"--temperature is {tau}, expected a positive number within float32's range of 1.18E-38 to 3.4E+38.");
            string name = parsed.GetValue(kind)!;
            LossKind which = Kinds.First(k => k.Name == name).Kind;
            bool pairs = which is LossKind.NtXent or LossKind.Dcl, withinBatch = pairs || which == LossKind.SupCon;
            Needs(parsed.GetValue(keys) is not null, !withinBatch, "--keys", required: true);
            Needs(parsed.GetValue(queue) is not null, which == LossKind.Moco, "--queue", required: true);
            Needs(parsed.GetValue(bias) is not null, which == LossKind.SigLip, "--bias");
            Needs(parsed.GetValue(scale), which == LossKind.InfoNce, "--scale-2tau");
            Needs(parsed.GetResult(layout) is { Implicit: false }, pairs, "--layout");
            if (which == LossKind.SupCon && parsed.GetValue(labels) is null) throw new UserError("supcon needs --labels, one class per row.");
            float b = parsed.GetValue(bias) ?? 0;
            if (!float.IsFinite(b)) throw new UserError($"--bias is {b}, expected a finite number.");
            if (parsed.GetValue(gradients) is { } output) OutputFile.Check(output, "--gradients", ".safetensors");
            string? lossesFile = parsed.GetValue(losses);
            if (lossesFile is not null)
            {
                if (parsed.GetValue(reduction) != "none") throw new UserError("--losses goes with --reduction none.");
                OutputFile.Check(lossesFile, "--losses", ".npy");
            }

            Device on = device.Open(parsed);
            bool checks = parsed.GetValue(check);
            EmbeddingsFile Read(string file, string option) => EmbeddingsFile.Read(file, option).CheckedFor(checks);
            var problem = new Problem(name, which, Read(parsed.GetValue(embeddings)!, "--embeddings"),
                parsed.GetValue(keys) is { } k ? Read(k, "--keys") : null, parsed.GetValue(queue) is { } q ? Read(q, "--queue") : null,
                parsed.GetValue(labels) is { } l ? EmbeddingsFile.ReadLabels(l) : null, tau, b,
                parsed.GetValue(layout) == "halves" ? PairLayout.Halves : PairLayout.Interleaved,
                parsed.GetValue(reduction) switch { "mean" => Reduction.Mean, "sum" => Reduction.Sum, _ => Reduction.None },
                !parsed.GetValue(noNormalize),
                parsed.GetValue(precision) switch { "f32" => Precision.Float32, "tf32" => Precision.Tf32, _ => Precision.BFloat16 },
                parsed.GetValue(scale), parsed.GetValue(gradients));
            if (problem.Labels is { } given)
            {
                int expected = which == LossKind.Moco ? problem.Embeddings.Rows + problem.Queue!.Rows : (problem.Keys ?? problem.Embeddings).Rows;
                string of = which == LossKind.Moco ? $"{problem.Embeddings.Path} and of the queue, {problem.Queue!.Path}" : (problem.Keys ?? problem.Embeddings).Path;
                if (given.Length != expected) throw new UserError($"{parsed.GetValue(labels)}: expected {Counted.Of(expected, "label")}, one per row of {of}, found {given.Length}.");
            }
            if (pairs) ValidatePairs(problem.Embeddings, which == LossKind.Dcl ? 4 : 2);
            Print(problem, Compute(problem, on), on, lossesFile);
            return 0;

            void Needs(bool given, bool applies, string option, bool required = false)
            {
                if (given && !applies) throw new UserError($"{name} has no {option}.");
                if (required && applies && !given) throw new UserError($"{name} needs {option}.");
            }
        });
        return verb;
    }

    private static void Print(Problem problem, (float[] Losses, double Milliseconds) result, Device on, string? lossesFile)
    {
        if (lossesFile is not null) NpyFile.Write(lossesFile, result.Losses, new Shape(result.Losses.Length));
        Terminal.Line(JsonLine.Of(json =>
        {
            json.WriteString("kind", problem.Name);
            if (problem.Reduction != Reduction.None) json.WriteFloat("loss", result.Losses[0]);
            else if (lossesFile is null)
            {
                json.WriteStartArray("losses");
                foreach (float loss in result.Losses)
                    if (float.IsFinite(loss)) json.WriteNumberValue(loss);
                    else json.WriteStringValue(loss.ToString(System.Globalization.CultureInfo.InvariantCulture));
                json.WriteEndArray();
            }
            json.WriteNumber("rows", problem.Embeddings.Rows);
            json.WriteNumber("dim", problem.Embeddings.Dim);
            json.WriteNumber("temperature", problem.Temperature);
            json.WriteString("device", on.Name);
            json.WriteNumber("milliseconds", Math.Round(result.Milliseconds, 3));
        }));
    }

    private static void ValidatePairs(EmbeddingsFile file, int least)
    {
        if (file.Rows < least || file.Dim < 1)
            throw new UserError($"{file.Path}: expected {least} or more rows of 1 or more columns, found {file.Rows} × {file.Dim}.");
        if (file.Rows % 2 != 0) throw new UserError($"{file.Path}: expected an even number of rows, two per pair, found {file.Rows}.");
    }

    /// <summary>The loss, and the time of the second of two runs: the first warms the JIT up.</summary>
    private static (float[] Losses, double Milliseconds) Compute(Problem problem, Device device)
    {
        bool wanted = problem.Gradients is not null;
        using var whole = new TensorScope();
        Tensor embeddings = Matrix(problem.Embeddings, wanted);
        Tensor? keys = problem.Keys is { } k ? Matrix(k, wanted && problem.Kind != LossKind.Moco) : null, queue = problem.Queue is { } q ? Matrix(q, false) : null;
        Tensor? labels = problem.Labels is { } l ? Tensor.From<int>(l, new(l.Length), device) : null;
        Tensor? tau = wanted ? Scalar(problem.Temperature) : null, bias = wanted && problem.Kind == LossKind.SigLip ? Scalar(problem.Bias) : null;
        float[] values = [];
        double milliseconds = 0;
        for (int run = 0; run < 2; run++)
        {
            using var scope = new TensorScope();
            foreach (Tensor? tensor in new[] { embeddings, keys, tau, bias }) tensor?.ClearGrad();
            long start = Stopwatch.GetTimestamp();
            try
            {
                Tensor loss = Loss(problem, embeddings, keys, queue, labels, tau, bias);
                if (wanted) loss.Backward(Tensor.Full(loss.Shape, 1, device));
                device.Synchronize();
                milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                values = loss.ToArray();
            }
            catch (ArgumentException e) { throw new UserError(e.Message); }
        }
        if (wanted)
            Safetensors.Write(problem.Gradients!,
                [.. new (string, Tensor?)[] { (EmbeddingsFile.Key, embeddings), ("keys", keys), ("temperature", tau), ("bias", bias) }
                    .Where(t => t.Item2?.Grad is not null).Select(t => KeyValuePair.Create(t.Item1, t.Item2!.Grad!))]);
        return (values, milliseconds);

        Tensor Matrix(EmbeddingsFile file, bool differentiable)
        {
            Tensor tensor = Tensor.From<float>(file.Values, new(file.Rows, file.Dim), device);
            tensor.RequiresGrad = differentiable;
            return tensor;
        }

        Tensor Scalar(float value)
        {
            Tensor tensor = Tensor.From<float>([value], new(), device);
            tensor.RequiresGrad = true;
            return tensor;
        }
    }

    private static Tensor Loss(Problem p, Tensor embeddings, Tensor? keys, Tensor? queue, Tensor? labels, Tensor? tau, Tensor? bias)
    {
        switch (p.Kind)
        {
            case LossKind.NtXent:
                return tau is null ? NtXent.Loss(embeddings, p.Temperature, p.Layout, p.Reduction, p.Normalize, p.Precision, labels)
                    : NtXent.Loss(embeddings, tau, p.Layout, p.Reduction, p.Normalize, p.Precision, labels);
            case LossKind.Dcl:
                return tau is null ? Dcl.Loss(embeddings, p.Temperature, p.Layout, p.Reduction, p.Normalize, p.Precision, labels)
                    : Dcl.Loss(embeddings, tau, p.Layout, p.Reduction, p.Normalize, p.Precision, labels);
            case LossKind.SupCon:
                return tau is null ? SupCon.Loss(embeddings, labels!, p.Temperature, p.Reduction, p.Normalize, p.Precision)
                    : SupCon.Loss(embeddings, labels!, tau, p.Reduction, p.Normalize, p.Precision);
            case LossKind.InfoNce:
                return tau is null ? InfoNce.Loss(embeddings, keys!, p.Temperature, p.Reduction, p.Normalize, p.Precision, labels, p.ScaleBy2Tau)
                    : InfoNce.Loss(embeddings, keys!, tau, p.Reduction, p.Normalize, p.Precision, labels, p.ScaleBy2Tau);
            case LossKind.Clip:
                return tau is null ? Clip.Loss(embeddings, keys!, p.Temperature, p.Reduction, p.Normalize, p.Precision, labels)
                    : Clip.Loss(embeddings, keys!, tau, p.Reduction, p.Normalize, p.Precision, labels);
            case LossKind.SigLip:
                return tau is null ? SigLip.Loss(embeddings, keys!, p.Temperature, p.Bias, p.Reduction, p.Normalize, p.Precision, labels)
                    : SigLip.Loss(embeddings, keys!, tau, bias!, p.Reduction, p.Normalize, p.Precision, labels);
            default:
                return tau is null ? Moco.Loss(embeddings, keys!, queue!, p.Temperature, p.Reduction, p.Normalize, p.Precision, labels)
                    : Moco.Loss(embeddings, keys!, queue!, tau, p.Reduction, p.Normalize, p.Precision, labels);
        }
    }
}
