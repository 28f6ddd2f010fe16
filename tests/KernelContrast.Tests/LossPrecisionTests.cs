using System.Numerics.Tensors;
using KernelContrast.Losses;

namespace KernelContrast.Tests;

/// <summary>
/// Every row's loss against double precision, for the rows that 1/τ makes the worst of: the same, nearly the same, at right
/// angles, not normalised. The bounds are those of docs/losses.md.
/// </summary>
[TestFixture]
internal sealed class LossPrecisionTests
{
    private static readonly LossKind[] Kinds = Enum.GetValues<LossKind>();

    private static string[] Devices => TestDevice.Names;

    private static readonly bool Thorough = Environment.GetEnvironmentVariable("KERNELCONTRAST_TEST_THOROUGH") == "1";

    internal enum Data { Random, Identical, Near, Orthogonal }

    [Test]
    public void Each_rows_loss_keeps_its_bound([ValueSource(nameof(Kinds))] LossKind kind, [ValueSource(nameof(Devices))] string device)
    {
        bool cpu = device == "cpu";
        int[] dims = Thorough ? [1, 7, 33, 64, 128, 513, 2047] : cpu ? [1, 33, 128, 513, 2047] : [33, 128, 513];
        int[] sizes = Thorough ? cpu ? [1, 2, 17, 33, 257] : [1, 2, 17, 33] : cpu ? [1, 2, 17] : [2, 17];
        float[] temperatures = Thorough ? [1e-3f, 0.01f, 0.0229f, 0.023f, 0.1f, 10] : [1e-3f, 0.0229f, 0.023f];
        double worst = 0, worstMean = 0, worstSame = 0;
        string at = "", atMean = "", atSame = "";
        foreach (int dim in dims)
            foreach (int n in sizes)
                foreach (bool normalize in new[] { true, false })
                    foreach (Data data in Enum.GetValues<Data>())
                    {
                        if (data == Data.Orthogonal && dim < 2 || kind == LossKind.Dcl && n == 1) continue;
                        var problem = new Problem(kind, n, dim, data, normalize);
                        foreach (float temperature in temperatures)
                        {
                            double[] exact = problem.Exact(temperature);
                            float[] losses = problem.Run(device, temperature);
                            string where = $"D = {dim}, n = {n}, {data}, τ = {temperature}{(normalize ? "" : ", not normalised")}";
                            double sum = 0, total = 0, last = problem.LastPlace / temperature; // of a similarity in float32; a double's is nothing
                            double allowed = !cpu ? 8 * last : normalize && temperature >= 0.023f ? 2 * last : 0;
                            for (int i = 0; i < losses.Length; i++)
                            {
                                Note(ref worst, ref at, Math.Abs(losses[i] - exact[i]) / (1e-5 * Math.Max(1, Math.Abs(exact[i])) + allowed), $"{where}, row {i}");
                                (sum, total) = (sum + losses[i], total + exact[i]);
                            }
                            (sum, total) = (sum / losses.Length, total / losses.Length);
                            if (cpu) Note(ref worstMean, ref atMean, Math.Abs(sum - total) / (1e-5 * Math.Max(1, Math.Abs(total))), where);
                            if (data == Data.Identical) Note(ref worstSame, ref atSame, Math.Abs(sum - total) / (1e-5 * (kind == LossKind.SigLip ? Math.Max(1, total) : 1)), where);
                        }
                    }
        TestContext.Out.WriteLine($"{kind} on {device}, in units of the bound: {worst:f2} ({at}); means {worstMean:f2} ({atMean}); the same rows {worstSame:f2} ({atSame})");
        Assert.Multiple(() =>
        {
            Assert.That(worst, Is.LessThanOrEqualTo(1), at);
            Assert.That(worstMean, Is.LessThanOrEqualTo(1), atMean);
            Assert.That(worstSame, Is.LessThanOrEqualTo(1), atSame);
        });

        static void Note(ref double worst, ref string at, double value, string where)
        {
            if (value <= worst) return;
            (worst, at) = (double.IsNaN(value) ? double.PositiveInfinity : value, where);
        }
    }

    internal sealed class Problem
    {
        private readonly LossKind _kind;
        private readonly int _rows, _columns, _dim;
        private readonly bool _normalize;
        private readonly float[] _h, _k, _p;
        private readonly int[]? _labels;
        private readonly double[] _s, _positive;

        /// <summary>Half a unit in the last place of the largest similarity there could be, in float32.</summary>
        internal double LastPlace { get; }

        internal Problem(LossKind kind, int n, int dim, Data data, bool normalize)
        {
            bool within = kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;
            (_kind, _dim, _normalize) = (kind, dim, normalize);
            _rows = within ? 2 * n : n;
            _columns = within ? 2 * n : kind == LossKind.Clip ? n : n + 3;
            _h = Make(_rows, 1);
            _k = within ? _h : Make(_columns, 2);
            _p = kind == LossKind.Moco ? Make(_rows, 3) : [];
            _labels = kind == LossKind.SupCon ? [.. Enumerable.Range(0, _rows).Select(i => i % Math.Max(1, n / 2))] : null;
            double[] h = Doubles(_h), k = within ? h : Doubles(_k), p = Doubles(_p);
            _s = new double[_rows * _columns];
            Parallel.For(0, _rows, i =>
            {
                for (int j = 0; j < _columns; j++) _s[i * _columns + j] = TensorPrimitives.Dot<double>(h.AsSpan(i * dim, dim), k.AsSpan(j * dim, dim));
            });
            LastPlace = Math.ScaleB(normalize ? 1 : Longest(h) * Math.Max(Longest(k), p.Length == 0 ? 0 : Longest(p)), -24);
            _positive = [.. Enumerable.Range(0, kind == LossKind.Moco ? _rows : 0).Select(i => TensorPrimitives.Dot<double>(h.AsSpan(i * dim, dim), p.AsSpan(i * dim, dim)))];

            double Longest(double[] x) => Math.Sqrt(x.Chunk(dim).Max(row => TensorPrimitives.SumOfSquares<double>(row)));

            double[] Doubles(float[] x)
            {
                double[] d = Array.ConvertAll(x, v => (double)v);
                if (normalize)
                    for (int i = 0; i < d.Length; i += dim)
                    {
                        Span<double> row = d.AsSpan(i, dim);
                        double norm = Math.Sqrt(TensorPrimitives.SumOfSquares<double>(row));
                        if (norm > 0) TensorPrimitives.Divide(row, norm, row);
                    }
                return d;
            }

            float[] Make(int count, ulong seed)
            {
                var random = new PhiloxStream(11, seed);
                var shared = new PhiloxStream(12, 0);
                var one = new float[dim];
                foreach (ref float v in one.AsSpan()) v = shared.NextNormal();
                var x = new float[count * dim];
                for (int e = 0; e < x.Length; e++)
                {
                    int i = e / dim, d = e % dim;
                    float noise = data is Data.Random or Data.Near ? random.NextNormal() : 0;
                    x[e] = data switch
                    {
                        Data.Random => noise,
                        Data.Identical => one[d],
                        Data.Near => one[d] + 1e-3f * noise,
                        _ => i % dim == d ? 1 + i % 3 : 0,
                    };
                }
                return x;
            }
        }

        internal double[] Exact(float temperature)
        {
            double tau = temperature, bias = _kind == LossKind.SigLip ? -2 : 0;
            var losses = new double[_rows];
            int half = _rows / 2;
            for (int i = 0; i < _rows; i++)
            {
                Span<double> row = _s.AsSpan(i * _columns, _columns);
                switch (_kind)
                {
                    case LossKind.NtXent or LossKind.Dcl or LossKind.SupCon:
                        int partner = (i + half) % _rows;
                        double positive = row[partner];
                        var over = new List<double>();
                        if (_kind == LossKind.SupCon)
                        {
                            int[] p = [.. Enumerable.Range(0, _rows).Where(j => j != i && _labels![j] == _labels[i])];
                            if (p.Length == 0) break;
                            positive = 0;
                            foreach (int j in p) positive += row[j] / p.Length;
                        }
                        for (int j = 0; j < _columns; j++)
                            if (j != i && !(_kind == LossKind.Dcl && j == partner)) over.Add(row[j]);
                        losses[i] = Lse(over, positive, tau);
                        break;
                    case LossKind.InfoNce:
                        losses[i] = Lse([.. row], row[i], tau);
                        break;
                    case LossKind.Moco:
                        losses[i] = Lse([.. row, _positive[i]], _positive[i], tau);
                        break;
                    case LossKind.Clip:
                        var column = new List<double>();
                        for (int j = 0; j < _rows; j++) column.Add(_s[j * _columns + i]);
                        losses[i] = (Lse([.. row], row[i], tau) + Lse(column, row[i], tau)) / 2;
                        break;
                    default:
                        for (int j = 0; j < _columns; j++)
                        {
                            double x = (row[j] / tau + bias) * (i == j ? -1 : 1);
                            losses[i] += Math.Max(x, 0) + Math.Log(1 + Math.Exp(-Math.Abs(x)));
                        }
                        break;
                }
            }
            return losses;

            static double Lse(List<double> s, double positive, double tau)
            {
                double most = s.Max(), sum = 0;
                foreach (double v in s) sum += Math.Exp((v - most) / tau);
                return Math.Log(sum) + (most - positive) / tau;
            }
        }

        internal float[] Run(string device, float temperature)
        {
            using var scope = new TensorScope();
            Device on = Device.Parse(device);
            Tensor M(float[] x) => Tensor.From<float>(x, new(x.Length / _dim, _dim), on);
            Tensor h = M(_h);
            Reduction none = Reduction.None;
            Tensor loss = _kind switch
            {
                LossKind.NtXent => NtXent.Loss(h, temperature, reduction: none, normalize: _normalize),
                LossKind.Dcl => Dcl.Loss(h, temperature, reduction: none, normalize: _normalize),
                LossKind.SupCon => SupCon.Loss(h, Tensor.From<int>(_labels!, new(_rows), on), temperature, none, _normalize),
                LossKind.InfoNce => InfoNce.Loss(h, M(_k), temperature, none, _normalize),
                LossKind.Clip => Clip.Loss(h, M(_k), temperature, none, _normalize),
                LossKind.SigLip => SigLip.Loss(h, M(_k), temperature, -2, none, _normalize),
                _ => Moco.Loss(h, M(_p), M(_k), temperature, none, _normalize),
            };
            return loss.ToArray();
        }
    }
}
