using KernelContrast.Cases.Oracle;

namespace KernelContrast.Tests;

/// <summary>Our results against libtorch's, kept as fixtures (tests/KernelContrast.Oracle writes them).</summary>
[TestFixture]
internal sealed class OracleTests
{
    private static readonly OracleFixtures s_fixtures = OracleFixtures.Read(Path.Combine(AppContext.BaseDirectory, "Fixtures", "oracle.json"));

    [TestCase("conv2d", 1e-5)]
    [TestCase("batch-norm", 1e-5)]
    [TestCase("adamw", 1e-5)]
    [TestCase("sgd", 1e-5)]
    [TestCase("resnet18", 2e-3)]
    [TestCase("resnet50", 5e-3)]
    public void Ours_is_what_libtorch_computes(string recipe, double tolerance) =>
        Assert.That(OracleFixtures.Difference(s_fixtures[recipe], OracleRecipes.All[recipe](), tolerance), Is.Null);
}
