using KernelContrast.Devices;
using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// From tiles of weights to gradients on CUDA: products with the other side's rows, then back through the norm. The
/// losses and the cosine matrix differ in how weights come about, not in this.
/// </summary>
internal readonly unsafe struct ContrastProducts
{
    internal required Device Device { get; init; }
    internal required nint Stream { get; init; }
    internal required Precision Precision { get; init; }
    internal required int Variant { get; init; }
    internal required int Edge { get; init; }
    internal required int SharedBytes { get; init; }
    internal required int Dim { get; init; }
    internal required int Pitch { get; init; }
    internal required nint Weights { get; init; }
    internal required long WeightsPitch { get; init; }
    internal required nint Scalars { get; init; }

    /// <summary>What the weights are to be multiplied by; 0 for 1.</summary>
    internal nint Unit { get; init; }

    private nint RowBytes => (nint)Pitch * (Precision == Precision.BFloat16 ? 2 : 4);

    /// <summary>to = (or +=) w z, or wᵀ z by column; the depth may be cut into slices, each with sums of its own.</summary>
    internal void Product(nint to, nint z, int lines, int depth, int depthPerSlice, int slices, bool byColumn, bool accumulate)
    {
        LaunchShape grid = ContrastPlan.GridOf(lines, Pitch, Edge, SharedBytes, out bool exchanged);
        var product = new ProductArguments
        {
            Out = to,
            Weights = Weights,
            Z = z,
            WeightsPitch = WeightsPitch,
            Lines = lines,
            Depth = depth,
            DepthPerSlice = Math.Min(depthPerSlice, ContrastPlan.PitchOf(depth, Variant)),
            Pitch = Pitch,
            ByColumn = byColumn ? 1 : 0,
            Accumulate = accumulate ? 1 : 0,
            Exchanged = exchanged ? 1 : 0,
        };
        ContrastModule.Product[Variant].Launch(Device, grid with { GridZ = slices, Stream = Stream }, KernelArgument.Struct(&product));
    }

    /// <summary>The gradient of so many rows from the sums of a product.</summary>
    /// <param name="to">All rows' gradient.</param>
    /// <param name="first">The first of the rows.</param>
    /// <param name="lines">How many.</param>
    /// <param name="partial">The sums, of these rows.</param>
    /// <param name="z">All rows, normalised.</param>
    /// <param name="inverseNorm">All rows' 1/‖h‖; 0 where they were not normalised.</param>
    /// <param name="slices">Of the sums.</param>
    internal void Gradient(DeviceMatrix to, int first, int lines, nint partial, nint z, nint inverseNorm, int slices)
    {
        var gradient = new GradientArguments
        {
            Grad = to.Pointer + (nint)(sizeof(float) * to.RowStride * first),
            Partial = partial,
            Z = z + RowBytes * first,
            InverseNorm = inverseNorm == 0 ? 0 : inverseNorm + sizeof(float) * first,
            Scalars = Scalars,
            Unit = Unit,
            Stride = to.RowStride,
            Rows = lines,
            Dim = Dim,
            Pitch = Pitch,
            Slices = slices,
            Precision = (int)Precision,
        };
        ContrastModule.Gradient.Launch(Device, LaunchShape.WarpPerItem(lines) with { Stream = Stream }, KernelArgument.Struct(&gradient));
    }
}
