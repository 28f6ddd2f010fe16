namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The largest value under a square window; padding never wins. NaN wins always.</summary>
    /// <param name="x">[N, C, H, W].</param>
    /// <param name="kernel">Rows and columns of the window.</param>
    /// <param name="stride">Pixels from window to window.</param>
    /// <param name="padding">Rows and columns around x, at most half the window.</param>
    /// <returns>[N, C, (H + 2·padding − kernel)/stride + 1, (W + 2·padding − kernel)/stride + 1].</returns>
    public static Tensor MaxPool2d(Tensor x, int kernel, int stride, int padding = 0) => MaxPool2dOp.Apply(x, kernel, stride, padding);
}

/// <summary>
/// Forward: y[n, c, i, j] = max over the window of x. Backward: each grad_y goes to the first place (in row-major order of
/// the window) that held the maximum. Saves those places.
/// </summary>
internal static partial class MaxPool2dOp
{
    internal readonly record struct Window(int Kernel, int Stride, int Padding);

    internal abstract class Kernels
    {
        /// <summary>winner: int32, y's shape, the place of the maximum as row·W + column of x.</summary>
        internal abstract void Forward(Tensor y, Tensor winner, Tensor x, Window window);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor winner);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu>();

    internal static Tensor Apply(Tensor x, int kernel, int stride, int padding)
    {
        const string Op = "max_pool2d";
        Device device = Check.SameDevice(Op, x);
        Check.Rank(Op, x, 4);
        Check.That(kernel >= 1 && stride >= 1, $"{Op}: kernel is {kernel} and stride {stride}, expected 1 or more.");
        Check.That(padding >= 0 && padding <= kernel / 2, $"{Op}: padding is {padding}, expected 0 to {kernel / 2} for a window of {kernel}.");
        Check.That(x.Shape[2] + 2 * padding >= kernel && x.Shape[3] + 2 * padding >= kernel, $"{Op}: x {x.Shape} with padding {padding} is smaller than the window of {kernel}×{kernel}.");
        int height = (x.Shape[2] + 2 * padding - kernel) / stride + 1, width = (x.Shape[3] + 2 * padding - kernel) / stride + 1;
        Tensor y = Tensor.Empty(new(x.Shape[0], x.Shape[1], height, width), device);
        using Tensor winner = Tensor.Empty(y.Shape, device, DType.Int32);
        On(device).Forward(y, winner, x, new(kernel, stride, padding));
        return Tape.Record(Op, y, [x], saved: [winner], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, winner: b.Saved(0)));
    }
}
