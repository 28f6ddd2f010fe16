namespace KernelContrast.Cli.Tests;

/// <summary>NT-Xent in double precision, written down as the formula stands: every pair, no shortcuts.</summary>
internal static class NtXentReference
{
    /// <summary>
    /// Loss, gradient with respect to h, and per row the size of the gradient's terms before they cancel:
    /// Σ_j |weight_ij|·‖z_j‖ / ‖h_i‖.
    /// </summary>
    internal static (double Loss, double[] Gradient, double[] Size) Of(double[] h, int rows, int dim, double tau, Func<int, int> partner)
    {
        var z = new double[h.Length];
        var norm = new double[rows];
        for (int i = 0; i < rows; i++)
        {
            double greatest = Enumerable.Range(0, dim).Max(d => Math.Abs(h[i * dim + d]));
            if (greatest == 0) continue;
            norm[i] = greatest * Math.Sqrt(Enumerable.Range(0, dim).Sum(d => Math.Pow(h[i * dim + d] / greatest, 2)));
            for (int d = 0; d < dim; d++) z[i * dim + d] = h[i * dim + d] / norm[i];
        }
        double S(int i, int j) => Enumerable.Range(0, dim).Sum(d => z[i * dim + d] * z[j * dim + d]);

        // weight[i, j] = d(rows · loss) / d s_ij as seen from row i
        var weight = new double[rows, rows];
        double loss = 0;
        for (int i = 0; i < rows; i++)
        {
            double[] s = [.. Enumerable.Range(0, rows).Select(j => S(i, j) / tau)];
            double max = Enumerable.Range(0, rows).Where(j => j != i).Max(j => s[j]);
            double sum = Enumerable.Range(0, rows).Where(j => j != i).Sum(j => Math.Exp(s[j] - max));
            loss += (max + Math.Log(sum) - s[partner(i)]) / rows;
            for (int j = 0; j < rows; j++)
                weight[i, j] = i == j ? 0 : (Math.Exp(s[j] - max) / sum - (j == partner(i) ? 1 : 0)) / (rows * tau);
        }
        var gradient = new double[h.Length];
        var size = new double[rows];
        for (int i = 0; i < rows; i++)
        {
            if (norm[i] == 0) continue;
            var g = new double[dim];
            for (int j = 0; j < rows; j++)
            {
                size[i] += Math.Abs(weight[i, j] + weight[j, i]) / norm[i];
                for (int d = 0; d < dim; d++) g[d] += (weight[i, j] + weight[j, i]) * z[j * dim + d];
            }
            double along = Enumerable.Range(0, dim).Sum(d => g[d] * z[i * dim + d]);
            for (int d = 0; d < dim; d++) gradient[i * dim + d] = (g[d] - z[i * dim + d] * along) / norm[i];
        }
        return (loss, gradient, size);
    }
}
