namespace KernelContrast.Cli.Tests;

[TestFixture]
internal sealed class HelpTests
{
    private static string[] Verbs => Tool.Verbs;

    [Test]
    public void Help_lists_the_verbs()
    {
        Tool run = Tool.Run("--help");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Contain("Usage"));
        Assert.That(Verbs, Has.Length.GreaterThanOrEqualTo(2).And.Contain("devices"));
    }

    [Test]
    public void No_arguments_show_the_help() => Assert.That(Tool.Run().Output, Is.EqualTo(Tool.Run("--help").Output));

    [TestCaseSource(nameof(Verbs))]
    public void Help_of_each_verb_ends_with_an_example(string verb)
    {
        Tool run = Tool.Run(verb, "--help");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output.TrimEnd().Split('\n')[^1], Does.StartWith($"  kernelcontrast {verb}"));
    }

    [TestCaseSource(nameof(Verbs))]
    public void Every_verb_refuses_an_unknown_option(string verb) => Tool.Refuses([verb, "--no-such-option"], "--no-such-option", $"kernelcontrast {verb} --help");

    [Test]
    public void An_unknown_verb_is_refused_with_the_known_ones() => Tool.Refuses(["trian"], "there is no verb 'trian'", "devices");

    [Test]
    public void The_version_is_told() => Assert.That(Tool.Run("--version").Output, Does.Match(@"^\d+\.\d+\.\d+"));
}
