using System.CommandLine;
using System.Globalization;
using KernelContrast.Cli.Plots;
using KernelContrast.Datasets;
using KernelContrast.Evaluation;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>plot</c>: the space of features as a picture.</summary>
internal static class PlotCommand
{
    private sealed record Points(IReadOnlyList<(string Title, FeatureMatrix Features)> Panels, int[] Labels, IReadOnlyList<string> ClassNames);

    internal static VerbCommand Create()
    {
        var run = TrainedEncoder.Argument(required: false);
        var data = new DataOptions(required: false);
        var embeddings = new Option<string?>("--embeddings")
        {
            Description = $"In place of a run: features from a .npy or .safetensors file ('{EmbeddingsFile.Key}', classes from '{EmbeddingsFile.LabelsKey}' when it is there)",
            HelpName = "FILE",
        };
        var labels = new Option<string?>("--labels") { Description = "With --embeddings: classes from a .npy of whole numbers [rows]", HelpName = "FILE" };
        var method = new Option<string>("--method") { Description = "How to get to two dimensions: t-SNE keeps neighbourhoods, PCA large distances", DefaultValueFactory = _ => "tsne" };
        method.AcceptOnlyFromAmong("tsne", "pca");
        var count = new Option<int>("--count") { Description = "Images drawn, by --seed; t-SNE's time and memory grow with the square", HelpName = "N", DefaultValueFactory = _ => 2000 };
        var perplexity = new Option<double?>("--perplexity") { Description = "t-SNE's number of neighbours; 30 when not given, or what few points allow", HelpName = "P" };
        var seed = new Option<ulong>("--seed") { Description = "Which images", HelpName = "N" };
        var compare = new Option<bool>("--compare") { Description = "Put the untrained encoder beside it" };
        var last = TrainedEncoder.LastOption();
        var output = new Option<string>("--out") { Description = "The PNG to write", HelpName = "FILE", DefaultValueFactory = _ => "space.png" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("plot", "Draw features as points in the plane, coloured by class.",
            "kernelcontrast plot runs/digits --data data/mnist --compare --out space.png", "kernelcontrast plot --embeddings digits.npy --labels digit-labels.npy --method pca")
        { run, embeddings, labels, method, count, perplexity, seed, compare, last, output };
        data.AddTo(verb, split: "test, or all where there is no such part");
        device.AddTo(verb);
        verb.Outputs = [output];
        verb.SetAction(parsed =>
        {
            int wanted = parsed.GetValue(count);
            if (wanted < 4) throw new UserError($"--count is {wanted}, expected at least 4.");
            string path = parsed.GetValue(output)!;
            OutputFile.Check(path, "--out", ".png");
            Device on = device.Open(parsed);
            bool fromFile = parsed.GetValue(embeddings) is not null;
            if (fromFile == parsed.GetValue(run) is not null) throw new UserError("Give either a run and --data, or --embeddings.");
            if (fromFile && (data.Given(parsed) || parsed.GetValue(compare) || parsed.GetValue(last))) throw new UserError("--data, --compare and --no-ema belong to a run, not to --embeddings.");
            if (!fromFile && parsed.GetValue(labels) is not null) throw new UserError("--labels belongs to --embeddings; images bring their classes with them.");
            int[] Chosen(int rows) => Choose(rows, wanted, parsed.GetValue(seed));
            Points points = fromFile
                ? FromFile(EmbeddingsFile.Read(parsed.GetValue(embeddings)!).CheckedFor(finite: true), parsed.GetValue(labels), Chosen)
                : FromRun(parsed.GetValue(run)!, on, data.OpenTestOrAll(parsed), parsed.GetValue(compare), parsed.GetValue(last), Chosen);
            bool tsne = parsed.GetValue(method) == "tsne";
            SpacePanel[] panels = [.. points.Panels.Select(p => tsne ? Tsne(p, parsed.GetValue(perplexity)) : Pca(p))];
            SpacePlot.Save(path, panels, points.Labels, points.ClassNames);
            Terminal.Line($"Wrote {path}: {points.Labels.Length} points.");
            return 0;
        });
        return verb;
    }

    private static Points FromRun(string run, Device device, IImageDataset images, bool compare, bool last, Func<int, int[]> choose)
    {
        using TrainedEncoder encoder = TrainedEncoder.Open(run, device, last);
        IImageDataset some = images.Subset(choose(images.Count));
        List<(string, FeatureMatrix)> panels = compare
            ? [("Before training", encoder.UntrainedFeatures(some)), ($"After {encoder.Checkpoint.Epoch} epochs", encoder.Features(some))]
            : [($"After {encoder.Checkpoint.Epoch} epochs", encoder.Features(some))];
        return new(panels, some.Labels(), some.ClassNames);
    }

    private static Points FromFile(EmbeddingsFile file, string? labelsPath, Func<int, int[]> choose)
    {
        int[] labels = labelsPath is null ? file.Labels ?? [] : ReadLabels(labelsPath);
        if (labels.Length > 0 && labels.Length != file.Rows)
            throw new UserError($"{labelsPath ?? file.Path}: expected {file.Rows} classes for the embeddings of {file.Path}, found {labels.Length}.");
        int[] chosen = choose(file.Rows);
        FeatureMatrix features = new FeatureMatrix(file.Values, file.Rows, file.Dim).Take(chosen);
        string[] names = [.. Enumerable.Range(0, labels.Length == 0 ? 0 : labels.Max() + 1).Select(c => c.ToString(CultureInfo.InvariantCulture))];
        return new([(Path.GetFileName(file.Path), features)], [.. chosen.Select(i => labels.Length == 0 ? -1 : labels[i])], names);
    }

    private static int[] ReadLabels(string path)
    {
        InputFile.Check(path, "--labels", "a .npy file");
        NpyArray array = NpyFile.Read(path);
        if (array.Shape.Rank != 1) throw new UserError($"{path}: expected classes [rows], found the shape {array.Shape}.");
        long[] labels = array.ToInt64s();
        int wrong = Array.FindIndex(labels, l => l is < -1 or >= 1_000_000);
        return wrong < 0 ? Array.ConvertAll(labels, l => (int)l)
            : throw new UserError($"{path}: expected classes of 0 to 999999, or -1 for none, found {labels[wrong]} in row {wrong}.");
    }

    /// <summary>Rows in random order, the first of them: folders of images are sorted by class.</summary>
    private static int[] Choose(int rows, int count, ulong seed)
    {
        var random = new PhiloxStream(seed, stream: 0x91077);
        int[] order = [.. Enumerable.Range(0, rows)];
        for (int i = 0; i < Math.Min(count, rows); i++)
        {
            int j = i + random.NextInt32(rows - i);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order[..Math.Min(count, rows)];
    }

    // Contrastive features are compared by angle, so both pictures are of rows of length 1.
    private static SpacePanel Tsne((string Title, FeatureMatrix Features) panel, double? wanted)
    {
        double perplexity = wanted ?? Math.Max(1, Math.Min(30, (panel.Features.Rows - 1) / 3.0));
        TSneResult result = UserError.Check(() => TSne.Embed(panel.Features.Normalized(), new TSneOptions { Perplexity = perplexity }));
        return new(panel.Title, Note(panel.Features, $"t-SNE, perplexity {perplexity:0.##}, KL divergence {result.Divergence:0.00}"), result.Points);
    }

    private static SpacePanel Pca((string Title, FeatureMatrix Features) panel)
    {
        FeatureMatrix rows = panel.Features.Normalized();
        PrincipalComponents components = UserError.Check(() => PrincipalComponents.Fit(rows, 2));
        if (components.Count < 2) throw new UserError($"PCA draws features of at least 2 columns, these have {rows.Dim}.");
        double share = components.TotalVariance > 0 ? components.Variances.Sum() / components.TotalVariance : 1;
        return new(panel.Title, Note(panel.Features, $"PCA, {100 * share:0} % of the variance"), components.Project(rows));
    }

    private static string Note(FeatureMatrix features, FormattableString how) =>
        FormattableString.Invariant($"{features.Rows} images, {features.Dim} dimensions; ") + FormattableString.Invariant(how);
}
