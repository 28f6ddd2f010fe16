namespace KernelContrast.Cases;

/// <summary>An input of a case: its shape and values, which are exact in float32.</summary>
public sealed class CaseInput
{
    public required Shape Shape { get; init; }

    public required double[] Values { get; init; }

    public DType Type { get; init; } = DType.Float32;

    /// <summary>Whether its gradient is asked for and checked.</summary>
    public bool Differentiable { get; init; } = true;

    /// <summary>Standard normal values times <paramref name="scale"/> plus <paramref name="shift"/>.</summary>
    public static CaseInput Normal(Shape shape, ulong seed, double scale = 1, double shift = 0)
    {
        var random = new PhiloxStream(seed, 77);
        return new() { Shape = shape, Values = Fill(shape, () => (float)(random.NextNormal() * scale + shift)) };
    }

    /// <summary>Values of either sign at least <paramref name="gap"/> from zero, so that a kink there is never crossed.</summary>
    public static CaseInput AwayFromZero(Shape shape, ulong seed, double gap = 0.05)
    {
        var random = new PhiloxStream(seed, 78);
        return new()
        {
            Shape = shape,
            Values = Fill(shape, () =>
            {
                float x = random.NextNormal();
                return x + (x < 0 ? -(float)gap : (float)gap);
            }),
        };
    }

    /// <summary>All values different, at least <paramref name="gap"/> apart, in random order: for maxima.</summary>
    public static CaseInput Distinct(Shape shape, ulong seed, double gap = 0.01)
    {
        var random = new PhiloxStream(seed, 79);
        var values = new double[shape.Count];
        for (int i = 0; i < values.Length; i++) values[i] = (float)((i - values.Length / 2) * gap);
        for (int i = values.Length - 1; i > 0; i--)
        {
            int j = random.NextInt32(i + 1);
            (values[i], values[j]) = (values[j], values[i]);
        }
        return new() { Shape = shape, Values = values };
    }

    /// <summary>Whole numbers in [0, bound).</summary>
    public static CaseInput Labels(int count, int bound, ulong seed)
    {
        var random = new PhiloxStream(seed, 80);
        return new() { Shape = new(count), Values = Fill(new(count), () => random.NextInt32(bound)), Type = DType.Int32, Differentiable = false };
    }

    /// <summary>Given values, rounded to float32.</summary>
    public static CaseInput Of(Shape shape, params double[] values) =>
        new() { Shape = shape, Values = [.. values.Select(v => (double)(float)v)] };

    internal Tensor ToTensor(Device device)
    {
        Tensor tensor = Type switch
        {
            DType.Float32 => Tensor.From<float>(Array.ConvertAll(Values, v => (float)v), Shape, device),
            DType.Int32 => Tensor.From<int>(Array.ConvertAll(Values, v => (int)v), Shape, device),
            _ => Tensor.From<byte>(Array.ConvertAll(Values, v => (byte)v), Shape, device),
        };
        tensor.RequiresGrad = Differentiable && Type == DType.Float32;
        return tensor;
    }

    private static double[] Fill(Shape shape, Func<double> next)
    {
        var values = new double[shape.Count];
        for (int i = 0; i < values.Length; i++) values[i] = next();
        return values;
    }
}
