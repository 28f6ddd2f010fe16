namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The largest value under a square window; padding never wins. NaN wins always.</summary>
    /// <param name="x">[N, C, H, W].</param>
    /// <param name="kernel">Rows and columns of the window.</param>
    /// <param name="stride">Pixels from window to window.</param>
    /// <param name="padding">Rows and columns around x, at most half the window.</param>
    /// <returns>[N, C, (H + 2·padding − kernel)/stride + 1, (W + 2·padding − kernel)/stride + 1].</returns>
    public static Tensor MaxPool2d(Tensor x, int kernel, int stride, int padding = 0)
    {
        ArgumentNullException.ThrowIfNull(x);
        return MaxPool2dOp.Apply(x, kernel, stride, padding);
    }
}

/// <summary>
/// Forward: y[n, c, i, j] = max over the window of x. Backward: each grad_y goes to the first place (in row-major order of
/// the window) that holds the maximum, or to the window's first where the maximum is NaN. Saves x and y, which nearby ops
/// save anyway, and no places.
/// </summary>
internal static partial class MaxPool2dOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, PoolWindow window);
        internal abstract void Backward(Tensor gradX, Tensor gradY, Tensor x, Tensor y, PoolWindow window);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, int kernel, int stride, int padding)
    {
        const string Op = "max-pool2d";
        Device device = Check.SameDeviceAndType(Op, x);
        var window = PoolWindow.Of(Op, x, kernel, stride, padding);
        Tensor y = Tensor.Empty(window.OutShape, device, x.Type);
        On(device).Forward(y, x, window);
        return Tape.Record(Op, y, [x], saved: [x, y], (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, x: b.Saved(0), y: b.Saved(1), window));
    }
}
