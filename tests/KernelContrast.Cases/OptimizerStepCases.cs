namespace KernelContrast.Cases;

/// <summary>
/// The optimizers' kernels over groups of tensors: inputs are (parameter, gradient, what is remembered …) of each tensor, the
/// output is every parameter, or every buffer, after the step. They change their arguments by design, so each case works on
/// copies. Vectors neither decay nor have a trust ratio.
/// </summary>
internal sealed class OptimizerStepCases : ICaseSource
{
    private const float Rate = 0.1f, Momentum = 0.9f, Decay = 0.02f;
    private const double Trust = 0.05;

    /// <summary>A tensor's values: parameter, gradient, first, second, and its decay and whether it is scaled.</summary>
    private readonly record struct Values(double[] P, double[] G, double[] M, double[] V, double Decay, bool Scaled)
    {
        internal double[] Each(Func<double, double, double, double, double> element)
        {
            Values x = this;
            return [.. P.Select((p, i) => element(p, x.G[i], x.M[i], x.V[i]))];
        }
    }

    public IEnumerable<OpCase> Cases()
    {
        foreach ((string name, Shape[] shapes) in new (string, Shape[])[]
        {
            ("one element", [new(1)]), ("ragged tail", [new(3, 37)]), ("filter", [new(5, 3, 3, 3)]),
            // around the 4096 elements of a chunk, and a tensor of many chunks between small ones
            ("several tensors", [new(7), new(64, 64), new(1, 1), new(17, 241), new(3), new(5, 3, 3, 3), new(181, 69), new(2)]),
        })
        {
            foreach (bool nesterov in new[] { false, true })
                yield return Step("sgd-step", $"{name}, nesterov {nesterov}", shapes, 3, g => SgdStepOp.On(g.Device).Step(g, Rate, Momentum, nesterov), 0,
                    x => x.Each((p, g, m, _) =>
                    {
                        double step = g + x.Decay * p, buffer = Momentum * m + step;
                        return p - Rate * (nesterov ? step + Momentum * buffer : buffer);
                    }));
            yield return Step("sgd-step", $"{name}, no momentum", shapes, 2, g => SgdStepOp.On(g.Device).Step(g, Rate, 0, false), 0,
                x => x.Each((p, g, _, _) => p - Rate * (g + x.Decay * p)));
            yield return Step("sgd-step", $"{name}, buffer", shapes, 3, g => SgdStepOp.On(g.Device).Step(g, Rate, Momentum, true), 2,
                x => x.Each((p, g, m, _) => Momentum * m + g + x.Decay * p));

            AdamWStepOp.Scalars s = AdamWStepOp.ScalarsOf(3, Rate, 0.9, 0.99, 1e-3);
            void AdamW(TensorGroup g) => AdamWStepOp.On(g.Device).Step(g, s);
            yield return Step("adamw-step", name, shapes, 4, AdamW, 0, x => x.Each((p, g, m, v) =>
            {
                double mean = (0.9 * m + 0.1 * g) / (1 - Math.Pow(0.9, 3)), square = (0.99 * v + 0.01 * g * g) / (1 - Math.Pow(0.99, 3));
                return p - Rate * x.Decay * p - Rate * mean / (Math.Sqrt(square) + 1e-3);
            }));
            yield return Step("adamw-step", $"{name}, mean", shapes, 4, AdamW, 2, x => x.Each((_, g, m, _) => 0.9 * m + 0.1 * g));
            yield return Step("adamw-step", $"{name}, square", shapes, 4, AdamW, 3, x => x.Each((_, g, _, v) => 0.99 * v + 0.01 * g * g));

            void Lars(TensorGroup g) => LarsStepOp.On(g.Device).Step(g, 0.3, 0.7f, Momentum, Trust);
            double[] Buffer(Values x)
            {
                double ratio = x.Scaled ? Trust * Norm(x.P) / Norm(x.Each((p, g, _, _) => g + x.Decay * p)) : 1;
                return x.Each((p, g, m, _) => Momentum * m + 0.3 * ratio * (g + x.Decay * p));
            }
            yield return Step("lars-step", name, shapes, 3, Lars, 0, x => [.. Buffer(x).Zip(x.P, (m, p) => p - 0.7f * m)]);
            yield return Step("lars-step", $"{name}, buffer", shapes, 3, Lars, 2, Buffer);

            yield return Step("ema-step", name, shapes, 2, g => EmaStepOp.On(g.Device).Step(g, 0.25f), 0, x => x.Each((p, source, _, _) => 0.75 * p + 0.25 * source));
        }
    }

    private static double Norm(double[] x) => Math.Sqrt(x.Sum(v => v * v));

    private static bool IsWeight(Shape shape) => shape.Rank > 1;

    /// <summary>The fourth input of a tensor is a mean square, hence not negative.</summary>
    private static CaseInput Input(Shape shape, int tensor, int kind)
    {
        CaseInput normal = CaseInput.Normal(shape, (ulong)(10 * tensor + kind + 1));
        return new() { Shape = shape, Values = kind < 3 ? normal.Values : [.. normal.Values.Select(Math.Abs)], Differentiable = false };
    }

    private static OpCase Step(string op, string name, Shape[] shapes, int inputs, Action<TensorGroup> step, int result, Func<Values, double[]> reference) => new()
    {
        Op = op,
        Name = name,
        Inputs = [.. shapes.SelectMany((shape, t) => Enumerable.Range(0, inputs).Select(k => Input(shape, t, k)))],
        Run = t =>
        {
            Tensor[] copies = [.. t.Select(x => x.Clone())];
            using var group = new TensorGroup();
            for (int i = 0; i < shapes.Length; i++)
            {
                Tensor[] own = copies[(i * inputs)..((i + 1) * inputs)];
                group.Add(new(own[0], own[1], inputs > 2 ? own[2] : null, inputs > 3 ? own[3] : null, IsWeight(shapes[i]) ? Decay : 0, IsWeight(shapes[i])));
            }
            step(group);
            return Functional.Concat([.. shapes.Select((shape, i) => Functional.Reshape(copies[i * inputs + result], new((int)shape.Count)))], 0);
        },
        Reference = x =>
        [
            .. shapes.SelectMany((shape, i) =>
            {
                double[] none = new double[shape.Count];
                double[][] own = [.. x[(i * inputs)..((i + 1) * inputs)]];
                return reference(new(own[0], own[1], inputs > 2 ? own[2] : none, inputs > 3 ? own[3] : none, IsWeight(shape) ? Decay : 0, IsWeight(shape)));
            }),
        ],
        CheckGradient = false,
    };
}
