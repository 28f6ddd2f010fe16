namespace KernelContrast.Augment;

/// <summary>
/// How one axis of a crop is resized: output i is Σ_k Weights[i·Taps + k] · input[First[i] + k]. The weights of an
/// output sum to 1, and no tap lies outside the crop.
/// </summary>
/// <remarks>
/// With c = (i + ½)·scale, scale = in/out: weight of input j ∝ kernel((j + ½ − c)/widen), where widen = max(1, scale)
/// with antialias, else 1. With antialias (and always for bilinear) taps outside are left out and the rest normalised, as PIL does;
/// without, bicubic taps outside count for the nearest pixel, as TensorFlow and torch do.
/// </remarks>
internal unsafe struct ResampleTable
{
    internal int Taps;
    internal int* First;
    internal float* Weights;

    private static float Support(Interpolation kind) => kind == Interpolation.Bilinear ? 1 : 2;

    /// <summary>The most taps for an axis of <paramref name="input"/> pixels; a smaller crop of it needs no more.</summary>
    internal static int MostTaps(int input, int output, Interpolation kind, bool antialias)
    {
        float widen = antialias ? MathF.Max(1, (float)input / output) : 1;
        return widen == 1 ? 2 * (int)Support(kind) : (int)MathF.Ceiling(2 * Support(kind) * widen) + 1;
    }

    /// <summary>Fills <see cref="First"/> and <see cref="Weights"/>, which have room for the output's size, times <see cref="MostTaps"/>.</summary>
    internal void Fill(int input, int output, Interpolation kind, bool antialias, bool reverse)
    {
        float scale = (float)input / output, widen = antialias ? MathF.Max(1, scale) : 1, support = Support(kind) * widen;
        bool clampOutside = !antialias && kind == Interpolation.Bicubic;
        int wanted = MostTaps(input, output, kind, antialias);
        Taps = Math.Min(wanted, input);
        for (int i = 0; i < output; i++)
        {
            float center = (i + 0.5f) * scale;
            int start = (int)MathF.Floor(center - support + 0.5f);
            int first = Math.Clamp(start, 0, input - Taps), slot = reverse ? output - 1 - i : i;
            float* weights = Weights + slot * Taps;
            new Span<float>(weights, Taps).Clear();
            float sum = 0;
            for (int k = 0; k < wanted; k++)
            {
                int j = start + k;
                float weight = Kernel(kind, (j + 0.5f - center) / widen);
                if (clampOutside) j = Math.Clamp(j, 0, input - 1);
                if ((uint)(j - first) >= (uint)Taps) continue;
                weights[j - first] += weight;
                sum += weight;
            }
            for (int k = 0; k < Taps; k++) weights[k] /= sum;
            First[slot] = first;
        }
    }

    private static float Kernel(Interpolation kind, float x)
    {
        x = MathF.Abs(x);
        if (kind == Interpolation.Bilinear) return MathF.Max(0, 1 - x);
        return x < 1 ? (1.5f * x - 2.5f) * x * x + 1
            : x < 2 ? ((-0.5f * x + 2.5f) * x - 4) * x + 2 : 0;
    }
}
