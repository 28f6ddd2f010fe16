using System.Runtime.InteropServices;
using System.Text.Json;
using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>
/// Each PTX wrapper and warp collective of the kernels' prelude by itself, bit by bit: against a plain computation here,
/// and against what the emulated driver gave when the fixture was recorded. On a GPU this says whether the emulated twins
/// tell the truth; inputs of the products are such that every order of summation is exact.
/// </summary>
[TestFixture]
internal sealed class PtxWrapperTests
{
    /// <summary>A path: the fixture is written anew there, to be read over in review.</summary>
    private const string RecordVariable = "KERNELCONTRAST_WRITE_PTX_FIXTURE", FixtureName = "ptx-wrappers.json";
    private const int Lanes = 32;

    /// <summary>A launch of one of the kernels.</summary>
    /// <param name="Kernel">Of <c>kernels/tests/ptx_wrappers.cu</c>.</param>
    /// <param name="Output">What the output holds before the launch.</param>
    /// <param name="Inputs">Words of each input.</param>
    /// <param name="Expected">Words of the output.</param>
    /// <param name="Count">The kernel's last parameter, where it has one.</param>
    internal sealed record Wrapper(string Kernel, uint[] Output, uint[][] Inputs, uint[] Expected, int? Count = null)
    {
        public override string ToString() => Kernel;
    }

    private static IEnumerable<TestCaseData> Wrappers() => All().Select(w => new TestCaseData(w).SetArgDisplayNames(w.Kernel, TestDevice.CudaName));

    [TestCaseSource(nameof(Wrappers)), Category("PtxWrappers")]
    public void Bits_are_those_computed_here_and_those_recorded(Wrapper wrapper)
    {
        uint[] actual = Run(wrapper);
        AssertSame(actual, wrapper.Expected, "computed here");
        AssertSame(actual, Recorded()[wrapper.Kernel], "recorded");
    }

    [Test]
    public void Every_kernel_of_the_file_is_tested_and_recorded()
    {
        if (Environment.GetEnvironmentVariable(RecordVariable) is { Length: > 0 } path)
        {
            Assert.That(TestDevice.Cuda.Kind, Is.EqualTo(Interop.CudaDriverKind.Emulated));
            File.WriteAllText(path, JsonSerializer.Serialize(All().ToDictionary(w => w.Kernel, Run)) + "\n");
            Assert.Ignore($"Wrote {path}. Build and run again to compare.");
        }
        string[] kernels = [.. All().Select(w => w.Kernel)];
        Assert.That(kernels, Is.EquivalentTo(Recorded().Keys));
        string source = File.ReadAllText(Path.Combine(SourceRoot(), "kernels", "tests", "ptx_wrappers.cu"));
        Assert.That(source.Split("__global__").Length - 1, Is.EqualTo(kernels.Length));
    }

    private static Dictionary<string, uint[]> Recorded() =>
        JsonSerializer.Deserialize<Dictionary<string, uint[]>>(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Fixtures", FixtureName)))!;

    private static string SourceRoot()
    {
        DirectoryInfo? root = new(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "KernelContrast.sln"))) root = root.Parent;
        return root?.FullName ?? throw new DirectoryNotFoundException("This needs a checkout of the sources.");
    }

    private static uint[] Run(Wrapper wrapper)
    {
        using var scope = new TensorScope();
        CudaDevice cuda = TestDevice.Cuda;
        Tensor output = Words(wrapper.Output, cuda);
        KernelArgument[] arguments = [output, .. wrapper.Inputs.Select(i => (KernelArgument)Words(i, cuda))];
        if (wrapper.Count is { } count) arguments = [.. arguments, count];
        new CudaKernel("tests/ptx_wrappers", wrapper.Kernel).Launch(cuda, new(1, Lanes), arguments);
        return MemoryMarshal.Cast<int, uint>(output.ToArray<int>()).ToArray();
    }

    private static Tensor Words(uint[] words, Device device) => Tensor.From<int>(MemoryMarshal.Cast<uint, int>(words), new(words.Length), device);

    private static void AssertSame(uint[] actual, uint[] expected, string kind)
    {
        Assert.That(actual, Has.Length.EqualTo(expected.Length), kind);
        for (int i = 0; i < actual.Length; i++)
            if (actual[i] != expected[i]) Assert.Fail($"word {i} is 0x{actual[i]:x8}, {kind} 0x{expected[i]:x8}");
    }

    private static IEnumerable<Wrapper> All()
    {
        var random = new PhiloxStream(seed: 41, stream: 0);
        uint[] numbers = [.. Special, .. Enumerable.Range(0, 80).Select(_ => random.NextUInt32())];
        yield return OfNumbers("ptx_to_bf16", numbers, numbers.Length, i => ToBf16(numbers[i]));
        yield return OfNumbers("ptx_pack_bf16", numbers, numbers.Length / 2, i => ToBf16(numbers[2 * i]) | ToBf16(numbers[2 * i + 1]) << 16);
        yield return OfNumbers("ptx_to_float", numbers, numbers.Length,
            i => i % 2 == 0 ? numbers[i / 4] << 16 : numbers[i / 4] & 0xffff0000, 4);
        // The ISA does not say what becomes of subnormal numbers in TF32.
        uint[] normal = [.. numbers.Where(n => (n & 0x7f800000) != 0 || (n & 0x7fffffff) == 0)];
        yield return OfNumbers("ptx_to_tf32", normal, normal.Length, i => ToTf32(normal[i]));
        yield return LoadMatrices("ptx_ldmatrix", transposed: false, ref random);
        yield return LoadMatrices("ptx_ldmatrix_trans", transposed: true, ref random);
        yield return Multiply("ptx_mma_bf16", 16, ref random);
        yield return Multiply("ptx_mma_tf32", 8, ref random);
        yield return Fragments(ref random);
        yield return Copies(ref random);
        yield return Collectives(ref random);
    }

    /// <summary>Zeros, ties and their neighbours for both formats, the largest numbers, infinities, NaN, subnormals.</summary>
    private static readonly uint[] Special =
    [
        0, 0x80000000, 0x3f800000, 0xbf800000, 0x3f808000, 0x3f808001, 0x3f807fff, 0x3f818000, 0xbf818000, 0xbf808000, 0x3f801000,
        0x3f801001, 0x3f800fff, 0x3f803000, 0xbf801000, 0x3fffffff, 0x7f7fffff, 0xff7fffff, 0x7f7f7fff, 0x7f7f8000, 0x7f7fefff,
        0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0xff8fffff, 0x7fffffff, 1, 0x8000, 0x8001, 0x18000, 0x7fffff, 0x80000001,
    ];

    private static Wrapper OfNumbers(string kernel, uint[] numbers, int count, Func<int, uint> expected, int outputs = 1) =>
        new(kernel, new uint[count * outputs], [numbers], [.. Enumerable.Range(0, count * outputs).Select(expected)], count);

    private static uint ToBf16(uint bits) => IsNaN(bits) ? 0x7fff : Nearest(bits, 16, tieToEven: true) >> 16;

    private static uint ToTf32(uint bits) => IsNaN(bits) ? 0x7fffe000 : Nearest(bits, 13, tieToEven: false);

    private static bool IsNaN(uint bits) => float.IsNaN(BitConverter.UInt32BitsToSingle(bits));

    /// <summary>The nearer of the two numbers that end in <paramref name="zeros"/> zero bits, by their distances; infinity counts as 2^128.</summary>
    private static uint Nearest(uint bits, int zeros, bool tieToEven)
    {
        uint below = bits >> zeros << zeros, above = below + (1u << zeros);
        if (below == bits) return bits;
        double x = Size(bits), down = x - Size(below), up = Size(above) - x;
        return down < up || (down == up && tieToEven && (below >> zeros) % 2 == 0) ? below : above;

        static double Size(uint bits) => (bits & 0x7fffffff) == 0x7f800000 ? Math.Pow(2, 128) : Math.Abs((double)BitConverter.UInt32BitsToSingle(bits));
    }

    private static Wrapper LoadMatrices(string kernel, bool transposed, ref PhiloxStream random)
    {
        uint[] words = new uint[256]; // 32 rows of 16 elements
        foreach (ref uint word in words.AsSpan()) word = random.NextUInt32();
        var expected = new uint[Lanes * 12];
        for (int lane = 0; lane < Lanes; lane++)
            for (int load = 0; load < 3; load++)
                for (int m = 0; m < 4; m++)
                {
                    int half = Math.Min(load, 1), along = lane / 4, pair = lane % 4 * 2;
                    expected[12 * lane + 4 * load + m] = transposed
                        ? Element(8 * m + pair, 8 * half + along) | Element(8 * m + pair + 1, 8 * half + along) << 16
                        : Element(8 * m + along, 8 * half + pair) | Element(8 * m + along, 8 * half + pair + 1) << 16;
                }
        return new(kernel, new uint[expected.Length], [words], expected);

        uint Element(int row, int column) => words[8 * row + column / 2] >> column % 2 * 16 & 0xffff;
    }

    /// <summary>
    /// c += a·b of whole numbers, 32 rows by 32 columns over one step of the depth: in fragments as the PTX ISA draws
    /// them for m16n8k16 of .bf16 and m16n8k8 of .tf32, element i of a fragment being register i / 2 (.bf16) or i (.tf32).
    /// </summary>
    private static Wrapper Multiply(string kernel, int depth, ref PhiloxStream random)
    {
        int[,] a = Whole(32, depth, 100, ref random), b = Whole(depth, 32, 100, ref random), c = Whole(32, 32, 1000, ref random);
        int perRegister = depth / 8;
        uint[] registersA = new uint[Lanes * 8], registersB = new uint[Lanes * 8], before = new uint[Lanes * 32], after = new uint[Lanes * 32];
        for (int lane = 0; lane < Lanes; lane++)
        {
            int group = lane / 4, thread = lane % 4;
            for (int tile = 0; tile < 2; tile++)
                for (int i = 0; i < 4 * perRegister; i++)
                {
                    int row = (i / perRegister) is 0 or 2 ? group : group + 8;
                    int column = thread * perRegister + i % perRegister + (i < 2 * perRegister ? 0 : depth / 2);
                    registersA[8 * lane + 4 * tile + i / perRegister] |= Bits(a[16 * tile + row, column], i);
                }
            for (int tile = 0; tile < 4; tile++)
                for (int i = 0; i < 2 * perRegister; i++)
                {
                    int row = thread * perRegister + i % perRegister + (i < perRegister ? 0 : depth / 2);
                    registersB[8 * lane + 2 * tile + i / perRegister] |= Bits(b[row, 8 * tile + group], i);
                }
            for (int i = 0; i < 32; i++)
            {
                int m = i / 16, n = i / 4 % 4, e = i % 4;
                int row = 16 * m + (e < 2 ? group : group + 8), column = 8 * n + thread * 2 + (e & 1);
                long sum = c[row, column];
                before[32 * lane + i] = BitConverter.SingleToUInt32Bits(sum);
                for (int k = 0; k < depth; k++) sum += a[row, k] * b[k, column];
                after[32 * lane + i] = BitConverter.SingleToUInt32Bits(sum);
            }
        }
        return new(kernel, before, [registersA, registersB], after);

        // In TF32 the lower 13 bits are ones: they must not count.
        uint Bits(int value, int element)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value);
            return perRegister == 1 ? bits | 0x1fff : bits >> 16 << element % 2 * 16;
        }
    }

    /// <summary>a·b from each of its two layouts, and (a·b)·b.</summary>
    private static Wrapper Fragments(ref PhiloxStream random)
    {
        int[,] a = Whole(16, 16, 2, ref random), b = Whole(16, 16, 2, ref random), product = Product(a, b);
        int[,] aDepthRow = Transposed(a), bColumnDepth = Transposed(b);
        uint[] expected = [.. Floats(product), .. Floats(product), .. Floats(Product(product, b))];
        return new("ptx_fragment", new uint[expected.Length], [Packed(a), Packed(aDepthRow), Packed(bColumnDepth), Packed(b)], expected);

        static int[,] Product(int[,] a, int[,] b)
        {
            var c = new int[16, 16];
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 16; j++)
                    for (int k = 0; k < 16; k++) c[i, j] += a[i, k] * b[k, j];
            return c;
        }

        static int[,] Transposed(int[,] x)
        {
            var y = new int[16, 16];
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 16; j++) y[j, i] = x[i, j];
            return y;
        }

        static uint[] Floats(int[,] x) => [.. x.Cast<int>().Select(v => BitConverter.SingleToUInt32Bits(v))];

        static uint[] Packed(int[,] x) => [.. Floats(x).Chunk(2).Select(p => p[0] >> 16 | p[1] & 0xffff0000)];
    }

    private static Wrapper Copies(ref PhiloxStream random)
    {
        uint[] words = new uint[2 * Lanes * 4], present = new uint[2 * Lanes], expected = new uint[words.Length];
        foreach (ref uint word in words.AsSpan()) word = random.NextUInt32();
        for (int i = 0; i < present.Length; i++) present[i] = i < Lanes ? random.NextUInt32() % 4 == 0 ? 0u : 1u : random.NextUInt32() % 5;
        for (int i = 0; i < expected.Length; i++)
        {
            int group = i / 128, from = (i / 4 % Lanes + 1) % Lanes;
            uint here = present[Lanes * group + from];
            if (group == 0 ? here != 0 : i % 4 < here) expected[i] = words[128 * group + 4 * from + i % 4];
        }
        return new("ptx_cp_async", new uint[words.Length], [words, present], expected);
    }

    private static Wrapper Collectives(ref PhiloxStream random)
    {
        var x = new float[Lanes];
        foreach (ref float value in x.AsSpan()) value = random.NextNormal();
        float[] sums = Butterfly(Lanes), sumsOf8 = Butterfly(8);
        uint positive = (uint)Enumerable.Range(0, Lanes).Sum(i => x[i] > 0 ? 1L << i : 0);
        uint[] expected =
        [
            .. Each(i => sums[i]), .. Each(i => sumsOf8[i]), .. Each(_ => x.Max()), .. Enumerable.Repeat(positive, Lanes),
            .. Each(i => x[(5 * i + 3) % Lanes]), .. Each(i => x[i ^ 9]),
        ];
        return new("ptx_collectives", new uint[expected.Length], [[.. Each(i => x[i])]], expected);

        static IEnumerable<uint> Each(Func<int, float> value) => Enumerable.Range(0, Lanes).Select(i => BitConverter.SingleToUInt32Bits(value(i)));

        float[] Butterfly(int lanes)
        {
            float[] now = [.. x];
            for (int offset = lanes / 2; offset > 0; offset /= 2) now = [.. now.Select((v, i) => v + now[i ^ offset])];
            return now;
        }
    }

    private static int[,] Whole(int rows, int columns, int most, ref PhiloxStream random)
    {
        var x = new int[rows, columns];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < columns; j++) x[i, j] = random.NextInt32(2 * most + 1) - most;
        return x;
    }
}
