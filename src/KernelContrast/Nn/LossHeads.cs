using KernelContrast.Losses;

namespace KernelContrast.Nn;

/// <summary>CLIP's loss with its learned scale 1/τ = exp(logit_scale).</summary>
/// <remarks>
/// Radford et al. 2021, section 2.5: the scale starts at 1/0.07 and is kept from rising above 100. As in open_clip's
/// training loop (<c>logit_scale.clamp_(0, ln 100)</c> after each step), the parameter itself is put back between 0 and
/// ln 100: here before each forward pass in training, so that at the bound it still gets a gradient.
/// </remarks>
public sealed class ClipHead : Module
{
    /// <summary>The greatest float whose exponential is not above 100.</summary>
    private const float MostLogScale = 4.6051697f;

    /// <summary>A head with the parameter <c>logit_scale</c>.</summary>
    /// <param name="device">Where it is; the CPU unless given.</param>
    /// <param name="temperature">τ at first, 0.01 to 1.</param>
    /// <exception cref="ArgumentException">The temperature is outside that range.</exception>
    public ClipHead(Device? device = null, float temperature = 0.07f)
    {
        if (temperature is not (>= 0.01f and <= 1)) throw new ArgumentException($"ClipHead: the temperature is {temperature}, expected 0.01 to 1.");
        AddParameter("logit_scale", LossScale.Parameter(-MathF.Log(temperature), device));
    }

    /// <summary>[]: ln of the scale.</summary>
    public Tensor LogScale => Own("logit_scale")!;

    /// <summary>The loss of a batch in which the images' rows come first, then the texts'.</summary>
    /// <param name="x">[2 · rows, dim].</param>
    /// <returns>A scalar.</returns>
    public override Tensor Forward(Tensor x)
    {
        (Tensor images, Tensor texts) = LossScale.Halves("ClipHead", x);
        return Loss(images, texts);
    }

    /// <summary>The mean loss of images [rows, dim] and texts [rows, dim], text i with image i, with gradients to all three.</summary>
    /// <exception cref="ArgumentException">There are not as many texts as images.</exception>
    public Tensor Loss(Tensor images, Tensor texts, Precision precision = Precision.Float32)
    {
        if (Training) ClampOp.On(LogScale.Device).Forward(LogScale, LogScale, 0, MostLogScale);
        return Clip.Loss(images, texts, LossScale.Temperature(Functional.Clamp(LogScale, 0, MostLogScale)), precision: precision);
    }
}

/// <summary>SigLIP's loss with its learned scale 1/τ = exp(logit_scale) and bias.</summary>
/// <remarks>
/// Zhai et al. 2023, section 3.2 and algorithm 1: t' = ln 10 and b = −10 at first, which begins near the prior of few
/// matching pairs. The scale has no bound.
/// </remarks>
public sealed class SigLipHead : Module
{
    /// <summary>A head with the parameters <c>logit_scale</c> and <c>logit_bias</c>.</summary>
    /// <param name="device">Where they are; the CPU unless given.</param>
    public SigLipHead(Device? device = null)
    {
        AddParameter("logit_scale", LossScale.Parameter(MathF.Log(10), device));
        AddParameter("logit_bias", LossScale.Parameter(-10, device));
    }

    /// <summary>[]: ln of the scale, the paper's t'.</summary>
    public Tensor LogScale => Own("logit_scale")!;

    /// <summary>[]: b.</summary>
    public Tensor Bias => Own("logit_bias")!;

    /// <inheritdoc cref="ClipHead.Forward"/>
    public override Tensor Forward(Tensor x)
    {
        (Tensor images, Tensor texts) = LossScale.Halves("SigLipHead", x);
        return Loss(images, texts);
    }

    /// <summary>The mean loss of images [rows, dim] and texts [columns, dim], text i with image i, with gradients to all four.</summary>
    /// <exception cref="ArgumentException">There are fewer texts than images.</exception>
    public Tensor Loss(Tensor images, Tensor texts, Precision precision = Precision.Float32) =>
        SigLip.Loss(images, texts, LossScale.Temperature(LogScale), Bias, precision: precision);
}

/// <summary>What heads with a learned scale share.</summary>
internal static class LossScale
{
    // Parameters outlive the scope they are made in.
    internal static Tensor Parameter(float value, Device? device)
    {
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        return Tensor.Full(new(), value, device);
    }

    /// <summary>τ = exp(−ln scale).</summary>
    internal static Tensor Temperature(Tensor logScale) => Functional.Exp(Functional.Scale(logScale, -1));

    internal static (Tensor Images, Tensor Texts) Halves(string module, Tensor x)
    {
        if (x.Shape.Rank != 2 || x.Shape[0] % 2 != 0)
            throw new ArgumentException($"{module} got shape {x.Shape}, expected [2 · rows, dim]: the images' rows, then as many of texts.");
        int rows = x.Shape[0] / 2;
        return (Functional.Slice(x, 0, 0, rows), Functional.Slice(x, 0, rows, rows));
    }
}
