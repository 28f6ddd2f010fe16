using System.Globalization;
using System.Runtime.InteropServices;
using KernelContrast.Training;

namespace KernelContrast.Cli;

/// <summary>
/// Shows a run: a line per epoch, and for a person a line that follows every step. Ctrl-C and SIGTERM ask the run to
/// stop after its step; a second Ctrl-C ends the process at once, which loses only what came after the last checkpoint.
/// </summary>
internal sealed class TrainingConsole : IDisposable
{
    /// <summary>Exit code of a run that was stopped, as shells have it for Ctrl-C.</summary>
    internal const int StoppedExitCode = 130;

    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(200);

    private readonly CancellationTokenSource _stop = new();
    private readonly PosixSignalRegistration _terminate;
    private readonly bool _live = Terminal.Interactive;
    private TimeSpan _lastDrawn;

    internal TrainingConsole(SimClrTrainer trainer)
    {
        trainer.StepEnded += Show;
        trainer.EpochEnded += Show;
        trainer.Warning += warning =>
        {
            Clear();
            Terminal.Warning(warning);
        };
        Console.CancelKeyPress += OnCtrlC;
        _terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context =>
        {
            context.Cancel = true;
            _stop.Cancel();
        });
    }

    internal CancellationToken Stop => _stop.Token;

    public void Dispose()
    {
        Console.CancelKeyPress -= OnCtrlC;
        _terminate.Dispose();
        _stop.Dispose();
    }

    private void OnCtrlC(object? sender, ConsoleCancelEventArgs e)
    {
        if (_stop.IsCancellationRequested) return;
        e.Cancel = true;
        _stop.Cancel();
        Clear();
        Terminal.Line("Stopping after this step …");
    }

    private void Show(StepReport report)
    {
        if (!_live || report.Elapsed - _lastDrawn < Redraw) return;
        _lastDrawn = report.Elapsed;
        string line = Text($"epoch {report.Epoch}/{report.Epochs}  step {report.Step}/{report.TotalSteps}  loss {report.Loss:F3}  {report.ImagesPerSecond:N0} images/s  {Short(report.Left)} left");
        int width = Math.Max(20, Console.WindowWidth - 1);
        Console.Out.Write("\r\e[2K" + (line.Length > width ? line[..width] : line));
    }

    private void Show(EpochReport report)
    {
        Clear();
        int digits = report.Epochs.ToString(CultureInfo.InvariantCulture).Length;
        string health = report.Health is not { } h ? ""
            : Text($"  spread {h.Spread:F2}  alignment {h.Alignment:F3}  uniformity {h.Uniformity:F2}  RankMe {h.RankMe:F1}");
        Terminal.Line(Text($"epoch {report.Epoch.ToString(CultureInfo.InvariantCulture).PadLeft(digits)}/{report.Epochs}  loss {report.Loss:F4}  {report.ImagesPerSecond:N0} images/s  {Short(report.Left)} left{health}"));
    }

    private void Clear()
    {
        if (_live) Console.Out.Write("\r\e[2K");
    }

    private static string Short(TimeSpan time) => time.TotalHours >= 1
        ? Text($"{(int)time.TotalHours}:{time.Minutes:00}:{time.Seconds:00}") : Text($"{time.Minutes}:{time.Seconds:00}");

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
