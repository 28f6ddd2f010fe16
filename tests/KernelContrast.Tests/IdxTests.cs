using System.IO.Compression;
using KernelContrast.Datasets;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class IdxTests
{
    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kc-idx-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    internal static byte[] Idx(ReadOnlySpan<int> sizes, ReadOnlySpan<byte> elements)
    {
        var file = new List<byte> { 0, 0, 8, (byte)sizes.Length };
        foreach (int size in sizes)
            file.AddRange([(byte)(size >> 24), (byte)(size >> 16), (byte)(size >> 8), (byte)size]);
        file.AddRange(elements);
        return [.. file];
    }

    internal static byte[] Gzip(byte[] bytes)
    {
        using var buffer = new MemoryStream();
        using (var gzip = new GZipStream(buffer, CompressionLevel.Optimal)) gzip.Write(bytes);
        return buffer.ToArray();
    }

    private string Write(string name, byte[] bytes)
    {
        string path = Path.Combine(_folder, name);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static byte[] Ramp(int count) => [.. Enumerable.Range(0, count).Select(i => (byte)(i * 7))];

    [TestCase("", false)]
    [TestCase(".gz", true)]
    public void Images_and_labels_are_read_by_their_names(string suffix, bool compress)
    {
        Func<byte[], byte[]> pack = compress ? Gzip : bytes => bytes;
        Write("train-images-idx3-ubyte" + suffix, pack(Idx([3, 2, 5], Ramp(30))));
        Write("train-labels-idx1-ubyte" + suffix, pack(Idx([3], [4, 0, 2])));
        IImageDataset data = Dataset.Open(_folder);
        Assert.That((data.Count, data.Channels, data.Height, data.Width, data.ClassCount), Is.EqualTo((3, 1, 2, 5, 5)));
        var image = new byte[10];
        data.Read(1, image);
        Assert.That(image, Is.EqualTo(Ramp(30)[10..20]));
        Assert.That(data.Labels(), Is.EqualTo([4, 0, 2]));
        Assert.That(() => Dataset.Open(_folder, Split.Test), Throws.TypeOf<DataFormatException>().With.Message.Contains(_folder));
    }

    [Test]
    public void A_claim_larger_than_the_file_is_refused_before_memory_is_given_to_it()
    {
        byte[] bytes = Idx([60000, 100, 100], [1, 2, 3]);
        string plain = Write("a", bytes), gz = Write("a.gz", Gzip(bytes));
        foreach (string path in new[] { plain, gz })
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            Assert.That(() => IdxFile.ReadImages(path), Throws.TypeOf<DataFormatException>().With.Message.Contains("600000000"));
            Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
        }
    }

    [Test]
    public void A_gzip_file_that_expands_beyond_its_header_is_refused()
    {
        string path = Write("bomb.gz", Gzip(Idx([1, 2, 2], new byte[1 << 24])));
        Assert.That(() => IdxFile.ReadImages(path), Throws.TypeOf<DataFormatException>().With.Property("Offset").EqualTo(20));
    }

    [Test]
    public void Errors_name_file_place_and_expectation()
    {
        string cut = Write("cut", Idx([2, 2, 2], [1, 2, 3]));
        Assert.That(() => IdxFile.ReadImages(cut), Throws.TypeOf<DataFormatException>()
            .With.Message.Contains(cut).And.Message.Contains("expected 8 bytes").And.Message.Contains("3 left"));
        string floats = Write("floats", [0, 0, 0x0d, 3, .. new byte[20]]);
        Assert.That(() => IdxFile.ReadImages(floats), Throws.TypeOf<DataFormatException>().With.Message.Contains("00 00 0d"));
        string images = Write("images", Idx([2, 1, 1], [1, 2])), labels = Write("labels", Idx([3], [1, 2, 3]));
        Assert.That(() => IdxFile.ReadImages(images, labels), Throws.TypeOf<DataFormatException>().With.Message.Contains("expected 2 labels"));
        string huge = Write("huge", Idx([-1, 1, 1], [0]));
        Assert.That(() => IdxFile.ReadImages(huge), Throws.TypeOf<DataFormatException>().With.Message.Contains("4294967295"));
        Assert.That(() => Dataset.Open(Path.Combine(_folder, "nowhere")), Throws.TypeOf<DirectoryNotFoundException>());
    }
}
