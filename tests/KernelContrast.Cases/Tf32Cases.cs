namespace KernelContrast.Cases;

/// <summary>
/// The products again in TF32, under <see cref="Autocast"/>: their factors are rounded, by the tensor cores or before, and
/// all else is float32. The bound is <see cref="OpCase.NaiveErrors"/> times the error of the same op with its inputs and
/// its upstream gradient rounded and all else exact.
/// </summary>
internal sealed class Tf32Cases : ICaseSource
{
    public IEnumerable<OpCase> Cases() =>
        from test in BFloat16Cases.Products()
        where !test.Name.EndsWith(" rows", StringComparison.Ordinal) || test.Name == "7 rows" // the others are about the CPU's tiles
        select BFloat16Cases.Product(test, Precision.Tf32, "tf32", Rounded, roundsResult: false);

    /// <summary>To 11 bits of significand, to nearest and ties away from zero, with float32's exponents: by scaling, not by bits.</summary>
    internal static double Rounded(double x)
    {
        if (x == 0 || !double.IsFinite(x)) return x;
        double unit = Math.Pow(2, Math.Max(Math.ILogB(x), -126) - 10);
        return Math.Round(x / unit, MidpointRounding.AwayFromZero) * unit;
    }
}
