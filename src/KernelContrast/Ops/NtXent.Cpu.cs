using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

internal static partial class NtXentOp
{
    /// <summary>Row by row, in double precision.</summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor loss, Tensor normalized, Tensor inverseNorm, Tensor shift, Tensor inverseSum,
            Tensor negativeShare, Tensor embeddings, float temperature, PairLayout layout)
        {
            int rows = embeddings.Shape[0], dim = embeddings.Shape[1];
            CpuThreadPool workers = ((CpuDevice)embeddings.Device).Workers;
            float* h = embeddings.Floats, z = normalized.Floats, inverse = inverseNorm.Floats;
            float* m = shift.Floats, r = inverseSum.Floats, share = negativeShare.Floats;
            workers.For(rows, (_, i) => inverse[i] = Normalize(z + (long)i * dim, h + (long)i * dim, dim));
            var losses = new double[rows];
            workers.For(rows, (_, i) =>
            {
                int partner = Partner(i, rows, layout);
                double largest = double.NegativeInfinity;
                for (int j = 0; j < rows; j++)
                    if (j != i) largest = Math.Max(largest, Dot(z, i, j, dim));
                m[i] = (float)largest;
                double negatives = 0, positive = (Dot(z, i, partner, dim) - m[i]) / temperature;
                for (int j = 0; j < rows; j++)
                    if (j != i && j != partner) negatives += Math.Exp((Dot(z, i, j, dim) - m[i]) / temperature);
                double sum = negatives + Math.Exp(positive);
                r[i] = (float)(1 / sum);
                share[i] = (float)(negatives / sum);
                losses[i] = Math.Log(sum) - positive;
            });
            loss.Floats[0] = (float)(losses.Sum() / rows);
        }

        internal override void Backward(Tensor gradEmbeddings, Tensor gradLoss, Tensor normalized, Tensor inverseNorm,
            Tensor shift, Tensor inverseSum, Tensor negativeShare, float temperature, PairLayout layout)
        {
            int rows = gradEmbeddings.Shape[0], dim = gradEmbeddings.Shape[1];
            float* z = normalized.Floats, inverse = inverseNorm.Floats, grad = gradEmbeddings.Floats;
            float* m = shift.Floats, r = inverseSum.Floats, share = negativeShare.Floats;
            double scale = gradLoss.Floats[0] / ((double)rows * temperature);
            ((CpuDevice)gradEmbeddings.Device).Workers.For(rows, (_, i) =>
            {
                int partner = Partner(i, rows, layout);
                double* g = stackalloc double[dim];
                new Span<double>(g, dim).Clear();
                for (int j = 0; j < rows; j++)
                {
                    if (j == i) continue;
                    double s = Dot(z, i, j, dim);
                    double weight = j == partner ? -((double)share[i] + share[j])
                        : Math.Exp((s - m[i]) / temperature) * r[i] + Math.Exp((s - m[j]) / temperature) * r[j];
                    for (int k = 0; k < dim; k++) g[k] += weight * z[(long)j * dim + k];
                }
                double along = 0;
                for (int k = 0; k < dim; k++) along += g[k] * z[(long)i * dim + k];
                for (int k = 0; k < dim; k++)
                    grad[(long)i * dim + k] = (float)(scale * (g[k] - along * z[(long)i * dim + k]) * inverse[i]);
            });
        }

        private static float Normalize(float* z, float* h, int dim)
        {
            float largest = 0;
            for (int k = 0; k < dim; k++) largest = MathF.Max(largest, MathF.Abs(h[k]));
            if (largest == 0)
            {
                new Span<float>(z, dim).Clear();
                return 0;
            }
            double sum = 0;
            for (int k = 0; k < dim; k++) sum += (double)h[k] / largest * (h[k] / (double)largest);
            double norm = Math.Sqrt(sum) * largest;
            for (int k = 0; k < dim; k++) z[k] = (float)(h[k] / norm);
            return (float)Math.Min(1 / norm, float.MaxValue);
        }

        private static double Dot(float* z, int i, int j, int dim)
        {
            double sum = 0;
            for (int k = 0; k < dim; k++) sum += (double)z[(long)i * dim + k] * z[(long)j * dim + k];
            return sum;
        }
    }
}
