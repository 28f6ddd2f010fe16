using System.Diagnostics;

namespace KernelContrast.Cli.Tests;

/// <summary>The real executable, run as a user runs it, with its output redirected.</summary>
internal sealed record Tool(int ExitCode, string Output, string Error)
{
    internal static string Executable { get; } =
        Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "kernelcontrast.exe" : "kernelcontrast");

    internal static string[] Verbs { get; } =
        [.. Run("--help").Output.Split("Commands:")[1].Split("Example")[0].Split('\n').Where(l => l.StartsWith("  ") && l[2] != ' ').Select(l => l.Trim().Split(' ')[0])];

    internal static Tool Run(params string[] args) => RunWith([], args);

    /// <summary>Runs it with environment variables set.</summary>
    internal static Tool RunWith((string Name, string Value)[] environment, params string[] args)
    {
        var start = new ProcessStartInfo(Executable, args) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment) start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return new(process.ExitCode, output, error.Result);
    }

    internal static Process Start(params string[] args) =>
        Process.Start(new ProcessStartInfo(Executable, args) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    /// <summary>
    /// Starts it so that Ctrl-C reaches it: what runs in a shell's background ignores the signal, and so would its children.
    /// </summary>
    internal static Process StartInterruptible(params string[] args) => OperatingSystem.IsLinux()
        ? Process.Start(new ProcessStartInfo("env", ["--default-signal=INT", Executable, .. args]) { RedirectStandardOutput = true, RedirectStandardError = true })!
        : Start(args);

    internal static Process StartWithInput(params string[] args) =>
        Process.Start(new ProcessStartInfo(Executable, args) { RedirectStandardInput = true, RedirectStandardOutput = true })!;

    /// <summary>A mistake of the user's: exit code 2, one line that says what is wrong, nothing else.</summary>
    internal static void Refuses(string[] args, params string[] saying) => Run(args).WasRefused(string.Join(' ', args), saying);

    /// <inheritdoc cref="Refuses"/>
    internal void WasRefused(string what, params string[] saying)
    {
        Tool run = this;
        Assert.That(run.ExitCode, Is.EqualTo(2), $"{what}: {run.Output}{run.Error}");
        Assert.That(run.Output, Is.Empty);
        Assert.That(run.Error.TrimEnd('\n'), Does.Not.Contain("\n").And.Not.Contain("   at ").And.StartWith("kernelcontrast: "));
        foreach (string words in saying) Assert.That(run.Error, Does.Contain(words));
    }
}
