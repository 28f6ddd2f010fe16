using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>
/// Products by wgmma of every size and direction of operands the prelude has, in the accumulators' places, against sums of
/// whole numbers, which every order gives exactly.
/// </summary>
[TestFixture]
internal sealed class WgmmaTests
{
    private const int Lanes = 128, Rows = 64, Depth = 64;

    /// <summary>Depth first (m) or lines first (k), of either operand; the first may be in registers (r). "set": what the accumulators held is lost.</summary>
    [Test, Category("PtxWrappers")]
    public void Products_are_those_computed_here([Values(8, 64, 128)] int columns, [Values("kk", "km", "mk", "mm", "rk", "rm", "kk_set", "rm_set")] string directions, [Values] bool isChecked)
    {
        if (!TestDevice.IsEmulated && (isChecked || TestDevice.Cuda.ComputeCapability != (9, 0))) Assert.Ignore("wgmma needs a GPU of compute capability 9.0.");
        foreach (string order in TestDevice.IsEmulated ? Emulated.Orders : [""])
        {
            using IDisposable? setting = TestDevice.IsEmulated ? Emulated.InOrder(order) : null;
            using IDisposable? mode = isChecked ? Emulated.Checked() : null;
            var random = new PhiloxStream(seed: 43, stream: (ulong)columns);
            int[,] a = Whole(Rows, ref random), b = Whole(columns, ref random), c = new int[Rows, columns];
            uint[] before = new uint[Rows * columns], expected = new uint[Rows * columns];
            for (int i = 0; i < before.Length; i++)
            {
                // As the PTX ISA draws the accumulators of m64nNk16: number i of thread t.
                int thread = i / (columns / 2), element = i % (columns / 2);
                int row = thread / 32 * 16 + thread % 32 / 4 + element / 2 % 2 * 8, column = element / 4 * 8 + thread % 4 * 2 + element % 2;
                c[row, column] = random.NextInt32(2001) - 1000;
                before[i] = BitConverter.SingleToUInt32Bits(c[row, column]);
                if (directions.EndsWith("set", StringComparison.Ordinal)) (before[i], c[row, column]) = (BitConverter.SingleToUInt32Bits(float.NaN), 0);
                for (int k = 0; k < Depth; k++) c[row, column] += a[row, k] * b[column, k];
                expected[i] = BitConverter.SingleToUInt32Bits(c[row, column]);
            }

            using var scope = new TensorScope();
            CudaDevice cuda = TestDevice.Cuda;
            Tensor output = Words(before, cuda);
            new CudaKernel("tests/wgmma_wrappers", $"wgmma_n{columns}_{directions}").Launch(cuda, new(1, Lanes), output,
                Words(Packed(a, directions[0] == 'm'), cuda), Words(Packed(b, directions[1] == 'm'), cuda));
            Assert.That(MemoryMarshal.Cast<int, uint>(output.ToArray<int>()).ToArray(), Is.EqualTo(expected), order);
        }
    }

    [Test, Category("PtxWrappers")]
    public void The_approximate_power_of_two_is_that_of_double_precision()
    {
        if (!TestDevice.IsEmulated && TestDevice.Cuda.ComputeCapability != (9, 0)) Assert.Ignore("Kernels for compute capability 9.0 are here alone.");
        using var scope = new TensorScope();
        var random = new PhiloxStream(seed: 47, stream: 0);
        float[] x = [0, 1, -1, 127.5f, 128, -126, -127, -150, -1000, float.NegativeInfinity, float.PositiveInfinity, float.NaN, .. Enumerable.Range(0, Lanes - 12).Select(_ => 20 * random.NextNormal())];
        Tensor y = Tensor.Zeros(new(Lanes), TestDevice.Cuda);
        new CudaKernel("tests/wgmma_wrappers", "exp2_approximate").Launch(TestDevice.Cuda, new(1, Lanes), y, Tensor.From<float>(x, new(Lanes), TestDevice.Cuda));
        foreach ((float at, float actual) in x.Zip(y.ToArray()))
        {
            double expected = at < -126 ? 0 : (float)Math.Pow(2, at);
            Assert.That(actual, double.IsFinite(expected) ? Is.EqualTo(expected).Within(expected / (1 << 21)) : Is.EqualTo(expected), $"2^{at}");
        }
    }

    private static Tensor Words(uint[] words, Device device) => Tensor.From<int>(MemoryMarshal.Cast<uint, int>(words), new(words.Length), device);

    private static int[,] Whole(int lines, ref PhiloxStream random)
    {
        var x = new int[lines, Depth];
        for (int i = 0; i < lines; i++)
            for (int k = 0; k < Depth; k++) x[i, k] = random.NextInt32(201) - 100;
        return x;
    }

    /// <summary>Two bfloat16 a word, the first in the lower half.</summary>
    private static uint[] Packed(int[,] x, bool depthFirst)
    {
        int lines = x.GetLength(0);
        IEnumerable<int> numbers = depthFirst ? from k in Enumerable.Range(0, Depth) from i in Enumerable.Range(0, lines) select x[i, k] : x.Cast<int>();
        return [.. numbers.Select(v => BitConverter.SingleToUInt32Bits(v)).Chunk(2).Select(p => p[0] >> 16 | p[1] & 0xffff0000)];
    }
}
