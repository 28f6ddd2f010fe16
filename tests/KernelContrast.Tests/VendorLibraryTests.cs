using KernelContrast.Cases;
using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>
/// NVIDIA's libraries in the place of our kernels. On the emulated driver small libraries of our own stand in for them
/// (<c>bindings/emulator/vendor</c>): they compute on its memory and refuse what they are not called rightly for. On a GPU
/// the same tests run on NVIDIA's, where they are found.
/// </summary>
[TestFixture]
internal sealed class VendorLibraryTests
{
    private static IEnumerable<OpCase> Products() => CaseRunner.AllCases.Where(c => c is { BenchmarkOnly: false, Op: "matmul" or "linear" });

    [TestCaseSource(nameof(Products))]
    public void A_product_by_cuBLASLt_matches_the_double_reference(OpCase test)
    {
        using var on = new VendorLibraries();
        long before = on.Products.Count;
        Assert.That(CaseRunner.Compare(test, TestDevice.Cuda).Problem, Is.Null);
        if (test.CheckGradient) Assert.That(CaseRunner.CheckGradient(test, TestDevice.Cuda).Problem, Is.Null);
        Assert.That(on.Products.Count, test.Inputs[0].Shape.Count > 0 ? Is.GreaterThanOrEqualTo(before + 2) : Is.EqualTo(before));
    }

    private static IEnumerable<OpCase> Convolutions() => CaseRunner.AllCases.Where(c => c is { BenchmarkOnly: false, Op: "conv2d" });

    /// <summary>A bias and a bfloat16 convolution's weight gradient, which is float32, are left to our kernels.</summary>
    [TestCaseSource(nameof(Convolutions))]
    public void A_convolution_by_cuDNN_matches_the_double_reference(OpCase test)
    {
        using var on = new VendorLibraries();
        bool bias = test.Inputs.Length > 2, half = test.Precision == Precision.BFloat16, empty = test.Inputs[0].Shape.Count == 0;
        long before = on.Convolutions.Count;
        Assert.That(CaseRunner.Compare(test, TestDevice.Cuda).Problem, Is.Null);
        Assert.That(on.Convolutions.Count - before, Is.EqualTo(bias || empty ? 0 : 1));
        before = on.Convolutions.Count;
        Assert.That(CaseRunner.CheckGradient(test, TestDevice.Cuda).Problem, Is.Null);
        if (TestDevice.IsEmulated) Assert.That(on.Convolutions.Count - before, Is.EqualTo((bias || empty ? 0 : 1) + (half || empty ? 0 : 2)));
    }

    [Test]
    public void Each_run_of_a_convolution_gives_the_same_bits()
    {
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        Tensor x = Tensor.RandomNormal(new(3, 8, 9, 9), 1, TestDevice.Cuda), w = Tensor.RandomNormal(new(8, 8, 3, 3), 2, TestDevice.Cuda), upstream = Tensor.RandomNormal(new(3, 8, 9, 9), 3, TestDevice.Cuda);
        x.RequiresGrad = w.RequiresGrad = true;
        float[][] first = Gradients();
        for (int run = 0; run < 3; run++)
        {
            float[][] again = Gradients();
            for (int i = 0; i < 2; i++) Assert.That(again[i].AsSpan().SequenceEqual(first[i]), $"gradient {i}, run {run}");
        }

        float[][] Gradients()
        {
            x.ClearGrad();
            w.ClearGrad();
            Functional.Conv2d(x, w, padding: 1).Backward(upstream);
            return [x.Grad!.ToArray(), w.Grad!.ToArray()];
        }
    }

    [Test]
    public unsafe void Convolutions_that_do_not_fit_are_refused()
    {
        Emulated.Only();
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        CudaDevice cuda = TestDevice.Cuda;
        cuda.Pool.Exact = true; // else what lies behind an array is memory too
        Tensor x = Tensor.Full(new(2, 3, 5, 5), 1, cuda), w = Tensor.Full(new(4, 3, 3, 3), 1, cuda), y = Tensor.Empty(new(2, 4, 3, 3), cuda), workspace = Tensor.Empty(new(72), cuda);
        cuda.Pool.Exact = false;
        Call();
        Assert.That(y.ToArray(), Is.All.EqualTo(27));
        Refused("channels", () => Call(channels: 4));
        Refused("y is 2x4x4x3", () => Call(outHeight: 4));
        Refused("different types", () => Call(typeOfFilter: Cudnn.BFloat16));
        Refused("data type 2", () => Call(typeOfFilter: 2));
        Refused("stride less than 1", () => Call(stride: 0));
        Refused("algorithm 7", () => Call(algorithm: 7));
        Refused("the algorithm needs", () => Call(workspaceBytes: 16));
        Refused("not aligned", () => Call(shift: 4));
        Refused("leaves an allocation", () => Call(shift: 16));
        Refused("overlaps x", () => Call(result: x));
        Refused("overlaps", () => Call(scratch: x));
        Assert.That(Cudnn.IsNotSupported(9) && Cudnn.IsNotSupported(3000) && !Cudnn.IsNotSupported(2000));

        void Refused(string why, Action call) => Assert.That(call, Throws.TypeOf<VendorException>().With.Message.Contains(why));

        void Call(int channels = 3, int outHeight = 3, int typeOfFilter = Cudnn.Float32, int stride = 1, int algorithm = 1, int workspaceBytes = 288, int shift = 0, Tensor? result = null,
            Tensor? scratch = null)
        {
            using CudnnObject handle = CudnnObject.Handle(cuda.Stream), xDesc = CudnnObject.Tensor(Cudnn.Float32, 2, 3, 5, 5), wDesc = CudnnObject.Filter(typeOfFilter, 4, channels, 3, 3),
                yDesc = CudnnObject.Tensor(Cudnn.Float32, 2, 4, outHeight, 3), conv = CudnnObject.Convolution(0, stride, Cudnn.FmaMath);
            float one = 1, zero = 0;
            Cudnn.Check(Cudnn.cudnnConvolutionForward(handle.DangerousGetHandle(), &one, xDesc.DangerousGetHandle(), (ulong)x.Pointer + (ulong)shift, wDesc.DangerousGetHandle(), (ulong)w.Pointer,
                conv.DangerousGetHandle(), algorithm, (ulong)(scratch ?? workspace).Pointer, (nuint)workspaceBytes, &zero, yDesc.DangerousGetHandle(), (ulong)(result ?? y).Pointer));
        }
    }

    [Test]
    public void It_is_off_on_the_emulated_driver_until_asked_for()
    {
        Emulated.Only();
        Assert.That(TestDevice.Cuda.UsesVendorLibraries, Is.False);
        Assert.That(TestDevice.Cuda.Products, Is.Null);
        Assert.That(TestDevice.Cuda.VendorLibraries, Does.Contain("off"));
        using var on = new VendorLibraries();
        Assert.That(TestDevice.Cuda.VendorLibraries, Does.Contain("cuBLASLt").And.Contain(VendorLibrary.CublasLt.Path).And.Contain("cuDNN 9.0.0"));
    }

    /// <summary>More than the depth from which the library for tests splits sums, in an order of its own if it may.</summary>
    [Test]
    public void Each_run_gives_the_same_bits([Values] bool half)
    {
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        Tensor a = Tensor.RandomNormal(new(20, 700), 1, TestDevice.Cuda), b = Tensor.RandomNormal(new(700, 30), 2, TestDevice.Cuda);
        if (half) (a, b) = (a.To(DType.BFloat16), b.To(DType.BFloat16));
        byte[] first = Bytes(Functional.MatMul(a, b));
        for (int i = 0; i < 3; i++) Assert.That(Bytes(Functional.MatMul(a, b)), Is.EqualTo(first));

        static byte[] Bytes(Tensor x) => System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>(x.To(DType.Float32).ToArray()).ToArray();
    }

    [Test]
    public void A_product_allocates_nothing()
    {
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        Tensor a = Tensor.RandomNormal(new(8, 300), 1, TestDevice.Cuda), b = Tensor.RandomNormal(new(300, 8), 2, TestDevice.Cuda), c = Tensor.Empty(new(8, 8), TestDevice.Cuda);
        Tensor bias = Tensor.RandomNormal(new(8), 3, TestDevice.Cuda);
        for (int i = 0; i < 3; i++) Gemm.RunCuda(c, a, false, b, false, 300, Precision.Float32, bias);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Gemm.RunCuda(c, a, false, b, false, 300, Precision.Float32, bias);
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
    }

    /// <summary>The algorithm must be one for the alignment there is: the library for tests refuses what was not promised.</summary>
    [Test]
    public void Rows_that_begin_anywhere_are_multiplied()
    {
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        Tensor a = Tensor.RandomNormal(new(9, 5), 1, TestDevice.Cuda), b = Tensor.RandomNormal(new(5, 3), 2, TestDevice.Cuda), c = Tensor.Empty(new(3, 3), TestDevice.Cuda);
        float[] all = Functional.MatMul(a, b).ToArray();
        foreach (int row in new[] { 0, 1, 2, 4 })
        {
            nint first = a.Pointer + 4 * 5 * row;
            int alignment = CublasLtProducts.Product.AlignmentOf(first, b.Pointer, c.Pointer, 0);
            Assert.That(alignment, Is.EqualTo(row == 0 ? 256 : 4 * row));
            Assert.That(on.Products.TryMultiply(new(3, 3, 5, false, false, DType.Float32, DType.Float32, false, false, false, alignment), c.Pointer, first, b.Pointer, 0));
            Assert.That(c.ToArray(), Is.EqualTo(all[(row * 3)..((row + 3) * 3)]).Within(1e-5));
        }
    }

    [Test]
    public unsafe void Calls_that_do_not_fit_are_refused()
    {
        Emulated.Only();
        using var on = new VendorLibraries();
        using var scope = new TensorScope();
        TestDevice.Cuda.Pool.Exact = true; // else what lies behind an array is memory too
        Tensor a = Tensor.Full(new(4, 6), 1, TestDevice.Cuda), b = Tensor.Full(new(6, 5), 1, TestDevice.Cuda), c = Tensor.Empty(new(4, 5), TestDevice.Cuda);
        TestDevice.Cuda.Pool.Exact = false;
        // c = a·b by columns: D [5, 4] = B' [5, 6] · A' [6, 4]
        Call(new()); // as it should be
        Assert.That(c.ToArray(), Is.All.EqualTo(6));
        Refused("leading dimension", new() { LeadingOfFirst = 4 });
        Refused("op(B)", new() { TransposeSecond = 1 });
        Refused("transposition 3", new() { TransposeSecond = 3 });
        Refused("epilogue 32", new() { Epilogue = 32 });
        Refused("no address", new() { Epilogue = CublasLt.EpilogueBias });
        Refused("different types", new() { TypeOfSecond = CublasLt.RealBf16 });
        Refused("data type 2", new() { TypeOfSecond = 2 });
        Refused("compute type 64", new() { Compute = 64 });
        Refused("not aligned", new() { Shift = 4 });
        Refused("leaves an allocation", new() { Shift = 4, Promised = 4 });
        Refused("overlaps", new() { ResultInPlaceOfFirst = true });
        Refused("no algorithm", new() { WithoutAlgorithm = true });
        Refused("unknown stream", new() { Stream = 77 });
        Refused("an epilogue has 4 bytes", new() { EpilogueBytes = 8 });

        void Refused(string why, Mistake mistake) => Assert.That(() => Call(mistake), Throws.TypeOf<VendorException>().With.Message.Contains(why));

        void Call(Mistake m)
        {
            using CublasLtObject handle = CublasLtObject.Handle(), desc = CublasLtObject.MatmulDesc(m.Compute), preference = CublasLtObject.Preference();
            using CublasLtObject first = CublasLtObject.MatrixLayout(CublasLt.Real32, 5, 6, m.LeadingOfFirst), second = CublasLtObject.MatrixLayout(m.TypeOfSecond, 6, 4, 6),
                result = CublasLtObject.MatrixLayout(CublasLt.Real32, 5, 4, 5);
            nint d = desc.DangerousGetHandle(), l1 = first.DangerousGetHandle(), l2 = second.DangerousGetHandle(), l3 = result.DangerousGetHandle(), h = handle.DangerousGetHandle();
            int transposed = m.TransposeSecond;
            ulong epilogue = m.Epilogue;
            CublasLt.Check(CublasLt.cublasLtMatmulDescSetAttribute(d, CublasLt.DescTransB, &transposed, sizeof(int)));
            CublasLt.Check(CublasLt.cublasLtMatmulDescSetAttribute(d, CublasLt.DescEpilogue, &epilogue, (nuint)m.EpilogueBytes));
            uint promised = m.Promised;
            for (int i = 0; i < 4; i++) CublasLt.Check(CublasLt.cublasLtMatmulPreferenceSetAttribute(preference.DangerousGetHandle(), CublasLt.PreferenceAlignmentOfA + i, &promised, sizeof(uint)));
            CublasLtHeuristicResult choice;
            CublasLt.Check(CublasLt.cublasLtMatmulAlgoGetHeuristic(h, d, l1, l2, l3, l3, preference.DangerousGetHandle(), 1, &choice, out _));
            float one = 1, zero = 0;
            ulong to = (ulong)(m.ResultInPlaceOfFirst ? b : c).Pointer;
            CublasLt.Check(CublasLt.cublasLtMatmul(h, d, &one, (ulong)b.Pointer + (ulong)m.Shift, l1, (ulong)a.Pointer, l2, &zero, to, l3, to, l3,
                m.WithoutAlgorithm ? null : &choice.Algorithm, 0, 0, m.Stream ?? TestDevice.Cuda.Stream));
        }
    }

    private readonly record struct Mistake()
    {
        public int LeadingOfFirst { get; init; } = 5;
        public int TransposeSecond { get; init; }
        public uint Epilogue { get; init; } = CublasLt.EpilogueDefault;
        public int EpilogueBytes { get; init; } = 4;
        public int TypeOfSecond { get; init; } = CublasLt.Real32;
        public int Compute { get; init; } = CublasLt.Compute32;
        public int Shift { get; init; }
        public uint Promised { get; init; } = 16;
        public bool ResultInPlaceOfFirst { get; init; }
        public bool WithoutAlgorithm { get; init; }
        public nint? Stream { get; init; }
    }
}

/// <summary>Leaves products to NVIDIA's libraries until disposed; on the emulated driver, to the small ones built beside it.</summary>
internal sealed class VendorLibraries : IDisposable
{
    private readonly bool _before = TestDevice.Cuda.UsesVendorLibraries;

    internal VendorLibraries()
    {
        if (TestDevice.IsEmulated)
        {
            Environment.SetEnvironmentVariable(VendorLibrary.CublasLt.Variable, Beside("libkernelcontrast_cublaslt.so"));
            Environment.SetEnvironmentVariable(VendorLibrary.Cudnn.Variable, Beside("libkernelcontrast_cudnn.so"));
        }
        TestDevice.Cuda.UsesVendorLibraries = true;
        if (!TestDevice.IsEmulated && (TestDevice.Cuda.Products is null || TestDevice.Cuda.Convolutions is null)) Assert.Ignore(TestDevice.Cuda.VendorLibraries);
    }

    internal CublasLtProducts Products => TestDevice.Cuda.Products ?? throw new InvalidOperationException(TestDevice.Cuda.VendorLibraries);

    internal CudnnConvolutions Convolutions => TestDevice.Cuda.Convolutions ?? throw new InvalidOperationException(TestDevice.Cuda.VendorLibraries);

    public void Dispose() => TestDevice.Cuda.UsesVendorLibraries = _before;

    private static string Beside(string file) => Path.Combine(Path.GetDirectoryName(CudaLibrary.Path)!, file);
}
