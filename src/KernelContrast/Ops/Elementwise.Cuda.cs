using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class ElementwiseOp
{
    /// <summary>The kernels of <c>kernels/nn/broadcast.cu</c>.</summary>
    internal sealed unsafe class Cuda : Kernels
    {
        private const string File = "nn/broadcast";
        private const int Threads = 256;

        private static readonly CudaKernel CombineSame = new(File, "combine_same");
        private static readonly CudaKernel CombineRepeated = new(File, "combine_repeated");
        private static readonly CudaKernel SumToRows = new(File, "sum_to_rows");
        private static readonly CudaKernel SumToColumns = new(File, "sum_to_columns");
        private static readonly CudaKernel SumToFold = new(File, "sum_to_fold");

        internal override void Combine(Tensor y, Tensor a, Tensor b, Kind kind)
        {
            var shape = LaunchShape.GridStride(y.Count, Threads);
            if (a.Shape == b.Shape)
            {
                CombineSame.Launch(y.Device, shape, y, a, b, (int)kind, y.Count);
                return;
            }
            Loops loops = Loops.Of(Broadcast.Loop.Over(y.Shape, a.Shape, b.Shape), _ => true);
            CombineRepeated.Launch(y.Device, shape, y, a, b, KernelArgument.Struct(&loops), (int)kind, y.Count);
        }

        internal override void SumTo(Tensor sum, Tensor x, float factor)
        {
            Device device = sum.Device;
            long sums = sum.Count;
            if (sums == 0) return;
            if (x.Count == 0)
            {
                device.Clear(sum.Buffer, sum.Bytes);
                return;
            }
            if (sums == 1)
            {
                SumOp.On(device).Forward(sum, x, factor);
                return;
            }
            Broadcast.Loop all = Broadcast.Loop.Over(x.Shape, sum.Shape, x.Shape);
            Loops kept = Loops.Of(all, d => all.StepA[d] != 0), reduced = Loops.Of(all, d => all.StepA[d] == 0);
            bool termsAreNeighbours = all.StepA[^1] == 0;
            long terms = x.Count / sums, blocks = (sums + (termsAreNeighbours ? 7 : 31)) / (termsAreNeighbours ? 8 : 32);
            (int stripes, long termsPerStripe) = Stripes(blocks, terms);
            using Tensor partial = Tensor.Empty(new(stripes, checked((int)(2 * sums))), device); // doubles
            (termsAreNeighbours ? SumToRows : SumToColumns).Launch(device, new(checked((int)blocks), Threads, GridY: stripes), partial, x,
                KernelArgument.Struct(&kept), KernelArgument.Struct(&reduced), sums, terms, termsPerStripe);
            SumToFold.Launch(device, LaunchShape.GridStride(sums, Threads), sum, partial, KernelArgument.Struct(&kept), factor, sums, stripes);
        }

        /// <summary>
        /// Into how many stripes the terms of a sum are cut: about 512 blocks in all, which fill a GPU, of at least 128
        /// terms. Depends on the shapes alone, so that the order of sums is the same on every device.
        /// </summary>
        private static (int Stripes, long TermsPerStripe) Stripes(long blocks, long terms)
        {
            long most = Math.Clamp(512 / blocks, 1, Math.Max(1, terms / 128)), perStripe = (terms + most - 1) / most;
            return ((int)((terms + perStripe - 1) / perStripe), perStripe);
        }

        /// <summary>A <see cref="Broadcast.Loop"/> as the kernels take it: the same struct is in broadcast.cu.</summary>
        [StructLayout(LayoutKind.Sequential)]
        private struct Loops
        {
            private const int Most = 8;

            private fixed long _stepA[Most];
            private fixed long _stepB[Most];
            private fixed int _size[Most];
            private int _count;
            private int _unused;

            internal static Loops Of(Broadcast.Loop loop, Func<int, bool> taken)
            {
                Loops loops = default;
                for (int d = 0; d < loop.Sizes.Length; d++)
                {
                    if (!taken(d)) continue;
                    if (loops._count == Most)
                        throw new NotSupportedException($"Broadcasting on CUDA runs at most {Most} nested loops, and these shapes need {loop.Sizes.Length}. Reshape the operands to fewer dimensions.");
                    loops._stepA[loops._count] = loop.StepA[d];
                    loops._stepB[loops._count] = loop.StepB[d];
                    loops._size[loops._count++] = loop.Sizes[d];
                }
                return loops;
            }
        }
    }
}
