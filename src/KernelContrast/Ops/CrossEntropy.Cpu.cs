using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CrossEntropyOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override (int Row, int Label) FindBadLabel(Tensor labels, int classes)
        {
            ReadOnlySpan<int> values = labels.AsSpan<int>();
            for (int row = 0; row < values.Length; row++)
                if ((uint)values[row] >= (uint)classes) return (row, values[row]);
            return (-1, 0);
        }

        internal override void Forward(Tensor loss, Tensor logSumExp, Tensor logits, Tensor labels)
        {
            int rows = logits.Shape[0], classes = logits.Shape[1];
            Rows(logits, new ForwardRows { LogSumExp = logSumExp.Floats, X = logits.Floats, Classes = classes });
            float* lse = logSumExp.Floats, x = logits.Floats;
            int* label = (int*)labels.Pointer;
            double sum = 0;
            for (int row = 0; row < rows; row++) sum += (double)lse[row] - x[(long)row * classes + label[row]];
            loss.Floats[0] = (float)(sum / rows);
        }

        internal override void Backward(Tensor gradLogits, Tensor gradLoss, Tensor logits, Tensor labels, Tensor logSumExp) =>
            Rows(logits, new BackwardRows
            {
                GradX = gradLogits.Floats,
                X = logits.Floats,
                LogSumExp = logSumExp.Floats,
                Labels = (int*)labels.Pointer,
                Classes = logits.Shape[1],
                Scale = gradLoss.Floats[0] / logits.Shape[0],
            });

        private static void Rows<TKernel>(Tensor x, TKernel kernel) where TKernel : struct, ISimdRange
        {
            var cpu = (CpuDevice)x.Device;
            SimdRanges.Run(cpu, x.Shape[0], SimdRanges.Parts(cpu, x.Shape[0], CpuGrain.Elementwise / x.Shape[1]), kernel);
        }

        private struct ForwardRows : ISimdRange
        {
            internal float* LogSumExp, X;
            internal int Classes;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int whole = Classes - Classes % T.Width, tail = Classes - whole;
                for (long row = start; row < end; row++)
                {
                    float* x = X + row * Classes;
                    T last = T.LoadPartial(x + whole, tail, float.NegativeInfinity), max = last;
                    for (int k = 0; k < whole; k += T.Width) max = T.Max(max, T.Load(x + k));
                    float largest = T.MaxAcross(max);
                    T shift = T.Create(largest), sum = T.Zero;
                    if (tail > 0) sum = SimdMath.Exp(T.Sub(last, shift));
                    for (int k = 0; k < whole; k += T.Width) sum = T.Add(sum, SimdMath.Exp(T.Sub(T.Load(x + k), shift)));
                    LogSumExp[row] = largest + MathF.Log(T.Sum(sum));
                }
            }
        }

        private struct BackwardRows : ISimdRange
        {
            internal float* GradX, X, LogSumExp;
            internal int* Labels;
            internal int Classes;
            internal float Scale;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                T scale = T.Create(Scale);
                for (long row = start; row < end; row++)
                {
                    float* x = X + row * Classes, gradX = GradX + row * Classes;
                    T shift = T.Create(LogSumExp[row]);
                    int k = 0;
                    for (; k + T.Width <= Classes; k += T.Width)
                        T.Store(gradX + k, T.Mul(SimdMath.Exp(T.Sub(T.Load(x + k), shift)), scale));
                    if (k < Classes)
                        T.StorePartial(gradX + k, T.Mul(SimdMath.Exp(T.Sub(T.LoadPartial(x + k, Classes - k, 0), shift)), scale), Classes - k);
                    gradX[Labels[row]] -= Scale;
                }
            }
        }
    }
}
