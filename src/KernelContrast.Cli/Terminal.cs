using Spectre.Console;

namespace KernelContrast.Cli;

/// <summary>What the tool prints: coloured tables and live progress for a person, plain lines for a file or a pipe.</summary>
internal static class Terminal
{
    /// <summary>Whether a person is looking. Redirected output gets no colours, no borders and no line that is rewritten.</summary>
    internal static bool Interactive { get; } = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") is not (null or "dumb");

    internal static void Line(string text = "") => Console.Out.WriteLine(text);

    internal static void Heading(string text)
    {
        if (Interactive) AnsiConsole.Write(new Markup($"[bold]{Markup.Escape(text)}[/]\n"));
        else Line(text);
    }

    /// <summary>Something worth knowing beside the results: on the error stream, so that scripts read on.</summary>
    internal static void Note(string text) => Console.Error.WriteLine(text);

    internal static void Warning(string text)
    {
        if (!Console.IsErrorRedirected && Interactive) AnsiConsole.Write(new Markup($"[yellow]warning:[/] {Markup.Escape(text)}\n"));
        else Console.Error.WriteLine($"warning: {text}");
    }

    /// <summary>A table whose first columns are text; the others are numbers, aligned to the right.</summary>
    internal static void Table(IReadOnlyList<string> headers, IReadOnlyList<string[]> rows, int textColumns = 1)
    {
        if (Interactive)
        {
            var table = new Table { Border = TableBorder.Rounded };
            for (int column = 0; column < headers.Count; column++)
                table.AddColumn(new TableColumn(Markup.Escape(headers[column])) { Alignment = column < textColumns ? Justify.Left : Justify.Right });
            foreach (string[] row in rows) table.AddRow([.. row.Select(Markup.Escape)]);
            AnsiConsole.Write(table);
            return;
        }
        int[] widths = [.. headers.Select((h, c) => rows.Select(r => r[c].Length).Append(h.Length).Max())];
        foreach (IReadOnlyList<string> row in rows.Prepend(headers))
            Line(string.Join("  ", row.Select((cell, c) => c < textColumns ? cell.PadRight(widths[c]) : cell.PadLeft(widths[c]))).TrimEnd());
    }
}
