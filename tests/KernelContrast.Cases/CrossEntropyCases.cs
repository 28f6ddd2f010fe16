namespace KernelContrast.Cases;

internal sealed class CrossEntropyCases : ICaseSource
{
    public IEnumerable<OpCase> Cases()
    {
        yield return Case("one class", 3, 1, 1);
        yield return Case("ten classes", 5, 10, 2);
        yield return Case("whole vectors and a tail", 9, 69, 3);
        yield return Case("several threads", 350, 101, 4);
        yield return Case("logits of ±10³", 7, 12, 5, scale: 1e3);
        yield return new()
        {
            Op = "cross-entropy",
            Name = "NaN logit",
            Inputs = [CaseInput.Of(new(2, 2), 1, double.NaN, 0, 1), CaseInput.Labels(2, 2, 6)],
            Run = t => Functional.CrossEntropy(t[0], t[1]),
            Reference = _ => [double.NaN],
            CheckGradient = false,
        };
    }

    private static OpCase Case(string name, int rows, int classes, ulong seed, double scale = 1) => new()
    {
        Op = "cross-entropy",
        Name = name,
        Inputs = [CaseInput.Normal(new(rows, classes), seed, scale), CaseInput.Labels(rows, classes, seed)],
        Run = t => Functional.CrossEntropy(t[0], t[1]),
        Reference = x =>
        {
            double sum = 0;
            for (int row = 0; row < rows; row++)
            {
                double[] logits = x[0][(row * classes)..((row + 1) * classes)];
                double max = logits.Max();
                sum += max + Math.Log(logits.Sum(v => Math.Exp(v - max))) - logits[(int)x[1][row]];
            }
            return [sum / rows];
        },
        ReferenceGradient = (x, g) =>
        {
            var gradient = new double[rows * classes];
            for (int row = 0; row < rows; row++)
            {
                double[] logits = x[0][(row * classes)..((row + 1) * classes)];
                double max = logits.Max(), sum = logits.Sum(v => Math.Exp(v - max));
                for (int k = 0; k < classes; k++)
                    gradient[row * classes + k] = (Math.Exp(logits[k] - max) / sum - (k == (int)x[1][row] ? 1 : 0)) * g[0] / rows;
            }
            return [gradient, null];
        },
        // the log-sum-exp is a float: e^(x − lse) is off by its rounding, times the logits' size
        Forward = new(1e-6 * Math.Max(1, scale / 10), 0),
        Gradient = new(1e-5 * Math.Max(1, scale / 10), 1e-6 * Math.Max(1, scale / 10)),
    };
}
