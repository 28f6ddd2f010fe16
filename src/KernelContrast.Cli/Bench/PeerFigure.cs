using System.Globalization;
using System.Text.Json;
using KernelContrast.Cli.Plots;

namespace KernelContrast.Cli.Bench;

/// <summary>Time and memory of one loss against the number of rows, ours and each peer's, from what <c>bench/peers/run.py --out</c> wrote.</summary>
internal sealed class PeerFigure
{
    private sealed record Row(string Kind, int Rows, int Dim, string Precision, string Peer, double? Ours, double? Theirs, long ExtraBytes, long? PeerExtraBytes, double FloorFlops);

    private readonly Row[] _rows;
    private readonly JsonElement _rates;

    /// <param name="report">The file's content.</param>
    /// <param name="kind">As the tool names it; null: that of the first row.</param>
    /// <param name="dim">D; null: the first row's.</param>
    /// <param name="precision">f32, tf32 or bf16; null: the first row's.</param>
    /// <exception cref="UserError">No row is such, or the file is another.</exception>
    internal PeerFigure(JsonElement report, string? kind, int? dim, string? precision)
    {
        try
        {
            _rates = report.GetProperty("ceilings").GetProperty("torch");
            // rows without ours failed on our side
            JsonElement[] all = [.. report.GetProperty("rows").EnumerateArray().Where(r => r.TryGetProperty("extraBytes", out _))];
            double? temperature = all.Length > 0 ? all[0].GetProperty("temperature").GetDouble() : null;
            Row[] rows = [.. all.Where(r => r.GetProperty("temperature").GetDouble() == temperature).Select(Read)];
            (kind, dim, precision) = (kind ?? rows.FirstOrDefault()?.Kind, dim ?? rows.FirstOrDefault()?.Dim, precision ?? rows.FirstOrDefault()?.Precision);
            _rows = [.. rows.Where(r => r.Kind == kind && r.Dim == dim && r.Precision == precision)];
        }
        catch (Exception e) when (e is KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new UserError($"The file is not one that bench/peers/run.py --out wrote: {e.Message}");
        }
        if (!_rows.Any(r => r.Ours is not null)) throw new UserError($"The file has no times of {kind} with D = {dim} in {precision}.");
    }

    /// <summary>Writes the PNG.</summary>
    internal void Save(string path)
    {
        Row first = _rows[0];
        double[] sizes = [.. _rows.Select(r => (double)r.Rows).Distinct().Order()];
        var time = new List<ScalingCurve> { Curve("ours", _rows.Where(r => r.Ours is not null).DistinctBy(r => r.Rows), r => r.Ours) };
        var memory = new List<ScalingCurve> { Curve("ours", _rows.DistinctBy(r => r.Rows), r => Mebibytes(r.ExtraBytes)) };
        foreach (IGrouping<string, Row> peer in _rows.GroupBy(r => r.Peer))
        {
            time.Add(Curve(peer.Key, peer, r => r.Theirs));
            memory.Add(Curve(peer.Key, peer, r => r.PeerExtraBytes is { } bytes ? Mebibytes(bytes) : null));
        }
        if (_rates.TryGetProperty(first.Precision, out JsonElement rate))
            time.Add(Curve("floor: products at the rate of PyTorch's", _rows.DistinctBy(r => r.Rows), r => r.FloorFlops / rate.GetDouble() / 1e6) with { IsFloor = true });
        ScalingPlot.Save(path, string.Create(CultureInfo.InvariantCulture, $"N, rows of {first.Dim}"),
            [new($"{first.Kind} forward + backward in {first.Precision}, ms", time), new("extra memory, MiB", memory)]);
    }

    private static double Mebibytes(long bytes) => Math.Max(bytes / 1048576.0, 0.1);

    private static ScalingCurve Curve(string name, IEnumerable<Row> rows, Func<Row, double?> value)
    {
        (double Size, double Value)[] points = [.. rows.Where(r => value(r) is not null).OrderBy(r => r.Rows).Select(r => ((double)r.Rows, value(r)!.Value))];
        return new(name, [.. points.Select(p => p.Size)], [.. points.Select(p => p.Value)]);
    }

    private static Row Read(JsonElement row)
    {
        string precision = row.GetProperty("precision").GetString()!, peerPrecision = row.GetProperty("peerPrecision").GetString()!;
        return new(row.GetProperty("kind").GetString()!, row.GetProperty("rows").GetInt32(), row.GetProperty("dim").GetInt32(), precision,
            "PyTorch, " + row.GetProperty("peer").GetString() + (peerPrecision == precision ? "" : " " + peerPrecision), Median("ours"), Median("theirs"),
            row.GetProperty("extraBytes").GetInt64(), row.TryGetProperty("peerExtraBytes", out JsonElement bytes) && bytes.ValueKind == JsonValueKind.Number ? bytes.GetInt64() : null,
            row.GetProperty("products").GetDouble() * row.GetProperty("productFlops").GetDouble());

        double? Median(string side) => row.TryGetProperty(side, out JsonElement times) ? times.GetProperty("median").GetDouble() : null;
    }
}
