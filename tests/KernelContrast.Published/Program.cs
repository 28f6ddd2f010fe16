using KernelContrast;
using KernelContrast.Devices;
using KernelContrast.Interop;
using KernelContrast.Losses;

// What a published program must still find: kernel sources, images built ahead, NVRTC, the driver's library. Prints a line for
// each; ends with 1 when something is not as it should be.
int failures = 0;

Say("kernel sources", KernelSources.Modules.Count > 30 && KernelSources.Headers.Count > 10, $"{KernelSources.Modules.Count} files and {KernelSources.Headers.Count} headers");

// The first argument is a kernel file of which a folder 'kernels' beside the program has an image.
if (args is [string module, ..])
{
    byte[] image = KernelImage.ForGpu(module, (8, 0), driverMajor: 13, [Path.Combine(AppContext.BaseDirectory, "kernels")], new KernelCache(null));
    Say("image built ahead", image.AsSpan().StartsWith("built ahead"u8), module);
}

try
{
    NvrtcLibrary.Use();
    byte[] image = KernelImage.ForGpu("nn/softmax", (8, 0), driverMajor: 13, [], new KernelCache(null));
    Say("NVRTC", image.AsSpan().StartsWith("\u007fELF"u8), $"{NvrtcLibrary.Path}, a cubin of {image.Length} bytes");
}
catch (CudaNotFoundException e)
{
    Console.WriteLine($"NVRTC: skipped. {e.Message}");
}

Say("cpu", Loss(Device.Cpu) is > 1 and < 5, $"{Loss(Device.Cpu):F6}");
if (Environment.GetEnvironmentVariable(CudaLibrary.EmulatorVariable) is { Length: > 0 })
{
    double difference = Math.Abs(Loss(Device.Parse("cuda-emulated")) - Loss(Device.Cpu));
    Say("cuda-emulated", difference < 1e-5, $"differs from cpu by {difference:G2}");
}
return failures == 0 ? 0 : 1;

void Say(string what, bool right, string detail)
{
    Console.WriteLine($"{what}: {(right ? "ok" : "WRONG")}, {detail}");
    if (!right) failures++;
}

static double Loss(Device device)
{
    using var scope = new TensorScope();
    Tensor x = Tensor.RandomNormal(new(16, 12), seed: 1, device), weight = Tensor.RandomNormal(new(8, 12), seed: 2, device);
    weight.RequiresGrad = true;
    Tensor loss = NtXent.Loss(Functional.Relu(Functional.Linear(x, weight)), temperature: 0.5f);
    loss.Backward();
    return loss.Item() + weight.Grad!.ToArray().Sum(g => g * g);
}
