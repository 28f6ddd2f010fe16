using KernelContrast.Cases.Oracle;

namespace KernelContrast.Tests;

/// <summary>Our results against libtorch's, kept as fixtures (tests/KernelContrast.Oracle writes them).</summary>
[TestFixture]
internal sealed class OracleTests
{
    private static readonly OracleFixtures s_fixtures = OracleFixtures.Read(Path.Combine(AppContext.BaseDirectory, "Fixtures", "oracle.json"));

    [TestCaseSource(typeof(OracleRecipes), nameof(OracleRecipes.Tolerances))]
    public void Ours_is_what_libtorch_computes(string recipe, double tolerance) =>
        Assert.That(OracleFixtures.Difference(s_fixtures[recipe], OracleRecipes.All[recipe](), tolerance), Is.Null);
}
