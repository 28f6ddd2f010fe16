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

    [TestCase("KERNELCONTRAST_EMULATOR_ORDER", "backwards", "forward or reverse")]
    [TestCase("KERNELCONTRAST_EMULATOR_COPIES", "never", "late or early")]
    [TestCase("KERNELCONTRAST_EMULATOR_CAPABILITY", "9.9", "8.0 or 9.0")]
    [TestCase("KERNELCONTRAST_EMULATOR_THREADS", "0", "1 to 256"), TestCase("KERNELCONTRAST_EMULATOR_THREADS", "2.5", "1 to 256"), TestCase("KERNELCONTRAST_EMULATOR_THREADS", "two", "1 to 256")]
    [TestCase("KERNELCONTRAST_EMULATOR_STACK", "1000", "16384 to 1073741824"), TestCase("KERNELCONTRAST_EMULATOR_STACK", "64K", "16384 to 1073741824")]
    [TestCase("KERNELCONTRAST_EMULATOR_WATCHDOG", "-1", "seconds, or 0"), TestCase("KERNELCONTRAST_EMULATOR_WATCHDOG", "nan", "seconds, or 0")]
    [TestCase("KERNELCONTRAST_HOPPER_KERNELS", "yes", "'on', 'always' or 'off'")]
    [TestCase("KERNELCONTRAST_VENDOR_LIBRARIES", "yes", "'on' or 'off'")]
    [TestCase("KERNELCONTRAST_THREADS", "many", "1 to 1024")]
    [TestCase("KERNELCONTRAST_SIMD", "100", "128, 256 or 512")]
    public void A_wrong_value_of_an_environment_variable_is_refused_by_its_name(string variable, string value, string expected) =>
        Assert.That(Refused(variable, value, variable == "KERNELCONTRAST_SIMD" ? "cpu" : "cuda-emulated").Error, Does.StartWith($"kernelcontrast: {variable}={value}: expected").And.Contain(expected));

    /// <summary>Paths of libraries: refused with what was tried, and the variable to mend.</summary>
    [TestCase("KERNELCONTRAST_EMULATOR", "cuda-emulated"), TestCase("KERNELCONTRAST_CUDA_DRIVER", "cuda")]
    public void A_wrong_path_of_a_driver_is_refused_by_its_variable(string variable, string device) =>
        Assert.That(Refused(variable, "/nowhere/driver.so", device).Error, Does.Contain("could not load /nowhere/driver.so").And.Contain(variable));

    private static Tool Refused(string variable, string value, string device)
    {
        Tool run = Tool.RunWith([(variable, value)], "gradcheck", "--op", "relu", "--device", device);
        run.WasRefused($"{variable}={value}", variable, value);
        return run;
    }

    [TestCase("KERNELCONTRAST_EMULATOR_ORDER", ""), TestCase("KERNELCONTRAST_EMULATOR_ORDER", "reverse"), TestCase("KERNELCONTRAST_EMULATOR_WATCHDOG", "0.5")]
    [TestCase("KERNELCONTRAST_EMULATOR_THREADS", "1"), TestCase("KERNELCONTRAST_EMULATOR_STACK", "20000"), TestCase("KERNELCONTRAST_HOPPER_KERNELS", "")]
    public void A_right_value_of_an_environment_variable_is_taken(string variable, string value)
    {
        Tool run = Tool.RunWith([(variable, value)], "gradcheck", "--op", "relu", "--device", "cuda-emulated");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
    }

    [Test]
    public void Devices_says_why_the_emulated_one_cannot_be_used()
    {
        Tool run = Tool.RunWith([("KERNELCONTRAST_EMULATOR_CAPABILITY", "9.9")], "devices");
        Assert.That(run.ExitCode, Is.Zero, run.Error);
        Assert.That(run.Output, Does.Match("(?m)^cuda-emulated +no ").And.Contain("cuda-emulated: KERNELCONTRAST_EMULATOR_CAPABILITY=9.9: expected 8.0 or 9.0."));
    }
}
