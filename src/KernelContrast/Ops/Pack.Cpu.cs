using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace KernelContrast;

/// <summary>Copies matrices into panels: for every k, a few neighbouring rows or columns side by side.</summary>
internal static unsafe class Pack
{
    /// <summary>
    /// panel[k · width + i] = source[i · stride + k] for i &lt; count, 0 for count ≤ i &lt; width: a transposition.
    /// </summary>
    internal static void Transposed(float* panel, float* source, long stride, int count, int width, int depth)
    {
        Transpose(panel, width, source, stride, count, depth);
        if (count == width) return;
        for (int k = 0; k < depth; k++) new Span<float>(panel + (long)k * width + count, width - count).Clear();
    }

    /// <summary>to[k · toStride + i] = source[i · stride + k] for i &lt; count, k &lt; depth; what lies between is left as it is.</summary>
    internal static void Transpose(float* to, int toStride, float* source, long stride, int count, int depth)
    {
        int i = 0;
        for (; i + 4 <= count; i += 4) Transposed4(to + i, source + i * stride, stride, toStride, depth);
        for (; i < count; i++)
        {
            float* from = source + i * stride;
            for (int k = 0; k < depth; k++) to[(long)k * toStride + i] = from[k];
        }
    }

    /// <summary>panel[k · width + i] = source[k · stride + i] for i &lt; count, 0 for count ≤ i &lt; width.</summary>
    internal static void Straight(float* panel, float* source, long stride, int count, int width, int depth)
    {
        for (int k = 0; k < depth; k++)
        {
            var row = new Span<float>(panel + (long)k * width, width);
            new ReadOnlySpan<float>(source + k * stride, count).CopyTo(row);
            row[count..].Clear();
        }
    }

    private static void Transposed4(float* panel, float* source, long stride, int width, int depth)
    {
        int k = 0;
        if (Sse.IsSupported)
            for (; k + 4 <= depth; k += 4)
            {
                Vector128<float> a = Vector128.Load(source + k), b = Vector128.Load(source + stride + k);
                Vector128<float> c = Vector128.Load(source + 2 * stride + k), d = Vector128.Load(source + 3 * stride + k);
                Vector128<float> ab01 = Sse.UnpackLow(a, b), ab23 = Sse.UnpackHigh(a, b);
                Vector128<float> cd01 = Sse.UnpackLow(c, d), cd23 = Sse.UnpackHigh(c, d);
                float* to = panel + (long)k * width;
                Sse.MoveLowToHigh(ab01, cd01).Store(to);
                Sse.MoveHighToLow(cd01, ab01).Store(to + width);
                Sse.MoveLowToHigh(ab23, cd23).Store(to + 2 * width);
                Sse.MoveHighToLow(cd23, ab23).Store(to + 3 * width);
            }
        for (; k < depth; k++)
            for (int i = 0; i < 4; i++) panel[(long)k * width + i] = source[i * stride + k];
    }
}
