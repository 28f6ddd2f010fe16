namespace KernelContrast.Cases;

internal sealed class BatchNormCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        ulong seed = 700;
        foreach (bool training in new[] { true, false })
        {
            yield return Case("a few values", new(5, 1), training, false, false, true, seed++);
            yield return Case("rows", new(13, 5), training, false, false, true, seed++);
            yield return Case("rows, no affine", new(9, 70), training, false, false, false, seed++);
            yield return Case("rows, ReLU", new(33, 17), training, true, false, true, seed++);
            yield return Case("feature map", new(3, 3, 5, 7), training, false, false, true, seed++);
            yield return Case("feature map, residual and ReLU", new(2, 20, 3, 5), training, true, true, true, seed++);
            yield return Case("one channel, residual", new(4, 1, 9, 9), training, false, true, true, seed++);
            yield return Case("several parts and threads, ReLU", new(6, 64, 24, 25), training, true, false, true, seed++);
            yield return Case("no affine, ReLU", new(11, 20), training, true, false, false, seed++);
            yield return Case("residual without ReLU", new(2, 24, 3, 4), training, false, true, false, seed++);
            yield return Case("wide rows that end within a vector", new(5, 1031), training, true, false, true, seed++);
            yield return Case("wide rows that end within a vector, residual and ReLU", new(4, 1030), training, true, true, true, seed++);
            yield return Case("large mean", new(40, 6), training, true, false, true, seed++, shift: 10_000);
        }
        yield return new()
        {
            Op = "batch-norm",
            Name = "256×16×28×28 with ReLU",
            BenchmarkOnly = true,
            Bytes = 4L * 256 * 16 * 28 * 28 * 7,
            Inputs = [CaseInput.Normal(new(256, 16, 28, 28), 1), CaseInput.Normal(new(16), 2), CaseInput.Normal(new(16), 3)],
            Run = t => Run(t, true, true, null, true),
            Reference = _ => [],
        };
    }

    private const float Epsilon = 1e-3f;

    private static OpCase Case(string name, Shape shape, bool training, bool relu, bool residual, bool affine, ulong seed, double shift = 0)
    {
        int channels = shape[1];
        List<CaseInput> inputs = [CaseInput.Normal(shape, seed, 1.5, shift)];
        if (affine) inputs.AddRange([CaseInput.Normal(new(channels), seed + 50, 0.3, 1), CaseInput.Normal(new(channels), seed + 60)]);
        if (residual) inputs.Add(CaseInput.Normal(shape, seed + 70));
        return new()
        {
            Op = "batch-norm",
            Name = $"{name}, {(training ? "training" : "evaluation")}",
            Inputs = [.. inputs],
            Run = t => Run(t, training, relu, residual ? t[^1] : null, affine),
            Reference = x => Reference(x, shape, training, relu, residual, affine),
            ReferenceGradient = (x, cotangent) => Gradient(x, cotangent, shape, training, relu, residual, affine),
            // The same for a large mean: deviations are exact and the mean is kept in two floats.
            Forward = new(1e-5, 1e-5),
            Gradient = new(2e-5, 5e-5),
        };
    }

    private static Tensor Run(Tensor[] t, bool training, bool relu, Tensor? residual, bool affine)
    {
        int channels = t[0].Shape[1];
        Device device = t[0].Device;
        Tensor mean = Tensor.From<float>([.. Enumerable.Range(0, channels).Select(RunningMean)], new(channels), device);
        Tensor variance = Tensor.From<float>([.. Enumerable.Range(0, channels).Select(RunningVariance)], new(channels), device);
        return Functional.BatchNorm(t[0], affine ? t[1] : null, affine ? t[2] : null, mean, variance, training, 0.1f, Epsilon, relu, residual);
    }

    private static float RunningMean(int channel) => 0.1f * channel - 0.3f;

    private static float RunningVariance(int channel) => 0.5f + 0.25f * channel;

    private static (double[] Mean, double[] Inverse) Statistics(double[] x, Shape shape, bool training)
    {
        int channels = shape[1], inner = (int)(shape.Count / shape[0] / channels);
        double[] mean = new double[channels], variance = new double[channels];
        double count = x.Length / (double)channels;
        for (int i = 0; i < x.Length; i++) mean[i / inner % channels] += x[i] / count;
        for (int i = 0; i < x.Length; i++)
        {
            double d = x[i] - mean[i / inner % channels];
            variance[i / inner % channels] += d * d / count;
        }
        if (!training)
            for (int c = 0; c < channels; c++) (mean[c], variance[c]) = (RunningMean(c), RunningVariance(c));
        return (mean, [.. variance.Select(v => 1 / Math.Sqrt(v + Epsilon))]);
    }

    private static double[] Reference(double[][] x, Shape shape, bool training, bool relu, bool residual, bool affine)
    {
        int channels = shape[1], inner = (int)(shape.Count / shape[0] / channels);
        var (mean, inverse) = Statistics(x[0], shape, training);
        var y = new double[x[0].Length];
        for (int i = 0; i < y.Length; i++)
        {
            int c = i / inner % channels;
            y[i] = (x[0][i] - mean[c]) * inverse[c] * (affine ? x[1][c] : 1) + (affine ? x[2][c] : 0) + (residual ? x[^1][i] : 0);
            if (relu && y[i] < 0) y[i] = 0;
        }
        return y;
    }

    private static double[]?[] Gradient(double[][] x, double[] cotangent, Shape shape, bool training, bool relu, bool residual, bool affine)
    {
        int channels = shape[1], inner = (int)(shape.Count / shape[0] / channels);
        double count = shape.Count / (double)channels;
        var (mean, inverse) = Statistics(x[0], shape, training);
        double[] y = Reference(x, shape, training, relu, residual, affine);
        double[] g = [.. cotangent.Select((v, i) => relu && y[i] <= 0 ? 0 : v)];
        double[] sum = new double[channels], product = new double[channels];
        for (int i = 0; i < g.Length; i++)
        {
            int c = i / inner % channels;
            sum[c] += g[i];
            product[c] += g[i] * (x[0][i] - mean[c]) * inverse[c];
        }
        var gradX = new double[g.Length];
        for (int i = 0; i < g.Length; i++)
        {
            int c = i / inner % channels;
            double normalised = (x[0][i] - mean[c]) * inverse[c];
            gradX[i] = (affine ? x[1][c] : 1) * inverse[c] * (training ? g[i] - sum[c] / count - normalised * product[c] / count : g[i]);
        }
        List<double[]?> gradients = [gradX];
        if (affine) gradients.AddRange([product, sum]);
        if (residual) gradients.Add(g);
        return [.. gradients];
    }
}
