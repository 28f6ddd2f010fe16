using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CosineSimilarityOp
{
    /// <summary>
    /// <c>kernels/contrast/cosine_similarity.cu</c>, with the losses' kernels for what goes by rows and for the products of
    /// the backward pass. Those take the upstream gradient in whole tiles of their own number type, a stripe of rows at a
    /// time, of at most <see cref="ContrastPlan.StripeBytes"/>.
    /// </summary>
    internal sealed unsafe class Cuda : Kernels
    {
        private const string Module = "contrast/cosine_similarity";

        private static readonly CudaKernel[] Similarities = ContrastModule.OfEach(Module, "cosine_similarity");
        private static readonly CudaKernel[] Upstream = [.. new[] { "f32", "tf32", "bf16" }.Select(p => new CudaKernel(Module, $"cosine_similarity_upstream_{p}"))];

        internal override long SavedBytes(Device device, in CosineSimilarityCall call) => new Plan(device, call).SavedBytes;

        internal override long WorkspaceBytes(Device device, in CosineSimilarityCall call) => new Plan(device, call).WorkspaceBytes;

        internal override void Forward(Device device, in CosineSimilarityCall call)
        {
            var plan = new Plan(device, call);
            nint stream = call.Stream;
            ContrastModule.Normalize(device, plan.A, plan.InverseNormA, call.A, call.Rows, call.Dim, plan.Pitch, call.Precision, stream, plan.Scalars);
            if (!call.WithItself) ContrastModule.Normalize(device, plan.B, plan.InverseNormB, call.B, call.Columns, call.Dim, plan.Pitch, call.Precision, stream);
            Multiply(device, stream, (plan.Variant, plan.Edge, plan.SharedBytes), new()
            {
                Similarities = call.Similarities,
                A = plan.A,
                B = plan.B,
                Rows = call.Rows,
                Columns = call.Columns,
                Pitch = plan.Pitch,
                Symmetric = call.WithItself ? 1 : 0,
            });
        }

        /// <summary>s = a bᵀ of prepared rows.</summary>
        internal static void Multiply(Device device, nint stream, (int Variant, int Edge, int SharedBytes) tile, SimilarityArguments arguments)
        {
            LaunchShape grid = ContrastPlan.GridOf(arguments.Rows, arguments.Columns, tile.Edge, tile.SharedBytes, out bool exchanged);
            arguments.Exchanged = exchanged ? 1 : 0;
            Similarities[tile.Variant].Launch(device, grid with { Stream = stream }, KernelArgument.Struct(&arguments));
        }

        internal override void Backward(Device device, in CosineSimilarityCall call)
        {
            var plan = new Plan(device, call);
            var products = new ContrastProducts
            {
                Device = device,
                Stream = call.Stream,
                Precision = call.Precision,
                Variant = plan.Variant,
                Edge = plan.Edge,
                SharedBytes = plan.SharedBytes,
                Dim = call.Dim,
                Pitch = plan.Pitch,
                Weights = plan.Weights,
                WeightsPitch = plan.WeightsPitch,
                Scalars = plan.Scalars,
            };
            bool wantsA = call.GradA.Pointer != 0, wantsB = call.GradB.Pointer != 0;
            for (int first = 0; (wantsA || wantsB) && first < call.Rows; first += plan.StripeRows)
            {
                int stripe = Math.Min(plan.StripeRows, call.Rows - first);
                var upstream = new UpstreamArguments
                {
                    Weights = plan.Weights,
                    Grad = call.GradSimilarities,
                    WeightsPitch = plan.WeightsPitch,
                    Rows = call.Rows,
                    Columns = call.Columns,
                    FirstRow = first,
                    Symmetric = call.WithItself ? 1 : 0,
                };
                int lines = ContrastPlan.Tiles(stripe, plan.Edge) * plan.Edge;
                Upstream[(int)call.Precision].Launch(device, new((int)(plan.WeightsPitch / 32), 256, lines / 32) { Stream = call.Stream }, KernelArgument.Struct(&upstream));
                if (wantsA)
                {
                    products.Product(plan.Partial, plan.B, lines: stripe, depth: call.Columns, plan.DepthPerSlice, plan.Slices, byColumn: false, accumulate: false);
                    products.Gradient(call.GradA, first, stripe, plan.Partial, plan.A, plan.InverseNormA, plan.Slices);
                }
                if (wantsB)
                    products.Product(plan.GradColumns, plan.A + plan.RowBytes * first, lines: call.Columns, depth: stripe, int.MaxValue, 1, byColumn: true, accumulate: first > 0);
            }
            if (wantsB) products.Gradient(call.GradB, 0, call.Columns, plan.GradColumns, plan.B, plan.InverseNormB, 1);
        }

        private readonly struct Plan
        {
            internal readonly int Variant, Edge, SharedBytes, Pitch, StripeRows, Slices, DepthPerSlice;
            internal readonly long WeightsPitch, SavedBytes, WorkspaceBytes;
            internal readonly nint RowBytes;
            internal readonly nint Scalars, A, B, InverseNormA, InverseNormB;
            internal readonly nint Weights, Partial, GradColumns;

            internal Plan(Device device, in CosineSimilarityCall call)
            {
                Check.Aligned(Name, call.Saved, ContrastPlan.ScratchAlignment, "Saved");
                Check.Aligned(Name, call.Workspace, ContrastPlan.ScratchAlignment, "Workspace");
                int size = call.Precision == Precision.BFloat16 ? 2 : 4;
                (Variant, Edge, SharedBytes) = ContrastPlan.TileOf(device, call.Precision, call.Rows, call.Columns, call.WithItself);
                Pitch = ContrastPlan.PitchOf(call.Dim, Variant);
                RowBytes = (nint)Pitch * size;
                (WeightsPitch, StripeRows, Slices, DepthPerSlice) = ContrastPlan.StripesOf(call.Rows, call.Columns, Edge, Pitch, size);

                nint at = call.Saved;
                Scalars = ContrastPlan.Floats(ref at, 2);
                A = ContrastPlan.Take(ref at, (long)RowBytes * call.Rows);
                B = call.WithItself ? A : ContrastPlan.Take(ref at, (long)RowBytes * call.Columns);
                InverseNormA = ContrastPlan.Floats(ref at, call.Rows);
                InverseNormB = call.WithItself ? InverseNormA : ContrastPlan.Floats(ref at, call.Columns);
                SavedBytes = at - call.Saved;

                at = call.Workspace;
                Weights = ContrastPlan.Take(ref at, StripeRows * WeightsPitch * size);
                Partial = ContrastPlan.Floats(ref at, (long)Slices * Math.Min(StripeRows, call.Rows) * Pitch);
                GradColumns = ContrastPlan.Floats(ref at, call.WithItself ? 0 : (long)call.Columns * Pitch);
                WorkspaceBytes = at - call.Workspace;
            }
        }

        // The kernels' arguments, field by field as they declare them.

        internal struct SimilarityArguments
        {
            internal nint Similarities, A, B;
            internal int Rows, Columns, Pitch, Symmetric, Exchanged;
        }

        private struct UpstreamArguments
        {
            internal nint Weights, Grad;
            internal long WeightsPitch;
            internal int Rows, Columns, FirstRow, Symmetric;
        }
    }
}
