using System.Security.Cryptography;
using System.Text;
using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>The CUDA device and its launches.</summary>
[TestFixture]
internal sealed class CudaDeviceTests
{
    private static readonly CudaKernel Add = new("nn/elementwise", "add_in_place");

    private static CudaDevice Cuda => TestDevice.Cuda;

    [TestCase("cpu"), TestCase("cuda-emulated")]
    public void A_timer_takes_the_time_of_the_work_alone(string name)
    {
        using var timer = new DeviceTimer(Device.Parse(name));
        double wait = timer.Milliseconds(() => Thread.Sleep(60)), nothing = Enumerable.Range(0, 5).Min(_ => timer.Milliseconds(() => { }, cold: true));
        Assert.That(wait, Is.GreaterThanOrEqualTo(59));
        Assert.That(nothing, Is.GreaterThanOrEqualTo(0).And.LessThan(20), "overwriting the caches does not count");
    }

    [Test]
    public void Events_that_cannot_be_timed_are_errors()
    {
        _ = Cuda;
        using var never = new CudaEventHandle();
        using var once = new CudaEventHandle();
        CudaException.Check(CudaDriver.cuEventRecord(once.DangerousGetHandle(), Cuda.Stream));
        Assert.That(CudaDriver.cuEventElapsedTime(out _, never.DangerousGetHandle(), once.DangerousGetHandle()), Is.Not.Zero);
        Assert.That(CudaDriver.cuEventRecord(12345, Cuda.Stream), Is.Not.Zero);
        Assert.That(CudaDriver.cuEventElapsedTime(out float same, once.DangerousGetHandle(), once.DangerousGetHandle()), Is.Zero);
        Assert.That(same, Is.Zero);
    }

    [Test]
    public void A_name_gives_its_device_and_the_same_each_time()
    {
        Assert.That(Device.Parse("cpu"), Is.SameAs(Device.Cpu));
        Assert.That(Device.Parse(TestDevice.CudaName), Is.SameAs(Cuda));
        Assert.That(Cuda.Name, Is.EqualTo(TestDevice.CudaName));
        Assert.That(Cuda.Kind, Is.EqualTo(TestDevice.IsEmulated ? CudaDriverKind.Emulated : CudaDriverKind.Nvidia));
    }

    [TestCase("gpu"), TestCase(""), TestCase("cuda:"), TestCase("cuda:-1"), TestCase("cuda:x"), TestCase("CPU")]
    public void An_unknown_name_lists_the_known_ones(string name) =>
        Assert.That(() => Device.Parse(name), Throws.ArgumentException.With.Message.Contains("cuda-emulated"));

    [Test]
    public void A_process_keeps_to_one_driver()
    {
        Emulated.Only();
        _ = Cuda;
        Assert.That(() => Device.Parse("cuda"), Throws.InvalidOperationException.With.Message.Contains("emulated"));
        Assert.That(CudaLibrary.Kind, Is.EqualTo(CudaDriverKind.Emulated));
    }

    [Test]
    public void Sending_neither_waits_nor_keeps_the_source()
    {
        long before = Cuda.Waits;
        byte[] source = new byte[2 * CudaStaging.MostSlotBytes + 77];
        new Random(1).NextBytes(source);
        byte[] expected = [.. source];
        using Tensor first = Tensor.Empty(new(source.Length), Cuda, DType.UInt8), second = Tensor.Empty(new(5), Cuda, DType.UInt8);
        Cuda.Upload(first.Buffer, source);
        Array.Clear(source);
        for (byte i = 0; i < 40; i++) Cuda.Upload(second.Buffer, [i, i], offset: 3); // more than there are slots
        Assert.That(Cuda.Waits, Is.EqualTo(before));
        Assert.That(first.ToArray<byte>().AsSpan().SequenceEqual(expected));
        Assert.That(second.ToArray<byte>()[3..], Is.EqualTo(new byte[] { 39, 39 }));
    }

    [Test]
    public void A_missing_driver_names_every_path_tried_and_the_way_out()
    {
        Environment.SetEnvironmentVariable(CudaLibrary.DriverVariable, "/nowhere/libcuda.so.1");
        try
        {
            Assert.That(CudaLibrary.CountDevices(CudaDriverKind.Nvidia, out string reason), Is.Zero);
            Assert.That(reason, Does.Contain("/nowhere/libcuda.so.1").And.Contain("driver").And.Contain("cpu"));
            DeviceDescription cuda = Device.Available().Single(d => d.Name == "cuda");
            Assert.That(cuda.Problem, Is.EqualTo(reason));
        }
        finally { Environment.SetEnvironmentVariable(CudaLibrary.DriverVariable, null); }
    }

    [Test]
    public void Devices_are_listed_with_what_they_are()
    {
        IReadOnlyList<DeviceDescription> devices = Device.Available();
        Assert.That(devices[0].Name, Is.EqualTo("cpu"));
        Assert.That(devices[0].Problem, Is.Null);
        Assert.That(devices.Single(d => d.Name == "cuda-emulated").Problem, Is.Null);
        Assert.That(devices.Select(d => d.Description), Has.None.Empty);
    }

    [Test]
    public void Values_come_back_as_they_went()
    {
        float[] values = [.. Enumerable.Range(0, 2 * 3 * 4 * 5).Select(i => i * 0.5f)];
        using Tensor images = Tensor.From<float>(values, new(2, 3, 4, 5), Cuda);
        Assert.That(images.ToArray(), Is.EqualTo(values));
        using Tensor onCpu = images.To(Device.Cpu);
        Assert.That(onCpu.ToArray(), Is.EqualTo(values));
        using Tensor clone = images.Clone();
        Assert.That(clone.ToArray(), Is.EqualTo(values));
        using Tensor target = Tensor.Zeros(new(2, 3, 4, 5), Cuda);
        Assert.That(target.ToArray(), Is.All.Zero);
        target.CopyFrom(onCpu);
        Assert.That(target.ToArray(), Is.EqualTo(values));
        using Tensor full = Tensor.Full(new(7), 2.5f, Cuda);
        Assert.That(full.ToArray(), Is.All.EqualTo(2.5f));
        using Tensor empty = Tensor.Zeros(new(0, 3), Cuda);
        Assert.That(empty.ToArray(), Is.Empty);
        using Tensor labels = Tensor.From<int>([1, -2, 3], new(3), Cuda);
        Assert.That(labels.ToArray<int>(), Is.EqualTo(new[] { 1, -2, 3 }));
    }

    [Test]
    public void Memory_is_reused_and_accounted_for()
    {
        Cuda.ReleaseUnusedMemory();
        long live = Cuda.Memory.LiveBytes;
        nint first;
        using (Tensor a = Tensor.Zeros(new(1000), Cuda))
        {
            first = a.Pointer;
            Assert.That((long)first % 256, Is.Zero);
            Assert.That(Cuda.Memory.LiveBytes - live, Is.InRange(4000, 4500));
        }
        Assert.That(Cuda.Memory.LiveBytes, Is.EqualTo(live));
        Assert.That(Cuda.Memory.PooledBytes, Is.GreaterThanOrEqualTo(4000));
        using (Tensor b = Tensor.Zeros(new(999), Cuda)) Assert.That(b.Pointer, Is.EqualTo(first));
        Cuda.ReleaseUnusedMemory();
        Assert.That(Cuda.Memory.PooledBytes, Is.Zero);
        Assert.That(Cuda.Memory.PeakLiveBytes, Is.GreaterThanOrEqualTo(4000));
    }

    [Test]
    public void Emulated_modules_were_built_from_the_kernels_as_they_are()
    {
        Emulated.Only();
        _ = Cuda;
        DirectoryInfo? root = new(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "KernelContrast.sln"))) root = root.Parent;
        Assert.That(root, Is.Not.Null, "the tests run in a checkout");
        string kernels = Path.Combine(root!.FullName, "kernels");
        string prelude = string.Concat(Directory.GetFiles(Path.Combine(kernels, "common"), "*.cuh").Order(StringComparer.Ordinal).Select(HashOf));
        foreach (string source in Directory.GetFiles(kernels, "*.cu", SearchOption.AllDirectories))
        {
            string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.ASCII.GetBytes(HashOf(source) + prelude)));
            string name = Path.GetRelativePath(kernels, source)[..^3].Replace(Path.DirectorySeparatorChar, '.');
            foreach (string module in new[] { name + ".so", name + ".checked.so" })
            {
                string path = Path.Combine(CudaLibrary.EmulatedKernelFolder, module);
                Assert.That(File.Exists(path) && File.ReadAllBytes(path).AsSpan().IndexOf(Encoding.ASCII.GetBytes("sources-sha256:" + hash)) >= 0,
                    $"{path} is missing or out of date. Build it: cmake -S . -B build/emulator && cmake --build build/emulator");
            }
        }

        static string HashOf(string file) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(file)));
    }

    [Test]
    public void A_launch_allocates_nothing()
    {
        CudaDevice cuda = Cuda; // looking the name up allocates
        using Tensor sum = Tensor.Zeros(new(100), Cuda), term = Tensor.Full(new(100), 1, Cuda);
        for (int i = 0; i < 50; i++) AddInPlaceOp.On(cuda).AddInPlace(sum, term);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 50; i++) AddInPlaceOp.On(cuda).AddInPlace(sum, term);
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.That(allocated, Is.Zero);
        Assert.That(sum.ToArray(), Is.All.EqualTo(100));
    }

    [Test]
    public void Arguments_of_the_wrong_size_or_number_are_refused_before_the_launch()
    {
        using Tensor a = Tensor.Zeros(new(4), Cuda), b = Tensor.Zeros(new(4), Cuda);
        Assert.That(() => Add.Launch(Cuda, new(1, 32), a, b, 4),
            Throws.ArgumentException.With.Message.Contains("add_in_place").And.Message.Contains("parameter 2").And.Message.Contains("8 bytes"));
        Assert.That(() => Add.Launch(Cuda, new(1, 32), a, b), Throws.ArgumentException.With.Message.Contains("3 parameters"));
        Assert.That(() => Add.Launch(Cuda, new(1, 32), a, b, 4L, 0), Throws.ArgumentException.With.Message.Contains("3 parameters"));
    }

    [Test]
    public void An_unknown_kernel_or_module_is_named()
    {
        using Tensor a = Tensor.Zeros(new(4), Cuda);
        Assert.That(() => new CudaKernel("nn/elementwise", "no_such_kernel").Launch(Cuda, new(1, 32), a),
            Throws.TypeOf<CudaException>().With.Message.Contains("no_such_kernel").And.Message.Contains("CUDA_ERROR_NOT_FOUND"));
        Assert.That(() => new CudaKernel("nn/no_such_file", "kernel").Launch(Cuda, new(1, 32), a),
            Throws.TypeOf<FileNotFoundException>().With.Message.Contains("nn/no_such_file").And.Message.Contains("cmake"));
    }

    [Test]
    public void A_launch_the_device_cannot_run_is_refused_and_the_device_goes_on()
    {
        Emulated.Only();
        using Tensor a = Tensor.Zeros(new(4), Cuda), b = Tensor.Full(new(4), 1, Cuda);
        Assert.That(() => Add.Launch(Cuda, new(1, 32, SharedBytes: 1 << 20), a, b, 4L),
            Throws.TypeOf<CudaException>().With.Message.Contains("shared memory"));
        Assert.That(() => Add.Launch(Cuda, new(1, 512), a, b, 4L), Throws.TypeOf<CudaException>().With.Message.Contains("256"));
        Assert.That(() => Cuda.CopyFromHost(a.Buffer, new byte[1 << 20]), Throws.TypeOf<CudaException>().With.Message.Contains("1048576 bytes"));
        Add.Launch(Cuda, new(1, 32), a, b, 4L);
        Assert.That(a.ToArray(), Is.All.EqualTo(1));
    }

    [Test]
    public void An_op_without_kernels_here_says_so()
    {
        using Tensor x = Tensor.Zeros(new(4), Cuda);
        Assert.That(() => CpuOnlyOp.On(x.Device), Throws.TypeOf<NotSupportedException>()
            .With.Message.Contains("CpuOnly runs on cpu only as yet").And.Message.Contains(TestDevice.CudaName));
    }

    [Test]
    public void Several_threads_may_launch_while_memory_is_collected()
    {
        Parallel.For(0, 4, worker =>
        {
            using Tensor sum = Tensor.Zeros(new(1000), Cuda);
            for (int i = 0; i < 100; i++)
            {
                using Tensor term = Tensor.Full(new(1000), worker, Cuda);
                AddInPlaceOp.On(Cuda).AddInPlace(sum, term);
                if (i % 25 == 0) GC.Collect();
            }
            Assert.That(sum.ToArray(), Is.All.EqualTo(100f * worker));
        });
    }

    [Test]
    public void Gradients_add_up_on_the_device()
    {
        using Tensor x = Tensor.Full(new(5), 1, Cuda);
        x.RequiresGrad = true;
        using Tensor upstream = Tensor.Full(new(5), 3, Cuda);
        x.Backward(upstream);
        x.Backward(upstream);
        Assert.That(x.Grad!.Device, Is.SameAs(Cuda));
        Assert.That(x.Grad.ToArray(), Is.All.EqualTo(6));
    }

    private static class CpuOnlyOp
    {
        internal abstract class Kernels;

        internal sealed class Cpu : Kernels;

        internal static Kernels On(Device device) => device.Pick<Kernels, Cpu>();
    }
}
