using KernelContrast.Optim;

namespace KernelContrast.Tests;

/// <summary>Whole optimizers over several steps with changing gradients and rates, against the papers' formulas in double.</summary>
[TestFixture]
internal sealed class OptimizerTests
{
    private const int Steps = 6;

    /// <summary>A weight and a bias; gradients that depend on the parameters, so that an error grows.</summary>
    private sealed class Problem : IDisposable
    {
        private readonly TensorScope _scope = new();

        internal Problem()
        {
            Weight = Tensor.RandomNormal(new(5, 7), 1);
            Bias = Tensor.RandomNormal(new(5), 2);
            Weight.RequiresGrad = Bias.RequiresGrad = true;
            W = Array.ConvertAll(Weight.ToArray(), v => (double)v);
            B = Array.ConvertAll(Bias.ToArray(), v => (double)v);
        }

        internal Tensor Weight { get; }
        internal Tensor Bias { get; }
        internal double[] W { get; }
        internal double[] B { get; }
        internal List<(string, Tensor)> Named => [("weight", Weight), ("bias", Bias)];

        internal static double GradientOf(double p, int i, int step) => Math.Sin(1.7 * i + 0.9 * step) + 0.3 * p;

        internal static double RateOf(int step) => 0.05 * (step + 1);

        internal void Step(Optimizer optimizer, int step)
        {
            optimizer.LearningRate = RateOf(step);
            optimizer.ClearGradients();
            foreach (Tensor tensor in new[] { Weight, Bias })
            {
                float[] p = tensor.ToArray();
                using Tensor gradient = Tensor.From<float>([.. p.Select((v, i) => (float)GradientOf(v, i, step))], tensor.Shape);
                tensor.Backward(gradient);
            }
            optimizer.Step();
        }

        internal void Expect(double[] expectedWeight, double[] expectedBias)
        {
            Assert.That(Weight.ToArray(), Is.EqualTo(Array.ConvertAll(expectedWeight, v => (float)v)).Within(2e-5f));
            Assert.That(Bias.ToArray(), Is.EqualTo(Array.ConvertAll(expectedBias, v => (float)v)).Within(2e-5f));
        }

        public void Dispose() => _scope.Dispose();
    }

    [Test]
    public void Sgd_with_momentum([Values] bool nesterov, [Values] bool decayVectors)
    {
        using var problem = new Problem();
        using var optimizer = new Sgd(problem.Named, 1, momentum: 0.9, nesterov, weightDecay: 0.1, decayVectors);
        double[] w = problem.W, b = problem.B;
        double[] mw = new double[w.Length], mb = new double[b.Length];
        for (int step = 0; step < Steps; step++)
        {
            problem.Step(optimizer, step);
            Reference(w, mw, step, 0.1);
            Reference(b, mb, step, decayVectors ? 0.1 : 0);
        }
        problem.Expect(w, b);

        void Reference(double[] p, double[] m, int step, double decay)
        {
            for (int i = 0; i < p.Length; i++)
            {
                double g = Problem.GradientOf(p[i], i, step) + decay * p[i];
                m[i] = 0.9 * m[i] + g;
                p[i] -= Problem.RateOf(step) * (nesterov ? g + 0.9 * m[i] : m[i]);
            }
        }
    }

    [Test]
    public void AdamW_with_bias_correction()
    {
        using var problem = new Problem();
        using var optimizer = new AdamW(problem.Named, beta1: 0.8, beta2: 0.95, epsilon: 1e-4, weightDecay: 0.1);
        double[] w = problem.W, b = problem.B;
        double[] mw = new double[w.Length], vw = new double[w.Length], mb = new double[b.Length], vb = new double[b.Length];
        for (int step = 0; step < Steps; step++)
        {
            problem.Step(optimizer, step);
            Reference(w, mw, vw, step);
            Reference(b, mb, vb, step);
        }
        problem.Expect(w, b);

        static void Reference(double[] p, double[] m, double[] v, int step)
        {
            double rate = Problem.RateOf(step);
            for (int i = 0; i < p.Length; i++)
            {
                double g = Problem.GradientOf(p[i], i, step);
                m[i] = 0.8 * m[i] + 0.2 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                p[i] -= rate * 0.1 * p[i];
                p[i] -= rate * (m[i] / (1 - Math.Pow(0.8, step + 1))) / (Math.Sqrt(v[i] / (1 - Math.Pow(0.95, step + 1))) + 1e-4);
            }
        }
    }

    [Test]
    public void Lars_scales_and_decays_weights_only([Values] LarsMomentum form)
    {
        using var problem = new Problem();
        using var optimizer = new Lars(problem.Named, 1, momentum: 0.9, weightDecay: 0.1, trust: 0.02, form);
        double[] w = problem.W, b = problem.B;
        double[] mw = new double[w.Length], mb = new double[b.Length];
        for (int step = 0; step < Steps; step++)
        {
            problem.Step(optimizer, step);
            Reference(w, mw, step, weight: true);
            Reference(b, mb, step, weight: false);
        }
        problem.Expect(w, b);

        void Reference(double[] p, double[] m, int step, bool weight)
        {
            double rate = Problem.RateOf(step);
            double[] u = [.. p.Select((v, i) => Problem.GradientOf(v, i, step) + (weight ? 0.1 * v : 0))];
            double ratio = weight ? 0.02 * Math.Sqrt(p.Sum(v => v * v)) / Math.Sqrt(u.Sum(v => v * v)) : 1;
            for (int i = 0; i < p.Length; i++)
            {
                m[i] = 0.9 * m[i] + (form == LarsMomentum.RateInside ? rate : 1) * ratio * u[i];
                p[i] -= (form == LarsMomentum.RateInside ? 1 : rate) * m[i];
            }
        }
    }

    [Test]
    public void The_two_forms_of_lars_differ_under_warm_up_and_agree_at_a_constant_rate()
    {
        Assert.That(Run(LarsMomentum.RateInside, warm: true), Is.Not.EqualTo(Run(LarsMomentum.RateOutside, warm: true)).Within(1e-3f));
        Assert.That(Run(LarsMomentum.RateInside, warm: false), Is.EqualTo(Run(LarsMomentum.RateOutside, warm: false)).Within(1e-5f));

        static float[] Run(LarsMomentum form, bool warm)
        {
            using var scope = new TensorScope();
            Tensor p = Tensor.RandomNormal(new(4, 4), 1);
            p.RequiresGrad = true;
            using var optimizer = new Lars([("p", p)], 1, trust: 0.1, form: form);
            for (int step = 0; step < 4; step++)
            {
                optimizer.LearningRate = warm ? step + 1 : 1;
                optimizer.ClearGradients();
                p.Backward(Tensor.RandomNormal(new(4, 4), (ulong)step + 9));
                optimizer.Step();
            }
            return p.ToArray();
        }
    }

    [Test]
    public void Lars_of_a_zero_weight_or_a_zero_gradient_has_a_ratio_of_one()
    {
        using var scope = new TensorScope();
        Tensor zero = Tensor.Zeros(new(2, 2)), still = Tensor.Full(new(2, 2), 3);
        zero.RequiresGrad = still.RequiresGrad = true;
        using var optimizer = new Lars([("zero", zero), ("still", still)], 0.5, weightDecay: 0);
        zero.Backward(Tensor.Full(new(2, 2), 1));
        still.Backward(Tensor.Zeros(new(2, 2)));
        optimizer.Step();
        Assert.That(zero.ToArray(), Is.All.EqualTo(-0.5f));
        Assert.That(still.ToArray(), Is.All.EqualTo(3f));
    }

    [Test]
    public void Going_on_from_saved_state_is_bit_identical([Values("sgd", "adamw", "lars")] string kind)
    {
        using var whole = new Problem();
        using Optimizer undisturbed = Make(kind, whole);
        for (int step = 0; step < Steps; step++) whole.Step(undisturbed, step);

        using var first = new Problem();
        using Optimizer before = Make(kind, first);
        for (int step = 0; step < 3; step++) first.Step(before, step);
        using var second = new Problem();
        second.Weight.CopyFrom(first.Weight);
        second.Bias.CopyFrom(first.Bias);
        using Optimizer after = Make(kind, second);
        after.LoadState(before.State.ToDictionary(s => s.Name, s => s.Tensor), before.Steps);
        for (int step = 3; step < Steps; step++) second.Step(after, step);
        Assert.That(second.Weight.ToArray(), Is.EqualTo(whole.Weight.ToArray()));
        Assert.That(second.Bias.ToArray(), Is.EqualTo(whole.Bias.ToArray()));

        static Optimizer Make(string kind, Problem problem) => kind switch
        {
            "sgd" => new Sgd(problem.Named, 1, 0.9),
            "adamw" => new AdamW(problem.Named),
            _ => new Lars(problem.Named, 1),
        };
    }

    [Test]
    public void State_of_another_optimizer_is_refused_with_names()
    {
        using var problem = new Problem();
        using var sgd = new Sgd(problem.Named, 1, 0.9);
        using var adam = new AdamW(problem.Named);
        Assert.That(() => adam.LoadState(sgd.State.ToDictionary(s => s.Name, s => s.Tensor), 1),
            Throws.ArgumentException.With.Message.Contains("mean/weight").And.Message.Contains("momentum/bias"));
    }

    [Test]
    public void A_frozen_parameter_and_one_without_gradient_stay()
    {
        using var problem = new Problem();
        problem.Bias.RequiresGrad = false;
        float[] bias = problem.Bias.ToArray(), weight = problem.Weight.ToArray();
        using var optimizer = new AdamW(problem.Named);
        optimizer.Step();
        Assert.That(problem.Bias.ToArray(), Is.EqualTo(bias));
        Assert.That(problem.Weight.ToArray(), Is.EqualTo(weight));
    }

    [Test]
    public void Wrong_numbers_are_refused()
    {
        using var problem = new Problem();
        Assert.That(() => new Sgd(problem.Named, -1), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new Sgd(problem.Named, double.NaN), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new Sgd(problem.Named, 1, momentum: 1), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new Sgd(problem.Named, 1, nesterov: true), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new AdamW(problem.Named, beta2: 1), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new Lars(problem.Named, 1, trust: 0), Throws.InstanceOf<ArgumentException>());
        Assert.That(() => new Sgd([], 1), Throws.InstanceOf<ArgumentException>());
    }

    [Test]
    public void Warm_up_then_cosine()
    {
        var schedule = new WarmupCosine(peak: 2, warmupSteps: 4, totalSteps: 12, final: 0.5);
        Assert.That(Enumerable.Range(0, 4).Select(t => schedule.At(t)), Is.EqualTo(new[] { 0.5, 1, 1.5, 2 }));
        Assert.That(schedule.At(4), Is.EqualTo(2));
        Assert.That(schedule.At(8), Is.EqualTo(1.25).Within(1e-12));
        Assert.That(schedule.At(12), Is.EqualTo(0.5));
        Assert.That(schedule.At(1000), Is.EqualTo(0.5));
        Assert.That(() => new WarmupCosine(1, 5, 4), Throws.InstanceOf<ArgumentOutOfRangeException>());
    }

    [Test]
    public void Batch_scaling_of_simclr()
    {
        Assert.That(BatchScaling.Linear(0.3, 4096), Is.EqualTo(4.8).Within(1e-12));
        Assert.That(BatchScaling.SquareRoot(0.075, 4096), Is.EqualTo(4.8).Within(1e-12));
    }
}
