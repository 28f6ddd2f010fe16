using System.CommandLine;
using System.Diagnostics;
using KernelContrast.Datasets;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>neighbours</c>: the rows of a file most similar to each row of another, or of its own.</summary>
internal static class NeighboursCommand
{
    internal static VerbCommand Create()
    {
        Option<string> Matrix(string name, string what) => new(name)
        {
            Description = $"{what} [rows, dim], not normalised: .npy (float32, float64) or .safetensors (key {(name == "--embeddings" ? "" : name[2..] + " or ")}{EmbeddingsFile.Key})",
            HelpName = "FILE",
            Required = name == "--embeddings",
        };
        Option<string> embeddings = Matrix("--embeddings", "Rows whose neighbours are asked for");
        Option<string> keys = Matrix("--keys", "Rows to search in; the embeddings themselves when not given");
        var count = new Option<int>("--k") { Description = "Neighbours of each row", HelpName = "K", DefaultValueFactory = _ => 20 };
        var excludeSelf = new Option<bool>("--exclude-self") { Description = "Without --keys: a row is no neighbour of itself" };
        var output = new Option<string>("--output")
        {
            Description = "Where neighbours go, most similar first, of equals the lower index: .safetensors (indices and similarities [rows, K]) or .npy (indices)",
            HelpName = "OUT",
            Required = true,
        };
        var precision = new Option<string>("--precision") { Description = "Numbers whose products are formed; sums are float32 or wider", DefaultValueFactory = _ => "f32" };
        precision.AcceptOnlyFromAmong("f32", "tf32", "bf16");
        var check = new Option<bool>("--check") { Description = "Refuse embeddings that are not finite, naming the row; else such a row is similar by NaN, which comes first" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("neighbours",
            "Find the nearest neighbours of embeddings by cosine similarity, exactly. Prints one JSON line; \"milliseconds\" is the search, after a warm-up.",
            "kernelcontrast neighbours --embeddings embeddings.npy --exclude-self --k 10 --output neighbours.safetensors",
            "kernelcontrast neighbours --embeddings queries.npy --keys database.npy --output neighbours.npy")
        { embeddings, keys, count, excludeSelf, output, precision, check };
        device.AddTo(verb);
        verb.Outputs = [output];
        verb.SetAction(parsed =>
        {
            string to = parsed.GetValue(output)!;
            bool self = parsed.GetValue(excludeSelf), checks = parsed.GetValue(check);
            string extension = OutputFile.Check(to, "--output", ".safetensors", ".npy");
            if (self && parsed.GetValue(keys) is not null) throw new UserError("--exclude-self goes without --keys, where rows are searched among themselves.");
            Device on = device.Open(parsed);
            EmbeddingsFile rows = Read(parsed.GetValue(embeddings)!, "--embeddings"), among = parsed.GetValue(keys) is { } file ? Read(file, "--keys") : rows;
            if (rows.Rows < 1) throw new UserError($"{rows.Path}: expected one or more rows of 1 or more columns, found {rows.Rows} × {rows.Dim}.");

            using var scope = new TensorScope();
            Tensor queries = Tensor.From<float>(rows.Values, new(rows.Rows, rows.Dim), on);
            Tensor database = among == rows ? queries : Tensor.From<float>(among.Values, new(among.Rows, among.Dim), on);
            Precision numbers = parsed.GetValue(precision) switch { "f32" => Precision.Float32, "tf32" => Precision.Tf32, _ => Precision.BFloat16 };
            int k = parsed.GetValue(count);
            using (new TensorScope()) Search();
            long start = Stopwatch.GetTimestamp();
            (Tensor indices, Tensor similarities) = Search();
            double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
            if (extension == ".npy") NpyFile.Write(to, indices.ToArray<int>(), indices.Shape);
            else Safetensors.Write(to, [KeyValuePair.Create("indices", indices), KeyValuePair.Create("similarities", similarities)]);

            float[] values = similarities.ToArray();
            double nearest = Enumerable.Range(0, rows.Rows).Average(row => (double)values[(long)row * k]);
            Terminal.Line(JsonLine.Of(json =>
            {
                json.WriteNumber("rows", rows.Rows);
                json.WriteNumber("keys", among.Rows);
                json.WriteNumber("dim", rows.Dim);
                json.WriteNumber("k", k);
                json.WriteFloat("nearest_mean", (float)nearest);
                json.WriteString("device", on.Name);
                json.WriteNumber("milliseconds", Math.Round(milliseconds, 3));
            }));
            return 0;

            (Tensor Indices, Tensor Similarities) Search()
            {
                try
                {
                    (Tensor, Tensor) found = Functional.CosineTopK(queries, database, k, self, numbers);
                    on.Synchronize();
                    return found;
                }
                catch (ArgumentException e) { throw new UserError(e.Message); }
            }

            EmbeddingsFile Read(string path, string option) => EmbeddingsFile.Read(path, option).CheckedFor(checks);
        });
        return verb;
    }
}
