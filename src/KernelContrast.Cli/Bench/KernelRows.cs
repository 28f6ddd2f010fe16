using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Optim;

namespace KernelContrast.Cli.Bench;

/// <summary>Matrix products A Bᵀ and the cosine-similarity matrix, forward.</summary>
internal sealed class ProductRows : IKernelRows
{
    private const int Samples = 500;

    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        foreach (Precision precision in Enum.GetValues<Precision>())
            foreach (int size in tiny ? [48] : new[] { 1024, 4096 })
                yield return new("gemm", $"{size}³", KernelBench.NameOf(precision), (precision == Precision.BFloat16 ? 6L : 12L) * size * size,
                    2L * size * size * size, device => Work(device, size, size, precision, (a, b) => Product(a, b, precision), normalize: false));
        (int rows, int dim) = tiny ? (40, 24) : (4096, 128);
        foreach (Precision precision in Enum.GetValues<Precision>())
            yield return new("cosine", $"{rows} by {rows} rows of {dim}", KernelBench.NameOf(precision), 4L * rows * (rows + 2 * dim), 2L * rows * rows * dim,
                device => Work(device, rows, dim, Precision.Float32, (a, b) => Functional.CosineSimilarity(a, b, precision), normalize: true));
    }

    private static Tensor Product(Tensor a, Tensor b, Precision precision)
    {
        using Autocast numbers = Autocast.To(precision);
        return Functional.MatMul(a, b, transposeB: true);
    }

    private static KernelWork Work(Device device, int rows, int dim, Precision precision, Func<Tensor, Tensor, Tensor> op, bool normalize)
    {
        Tensor a = Input(1), b = Input(2);
        return new(() =>
        {
            using var unrecorded = new NoGrad();
            using Tensor c = op(a, b);
        }, [a, b], Error);

        Tensor Input(ulong seed)
        {
            Tensor x = Tensor.RandomNormal(new(rows, dim), seed, device);
            if (precision != Precision.BFloat16) return x;
            using (x) return x.To(DType.BFloat16);
        }

        // A few hundred elements, spread over the matrix, against their dot products in float64.
        double Error()
        {
            using var unrecorded = new NoGrad();
            using Tensor product = op(a, b);
            float[] c = Floats(product), left = Floats(a), right = Floats(b);
            var random = new PhiloxStream(seed: 5, stream: 5);
            var actual = new float[Samples];
            var expected = new double[Samples];
            for (int s = 0; s < Samples; s++)
            {
                int i = random.NextInt32(rows), j = random.NextInt32(rows);
                double dot = 0, squareA = 0, squareB = 0;
                for (int k = 0; k < dim; k++)
                {
                    double x = left[(long)i * dim + k], y = right[(long)j * dim + k];
                    (dot, squareA, squareB) = (dot + x * y, squareA + x * x, squareB + y * y);
                }
                (actual[s], expected[s]) = (c[(long)i * rows + j], normalize ? dot / Math.Sqrt(squareA * squareB) : dot);
            }
            return KernelBench.RelativeError(actual, expected);
        }
    }

    private static float[] Floats(Tensor x)
    {
        if (x.Type == DType.Float32) return x.ToArray();
        using Tensor wide = x.To(DType.Float32);
        return wide.ToArray();
    }
}

/// <summary>3×3 convolutions, forward and backward to input and weights.</summary>
internal sealed class ConvolutionRows : IKernelRows
{
    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        foreach ((int n, int c, int size, int filters, int stride) in tiny ? [(2, 3, 6, 4, 1)] : new[] { (256, 64, 32, 64, 1), (256, 128, 16, 256, 2), (256, 256, 8, 256, 1) })
            foreach (Precision precision in Enum.GetValues<Precision>())
            {
                long output = (size - 1) / stride + 1, element = precision == Precision.BFloat16 ? 2 : 4;
                long x = (long)n * c * size * size, y = n * filters * output * output, weights = 9L * c * filters;
                yield return new("conv", $"{n}×{c}×{size}×{size}, {filters} filters 3×3, stride {stride}, forward + backward", KernelBench.NameOf(precision),
                    element * 3 * (x + y) + 4 * 3 * weights, 3 * 2 * 9 * c * y, device => Work(device, new(n, c, size, size), filters, stride, precision));
            }
    }

    private static KernelWork Work(Device device, Shape shape, int filters, int stride, Precision precision)
    {
        Tensor x = Tensor.RandomNormal(shape, 1, device), weight = Tensor.RandomNormal(new(filters, shape[1], 3, 3), 2, device);
        x.RequiresGrad = weight.RequiresGrad = true;
        Tensor upstream;
        using (new NoGrad())
        using (Autocast.To(precision))
        using (Tensor y = Functional.Conv2d(x, weight, null, stride, 1))
        {
            Tensor random = Tensor.RandomNormal(y.Shape, 3, device);
            upstream = random.To(y.Type);
            if (upstream != random) random.Dispose();
        }
        return new(() =>
        {
            using var scope = new TensorScope();
            using (Autocast.To(precision)) Functional.Conv2d(x, weight, null, stride, 1).Backward(upstream);
            x.ClearGrad();
            weight.ClearGrad();
        }, [x, weight, upstream]);
    }
}

/// <summary>Both SimCLR views of a batch: uint8 in, float or bfloat16 out.</summary>
internal sealed class AugmentationRows : IKernelRows
{
    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        foreach (int size in tiny ? [12] : new[] { 32, 96 })
            foreach (DType type in new[] { DType.Float32, DType.BFloat16 })
            {
                int images = tiny ? 3 : 256;
                long pixels = 3L * images * size * size;
                yield return new("augment", $"SimCLR, {images}×3×{size}×{size}, both views", type == DType.BFloat16 ? "bf16" : "f32",
                    pixels + 2 * (type == DType.BFloat16 ? 2 : 4) * pixels, 0, device => Work(device, images, size, type));
            }
    }

    private static KernelWork Work(Device device, int images, int size, DType type)
    {
        var random = new Random(1);
        var bytes = new byte[3L * images * size * size];
        random.NextBytes(bytes);
        var data = new MemoryDataset(bytes, null, 3, size, size);
        ImageBatch batch = ImageBatch.Of(data, 0, images);
        (ViewRecipe first, ViewRecipe second) = AugmentPreset.Get("simclr");
        var pipeline = new Pipeline(first with { OutputHeight = size, OutputWidth = size }, second with { OutputHeight = size, OutputWidth = size }, seed: 1);
        return new(() =>
        {
            using Tensor views = pipeline.TwoViews(batch, epoch: 0, device, type);
        }, []);
    }
}

/// <summary>A step of each optimizer over parameters with the sizes of a ResNet-18's.</summary>
internal sealed class OptimizerRows : IKernelRows
{
    public IEnumerable<KernelRow> Rows(bool tiny)
    {
        Shape[] shapes = [.. Enumerable.Range(0, 20).SelectMany(i => new Shape[]
        {
            tiny ? new(5, 3, 3, 3) : new(64 << (i / 5), 64 << (i / 5), 3, 3), new(64 << (i / 5)), new(64 << (i / 5)),
        })];
        long count = shapes.Sum(s => s.Count);
        string sizes = $"{count:N0} parameters in {shapes.Length} tensors";
        // parameter, gradient and what is remembered read; parameter and memory written
        yield return Row("SGD with momentum", 5, p => new Sgd(p, 0.1, momentum: 0.9));
        yield return Row("AdamW", 7, p => new AdamW(p));
        yield return Row("LARS", 7, p => new Lars(p, 0.1));
        yield return new("optim", $"EMA, {sizes}", "f32", 3 * 4 * count, 0, device =>
        {
            (string, Tensor)[] targets = Tensors(device, 1), sources = Tensors(device, 2);
            var ema = new Ema(targets, sources);
            return new(ema.Update, [ema, .. targets.Concat(sources).Select(t => t.Item2)]);
        });

        KernelRow Row(string name, int passes, Func<(string, Tensor)[], Optimizer> create) => new("optim", $"{name}, {sizes}", "f32", passes * 4 * count, 0, device =>
        {
            (string, Tensor)[] parameters = Tensors(device, 1);
            foreach ((_, Tensor p) in parameters)
            {
                p.RequiresGrad = true;
                using Tensor gradient = Tensor.RandomNormal(p.Shape, 3, device);
                p.Backward(gradient);
            }
            Optimizer optimizer = create(parameters);
            return new(optimizer.Step, [optimizer, .. parameters.Select(p => p.Item2)]);
        });

        (string, Tensor)[] Tensors(Device device, ulong seed) =>
            [.. shapes.Select((s, i) => ($"tensor{i}", Tensor.RandomNormal(s, seed + (ulong)i, device)))];
    }
}
