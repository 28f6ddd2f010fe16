using KernelContrast.Datasets;
using KernelContrast.Nn;
using KernelContrast.Training;

namespace KernelContrast.Cli.Tests;

/// <summary>What a user gets wrong: each is told in one line, with exit code 2, before any work, and leaves nothing behind.</summary>
[TestFixture]
internal sealed class MistakeTests
{
    private readonly TemporaryFolder _folder = new();
    private string _run = "", _data = "", _embeddings = "";

    [OneTimeSetUp]
    public void Train()
    {
        (_run, _data, _embeddings) = (_folder["a run"], _folder["data"], _folder["e.npy"]);
        TestImages.WriteIdx(_data, 40, 20, 4);
        var config = new SimClrConfig
        {
            Encoder = ResNetConfig.Small(8, 4, 4, 8) with { Stem = ResNetStem.Strided, InputChannels = 1 },
            Augmentation = "digits",
            BatchSize = 20,
            Epochs = 1,
            HeadOutputs = 8,
        };
        using SimClrTrainer trainer = SimClrTrainer.Start(config, Dataset.Open(_data), _run);
        trainer.Run();
        NpyFile.Write(_embeddings, Tensor.RandomNormal(new(8, 4), 1).ToArray(), new Shape(8, 4));
    }

    [OneTimeTearDown]
    public void Remove() => _folder.Dispose();

    [Test]
    public void Values_of_the_wrong_kind_are_told_in_plain_words()
    {
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--temperature", "warm"], "--temperature is 'warm', expected a number");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--threads", "1.5"], "--threads is '1.5', expected a whole number");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--layout", "thirds"], "--layout is 'thirds', expected one of halves, interleaved");
        Tool.Refuses(["pretrain", "--data", _data, "--out", _folder["x"], "--seed=-1"], "--seed is '-1', expected a whole number of 0 or more");
        Tool.Refuses(["pretrain", "--data", _data, "--out", _folder["x"], "--moved=-1"], "--moved is '-1', expected a whole number of 0 or more");
    }

    [Test]
    public void A_verb_there_is_not_has_no_help() => Tool.Refuses(["trian", "--help"], "there is no verb 'trian'");

    [TestCase("KERNELCONTRAST_SIMD", "64", "128, 256 or 512")]
    [TestCase("KERNELCONTRAST_SIMD", "wide", "128, 256 or 512")]
    [TestCase("KERNELCONTRAST_THREADS", "0", "1 to 1024")]
    [TestCase("KERNELCONTRAST_THREADS", "all", "1 to 1024")]
    public void An_environment_variable_with_a_wrong_value_is_named(string name, string value, string expected) =>
        Tool.RunWith([(name, value)], "loss", "nt-xent", "--embeddings", _embeddings).WasRefused(name, $"{name}={value}", expected);

    [Test]
    public void Environment_variables_narrow_what_the_device_uses_and_empty_ones_do_not()
    {
        Assert.That(Tool.RunWith([("KERNELCONTRAST_SIMD", "128"), ("KERNELCONTRAST_THREADS", "3")], "devices").Output, Does.Contain("3 threads, SIMD of 128 bits"));
        Assert.That(Tool.RunWith([("KERNELCONTRAST_SIMD", ""), ("KERNELCONTRAST_THREADS", "")], "devices").Output, Is.EqualTo(Tool.Run("devices").Output));
    }

    [TestCase("0")]
    [TestCase("-1")]
    [TestCase("1e-45")]
    [TestCase("1e-300")]
    [TestCase("NaN")]
    public void Temperatures_without_a_finite_inverse_are_refused(string temperature)
    {
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, $"--temperature={temperature}"], "temperature");
        Tool.Refuses(["pretrain", "--data", _data, "--out", _folder["cold"], "--batch-size", "20", $"--temperature={temperature}"], "temperature");
        Assert.That(Directory.Exists(_folder["cold"]), Is.False);
    }

    [Test]
    public void Results_without_a_place_are_refused_before_the_work()
    {
        string nowhere = _folder["nowhere/x"];
        Tool.Refuses(["embed", _run, "--data", _data, "--out", _folder["e.safetensors"], "--labels", nowhere + ".npy"], "does not exist");
        Assert.That(File.Exists(_folder["e.safetensors"]), Is.False);
        Tool.Refuses(["embed", _run, "--data", _data, "--out", _folder["e.txt"]], ".npy or .safetensors");
        Tool.Refuses(["plot", _run, "--data", _data, "--out", nowhere + ".png"], "does not exist");
        Tool.Refuses(["plot", _run, "--data", _data, "--out", _folder["p.jpg"]], ".png");
        Tool.Refuses(["augment", "--data", _data, "--out", _folder["p.gif"]], ".png");
        Tool.Refuses(["augment", "--data", _data, "--out", ""], "--out is empty");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--gradients", ""], "--gradients is empty");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--gradients", nowhere], "does not exist");
    }

    [Test]
    public void Directories_that_cannot_be_are_refused()
    {
        Tool.Refuses(Pretrain("--out", ""), "--out is empty");
        Tool.Refuses(Pretrain("--out", _embeddings), "this is a file");
        Tool.Refuses([.. Pretrain("--out", Path.Combine(_embeddings, "x")), "--batch-size", "20"], "cannot be written");
        Tool.Refuses(Pretrain("--resume", _run, "--out", _folder["other"]), "--resume", "--out");
        Tool.Refuses(["demo", "--out", _embeddings], "this is a file");
        Tool.Refuses([.. Pretrain("--out", _folder["big"]), "--batch-size", "1000"], "batch of 1000");
        Assert.That(Directory.Exists(_folder["big"]), Is.False);
    }

    [Test]
    public void Images_are_resized_to_a_sane_size() =>
        Tool.Refuses(["augment", "--data", _data, "--image-size", "9000"], "--image-size is 9000, expected 1 to 8192");

    [Test]
    public void A_damaged_checkpoint_is_told_by_every_verb_that_reads_it()
    {
        string damaged = _folder["damaged.safetensors"];
        byte[] bytes = File.ReadAllBytes(Path.Combine(_run, Checkpoint.FileName));
        bytes[^1000] ^= 0x10;
        File.WriteAllBytes(damaged, bytes);
        Tool.Refuses(["embed", damaged, "--data", _data, "--out", _folder["d.npy"]], damaged, "checksum");
        Tool.Refuses(["evaluate", damaged, "--data", _data], damaged, "checksum");
        Tool.Refuses(["plot", damaged, "--data", _data, "--out", _folder["d.png"]], damaged, "checksum");
    }

    [Test]
    public void A_second_run_in_a_directory_is_refused_while_the_first_is_at_work()
    {
        string shared = _folder["shared"];
        using System.Diagnostics.Process first = Tool.StartInterruptible([.. Pretrain("--out", shared), "--batch-size", "20", "--epochs", "100000"]);
        try
        {
            var clock = System.Diagnostics.Stopwatch.StartNew();
            while (!File.Exists(Path.Combine(shared, "checkpoint.json")) && clock.Elapsed.TotalSeconds < 60) Thread.Sleep(2);
            Tool.Refuses([.. Pretrain("--out", shared), "--batch-size", "20"], "another run is at work");
            Tool.Refuses(Pretrain("--resume", shared), "another run is at work");
        }
        finally
        {
            first.Kill();
            first.WaitForExit();
        }
        // The killed run's lock is gone with it; only its checkpoint is in the way.
        Tool.Refuses([.. Pretrain("--out", shared), "--batch-size", "20"], "holds a run already");
    }

    [Test]
    public void The_command_to_go_on_can_be_typed_as_it_is_printed()
    {
        Assert.That(ShellWord.Quote("runs/first-1"), Is.EqualTo("runs/first-1"));
        Assert.That(ShellWord.Quote("my runs"), Is.EqualTo("'my runs'"));
        Assert.That(ShellWord.Quote("it's"), Is.EqualTo(@"'it'\''s'"));
        Assert.That(ShellWord.Quote(""), Is.EqualTo("''"));
        Assert.That(ShellWord.Quote("~/x"), Is.EqualTo("'~/x'"));
    }

    private string[] Pretrain(params string[] more) => ["pretrain", "--data", _data, "--preset", "digits", "--widths", "4", "4", "8", .. more];
}
