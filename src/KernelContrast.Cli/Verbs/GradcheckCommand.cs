using System.CommandLine;
using System.Globalization;
using KernelContrast.Cases;

namespace KernelContrast.Cli.Verbs;

/// <summary><c>gradcheck</c>: the op cases, on the user's own machine and device.</summary>
internal static class GradcheckCommand
{
    // Missing: what the device says when it has no kernels for the op.
    private sealed record Row(string Op, int Cases, double WorstRatio, IReadOnlyList<string> Problems, string? Missing = null);

    internal static VerbCommand Create()
    {
        var op = new Option<string?>("--op") { Description = "Only this op", HelpName = "NAME" };
        var json = new Option<bool>("--json") { Description = "Print one JSON object per op" };
        var device = new DeviceOptions();
        var verb = new VerbCommand("gradcheck",
            "Compare every op's output and gradients with a double-precision reference. An error is given as a share of its bound: up to 1 is right.",
            "kernelcontrast gradcheck --op nt-xent", "kernelcontrast gradcheck") { op, json };
        device.AddTo(verb);
        verb.SetAction(parsed =>
        {
            Device on = device.Open(parsed);
            string[] ops = Chosen(parsed.GetValue(op));
            Row[] all = [.. ops.Select(name => Check(name, on))];
            Row[] rows = [.. all.Where(r => r.Missing is null)];
            if (rows.Length == 0) throw new UserError(all[0].Missing!);
            if (parsed.GetValue(json))
                foreach (Row row in rows) Terminal.Line(Json(row, on));
            else
                Print(rows, all.Where(r => r.Missing is not null).Select(r => r.Op), on);
            return rows.All(r => r.Problems.Count == 0) ? 0 : 1;
        });
        return verb;
    }

    private static string[] Chosen(string? name)
    {
        string[] known = [.. CaseRunner.AllCases.Where(c => !c.BenchmarkOnly).Select(c => c.Op).Distinct()];
        if (name is null) return known;
        return known.Contains(name) ? [name] : throw new UserError($"--op {name}: there is no such op. Known are {string.Join(", ", known)}.");
    }

    private static Row Check(string op, Device device)
    {
        var problems = new List<string>();
        double worst = 0;
        int cases = 0;
        foreach (OpCase test in CaseRunner.AllCases.Where(c => c.Op == op && !c.BenchmarkOnly && (c.OnCpu || device != Device.Cpu)))
        {
            cases++;
            try
            {
                Judge(test, CaseRunner.Compare(test, device));
                if (test.CheckGradient) Judge(test, CaseRunner.CheckGradient(test, device));
            }
            catch (NotSupportedException e)
            {
                return new(op, cases, 0, [], e.Message);
            }
        }
        return new(op, cases, worst, problems);

        void Judge(OpCase test, CaseResult result)
        {
            worst = Math.Max(worst, result.WorstRatio);
            if (result.Problem is not null) problems.Add($"{test}: {result.Problem}");
        }
    }

    private static void Print(IReadOnlyList<Row> rows, IEnumerable<string> missing, Device device)
    {
        Terminal.Table(["op", "cases", "worst ratio", "ok"],
        [
            .. rows.Select(r => new[]
            {
                r.Op, r.Cases.ToString(CultureInfo.InvariantCulture), r.WorstRatio.ToString("F3", CultureInfo.InvariantCulture),
                r.Problems.Count == 0 ? "yes" : "NO",
            }),
        ]);
        foreach (string problem in rows.SelectMany(r => r.Problems)) Terminal.Line(problem);
        if (missing.Any()) Terminal.Line($"Not on {device} yet: {string.Join(", ", missing)}.");
        int wrong = rows.Count(r => r.Problems.Count > 0);
        Terminal.Line(wrong == 0 ? $"All {rows.Sum(r => r.Cases)} cases hold on {device}." : $"{wrong} of {rows.Count} ops are wrong on {device}.");
    }

    private static string Json(Row row, Device device) => JsonLine.Of(json =>
    {
        json.WriteString("op", row.Op);
        json.WriteString("device", device.Name);
        json.WriteNumber("cases", row.Cases);
        json.WriteFloat("worstRatio", row.WorstRatio);
        json.WriteBoolean("ok", row.Problems.Count == 0);
        json.WriteStartArray("problems");
        foreach (string problem in row.Problems) json.WriteStringValue(problem);
        json.WriteEndArray();
    });
}
