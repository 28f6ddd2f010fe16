using System.Buffers.Binary;
using SkiaSharp;

namespace KernelContrast.Cli.Tests;

/// <summary>Small data sets in MNIST's files.</summary>
internal static class TestImages
{
    /// <summary>
    /// 28×28 images of as many classes as asked for, one after the other: class c is a bright square at the c-th place,
    /// jittered, on noise.
    /// </summary>
    internal static void WriteIdx(string directory, int train, int test, int classes, bool labels = true)
    {
        Directory.CreateDirectory(directory);
        Write(directory, "train", train, classes, labels, seed: 1);
        Write(directory, "t10k", test, classes, labels, seed: 2);
    }

    /// <summary>A folder of colour PNGs of 20×18 pixels per class.</summary>
    internal static void WriteFolder(string directory, int classes, int perClass)
    {
        var random = new Random(3);
        for (int c = 0; c < classes; c++)
        {
            string folder = Directory.CreateDirectory(Path.Combine(directory, $"class{c}")).FullName;
            for (int i = 0; i < perClass; i++)
            {
                using var bitmap = new SKBitmap(20, 18, SKColorType.Rgba8888, SKAlphaType.Opaque);
                for (int p = 0; p < 360; p++)
                    bitmap.SetPixel(p % 20, p / 20, new SKColor((byte)(40 * c + 7 * (p % 20)), (byte)(12 * (p / 20)), (byte)random.Next(256)));
                using FileStream file = File.Create(Path.Combine(folder, $"{i}.png"));
                bitmap.Encode(file, SKEncodedImageFormat.Png, 100);
            }
        }
    }

    private static void Write(string directory, string part, int count, int classes, bool labels, int seed)
    {
        var random = new Random(seed);
        byte[] pixels = new byte[count * 784];
        random.NextBytes(pixels);
        for (int i = 0; i < count; i++)
        {
            int c = i % classes, top = 3 + c / 3 * 8 + random.Next(3), left = 3 + c % 3 * 8 + random.Next(3);
            for (int p = 0; p < 784; p++)
            {
                bool inside = p / 28 >= top && p / 28 < top + 6 && p % 28 >= left && p % 28 < left + 6;
                pixels[i * 784 + p] = inside ? (byte)240 : (byte)(pixels[i * 784 + p] / 8);
            }
        }
        WriteFile(Path.Combine(directory, $"{part}-images-idx3-ubyte"), pixels, count, 28, 28);
        if (labels) WriteFile(Path.Combine(directory, $"{part}-labels-idx1-ubyte"), [.. Enumerable.Range(0, count).Select(i => (byte)(i % classes))], count);
    }

    private static void WriteFile(string path, byte[] elements, params int[] sizes)
    {
        byte[] header = new byte[4 + 4 * sizes.Length];
        (header[2], header[3]) = (8, (byte)sizes.Length);
        for (int d = 0; d < sizes.Length; d++) BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4 + 4 * d), sizes[d]);
        File.WriteAllBytes(path, [.. header, .. elements]);
    }
}
