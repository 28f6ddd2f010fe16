using System.Text.Json;

namespace KernelContrast.Cli.Tests;

/// <summary><c>--config FILE</c>: the command line wins over the file, the file over the defaults.</summary>
[TestFixture]
internal sealed class ConfigTests
{
    private TemporaryFolder _folder = null!;

    [SetUp]
    public void Create() => _folder = new();

    [TearDown]
    public void Delete() => _folder.Dispose();

    private string Config(string json)
    {
        string path = _folder["run.json"];
        File.WriteAllText(path, json);
        return path;
    }

    [Test]
    public void Options_come_from_the_file()
    {
        Tool run = Tool.Run("gradcheck", "--config", Config("""{"verb": "gradcheck", "op": "relu", "json": true, "threads": 1}"""));
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(JsonDocument.Parse(run.Output).RootElement.GetProperty("op").GetString(), Is.EqualTo("relu"));
    }

    [Test]
    public void The_command_line_wins() =>
        Tool.Refuses(["gradcheck", "--config", Config("""{"op": "relu"}"""), "--op", "other"], "--op other");

    [Test]
    public void Null_means_the_default() =>
        Assert.That(Tool.Run("gradcheck", "--config", Config("""{"op": "relu", "device": null}""")).ExitCode, Is.Zero);

    [TestCase("""{"opp": "relu"}""", "'opp' is no option of 'gradcheck'", TestName = "An unknown key is refused")]
    [TestCase("""{"config": "x"}""", "'config' is no option", TestName = "A config in a config is refused")]
    [TestCase("""{"verb": "demo"}""", "is of the verb demo", TestName = "Another verb's file is refused")]
    [TestCase("""{"op": {}}""", "'op' is an object", TestName = "A value of the wrong kind is refused")]
    [TestCase("""{"threads": "many"}""", "--threads", TestName = "A value of the wrong type is refused")]
    [TestCase("""[1, 2]""", "expected a JSON object", TestName = "A list is refused")]
    [TestCase("""{"op": "relu" """, "expected a JSON object", TestName = "A torn file is refused")]
    public void Wrong(string json, string message) => Tool.Refuses(["gradcheck", "--config", Config(json)], message);

    [Test]
    public void A_byte_order_mark_is_no_mistake_but_bytes_that_are_no_UTF_8_and_files_without_end_are()
    {
        string path = _folder["bytes.json"];
        File.WriteAllBytes(path, [0xEF, 0xBB, 0xBF, .. """{"op": "relu"}"""u8]);
        Assert.That(Tool.Run("gradcheck", "--config", path).ExitCode, Is.Zero);
        File.WriteAllBytes(path, [.. "{\"o"u8, 0xFF, .. "p\": 1}"u8]);
        Tool.Refuses(["gradcheck", "--config", path], path);
        if (File.Exists("/dev/zero")) Tool.Refuses(["gradcheck", "--config", "/dev/zero"], "/dev/zero", "more than 1048576 bytes");
    }

    [Test]
    public void A_missing_file_is_refused() => Tool.Refuses(["gradcheck", "--config", _folder["none.json"]], "there is no such file");
}
