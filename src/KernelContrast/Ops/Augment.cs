using KernelContrast.Augment;
using KernelContrast.Datasets;

namespace KernelContrast;

/// <summary>
/// Turns images of bytes into views of floats, or of the same floats rounded to bfloat16. The order of operations and their
/// arithmetic are written down in docs/design/augmentation.md; every device follows it. Not differentiable.
/// </summary>
internal static partial class AugmentOp
{
    internal abstract class Kernels
    {
        /// <summary>
        /// Writes views, [recipes · batch.Count, C, H, W], float32 or bfloat16: of every image the first recipe's, then of
        /// every image the second's. <paramref name="parameters"/> has one per view, in that order.
        /// </summary>
        internal abstract void Forward(Tensor views, ImageBatch batch, ReadOnlySpan<ViewRecipe> recipes, ViewParameters[] parameters);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    /// <summary>The factor and the offset per channel that normalise: y = x · factor + offset.</summary>
    internal static (float Factor, float Offset) Normalisation(ViewRecipe recipe, int channels, int channel)
    {
        if (recipe.Mean.Length == 0) return (1, 0);
        bool each = recipe.Mean.Length == channels;
        float mean = each ? recipe.Mean[channel] : recipe.Mean.Average();
        float deviation = each ? recipe.StandardDeviation[channel] : recipe.StandardDeviation.Average();
        return (1 / deviation, -mean / deviation);
    }

    /// <summary>The radius of the blur's kernel; smaller than the image, whose border is reflected.</summary>
    internal static int BlurRadius(ViewRecipe recipe, int height, int width)
    {
        int radius = recipe.BlurRadius > 0 ? recipe.BlurRadius : Math.Max(1, height / 10 / 2);
        return Math.Min(radius, Math.Min(height, width) - 1);
    }

    /// <summary>The order of brightness (0), contrast (1), saturation (2) and hue (3) number <paramref name="order"/>, 0 to 23.</summary>
    internal static void JitterOrder(int order, Span<int> operations)
    {
        // the factorial number system: which of the remaining ones comes next
        Span<int> left = [0, 1, 2, 3];
        for (int n = 4, radix = 6; n > 0; n--)
        {
            int pick = order / radix;
            order %= radix;
            operations[4 - n] = left[pick];
            for (int i = pick; i + 1 < n; i++) left[i] = left[i + 1];
            if (n > 1) radix /= n - 1;
        }
    }
}
