namespace KernelContrast.Cases;

internal sealed class DropoutCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("keeps all", new(3, 7), 0);
        yield return Case("ragged tail", new(5, 7), 0.5f);
        yield return Case("several threads", new(37, 211), 0.1f);
        yield return Case("drops nearly all", new(101), 0.99f);
    }

    private static OpCase Case(string name, Shape shape, float p)
    {
        double[] Mask(double[] x)
        {
            var random = new PhiloxStream(11, 12);
            double[] y = new double[x.Length];
            for (int i = 0; i < y.Length; i++) y[i] = random.NextSingle() >= p ? x[i] / (1 - p) : 0;
            return y;
        }
        return new()
        {
            Op = "dropout",
            Name = name,
            Inputs = [CaseInput.Normal(shape, 1)],
            Run = t => Functional.Dropout(t[0], p, 11, 12),
            Reference = x => Mask(x[0]),
            ReferenceGradient = (_, g) => [Mask(g)],
            Forward = new(3e-7, 0),
            Gradient = new(3e-7, 0),
        };
    }
}
