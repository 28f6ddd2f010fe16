using System.Diagnostics;

namespace KernelContrast.Cli.Tests;

[TestFixture]
internal sealed class HelpTests
{
    [Test]
    public void Help_exits_with_0()
    {
        string tool = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "kernelcontrast.exe" : "kernelcontrast");
        using Process process = Process.Start(new ProcessStartInfo(tool, "--help") { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero);
        Assert.That(output, Does.Contain("Usage"));
    }
}
