namespace KernelContrast.Cases;

internal sealed class Conv2dCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        ulong seed = 100;
        // images, channels, height, width, filters, kernel height, kernel width, stride, padding, bias
        yield return Case("one pixel", 1, 1, 1, 1, 1, 1, 1, 1, 0, true, seed++);
        yield return Case("1×1", 2, 7, 3, 4, 5, 1, 1, 1, 0, true, seed++);
        yield return Case("1×1, stride 2", 2, 3, 5, 4, 20, 1, 1, 2, 0, false, seed++);
        yield return Case("3×3, one channel", 2, 1, 6, 7, 16, 3, 3, 1, 1, true, seed++);
        yield return Case("3×3, one channel, stride 2", 3, 1, 7, 6, 4, 3, 3, 2, 1, false, seed++);
        yield return Case("3×3, odd channels", 2, 3, 5, 6, 7, 3, 3, 1, 1, true, seed++);
        yield return Case("3×3, more than two vectors", 1, 16, 4, 5, 37, 3, 3, 1, 1, false, seed++);
        yield return Case("3×3, stride 2, more than two vectors", 2, 20, 6, 5, 33, 3, 3, 2, 1, true, seed++);
        yield return Case("5×5, padding 2", 1, 2, 6, 7, 3, 5, 5, 1, 2, false, seed++);
        yield return Case("3×5, stride 3, no padding", 2, 2, 8, 9, 3, 3, 5, 3, 0, true, seed++);
        yield return Case("7×7, stride 2, padding 3", 1, 3, 11, 10, 6, 7, 7, 2, 3, false, seed++);
        yield return Case("padding beyond the kernel's reach", 1, 2, 3, 3, 2, 1, 1, 1, 1, true, seed++);
        yield return Case("kernel as large as the input", 3, 2, 4, 4, 5, 4, 4, 1, 0, true, seed++);
        yield return Case("several images per group and part", 19, 2, 4, 4, 8, 3, 3, 1, 1, false, seed++);
        // Channels beside the vector widths.
        foreach (int channels in new[] { 1, 3, 7, 16, 20 })
            foreach (int filters in new[] { 1, 3, 7, 16, 20, 33 })
                yield return Case($"3×3, {channels} to {filters} channels", 2, channels, 5, 6, filters, 3, 3, 1, 1, filters % 2 == 1, seed++);
        // Every width of an image up to more than one tile: two rows at once, odd rows left over, odd tiles.
        foreach (int width in new[] { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 28, 29, 32 })
            yield return Case($"3×3, {width} wide", 1, 2, 1 + width % 4, width, 3, 3, 3, 1, 1, false, seed++);
        // Kernels, strides and paddings, also those where pixels or taps remain unused.
        foreach (int kernel in new[] { 1, 2, 3, 5 })
            foreach (int stride in new[] { 1, 2, 3 })
                foreach (int padding in new[] { 0, 1, 2 })
                    yield return Case($"{kernel}×{kernel}, stride {stride}, padding {padding}", 2, 3, 7, 8, 5, kernel, kernel, stride, padding, true, seed++);
        yield return Case("the stride skips the last pixels", 1, 2, 8, 9, 3, 3, 3, 2, 0, true, seed++);
        yield return Case("a stride larger than the image", 1, 2, 3, 3, 3, 2, 2, 5, 0, true, seed++);
        yield return Case("more padding than kernel", 1, 2, 3, 4, 3, 1, 1, 2, 3, true, seed++);
        yield return Case("1×1 as a matrix product", 3, 19, 5, 4, 37, 1, 1, 1, 0, true, seed++);
        yield return Case("1×1, whole vectors of channels, stride 2", 2, 16, 6, 6, 32, 1, 1, 2, 0, false, seed++);
        yield return Case("3×3, whole vectors of channels, stride 2", 2, 16, 6, 6, 32, 3, 3, 2, 1, false, seed++);
        yield return Case("3×3, whole vectors of channels, no padding", 2, 16, 6, 6, 32, 3, 3, 1, 0, false, seed++);
        yield return Case("bands of a large image", 1, 5, 61, 300, 2, 3, 3, 1, 1, true, seed++);
        yield return Case("bands of a large image, stride 2", 1, 5, 61, 300, 2, 3, 3, 2, 1, true, seed++);
        // Sums of the weight gradient too large for a share of the images each: shared by channels, with and without a copy.
        yield return Case("many channels", 3, 96, 3, 2, 100, 3, 3, 1, 1, true, seed++);
        yield return Case("many channels, 1×1", 3, 288, 2, 3, 300, 1, 1, 1, 0, false, seed++);
        yield return Case("many channels, bands of rows", 1, 288, 16, 15, 300, 1, 1, 1, 1, false, seed++);
        // One channel into whole vectors: the weight gradient's product the other way around, filter rows by twos and alone.
        yield return Case("one channel to whole vectors", 5, 1, 7, 6, 32, 3, 3, 1, 1, true, seed++);
        yield return Case("three channels to whole vectors, 7×7, stride 2", 3, 3, 9, 10, 64, 7, 7, 2, 3, false, seed++);
        yield return Case("no images", 0, 2, 4, 4, 3, 3, 3, 1, 1, true, seed++);
    }

    internal static OpCase Case(string name, int n, int c, int h, int w, int k, int r, int s, int stride, int padding, bool bias, ulong seed)
    {
        var g = new Sizes(n, c, h, w, k, r, s, stride, padding);
        CaseInput[] inputs = [CaseInput.Normal(new(n, c, h, w), seed), CaseInput.Normal(new(k, c, r, s), seed + 1000, 0.3)];
        if (bias) inputs = [.. inputs, CaseInput.Normal(new(k), seed + 2000)];
        return new()
        {
            Op = "conv2d",
            Name = name,
            Inputs = inputs,
            Run = t => Functional.Conv2d(t[0], t[1], bias ? t[2] : null, stride, padding),
            Reference = x => Reference(x[0], x[1], bias ? x[2] : null, g),
            ReferenceGradient = (x, cotangent) => Gradient(x[0], x[1], cotangent, g, bias),
            Gradient = new(1e-5, 1e-5),
        };
    }

    private readonly record struct Sizes(int N, int C, int H, int W, int K, int R, int S, int Stride, int Padding)
    {
        internal int OutH => (H + 2 * Padding - R) / Stride + 1;
        internal int OutW => (W + 2 * Padding - S) / Stride + 1;
    }

    /// <summary>Calls visit(index into x, into w, into y) for every product of the definition.</summary>
    private static void Visit(Sizes g, Action<int, int, int> visit)
    {
        for (int n = 0; n < g.N; n++)
            for (int k = 0; k < g.K; k++)
                for (int i = 0; i < g.OutH; i++)
                    for (int j = 0; j < g.OutW; j++)
                        for (int c = 0; c < g.C; c++)
                            for (int r = 0; r < g.R; r++)
                                for (int s = 0; s < g.S; s++)
                                {
                                    int y = i * g.Stride + r - g.Padding, x = j * g.Stride + s - g.Padding;
                                    if (y < 0 || y >= g.H || x < 0 || x >= g.W) continue;
                                    visit(((n * g.C + c) * g.H + y) * g.W + x, ((k * g.C + c) * g.R + r) * g.S + s, ((n * g.K + k) * g.OutH + i) * g.OutW + j);
                                }
    }

    private static double[] Reference(double[] x, double[] w, double[]? bias, Sizes g)
    {
        var y = new double[g.N * g.K * g.OutH * g.OutW];
        if (bias is not null)
            for (int i = 0; i < y.Length; i++) y[i] = bias[i / (g.OutH * g.OutW) % g.K];
        Visit(g, (xi, wi, yi) => y[yi] += x[xi] * w[wi]);
        return y;
    }

    private static double[]?[] Gradient(double[] x, double[] w, double[] cotangent, Sizes g, bool bias)
    {
        double[] gradX = new double[x.Length], gradW = new double[w.Length], gradBias = new double[g.K];
        Visit(g, (xi, wi, yi) =>
        {
            gradX[xi] += cotangent[yi] * w[wi];
            gradW[wi] += cotangent[yi] * x[xi];
        });
        for (int i = 0; i < cotangent.Length; i++) gradBias[i / (g.OutH * g.OutW) % g.K] += cotangent[i];
        return bias ? [gradX, gradW, gradBias] : [gradX, gradW];
    }
}
