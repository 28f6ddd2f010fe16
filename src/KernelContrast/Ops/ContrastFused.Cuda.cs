using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// The backward pass of compute capability 9.0 for rows of at most 128 numbers: one kernel forms weights and their product
/// with the other side, and no weight is ever written. Shapes alone say what is cut how.
/// </summary>
internal static class ContrastFused
{
    /// <summary>What a block owns, and how many of the others it takes at a time.</summary>
    internal const int Lines = 128, Others = 64;

    /// <summary>Multiprocessors, each with room for one block.</summary>
    internal const int LargeGpu = 132;

    /// <summary>What a block costs beyond its steps, in those: its own lines, the first step's copies, its sums' way out.</summary>
    private const int StepsOfStart = 2;

    /// <summary>Pitches of 64 and 128, and scores in the order of <see cref="ScoreArguments"/>.</summary>
    private static readonly CudaKernel[] Kernels =
    [
        .. from pitch in new[] { 64, 128 }
           from score in new[] { "", "_online", "_sigmoid" }
           select new CudaKernel("contrast/contrastive_fused_hopper", $"contrastive_fused_hopper{score}_{pitch}"),
    ];

    /// <summary>How many blocks a stripe of lines has at most, each with lines of its own; 0: the call's backward pass is not this one.</summary>
    internal static int BlocksOf(Device device, int variant, int pitch) =>
        variant == ContrastModule.Hopper && pitch <= 128 && device is CudaDevice { KeepsLossWeightsInRegisters: true } cuda ? cuda.FusedBlocks : 0;

    /// <summary>Lines of the stripe that begins at <paramref name="first"/>.</summary>
    internal static int StripeOf(int blocks, int lines, int first) => Math.Min(blocks * Lines, lines - first);

    internal static CudaKernel Kernel(int pitch, int score) => Kernels[pitch / 128 * 3 + score];

    /// <summary>Five stages of 64 lines of both numbers and coefficients, and what brings them to a multiple of 1024 bytes.</summary>
    internal static int SharedBytes(int pitch) => 5 * (Others * pitch * 2 + 2 * Others * sizeof(float)) + 1024;

    /// <summary>
    /// The slices that the others are cut into for the lines of a stripe: what takes the fewest steps one after another where
    /// so many blocks run at a time, of at most twice as many blocks.
    /// </summary>
    internal static (int Slices, int PerSlice) SlicesOf(int blocks, int lines, int others)
    {
        int tiles = ContrastPlan.Tiles(lines, Lines), steps = ContrastPlan.Tiles(others, Others), best = 1;
        long fewest = long.MaxValue;
        for (int slices = 1; slices <= Math.Min(steps, Math.Max(1, 2 * blocks / tiles)); slices++)
        {
            long taken = (long)ContrastPlan.Tiles(tiles * slices, blocks) * (ContrastPlan.Tiles(steps, slices) + StepsOfStart);
            if (taken < fewest) (fewest, best) = (taken, slices);
        }
        int perSlice = ContrastPlan.Tiles(steps, best);
        return (ContrastPlan.Tiles(steps, perSlice), perSlice * Others);
    }

    /// <summary>Numbers that the sums of a stripe take, and blocks of all stripes.</summary>
    internal static (long Partial, long AllBlocks) SizesOf(int blocks, int lines, int others, int pitch)
    {
        long partial = 0, all = 0;
        for (int first = 0, stripe; first < lines; first += stripe)
        {
            stripe = StripeOf(blocks, lines, first);
            int slices = SlicesOf(blocks, stripe, others).Slices;
            partial = Math.Max(partial, (long)slices * stripe * pitch);
            all += (long)slices * ContrastPlan.Tiles(stripe, Lines);
        }
        return (partial, all);
    }
}

// The kernel's arguments, field by field as it declares them.

internal struct CoefficientArguments
{
    internal nint Shift, Scale, Offset;
}

internal struct FusedArguments
{
    internal ScoreArguments Scores;
    internal nint Out, ByTile;
    internal CoefficientArguments Own, Others;
    internal int FirstLine, Lines, PerSlice, Exchanged;
}
