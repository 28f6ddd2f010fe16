using System.CommandLine;
using System.Text.Json;
using KernelContrast.Cli.Bench;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>bench figure</c>: draws what <c>bench/peers/run.py</c> measured.</summary>
internal static class FigureCommand
{
    /// <summary>A row has some hundred bytes.</summary>
    private const long MostBytes = 64 << 20;

    internal static VerbCommand Create()
    {
        var file = new Argument<string>("file") { Description = "What bench/peers/run.py --out wrote", HelpName = "FILE" };
        var plot = new Option<string>("--plot") { Description = "The PNG to write", HelpName = "FILE.png", Required = true };
        var kind = new Option<string?>("--kind") { Description = "Which loss; the file's first when not given", HelpName = "KIND" };
        var dim = new Option<int?>("--dim") { Description = "Columns D; the first when not given", HelpName = "D" };
        var precision = new Option<string?>("--precision") { Description = "In which numbers; the first when not given", HelpName = "P" };
        var verb = new VerbCommand("figure", "Draw time and memory of a loss against N, ours and PyTorch's, from the figures of bench/peers/run.py.",
            "kernelcontrast bench figure peers.json --kind clip --plot clip.png")
        { file, plot, kind, dim, precision };
        verb.Outputs = [plot];
        verb.SetAction(parsed =>
        {
            string path = parsed.GetValue(file)!, target = parsed.GetValue(plot)!;
            OutputFile.Check(target, "--plot", ".png");
            try
            {
                using JsonDocument json = JsonDocument.Parse(Read(path));
                new PeerFigure(json.RootElement, parsed.GetValue(kind), parsed.GetValue(dim), parsed.GetValue(precision)).Save(target);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
            {
                throw new UserError($"{path}: {e.Message}");
            }
            Terminal.Line($"Wrote {target}.");
            return 0;
        });
        return verb;
    }

    /// <summary>A file, a pipe or a device, but no more of it than such a file has.</summary>
    private static byte[] Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        using var bytes = new MemoryStream();
        var part = new byte[1 << 16];
        while (stream.Read(part) is > 0 and var read)
        {
            bytes.Write(part, 0, read);
            if (bytes.Length > MostBytes) throw new UserError($"{path} has more than {MostBytes} bytes; what bench/peers/run.py --out writes has fewer.");
        }
        return bytes.ToArray();
    }
}
