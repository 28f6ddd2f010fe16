using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>The work behind the ceilings of <c>bench kernels</c>, and the clock it is timed with.</summary>
[TestFixture]
internal sealed class DeviceCeilingTests
{
    [Test]
    public void Exponentials_are_computed_and_counted()
    {
        using var ceilings = new DeviceCeilings(TestDevice.Cuda, copyBytes: 1 << 12, blocks: 2, repeats: 8);
        Assert.That(ceilings.ExponentialCount, Is.EqualTo(2 * 256 * 8));
        ceilings.Copy();
        ceilings.Launch();
        ceilings.Exponentiate();
        float[] sums = ceilings.Sums();
        for (int thread = 0; thread < sums.Length; thread++)
            Assert.That(sums[thread], Is.EqualTo(Enumerable.Range(0, 8).Sum(k => Math.Exp(-(thread % 64 + k) / 64.0))).Within(1e-5), $"thread {thread}");
    }

    [Test]
    public void Wrong_sizes_and_devices_are_refused()
    {
        Assert.That(() => new DeviceCeilings(Device.Cpu, 4, 1, 4), Throws.ArgumentException.With.Message.Contains("cpu"));
        Assert.That(() => new DeviceCeilings(TestDevice.Cuda, 4, 1, 6), Throws.ArgumentException.With.Message.Contains("6"));
    }

    [Test]
    public void A_timer_tells_long_work_from_short([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        Device device = Device.Parse(name);
        using var timer = new DeviceTimer(device);
        using Tensor small = Tensor.Full(new(8), 1, device), large = Tensor.Full(new(1 << 22), 1, device);
        double Of(Tensor x) => Enumerable.Range(0, 5).Min(_ => timer.Milliseconds(() =>
        {
            using Tensor y = Functional.Gelu(x);
        }));
        Assert.That(Of(small), Is.GreaterThan(0).And.LessThan(Of(large)));
    }

    [Test]
    public void A_peak_of_memory_counts_from_its_reset([ValueSource(typeof(TestDevice), nameof(TestDevice.Names))] string name)
    {
        Device device = Device.Parse(name);
        using (Tensor first = Tensor.Full(new(1 << 20), 1, device)) { }
        device.ResetPeakMemory();
        long live = device.Memory.LiveBytes;
        Assert.That(device.Memory.PeakLiveBytes, Is.EqualTo(live));
        using (Tensor second = Tensor.Full(new(1000), 1, device)) { }
        Assert.That(device.Memory.PeakLiveBytes - live, Is.InRange(4000, 4600));
    }
}
