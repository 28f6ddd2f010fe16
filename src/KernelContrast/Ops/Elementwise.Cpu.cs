using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ElementwiseOp
{
    /// <summary>
    /// Every shape comes down to nested loops whose innermost is contiguous in y and, for each operand, contiguous, one
    /// repeated value, or (rarely: an operand of another rank-4 layout) strided.
    /// </summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Combine(Tensor y, Tensor a, Tensor b, Kind kind)
        {
            if (y.Count == 0) return;
            Broadcast.Loop loop = Broadcast.Loop.Over(y.Shape, a.Shape, b.Shape);
            switch (kind)
            {
                case Kind.Add: Combine<Sum>(y, a, b, loop); break;
                case Kind.Subtract: Combine<Difference>(y, a, b, loop); break;
                default: Combine<Product>(y, a, b, loop); break;
            }
        }

        private static void Combine<TOperation>(Tensor y, Tensor a, Tensor b, Broadcast.Loop loop) where TOperation : struct, IOperation
        {
            var cpu = (CpuDevice)y.Device;
            int inner = loop.Sizes[^1];
            long rows = y.Count / inner;
            fixed (int* sizes = loop.Sizes)
            fixed (long* stepA = loop.StepA, stepB = loop.StepB)
            {
                var kernel = new CombineRange<TOperation>
                {
                    Y = y.Floats,
                    A = a.Floats,
                    B = b.Floats,
                    Sizes = sizes,
                    StepA = stepA,
                    StepB = stepB,
                    Dimensions = loop.Sizes.Length,
                };
                if (rows == 1) SimdRanges.Elementwise(cpu, inner, kernel);
                else SimdRanges.Run(cpu, rows, SimdRanges.Parts(cpu, rows, Math.Max(1, CpuGrain.Elementwise / inner)), kernel);
            }
        }

        private interface IOperation
        {
            static abstract T On<T>(T a, T b) where T : struct, ISimd<T>;
            static abstract float On(float a, float b);
        }

        private readonly struct Sum : IOperation
        {
            public static T On<T>(T a, T b) where T : struct, ISimd<T> => T.Add(a, b);
            public static float On(float a, float b) => a + b;
        }

        private readonly struct Difference : IOperation
        {
            public static T On<T>(T a, T b) where T : struct, ISimd<T> => T.Sub(a, b);
            public static float On(float a, float b) => a - b;
        }

        private readonly struct Product : IOperation
        {
            public static T On<T>(T a, T b) where T : struct, ISimd<T> => T.Mul(a, b);
            public static float On(float a, float b) => a * b;
        }

        /// <summary>With one dimension a range is of elements, with more it is of innermost rows.</summary>
        private struct CombineRange<TOperation> : ISimdRange where TOperation : struct, IOperation
        {
            internal float* Y, A, B;
            internal int* Sizes;
            internal long* StepA, StepB;
            internal int Dimensions;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                int inner = Dimensions - 1;
                long stepA = StepA[inner], stepB = StepB[inner];
                if (inner == 0)
                {
                    Row<T>(Y + start, A + start * stepA, stepA, B + start * stepB, stepB, end - start);
                    return;
                }
                int size = Sizes[inner];
                for (long row = start; row < end; row++)
                {
                    long rest = row, offsetA = 0, offsetB = 0;
                    for (int d = inner - 1; d >= 0; d--)
                    {
                        long index = rest % Sizes[d];
                        rest /= Sizes[d];
                        offsetA += index * StepA[d];
                        offsetB += index * StepB[d];
                    }
                    Row<T>(Y + row * size, A + offsetA, stepA, B + offsetB, stepB, size);
                }
            }

            private static void Row<T>(float* y, float* a, long stepA, float* b, long stepB, long count) where T : struct, ISimd<T>
            {
                long i = 0;
                if (stepA == 1 && stepB == 1)
                    for (; i + T.Width <= count; i += T.Width) T.Store(y + i, TOperation.On(T.Load(a + i), T.Load(b + i)));
                else if (stepA == 1 && stepB == 0)
                {
                    T right = T.Create(*b);
                    for (; i + T.Width <= count; i += T.Width) T.Store(y + i, TOperation.On(T.Load(a + i), right));
                }
                else if (stepA == 0 && stepB == 1)
                {
                    T left = T.Create(*a);
                    for (; i + T.Width <= count; i += T.Width) T.Store(y + i, TOperation.On(left, T.Load(b + i)));
                }
                for (; i < count; i++) y[i] = TOperation.On(a[i * stepA], b[i * stepB]);
            }
        }

        internal override void SumTo(Tensor sum, Tensor x, float factor)
        {
            long count = sum.Count;
            if (count == 0) return;
            if (x.Count == 0)
            {
                new Span<float>(sum.Floats, checked((int)count)).Clear();
                return;
            }
            var cpu = (CpuDevice)x.Device;
            Broadcast.Loop loop = Broadcast.Loop.Over(x.Shape, sum.Shape, x.Shape);
            int outer = loop.Sizes[0];
            // Parts of the outermost loop write apart where sum has that dimension; else each has sums of its own.
            bool apart = loop.StepA[0] != 0;
            int parts = (int)Math.Min(outer, SimdRanges.Parts(cpu, x.Count, CpuGrain.Elementwise));
            int copies = apart ? 1 : parts;
            var buffer = new double[checked(count * copies)];
            fixed (double* sums = buffer)
            fixed (int* sizes = loop.Sizes)
            fixed (long* stepSum = loop.StepA, stepX = loop.StepB)
            {
                SimdRanges.Run(cpu, outer, parts, new SumRange
                {
                    Sums = sums,
                    SumsPerPart = apart ? 0 : count,
                    X = x.Floats,
                    Sizes = sizes,
                    StepSum = stepSum,
                    StepX = stepX,
                    Dimensions = loop.Sizes.Length,
                });
                float* result = sum.Floats;
                for (long i = 0; i < count; i++)
                {
                    double total = 0;
                    for (int copy = 0; copy < copies; copy++) total += sums[copy * count + i];
                    result[i] = (float)(factor * total);
                }
            }
        }

        private struct SumRange : ISimdRange
        {
            internal double* Sums;
            internal long SumsPerPart;
            internal float* X;
            internal int* Sizes;
            internal long* StepSum, StepX;
            internal int Dimensions;

            public readonly void Run<T>(int part, long start, long end) where T : struct, ISimd<T>
            {
                double* sums = Sums + part * SumsPerPart;
                for (long i = start; i < end; i++)
                    if (Dimensions == 1) sums[i * StepSum[0]] += X[i];
                    else Nest<T>(1, sums + i * StepSum[0], X + i * StepX[0]);
            }

            private readonly void Nest<T>(int d, double* sums, float* x) where T : struct, ISimd<T>
            {
                int size = Sizes[d];
                long stepSum = StepSum[d];
                if (d < Dimensions - 1)
                {
                    for (int i = 0; i < size; i++) Nest<T>(d + 1, sums + i * stepSum, x + i * StepX[d]);
                    return;
                }
                if (stepSum != 0)
                {
                    for (int i = 0; i < size; i++) sums[i * stepSum] += x[i];
                    return;
                }
                T vector = T.Zero;
                int j = 0;
                for (; j + T.Width <= size; j += T.Width) vector = T.Add(vector, T.Load(x + j));
                double total = T.Sum(vector);
                for (; j < size; j++) total += x[j];
                *sums += total;
            }
        }
    }
}
