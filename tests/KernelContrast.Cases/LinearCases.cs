namespace KernelContrast.Cases;

internal sealed class LinearCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one element", 1, 1, 1, true, 1);
        yield return Case("ragged", 5, 7, 19, true, 2);
        yield return Case("no bias", 5, 7, 19, false, 3);
        yield return Case("ten classes", 33, 64, 10, true, 4);
        yield return Case("more rows than a run of the bias's sum", 301, 3, 21, true, 5);
        yield return Case("several blocks of the inner size", 3, 801, 37, true, 6);
        yield return Case("no rows", 0, 4, 3, true, 7);
        yield return Case("ReLU", 5, 7, 19, true, 8, relu: true);
        yield return Case("ReLU, no bias", 9, 12, 40, false, 9, relu: true);
        yield return Case("ReLU, more than a tile", 70, 24, 72, true, 10, relu: true);
        yield return Case("ReLU, several blocks of the inner size", 3, 801, 37, true, 11, relu: true);
    }

    private static OpCase Case(string name, int rows, int inputs, int outputs, bool bias, ulong seed, bool relu = false) => new()
    {
        Op = "linear",
        Name = name,
        Inputs =
        [
            CaseInput.Normal(new(rows, inputs), seed),
            CaseInput.Normal(new(outputs, inputs), seed + 100),
            .. bias ? new[] { CaseInput.Normal(new(outputs), seed + 200) } : [],
        ],
        Run = t => Functional.Linear(t[0], t[1], bias ? t[2] : null, relu),
        Reference = x => Reference(x, rows, inputs, outputs, bias, relu),
        ReferenceGradient = (x, gradY) =>
        {
            if (relu)
            {
                double[] y = Reference(x, rows, inputs, outputs, bias, relu);
                gradY = [.. gradY.Select((g, i) => y[i] > 0 ? g : 0)];
            }
            var gradBias = new double[outputs];
            for (int i = 0; i < gradY.Length; i++) gradBias[i % outputs] += gradY[i];
            double[] gradX = MatMulCases.Product(gradY, x[1], rows, inputs, outputs);
            double[] gradWeight = MatMulCases.Product(MatMulCases.Transposed(gradY, rows, outputs, true), x[0], outputs, inputs, rows);
            return bias ? [gradX, gradWeight, gradBias] : [gradX, gradWeight];
        },
    };

    private static double[] Reference(double[][] x, int rows, int inputs, int outputs, bool bias, bool relu)
    {
        double[] y = MatMulCases.Product(x[0], MatMulCases.Transposed(x[1], outputs, inputs, true), rows, outputs, inputs);
        for (int i = 0; i < y.Length; i++)
        {
            if (bias) y[i] += x[2][i % outputs];
            if (relu) y[i] = Math.Max(y[i], 0);
        }
        return y;
    }
}
