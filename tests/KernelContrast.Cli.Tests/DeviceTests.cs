using System.Text.Json;

namespace KernelContrast.Cli.Tests;

[TestFixture]
internal sealed class DeviceTests
{
    [Test]
    public void Devices_has_the_cpu()
    {
        Tool run = Tool.Run("devices");
        Assert.That(run.ExitCode, Is.Zero);
        Assert.That(run.Output, Does.Match("(?m)^cpu +yes +").And.Match("(?m)^cuda-emulated +(yes|no) +"));
    }

    [Test]
    public void Devices_as_json_is_one_object_a_line()
    {
        string[] names = [.. Tool.Run("devices", "--json").Output.TrimEnd().Split('\n')
            .Select(line => JsonDocument.Parse(line).RootElement.GetProperty("device").GetString()!)];
        Assert.That(names, Does.Contain("cpu"));
    }

    [Test]
    public void Gradcheck_of_one_op_holds()
    {
        Tool run = Tool.Run("gradcheck", "--op", "relu");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        string[] lines = run.Output.TrimEnd().Split('\n');
        Assert.That(lines[0], Does.Match(@"^op +cases +worst ratio +ok$"));
        Assert.That(lines[1], Does.Match(@"^relu +\d+ +0\.\d+ +yes$"));
        Assert.That(lines[2], Does.Match(@"^All \d+ cases hold on cpu\.$"));
    }

    [Test]
    public void Gradcheck_lists_the_known_ops() => Tool.Refuses(["gradcheck", "--op", "rleu"], "rleu", "relu");

    [Test]
    public void An_unknown_device_is_refused_with_the_known_ones() => Tool.Refuses(["gradcheck", "--op", "relu", "--device", "tpu"], "tpu", "cpu", "cuda-emulated");

    [Test]
    public void Cuda_without_a_driver_says_what_is_missing_and_how_to_get_it() =>
        Tool.RunWith([("KERNELCONTRAST_CUDA_DRIVER", "/nowhere/libcuda.so.1")], "gradcheck", "--op", "relu", "--device", "cuda")
            .WasRefused("cuda without a driver", "/nowhere/libcuda.so.1", "Install the driver", "cuda-emulated");

    [TestCase("0"), TestCase("-3"), TestCase("many")]
    public void A_wrong_number_of_threads_is_refused(string threads) => Tool.Refuses(["gradcheck", "--op", "relu", "--threads", threads], "--threads");
}
