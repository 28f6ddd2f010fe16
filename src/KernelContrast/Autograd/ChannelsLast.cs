namespace KernelContrast;

/// <summary>Conversion between NCHW, the order of the API and of files, and NHWC, the order of storage.</summary>
internal static class ChannelsLast
{
    internal static void FromNchw<T>(ReadOnlySpan<T> nchw, Span<T> nhwc, Shape shape)
    {
        int channels = shape[1], pixels = shape[2] * shape[3];
        Transpose(nchw, nhwc, shape[0], channels, pixels);
    }

    internal static void ToNchw<T>(ReadOnlySpan<T> nhwc, Span<T> nchw, Shape shape)
    {
        int channels = shape[1], pixels = shape[2] * shape[3];
        Transpose(nhwc, nchw, shape[0], pixels, channels);
    }

    private static void Transpose<T>(ReadOnlySpan<T> source, Span<T> destination, int images, int rows, int columns)
    {
        if (rows == 1 || columns == 1) { source.CopyTo(destination); return; }
        int size = rows * columns;
        for (int image = 0; image < images; image++)
        {
            ReadOnlySpan<T> from = source.Slice(image * size, size);
            Span<T> to = destination.Slice(image * size, size);
            for (int row = 0; row < rows; row++)
                for (int column = 0; column < columns; column++)
                    to[column * rows + row] = from[row * columns + column];
        }
    }
}
