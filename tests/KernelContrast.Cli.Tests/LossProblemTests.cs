using KernelContrast.Cli.Bench;
using KernelContrast.Losses;

namespace KernelContrast.Cli.Tests;

/// <summary>What the benches time.</summary>
[TestFixture]
internal sealed class LossProblemTests
{
    /// <summary>The one sweep of constant keys: half of the products, and the same gradient of the queries.</summary>
    [Test]
    public void Constant_keys_get_no_gradient_and_leave_the_queries_theirs()
    {
        const int rows = 40, dim = 24;
        using LossProblem both = new(LossKind.InfoNce, rows, dim, 0.1f), constant = new(LossKind.InfoNce, rows, dim, 0.1f, constantKeys: true);
        (double loss, float[] gradients) = both.Evaluate();
        (double swept, float[] ofQueries) = constant.Evaluate();
        Assert.That(swept, Is.EqualTo(loss).Within(1e-5));
        Assert.That(gradients, Has.Length.EqualTo(2 * rows * dim));
        Assert.That(ofQueries, Is.EqualTo(gradients[..(rows * dim)]).Within(1e-6));
        Assert.That((both.HasKeysGradient, constant.HasKeysGradient), Is.EqualTo((true, false)));
        Assert.That(constant.Flops, Is.EqualTo(both.Flops / 2));
    }

    [Test]
    public void Only_keys_of_the_other_view_have_a_gradient([Values] LossKind kind)
    {
        using var problem = new LossProblem(kind, 8, 4, 0.1f, queue: 16);
        Assert.That(problem.HasKeysGradient, Is.EqualTo(kind is LossKind.InfoNce or LossKind.Clip or LossKind.SigLip));
        Assert.That(problem.Keys?.RequiresGrad ?? false, Is.EqualTo(problem.HasKeysGradient));
    }
}
