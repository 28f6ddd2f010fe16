namespace KernelContrast;

public static partial class Functional
{
    /// <summary>The mean under a square window; padding counts as zeros, so the divisor is always kernel².</summary>
    /// <param name="x">[N, C, H, W].</param>
    /// <param name="kernel">Rows and columns of the window.</param>
    /// <param name="stride">Pixels from window to window.</param>
    /// <param name="padding">Rows and columns of zeros around x, at most half the window.</param>
    /// <returns>[N, C, (H + 2·padding − kernel)/stride + 1, (W + 2·padding − kernel)/stride + 1].</returns>
    public static Tensor AvgPool2d(Tensor x, int kernel, int stride, int padding = 0)
    {
        ArgumentNullException.ThrowIfNull(x);
        return AvgPool2dOp.Apply(x, kernel, stride, padding);
    }
}

/// <summary>
/// Forward: y[n, c, i, j] = Σ over the window of x / kernel². Backward: grad_x = Σ over the windows above of
/// grad_y / kernel². Saves nothing.
/// </summary>
internal static partial class AvgPool2dOp
{
    internal abstract class Kernels
    {
        internal abstract void Forward(Tensor y, Tensor x, PoolWindow window);
        internal abstract void Backward(Tensor gradX, Tensor gradY, PoolWindow window);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, int kernel, int stride, int padding)
    {
        const string Op = "avg-pool2d";
        if (x.Type == DType.BFloat16)
        {
            // Computed in float32, rounded at the end.
            using Tensor wideX = x.To(DType.Float32), wideY = Apply(wideX, kernel, stride, padding);
            return wideY.To(DType.BFloat16);
        }
        Device device = Check.SameDevice(Op, x);
        var window = PoolWindow.Of(Op, x, kernel, stride, padding);
        Tensor y = Tensor.Empty(window.OutShape, device);
        On(device).Forward(y, x, window);
        return Tape.Record(Op, y, [x], saved: [], (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, window));
    }
}
