namespace KernelContrast.Nn;

/// <summary>
/// Draws the first values of parameters. Each call takes a stream of its own, in order, so a network's weights are a
/// pure function of the seed.
/// </summary>
public sealed class Initializer(ulong seed, Device? device = null)
{
    // The high byte keeps these streams apart from every other use of the same seed.
    private const ulong Domain = (ulong)'I' << 56;

    private ulong _calls;

    /// <summary>Normal with mean 0 and the given standard deviation.</summary>
    public Tensor Normal(Shape shape, double standardDeviation)
    {
        var values = new float[shape.Count];
        ulong stream = Domain | _calls++;
        for (int i = 0; i < values.Length; i += 4)
        {
            var (x, y, z, w) = Philox.Block((uint)(i >> 2), 0, (uint)stream, (uint)(stream >> 32), (uint)seed, (uint)(seed >> 32));
            Pair(values.AsSpan(i), x, y);
            if (i + 2 < values.Length) Pair(values.AsSpan(i + 2), z, w);
        }
        return Make(values, shape);

        // Box–Muller
        void Pair(Span<float> two, uint u, uint v)
        {
            double radius = Math.Sqrt(-2 * Math.Log(1.0 - Philox.ToUnit(u))) * standardDeviation;
            (double sin, double cos) = Math.SinCos(2 * Math.PI * Philox.ToUnit(v));
            two[0] = (float)(radius * cos);
            if (two.Length > 1) two[1] = (float)(radius * sin);
        }
    }

    /// <summary>Uniform in [−<paramref name="bound"/>, <paramref name="bound"/>).</summary>
    public Tensor Uniform(Shape shape, double bound)
    {
        var random = new PhiloxStream(seed, Domain | _calls++);
        var values = new float[shape.Count];
        foreach (ref float value in values.AsSpan()) value = random.NextSingle((float)-bound, (float)bound);
        return Make(values, shape);
    }

    /// <summary>One value everywhere; draws nothing.</summary>
    public Tensor Constant(Shape shape, float value)
    {
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        return Tensor.Full(shape, value, device);
    }

    // Parameters outlive the scope they are made in.
    private Tensor Make(float[] values, Shape shape)
    {
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        return Tensor.From<float>(values, shape, device);
    }
}
