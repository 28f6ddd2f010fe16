namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// Two-dimensional convolution (cross-correlation, as the field has it):
    /// y[n, k, i, j] = Σ_{c,r,s} x[n, c, i·stride + r − padding, j·stride + s − padding] · weight[k, c, r, s] + bias[k].
    /// </summary>
    /// <param name="x">[N, C, H, W]; zero outside.</param>
    /// <param name="weight">[K, C, R, S].</param>
    /// <param name="bias">[K], or null.</param>
    /// <param name="stride">Input pixels per output pixel, 1 or more.</param>
    /// <param name="padding">Rows and columns of zeros on every side, 0 or more.</param>
    /// <returns>[N, K, (H + 2·padding − R)/stride + 1, (W + 2·padding − S)/stride + 1].</returns>
    public static Tensor Conv2d(Tensor x, Tensor weight, Tensor? bias = null, int stride = 1, int padding = 0)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        return Conv2dOp.Apply(x, weight, bias, stride, padding);
    }
}

/// <summary>
/// Forward: y = x ⋆ w + b. Backward, with zero where an index leaves its tensor:
/// grad_x[n, c, y, x] = Σ_{k,r,s} grad_y[n, k, (y + p − r)/stride, (x + p − s)/stride] · w[k, c, r, s] over r, s that divide;
/// grad_w[k, c, r, s] = Σ_{n,i,j} grad_y[n, k, i, j] · x[n, c, i·stride + r − p, j·stride + s − p];
/// grad_b[k] = Σ_{n,i,j} grad_y[n, k, i, j]. Saves x and w,
/// as rounded by <see cref="Autocast"/>.
/// </summary>
internal static partial class Conv2dOp
{
    /// <summary>The sizes of one convolution.</summary>
    internal readonly record struct Geometry(int Images, int Channels, int Height, int Width, int Filters, int KernelHeight, int KernelWidth, int Stride, int Padding)
    {
        internal int OutHeight => (Height + 2 * Padding - KernelHeight) / Stride + 1;
        internal int OutWidth => (Width + 2 * Padding - KernelWidth) / Stride + 1;
    }

    internal abstract class Kernels
    {
        /// <summary>y = x ⋆ w (+ bias). The precision tells TF32 from float32.</summary>
        internal abstract void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, Geometry g, Precision precision);
        internal abstract void BackwardInput(Tensor gradX, Tensor gradY, Tensor weight, Geometry g, Precision precision);
        internal abstract void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Geometry g, Precision precision);
        internal abstract void BackwardBias(Tensor gradBias, Tensor gradY, Geometry g);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor x, Tensor weight, Tensor? bias, int stride, int padding)
    {
        const string Op = "conv2d";
        Device device = Check.SameDevice(Op, weight, bias);
        Check.That(x.Device == device, $"{Op}: its inputs are on different devices, {x.Device} and {device}. Move one with To(device).");
        Check.That(x.Type.IsFloat(), $"{Op}: x holds {x.Type}, expected Float32 or BFloat16.");
        Check.Rank(Op, x, 4);
        Check.Rank(Op, weight, 4);
        Check.That(stride >= 1, $"{Op}: stride is {stride}, expected 1 or more.");
        Check.That(padding >= 0, $"{Op}: padding is {padding}, expected 0 or more.");
        Check.That(x.Shape[1] == weight.Shape[1], $"{Op}: x has {x.Shape[1]} channels (shape {x.Shape}), weight expects {weight.Shape[1]} (shape {weight.Shape}).");
        if (bias is not null) Check.Shape(Op, bias, new(weight.Shape[0]));
        var g = new Geometry(x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3], weight.Shape[0], weight.Shape[2], weight.Shape[3], stride, padding);
        Check.That(g.KernelHeight >= 1 && g.KernelWidth >= 1 && g.Channels >= 1 && g.Filters >= 1, $"{Op}: weight has shape {weight.Shape}, expected no empty dimension.");
        Check.That(g.Height + 2 * padding >= g.KernelHeight && g.Width + 2 * padding >= g.KernelWidth,
            $"{Op}: x of {g.Height}×{g.Width} with padding {padding} is smaller than the kernel of {g.KernelHeight}×{g.KernelWidth}.");

        Precision precision = Autocast.Of(Op, x);
        using Tensor xFactor = Autocast.Factor(x, precision), weightFactor = Autocast.Factor(weight, precision);
        Tensor y = Tensor.Empty(new(g.Images, g.Filters, g.OutHeight, g.OutWidth), device, Autocast.ResultType(device, precision));
        if (y.Count > 0) On(device).Forward(y, xFactor, weightFactor, bias, g, precision);
        return Tape.Record(Op, y, [x, weight, bias], saved: [xFactor, weightFactor], (in b) =>
        {
            Kernels kernels = On(b.GradOutput.Device);
            using Tensor gradY = Autocast.Factor(b.GradOutput, precision);
            if (b.Needs(0)) kernels.BackwardInput(b.NewGrad(0), gradY, weight: b.Saved(1), g, precision);
            if (b.Needs(1)) kernels.BackwardWeight(b.NewGrad(1), gradY, x: b.Saved(0), g, precision);
            if (b.Needs(2)) kernels.BackwardBias(b.NewGrad(2), b.GradOutput, g);
        });
    }
}
