using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>
/// Every launch fits the shared memory of every GPU from compute capability 8.0 on: the emulated driver gives a block what
/// the least of them does, so that each op's tests show it, and what the largest launches ask for is computed here.
/// </summary>
[TestFixture]
internal sealed class SharedMemoryTests
{
    private static readonly CudaKernel Add = new("nn/elementwise", "add_in_place");

    [Test]
    public void The_emulated_GPU_gives_a_block_no_more_than_every_GPU_does()
    {
        Emulated.Only();
        CudaDevice cuda = TestDevice.Cuda;
        Assert.That(cuda.SharedBytesPerBlock, Is.EqualTo(LaunchShape.SharedBytesEverywhere));
        using Tensor a = Tensor.Zeros(new(4), cuda), b = Tensor.Full(new(4), 1, cuda);
        Assert.That(() => Add.Launch(cuda, new(1, 32, SharedBytes: LaunchShape.SharedBytesEverywhere + 4), a, b, 4L),
            Throws.TypeOf<CudaException>().With.Message.Contains($"{LaunchShape.SharedBytesEverywhere}"));
        Add.Launch(cuda, new(1, 32, SharedBytes: LaunchShape.SharedBytesEverywhere), a, b, 4L);
        Assert.That(a.ToArray(), Is.All.EqualTo(1));
    }

    [Test]
    public void Tiles_and_lists_fit_every_GPU()
    {
        int tile = 0, lists = 0;
        foreach (Precision precision in Enum.GetValues<Precision>())
            foreach (int rows in new[] { 1, 64, 1 << 14 })
            {
                tile = Math.Max(tile, ContrastPlan.TileOf(null, precision, rows, rows, symmetric: false).SharedBytes);
                for (int k = 1; k <= 300; k++)
                {
                    var plan = new CosineTopKOp.Cuda.Plan(new(rows, 1 << 14, 32, k) { Precision = precision });
                    lists = Math.Max(lists, plan.SharedBytes + plan.ListBytes);
                }
            }
        Assert.That(tile, Is.EqualTo(80 << 10));
        Assert.That(lists, Is.EqualTo(CosineTopKOp.Cuda.MostSharedBytes));
        Assert.That(lists, Is.EqualTo(96 << 10));
    }

    /// <summary>As docs/design/contrast-kernels.md says. A multiprocessor keeps 1 KiB of each block's shared memory for itself.</summary>
    [TestCase("8.0", 164, 2, 4, 4)]
    [TestCase("8.6 and 8.9", 100, 1, 2, 2)]
    [TestCase("9.0", 228, 2, 5, 6)]
    public void So_many_tiles_share_a_multiprocessor(string capability, int kibibytes, int large, int small, int float32)
    {
        int Blocks(Precision precision, int rows) => (kibibytes << 10) / (ContrastPlan.TileOf(null, precision, rows, rows, symmetric: false).SharedBytes + 1024);
        Assert.That(Blocks(Precision.BFloat16, 1 << 14), Is.EqualTo(large), capability);
        Assert.That(Blocks(Precision.Tf32, 1 << 14), Is.EqualTo(large), capability);
        Assert.That(Blocks(Precision.BFloat16, 64), Is.EqualTo(small), capability);
        Assert.That(Blocks(Precision.Tf32, 64), Is.EqualTo(small), capability);
        Assert.That(Blocks(Precision.Float32, 64), Is.EqualTo(float32), capability);
    }
}
