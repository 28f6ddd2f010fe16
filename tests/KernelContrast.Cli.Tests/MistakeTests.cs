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

    /// <summary>What a user has to change is an option, so its name is in the message.</summary>
    [Test]
    public void The_option_that_is_wrong_is_named()
    {
        string[] pretrain = ["pretrain", "--data", _data, "--out", _folder["x"], "--batch-size", "8"];
        Tool.Refuses([.. pretrain, "--image-size", "0"], "--image-size is 0, expected 1 to 8192");
        Tool.Refuses([.. pretrain, "--checkpoint-steps", "-1"], "--checkpoint-steps:", "not -1");
        Tool.Refuses([.. pretrain, "--micro-batch", "9"], "--micro-batch:", "8 images");
        Tool.Refuses([.. pretrain, "--epochs", "0"], "--epochs:", "not 0");
        Tool.Refuses([.. pretrain, "--epochs", "2", "--warmup-epochs", "3"], "--warmup-epochs:", "all 2 epochs");
        Tool.Refuses([.. pretrain, "--epochs", "0", "--temperature", "0"], "temperature");
        // before any image is read
        Tool.Refuses(["demo", "--data", _folder["no digits"], "--epochs", "0", "--out", _folder["y"]], "--epochs is 0, expected 1 to 1000000");
        Tool.Refuses(["pretrain", "--data", _data, "--resume", _run, "--images", "30"], "began with other images", "--images");

        string labels = _folder["five.npy"], queue = _folder["queue.npy"];
        NpyFile.Write(labels, new int[5], new Shape(5));
        NpyFile.Write(queue, new float[12], new Shape(3, 4));
        Tool.Refuses(["loss", "supcon", "--embeddings", _embeddings, "--labels", labels], $"{labels}: expected 8 labels, one per row of {_embeddings}, found 5");
        Tool.Refuses(["loss", "clip", "--embeddings", _embeddings, "--keys", _embeddings, "--labels", labels], $"{labels}: expected 8 labels");
        Tool.Refuses(["loss", "moco", "--embeddings", _embeddings, "--keys", _embeddings, "--queue", queue, "--labels", labels], $"{labels}: expected 11 labels");
    }

    [Test]
    public void Images_of_unequal_size_ask_for_the_option_that_resizes_them()
    {
        string images = _folder["unequal"];
        Directory.CreateDirectory(images);
        foreach (int size in new[] { 8, 9 })
        {
            using var bitmap = new SkiaSharp.SKBitmap(size, size);
            using SkiaSharp.SKData png = bitmap.Encode(SkiaSharp.SKEncodedImageFormat.Png, 100);
            File.WriteAllBytes(Path.Combine(images, $"{size}.png"), png.ToArray());
        }
        Tool.Refuses(["augment", "--data", images, "--out", _folder["v.png"]], "found 9×9", "--image-size");
        Assert.That(Tool.Run("augment", "--data", images, "--image-size", "8", "--out", _folder["v.png"]).ExitCode, Is.Zero);
    }

    [Test]
    public void One_thing_is_no_plural()
    {
        Tool one = Tool.Run("augment", "--data", _data, "--count", "1", "--out", _folder["one.png"]), two = Tool.Run("augment", "--data", _data, "--count", "2", "--out", _folder["two.png"]);
        Assert.That(one.Output, Does.EndWith("one.png: 1 image.\n"));
        Assert.That(two.Output, Does.EndWith("two.png: 2 images.\n"));
        Tool.Refuses(["pretrain", "--data", _data, "--images", "1", "--out", _folder["x"], "--batch-size", "2"], "data set of 1 image.");
    }

    [Test]
    public void A_directory_in_place_of_a_file_is_called_one()
    {
        string directory = _folder["d.npy"];
        Directory.CreateDirectory(directory);
        Tool.Refuses(["loss", "nt-xent", "--embeddings", directory], $"{directory}: this is a directory. --embeddings expects a .npy or .safetensors file");
        Tool.Refuses(["loss", "supcon", "--embeddings", _embeddings, "--labels", directory], $"{directory}: this is a directory. --labels expects");
        Tool.Refuses(["plot", "--embeddings", _embeddings, "--labels", directory, "--method", "pca"], $"{directory}: this is a directory. --labels expects a .npy file");
        Tool.Refuses(["pretrain", "--config", directory], $"{directory}: this is a directory. --config expects");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _folder["none.npy"]], "none.npy: there is no such file. --embeddings expects");
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
    public void A_comma_is_no_decimal_sign()
    {
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--temperature", "0,5"], "--temperature is '0,5', expected a number, whose decimal sign is a point");
        Tool.Refuses(["loss", "siglip", "--embeddings", _embeddings, "--bias=-10,5"], "decimal sign");
        Tool.Refuses(["pretrain", "--data", _data, "--out", _folder["comma"], "--lr", "0,004"], "decimal sign");
        Tool.Refuses(["bench", "loss", "--seconds", "0,1"], "decimal sign");
    }

    [Test]
    public void A_warm_up_longer_than_the_run_is_refused() =>
        Tool.Refuses(["pretrain", "--data", _data, "--out", _folder["warm"], "--epochs", "1", "--batch-size", "20", "--warmup-epochs", "99"], "warm-up lasts");

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
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--gradients", nowhere + ".safetensors"], "does not exist");
    }

    [Test]
    public void Outputs_do_not_overwrite_inputs_or_each_other()
    {
        string e = _folder["in.safetensors"], link = _folder["link.npy"];
        Safetensors.Write(e, [KeyValuePair.Create("embeddings", Tensor.RandomNormal(new(8, 4), 1))]);
        File.CreateSymbolicLink(link, _embeddings);
        byte[] before = File.ReadAllBytes(_embeddings);
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--reduction", "none", "--losses", _embeddings], "--losses", "--embeddings");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", _embeddings, "--reduction", "none", "--losses", link], "--losses", "--embeddings");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", e, "--gradients", e], "--gradients", "--embeddings");
        Tool.Refuses(["loss", "nt-xent", "--embeddings", e, "--gradients", _folder["g.npy"]], ".safetensors");
        Tool.Refuses(["embed", _run, "--data", _data, "--out", _folder["two.npy"], "--labels", _folder["two.npy"]], "--labels", "--out");
        Tool.Refuses(["embed", _run, "--data", _data, "--out", Path.Combine(_run, Checkpoint.FileName)], "--out", "RUN");
        Assert.That(File.ReadAllBytes(_embeddings), Is.EqualTo(before));
    }

    [TestCase("config", "null")]
    [TestCase("encoder", "null")]
    [TestCase("blocks", "null")]
    [TestCase("widths", "[65536,65536,65536]")]
    [TestCase("inputChannels", "2147483647")]
    [TestCase("seconds", "\"NaN\"")]
    public void A_checkpoint_with_impossible_metadata_names_its_file(string key, string value)
    {
        string hostile = _folder["hostile.safetensors"];
        using var reader = new SafetensorsReader(Path.Combine(_run, Checkpoint.FileName));
        var state = System.Text.Json.Nodes.JsonNode.Parse(reader.Metadata["kernelcontrast"])!;
        System.Text.Json.Nodes.JsonNode at = key is "config" or "seconds" ? state : key == "encoder" ? state["config"]! : state["config"]!["encoder"]!;
        Assert.That(at.AsObject().ContainsKey(key));
        at[key] = System.Text.Json.Nodes.JsonNode.Parse(value);
        Safetensors.Write(hostile, reader.Entries.Select(e => KeyValuePair.Create(e.Name, reader.Read(e.Name))), new Dictionary<string, string> { ["kernelcontrast"] = state.ToJsonString() });
        Tool.Refuses(["embed", hostile, "--data", _data, "--out", _folder["h.npy"]], hostile);
    }

    [TestCase("widths", "[8192,8192,8192]", "encoder", TestName = "A checkpoint that asks for gigabytes of encoder")]
    [TestCase("blocks", "[1000,1000,1000]", "encoder", TestName = "A checkpoint that asks for thousands of layers")]
    [TestCase("headHidden", "32768", "head", TestName = "A checkpoint that asks for a wide head")]
    public void A_checkpoint_makes_no_larger_network_than_it_holds(string key, string value, string what)
    {
        string hostile = _folder["large.safetensors"];
        using var reader = new SafetensorsReader(Path.Combine(_run, Checkpoint.FileName));
        var state = System.Text.Json.Nodes.JsonNode.Parse(reader.Metadata["kernelcontrast"])!;
        System.Text.Json.Nodes.JsonNode config = state["config"]!, at = key == "headHidden" ? config : config["encoder"]!;
        Assert.That(at.AsObject().ContainsKey(key));
        at[key] = System.Text.Json.Nodes.JsonNode.Parse(value);
        Safetensors.Write(hostile, reader.Entries.Select(e => KeyValuePair.Create(e.Name, reader.Read(e.Name))), new Dictionary<string, string> { ["kernelcontrast"] = state.ToJsonString() });
        Tool.Refuses(["embed", hostile, "--data", _data, "--out", _folder["l.npy"]], hostile, $"the weights of the {what}", "are fewer");
    }

    [Test]
    public void Numbers_that_are_not_finite_are_found_where_the_file_has_them()
    {
        float[] values = Tensor.RandomNormal(new(100, 5), 1).ToArray();
        values[3 * 5 + 4] = float.NaN;
        NpyFile.Write(_folder["nan.npy"], values, new Shape(100, 5));
        Tool.Refuses(["plot", "--embeddings", _folder["nan.npy"], "--method", "pca", "--out", _folder["n.png"]], "nan.npy: row 3, column 4 is NaN, expected");
    }

    [Test]
    public void A_run_goes_on_with_the_images_it_began_with_wherever_it_lies_now()
    {
        string began = _folder["began"], moved = _folder["moved"];
        Tool run = Tool.Run([.. Pretrain("--out", began), "--batch-size", "10", "--epochs", "1", "--images", "30"]);
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Directory.Move(began, moved);
        foreach (string[] more in new string[][] { [], ["--config", Path.Combine(moved, "run.json")] })
        {
            run = Tool.Run(["pretrain", "--data", _data, "--resume", moved, .. more]);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
            Assert.That(run.Output, Does.Contain("30 images"));
        }
        Tool.Refuses(["pretrain", "--data", _data, "--resume", moved, "--images", "20"], "30 images", "20 images");
    }

    /// <summary>Earlier versions wrote 0 where no size was given.</summary>
    [Test]
    public void A_run_of_an_earlier_version_whose_image_size_is_0_goes_on()
    {
        string began = _folder["earlier"], options = Path.Combine(began, "run.json");
        Assert.That(Tool.Run([.. Pretrain("--out", began), "--batch-size", "10", "--epochs", "1", "--images", "30"]).ExitCode, Is.Zero);
        string written = File.ReadAllText(options), earlier = written.Replace("\"image-size\": null", "\"image-size\": 0", StringComparison.Ordinal);
        Assert.That(earlier, Is.Not.EqualTo(written));
        File.WriteAllText(options, earlier);
        foreach (string[] more in new string[][] { [], ["--config", options] })
        {
            Tool run = Tool.Run(["pretrain", "--data", _data, "--resume", began, .. more]);
            Assert.That(run.ExitCode, Is.Zero, run.Error);
        }
        File.WriteAllText(options, written.Replace("\"image-size\": null", "\"image-size\": -1", StringComparison.Ordinal));
        Tool.Refuses(["pretrain", "--data", _data, "--resume", began], "--image-size is -1, expected 1 to 8192");
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
