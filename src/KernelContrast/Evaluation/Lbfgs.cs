using System.Numerics.Tensors;

namespace KernelContrast.Evaluation;

/// <summary>
/// Minimises a smooth convex function: limited-memory BFGS (Liu, Nocedal 1989; the two-loop recursion) with a
/// backtracking line search. Deterministic.
/// </summary>
internal static class Lbfgs
{
    private const int History = 10;
    private const int MostHalvings = 20;
    // A step counts when it lowers the value by this share of what the slope promises (Armijo).
    private const double Sufficient = 1e-4;

    /// <summary>Value at a point; fills the gradient.</summary>
    internal delegate double Objective(ReadOnlySpan<double> point, Span<double> gradient);

    /// <summary>
    /// Moves <paramref name="point"/> to the minimum; stops when three steps in a row lower the value by less than
    /// <paramref name="tolerance"/> of it, or after <paramref name="mostIterations"/>. Returns the value reached.
    /// </summary>
    internal static double Minimise(Objective objective, double[] point, int mostIterations, double tolerance)
    {
        int size = point.Length;
        double[] gradient = new double[size], direction = new double[size], next = new double[size], nextGradient = new double[size];
        var steps = new List<double[]>(History);
        var changes = new List<double[]>(History);
        double value = objective(point, gradient);
        int small = 0;
        for (int iteration = 0; iteration < mostIterations && small < 3; iteration++)
        {
            Direction(direction, gradient, steps, changes);
            double slope = TensorPrimitives.Dot<double>(direction, gradient);
            if (!(slope < 0)) break;
            // The first direction has no scale of its own.
            double step = steps.Count > 0 ? 1 : Math.Min(1, 1 / TensorPrimitives.Norm<double>(gradient));
            double nextValue = 0;
            int halving = 0;
            for (; halving < MostHalvings; halving++, step /= 2)
            {
                TensorPrimitives.MultiplyAdd(direction, step, point, next);
                nextValue = objective(next, nextGradient);
                if (nextValue <= value + Sufficient * step * slope) break;
            }
            // The value is summed in float32: at the bottom no step lowers it any more.
            if (halving == MostHalvings) break;
            Remember(steps, changes, point, next, gradient, nextGradient);
            small = value - nextValue <= tolerance * Math.Max(Math.Abs(value), 1e-3) ? small + 1 : 0;
            value = nextValue;
            next.CopyTo(point, 0);
            (gradient, nextGradient) = (nextGradient, gradient);
        }
        return value;
    }

    /// <summary>direction = −H·gradient, H the inverse Hessian as the last steps show it.</summary>
    private static void Direction(double[] direction, double[] gradient, List<double[]> steps, List<double[]> changes)
    {
        Span<double> along = stackalloc double[History];
        TensorPrimitives.Negate<double>(gradient, direction);
        for (int i = steps.Count - 1; i >= 0; i--)
        {
            along[i] = TensorPrimitives.Dot<double>(steps[i], direction) / TensorPrimitives.Dot<double>(steps[i], changes[i]);
            TensorPrimitives.MultiplyAdd(changes[i], -along[i], direction, direction);
        }
        if (steps.Count > 0)
        {
            double scale = TensorPrimitives.Dot<double>(steps[^1], changes[^1]) / TensorPrimitives.SumOfSquares<double>(changes[^1]);
            TensorPrimitives.Multiply(direction, scale, direction);
        }
        for (int i = 0; i < steps.Count; i++)
        {
            double back = TensorPrimitives.Dot<double>(changes[i], direction) / TensorPrimitives.Dot<double>(steps[i], changes[i]);
            TensorPrimitives.MultiplyAdd(steps[i], along[i] - back, direction, direction);
        }
    }

    private static void Remember(List<double[]> steps, List<double[]> changes, double[] point, double[] next, double[] gradient, double[] nextGradient)
    {
        double[] step, change;
        if (steps.Count == History)
        {
            (step, change) = (steps[0], changes[0]);
            steps.RemoveAt(0);
            changes.RemoveAt(0);
        }
        else (step, change) = (new double[point.Length], new double[point.Length]);
        TensorPrimitives.Subtract<double>(next, point, step);
        TensorPrimitives.Subtract<double>(nextGradient, gradient, change);
        // Without positive curvature the pair would make H indefinite; rounding can do that near the minimum.
        double curvature = TensorPrimitives.Dot<double>(step, change);
        if (curvature <= 1e-12 * TensorPrimitives.SumOfSquares<double>(change)) return;
        steps.Add(step);
        changes.Add(change);
    }
}
