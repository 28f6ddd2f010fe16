using System.Buffers.Binary;
using System.IO.Compression;

namespace KernelContrast.Datasets;

/// <summary>Reads IDX files, the format of MNIST and its kin, plain or compressed with gzip.</summary>
/// <remarks>
/// Two zero bytes, a type (0x08: unsigned bytes), the number of dimensions, each size as a big-endian 32-bit number,
/// then the elements. Format: http://yann.lecun.com/exdb/mnist.
/// </remarks>
public static class IdxFile
{
    /// <summary>Reads images and labels.</summary>
    /// <param name="imagesPath">An IDX file of unsigned bytes, [N, H, W].</param>
    /// <param name="labelsPath">An IDX file of unsigned bytes, [N]; null when there are no labels.</param>
    /// <exception cref="DataFormatException">A file is not such a file, is cut short, or they do not fit together.</exception>
    /// <exception cref="FileNotFoundException">A file is missing.</exception>
    public static MemoryDataset ReadImages(string imagesPath, string? labelsPath = null)
    {
        ArgumentNullException.ThrowIfNull(imagesPath);
        (byte[] pixels, int[] sizes) = Read(imagesPath, "images (N × height × width)", 3);
        int count = sizes[0], height = sizes[1], width = sizes[2];
        if (count == 0 || height == 0 || width == 0)
            throw new DataFormatException(imagesPath, 4, $"expected at least one image of at least one pixel, found {count} × {height} × {width}.");
        if (labelsPath is null) return new MemoryDataset(pixels, null, 1, height, width);
        (byte[] labels, int[] labelSizes) = Read(labelsPath, "labels (N)", 1);
        if (labelSizes[0] != count)
            throw new DataFormatException(labelsPath, 4, $"expected {count} labels for the images of {imagesPath}, found {labelSizes[0]}.");
        return new MemoryDataset(pixels, Array.ConvertAll(labels, label => (int)label), 1, height, width);
    }

    /// <summary>Reads the elements and sizes of a file of unsigned bytes with <paramref name="rank"/> dimensions.</summary>
    internal static (byte[] Elements, int[] Sizes) Read(string path, string what, int rank)
    {
        using FileStream file = File.OpenRead(path);
        bool compressed = BoundedFile.IsGzip(file);
        using Stream stream = compressed ? new GZipStream(file, CompressionMode.Decompress) : file;
        Span<byte> header = stackalloc byte[4 + 4 * 4];
        header = header[..(4 + 4 * rank)];
        BoundedFile.ReadExactly(stream, path, 0, header, "an IDX header");
        if (header[0] != 0 || header[1] != 0 || header[2] != 8)
            throw new DataFormatException(path, 0, $"expected the IDX type bytes 00 00 08 (unsigned bytes), found {header[0]:x2} {header[1]:x2} {header[2]:x2}.");
        if (header[3] != rank)
            throw new DataFormatException(path, 3, $"expected {rank} dimensions for {what}, found {header[3]}.");
        var sizes = new int[rank];
        long total = 1;
        for (int d = 0; d < rank; d++)
        {
            uint size = BinaryPrimitives.ReadUInt32BigEndian(header[(4 + 4 * d)..]);
            if (size > int.MaxValue || (total *= size) > Array.MaxLength)
                throw new DataFormatException(path, 4 + 4 * d, $"expected sizes of at most {Array.MaxLength} bytes in all, found {size} in dimension {d}.");
            sizes[d] = (int)size;
        }
        byte[] elements = BoundedFile.ReadClaimed(stream, path, header.Length, total, file.Length, compressed);
        return (elements, sizes);
    }
}
