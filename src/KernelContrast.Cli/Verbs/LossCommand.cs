using System.CommandLine;
using System.Diagnostics;
using KernelContrast.Losses;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>loss</c>: a loss and its gradient of embeddings from a file, to hold other programs' numbers against.</summary>
internal static class LossCommand
{
    private const string NtXentKind = "nt-xent";

    internal static VerbCommand Create()
    {
        var kind = new Argument<string>("kind") { Description = "Which loss", HelpName = "KIND" };
        kind.AcceptOnlyFromAmong(NtXentKind);
        var embeddings = new Option<string>("--embeddings")
        {
            Description = $"Matrix [rows, dim], not normalised: .npy (float32, float64) or .safetensors (key {EmbeddingsFile.Key})",
            HelpName = "FILE",
            Required = true,
        };
        var temperature = new Option<float>("--temperature") { Description = "τ", HelpName = "T", DefaultValueFactory = _ => 0.5f };
        var layout = new Option<string>("--layout") { Description = "Partner of row i: i + rows/2, or its neighbour", DefaultValueFactory = _ => "halves" };
        layout.AcceptOnlyFromAmong("halves", "interleaved");
        var gradients = new Option<string?>("--gradients")
        {
            Description = $"Write the gradient with respect to the embeddings as given (key {EmbeddingsFile.Key})",
            HelpName = "OUT.safetensors",
        };
        var check = new Option<bool>("--check") { Description = "Refuse embeddings that are not finite, naming the row" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("loss",
            "Compute a loss of embeddings from a file: the mean over all rows, each against all others but itself. Prints one JSON line; "
            + "\"milliseconds\" is the forward pass, with --gradients the backward too, after a warm-up.",
            "kernelcontrast loss nt-xent --embeddings embeddings.npy --temperature 0.1 --gradients gradients.safetensors")
        { kind, embeddings, temperature, layout, gradients, check };
        device.AddTo(verb);
        verb.SetAction(parsed =>
        {
            float tau = parsed.GetValue(temperature);
            if (!(tau > 0) || !float.IsNormal(tau)) throw new UserError($"--temperature is {tau}, expected a positive number.");
            string? output = parsed.GetValue(gradients);
            if (output is not null) OutputFile.Check(output, "--gradients");
            Device on = device.Open(parsed);
            EmbeddingsFile file = EmbeddingsFile.Read(parsed.GetValue(embeddings)!);
            Validate(file, parsed.GetValue(check));
            PairLayout pairs = parsed.GetValue(layout) == "halves" ? PairLayout.Halves : PairLayout.Interleaved;
            (float loss, double milliseconds) = Compute(file, tau, pairs, on, output);
            Terminal.Line(JsonLine.Of(json =>
            {
                json.WriteString("kind", NtXentKind);
                json.WriteFloat("loss", loss);
                json.WriteNumber("rows", file.Rows);
                json.WriteNumber("dim", file.Dim);
                json.WriteNumber("temperature", tau);
                json.WriteString("device", on.Name);
                json.WriteNumber("milliseconds", Math.Round(milliseconds, 3));
            }));
            return 0;
        });
        return verb;
    }

    private static void Validate(EmbeddingsFile file, bool check)
    {
        if (file.Rows < 2 || file.Dim < 1)
            throw new UserError($"{file.Path}: expected 2 or more rows of 1 or more columns, found {file.Rows} × {file.Dim}.");
        if (file.Rows % 2 != 0) throw new UserError($"{file.Path}: expected an even number of rows, two per pair, found {file.Rows}.");
        if (!check) return;
        int wrong = Array.FindIndex(file.Values, v => !float.IsFinite(v));
        if (wrong >= 0) throw new UserError($"{file.Path}: row {wrong / file.Dim}, column {wrong % file.Dim} is {file.Values[wrong]}, expected finite numbers.");
    }

    /// <summary>The loss, and the time of the second of two runs: the first warms the JIT up.</summary>
    private static (float Loss, double Milliseconds) Compute(EmbeddingsFile file, float tau, PairLayout layout, Device device, string? gradients)
    {
        using Tensor embeddings = Tensor.From<float>(file.Values, new(file.Rows, file.Dim), device);
        embeddings.RequiresGrad = gradients is not null;
        float value = 0;
        double milliseconds = 0;
        for (int run = 0; run < 2; run++)
        {
            using var scope = new TensorScope();
            embeddings.ClearGrad();
            long start = Stopwatch.GetTimestamp();
            Tensor loss = NtXent.Loss(embeddings, tau, layout);
            if (gradients is not null) loss.Backward();
            device.Synchronize();
            milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            value = loss.Item();
        }
        if (gradients is not null) Safetensors.Write(gradients, [KeyValuePair.Create(EmbeddingsFile.Key, embeddings.Grad!)]);
        return (value, milliseconds);
    }
}
