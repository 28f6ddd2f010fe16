using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class CosineTopKOp
{
    /// <summary>
    /// <c>kernels/contrast/cosine_top_k.cu</c> on rows prepared by the losses' kernel. Keys are cut into slices until blocks
    /// fill a large GPU; partial results are then slices × queries × k candidates of 8 bytes, at most as many as 264 tiles of
    /// rows have, or the queries.
    /// </summary>
    internal sealed class Cuda : Kernels
    {
        /// <summary>Of dynamic shared memory per block: 3 KiB are left for static arrays.</summary>
        internal const int MostSharedBytes = LaunchShape.SharedBytesEverywhere - (3 << 10);

        private static readonly CudaKernel[] TopK = ContrastModule.OfEachBut("contrast/cosine_top_k", "cosine_top_k");
        private static readonly CudaKernel Merge = new("contrast/cosine_top_k", "cosine_top_k_merge");

        internal override long WorkspaceBytes(Device device, in CosineTopKCall call) => new Plan(call).Bytes;

        internal override void Run(Device device, in CosineTopKCall call)
        {
            var plan = new Plan(call);
            nint stream = call.Stream;
            ContrastModule.Normalize(device, plan.Queries, 0, call.Queries, call.QueryRows, call.Dim, plan.Pitch, call.Precision, stream);
            if (plan.Keys != plan.Queries) ContrastModule.Normalize(device, plan.Keys, 0, call.Keys, call.KeyRows, call.Dim, plan.Pitch, call.Precision, stream);
            var arguments = new Arguments
            {
                Lists = plan.Lists,
                Queries = plan.Queries,
                Keys = plan.Keys,
                Rows = call.QueryRows,
                Columns = call.KeyRows,
                Pitch = plan.Pitch,
                K = call.K,
                TilesPerSlice = plan.TilesPerSlice,
                ExcludeSelf = call.ExcludeSelf ? 1 : 0,
                ListsInShared = plan.ListBytes > 0 ? 1 : 0,
            };
            unsafe
            {
                TopK[plan.Variant].Launch(device, new(ContrastPlan.Tiles(call.QueryRows, plan.Edge), 256, plan.Slices, SharedBytes: plan.SharedBytes + plan.ListBytes) { Stream = stream },
                    KernelArgument.Struct(&arguments));
            }
            Merge.Launch(device, new(call.QueryRows, 128) { Stream = stream }, (long)call.Indices, (long)call.Similarities, (long)plan.Lists, call.QueryRows, call.K, plan.Slices);
        }

        internal readonly struct Plan
        {
            internal readonly int Variant, Edge, SharedBytes, ListBytes, Pitch, TilesPerSlice, Slices;
            internal readonly nint Queries, Keys, Lists;
            internal readonly long Bytes;

            internal Plan(in CosineTopKCall call)
            {
                Check.Aligned(Name, call.Workspace, ContrastPlan.ScratchAlignment, "Workspace");
                (Variant, Edge, SharedBytes) = ContrastPlan.TileOf(null, call.Precision, call.QueryRows, call.KeyRows, symmetric: false);
                Pitch = ContrastPlan.PitchOf(call.Dim, Variant);
                long listBytes = (long)Edge * call.K * sizeof(ulong);
                ListBytes = SharedBytes + listBytes <= MostSharedBytes ? (int)listBytes : 0;
                int tiles = ContrastPlan.Tiles(call.KeyRows, Edge), rowTiles = Math.Max(1, ContrastPlan.Tiles(call.QueryRows, Edge));
                TilesPerSlice = ContrastPlan.Tiles(tiles, Math.Clamp(ContrastPlan.FullGrid / rowTiles, 1, tiles));
                Slices = ContrastPlan.Tiles(tiles, TilesPerSlice);

                long rowBytes = (long)Pitch * (call.Precision == Precision.BFloat16 ? 2 : 4);
                nint at = call.Workspace;
                Queries = ContrastPlan.Take(ref at, rowBytes * call.QueryRows);
                bool same = call.Keys.Pointer != 0 && call.Keys == call.Queries && call.KeyRows == call.QueryRows;
                Keys = same ? Queries : ContrastPlan.Take(ref at, rowBytes * call.KeyRows);
                Lists = ContrastPlan.Take(ref at, (long)sizeof(ulong) * Slices * call.QueryRows * call.K);
                Bytes = at - call.Workspace;
            }
        }

        /// <summary>TopKArguments, field by field.</summary>
        private struct Arguments
        {
            internal nint Lists, Queries, Keys;
            internal int Rows, Columns, Pitch, K, TilesPerSlice, ExcludeSelf, ListsInShared;
        }
    }
}
