namespace KernelContrast.Cases;

/// <summary>
/// The optimizers' kernels: inputs are (parameter, gradient, what is remembered …), the output is the parameter, or the
/// buffer, after the step. They change their arguments by design, so each case works on copies.
/// </summary>
internal sealed class OptimizerStepCases : ICaseSource
{
    private const float Rate = 0.1f, Momentum = 0.9f, Decay = 0.02f;

    public IEnumerable<OpCase> Cases()
    {
        foreach ((string name, Shape shape) in new (string, Shape)[]
            { ("one element", new(1)), ("ragged tail", new(3, 37)), ("filter", new(5, 3, 3, 3)), ("several threads", new(181, 269)) })
        {
            foreach (bool nesterov in new[] { false, true })
                yield return Step("sgd-step", $"{name}, nesterov {nesterov}", shape, 3,
                    t => SgdStepOp.On(t[0].Device).Step(t[0], t[2], t[1], Rate, Momentum, nesterov, Decay), 0,
                    (p, g, m, _) =>
                    {
                        double step = g + Decay * p, buffer = Momentum * m + step;
                        return p - Rate * (nesterov ? step + Momentum * buffer : buffer);
                    });
            yield return Step("sgd-step", $"{name}, no momentum", shape, 2,
                t => SgdStepOp.On(t[0].Device).Step(t[0], null, t[1], Rate, 0, false, Decay), 0, (p, g, _, _) => p - Rate * (g + Decay * p));
            yield return Step("sgd-step", $"{name}, buffer", shape, 3,
                t => SgdStepOp.On(t[0].Device).Step(t[0], t[2], t[1], Rate, Momentum, true, Decay), 2, (p, g, m, _) => Momentum * m + g + Decay * p);

            AdamWStepOp.Scalars s = AdamWStepOp.ScalarsOf(3, Rate, 0.9, 0.99, 1e-3, Decay);
            yield return Step("adamw-step", name, shape, 4,
                t => AdamWStepOp.On(t[0].Device).Step(t[0], t[2], t[3], t[1], s), 0, (p, g, m, v) =>
                {
                    double mean = (0.9 * m + 0.1 * g) / (1 - Math.Pow(0.9, 3)), square = (0.99 * v + 0.01 * g * g) / (1 - Math.Pow(0.99, 3));
                    return p - Rate * Decay * p - Rate * mean / (Math.Sqrt(square) + 1e-3);
                });
            yield return Step("adamw-step", $"{name}, mean", shape, 4,
                t => AdamWStepOp.On(t[0].Device).Step(t[0], t[2], t[3], t[1], s), 2, (_, g, m, _) => 0.9 * m + 0.1 * g);
            yield return Step("adamw-step", $"{name}, square", shape, 4,
                t => AdamWStepOp.On(t[0].Device).Step(t[0], t[2], t[3], t[1], s), 3, (_, g, _, v) => 0.99 * v + 0.01 * g * g);

            yield return Step("lars-step", name, shape, 3,
                t => LarsStepOp.On(t[0].Device).Step(t[0], t[2], t[1], 0.3f, 0.7f, Momentum, Decay), 0,
                (p, g, m, _) => p - 0.7f * (Momentum * m + 0.3f * (g + Decay * p)));
            yield return Step("lars-step", $"{name}, buffer", shape, 3,
                t => LarsStepOp.On(t[0].Device).Step(t[0], t[2], t[1], 0.3f, 0.7f, Momentum, Decay), 2,
                (p, g, m, _) => Momentum * m + 0.3f * (g + Decay * p));
            yield return new OpCase
            {
                Op = "lars-step",
                Name = $"{name}, norms",
                Inputs = [Input(shape, 1), Input(shape, 2)],
                Run = t =>
                {
                    (double parameter, double update) = LarsStepOp.On(t[0].Device).Norms(t[0], t[1], Decay);
                    return Tensor.From<float>([(float)parameter, (float)update], new(2), t[0].Device);
                },
                Reference = x => [Norm(x[0]), Norm([.. x[0].Zip(x[1], (p, g) => g + Decay * p)])],
                CheckGradient = false,
            };
        }
    }

    private static double Norm(double[] x) => Math.Sqrt(x.Sum(v => v * v));

    private static CaseInput Input(Shape shape, ulong seed)
    {
        CaseInput normal = CaseInput.Normal(shape, seed);
        return new() { Shape = shape, Values = normal.Values, Differentiable = false };
    }

    /// <summary>The fourth input is a mean square, hence not negative.</summary>
    private static OpCase Step(string op, string name, Shape shape, int inputs, Action<Tensor[]> step, int result,
        Func<double, double, double, double, double> reference) => new()
        {
            Op = op,
            Name = name,
            Inputs =
            [
                .. Enumerable.Range(0, inputs).Select(i => Input(shape, (ulong)i + 1))
                    .Select((input, i) => i < 3 ? input : new() { Shape = shape, Values = [.. input.Values.Select(Math.Abs)], Differentiable = false }),
            ],
            Run = t =>
            {
                Tensor[] copies = [.. t.Select(x => x.Clone())];
                step(copies);
                return copies[result];
            },
            Reference = x => [.. x[0].Select((p, i) => reference(p, x[1][i], inputs > 2 ? x[2][i] : 0, inputs > 3 ? x[3][i] : 0))],
            CheckGradient = false,
        };
}
