namespace KernelContrast.Cases;

/// <summary>Special functions in double precision that the runtime lacks.</summary>
public static class ReferenceFunctions
{
    /// <summary>Error function: its Maclaurin series below 3, one minus the continued fraction above.</summary>
    public static double Erf(double x) => Math.Abs(x) < 3 ? ErfSeries(x) : Math.Sign(x) * (1 - Erfc(Math.Abs(x)));

    /// <summary>½·erfc(−x/√2), relatively accurate in the lower tail.</summary>
    public static double NormalCdf(double x) =>
        x > -2 ? 0.5 * (1 + Erf(x / Math.Sqrt(2))) : 0.5 * Erfc(-x / Math.Sqrt(2));

    // erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1)): terms of one sign
    private static double ErfSeries(double x)
    {
        double term = x, sum = x;
        for (int n = 1; Math.Abs(term) > 1e-18 * Math.Abs(sum); n++)
        {
            term *= 2 * x * x / (2 * n + 1);
            sum += term;
        }
        return 2 / Math.Sqrt(Math.PI) * Math.Exp(-x * x) * sum;
    }

    // Laplace's continued fraction e^(−a²)/√π · 1/(a + (1/2)/(a + 1/(a + (3/2)/(a + …)))), from the inside out; a ≥ 1.4
    private static double Erfc(double a)
    {
        double fraction = a;
        for (int k = 400; k >= 1; k--) fraction = a + k / 2.0 / fraction;
        return Math.Exp(-a * a) / Math.Sqrt(Math.PI) / fraction;
    }
}
