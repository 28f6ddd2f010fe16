namespace KernelContrast;

/// <summary>A square window sliding over [N, C, Height, Width], and the sizes that come of it.</summary>
/// <remarks>CUDA kernels take it by value: pool_window.cuh has the same fields in the same order.</remarks>
internal readonly record struct PoolWindow(int Images, int Channels, int Height, int Width, int Kernel, int Stride, int Padding)
{
    internal int OutHeight => (Height + 2 * Padding - Kernel) / Stride + 1;
    internal int OutWidth => (Width + 2 * Padding - Kernel) / Stride + 1;
    internal Shape OutShape => new(Images, Channels, OutHeight, OutWidth);

    /// <summary>The window over <paramref name="x"/>, its arguments checked.</summary>
    internal static PoolWindow Of(string op, Tensor x, int kernel, int stride, int padding)
    {
        Check.Rank(op, x, 4);
        Check.That(kernel >= 1 && stride >= 1, $"{op}: kernel is {kernel} and stride {stride}, expected 1 or more.");
        Check.That(padding >= 0 && padding <= kernel / 2, $"{op}: padding is {padding}, expected 0 to {kernel / 2} for a window of {kernel}.");
        Check.That(x.Shape[2] + 2 * padding >= kernel && x.Shape[3] + 2 * padding >= kernel,
            $"{op}: x {x.Shape} with padding {padding} is smaller than the window of {kernel}×{kernel}.");
        return new(x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3], kernel, stride, padding);
    }

    /// <summary>The rows [from, to) of x under the windows of an output row; columns alike with Width.</summary>
    internal (int From, int To) Reach(int output, int size)
    {
        int first = output * Stride - Padding;
        return (Math.Max(0, first), Math.Min(size, first + Kernel));
    }
}
