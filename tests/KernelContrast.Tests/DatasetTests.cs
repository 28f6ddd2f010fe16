using CsCheck;
using KernelContrast.Datasets;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class DatasetTests
{
    // 16×8 pixels: left half (200, 60, 100), right half (40, 60, 100)
    private const string JpegBase64 = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWICwgIyYnKSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCj/wAARCAAIABADASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAUG/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/EABUBAQEAAAAAAAAAAAAAAAAAAAQF/8QAGxEAAQQDAAAAAAAAAAAAAAAAAAQGQkOBgsH/2gAMAwEAAhEDEQA/AITAAWhlgvumrbh//9k=";

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kc-data-").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    private string Write(string name, byte[] bytes)
    {
        string path = Path.Combine(_folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static byte[] Read(IImageDataset data, int index)
    {
        var pixels = new byte[data.PixelsPerImage];
        data.Read(index, pixels);
        return pixels;
    }

    private static byte[] Cifar(int labelBytes, params int[] labels)
    {
        var file = new List<byte>();
        foreach (int label in labels)
        {
            if (labelBytes == 2) file.Add(7);
            file.Add((byte)label);
            for (int i = 0; i < 3072; i++) file.Add((byte)(i / 1024 * 50 + label + i % 32));
        }
        return [.. file];
    }

    [Test]
    public void Cifar10_is_its_five_batches_in_order()
    {
        for (int i = 1; i <= 5; i++) Write($"data_batch_{i}.bin", Cifar(1, i, 9 - i));
        Write("test_batch.bin", Cifar(1, 3));
        Write("batches.meta.txt", System.Text.Encoding.ASCII.GetBytes("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"));
        IImageDataset data = Dataset.Open(_folder), test = Dataset.Open(_folder, Split.Test);
        Assert.That((data.Count, data.Channels, data.Height, data.Width, data.ClassCount), Is.EqualTo((10, 3, 32, 32, 10)));
        Assert.That(data.Labels(), Is.EqualTo([1, 8, 2, 7, 3, 6, 4, 5, 5, 4]));
        Assert.That(Read(data, 2)[1024 + 33], Is.EqualTo(50 + 2 + 1));
        Assert.That(test.Labels(), Is.EqualTo([3]));
        Assert.That(data.ClassNames[9], Is.EqualTo("j"));
        File.Delete(Path.Combine(_folder, "data_batch_4.bin"));
        Assert.That(() => Dataset.Open(_folder), Throws.TypeOf<DataFormatException>().With.Message.Contains("data_batch_4.bin"));
    }

    [Test]
    public void Cifar100_has_fine_labels()
    {
        Write("cifar-100-binary/train.bin", Cifar(2, 99, 0));
        IImageDataset data = Dataset.Open(_folder);
        Assert.That(data.Labels(), Is.EqualTo([99, 0]));
        Assert.That(Read(data, 1)[2048], Is.EqualTo(100));
        Assert.That(data.ClassCount, Is.EqualTo(100));
    }

    [Test]
    public void Cifar_errors_name_the_byte()
    {
        string label = Write("l.bin", Cifar(1, 3, 10));
        Assert.That(() => CifarFile.Read10([label]), Throws.TypeOf<DataFormatException>().With.Property("Offset").EqualTo(3073).And.Message.Contains("found 10"));
        string cut = Write("c.bin", Cifar(1, 3, 4)[..5000]);
        Assert.That(() => CifarFile.Read10([cut]), Throws.TypeOf<DataFormatException>().With.Property("Offset").EqualTo(3073));
        string empty = Write("e.bin", []);
        Assert.That(() => CifarFile.Read100(empty), Throws.TypeOf<DataFormatException>());
    }

    [Test]
    public void An_image_folder_has_a_class_per_subfolder_in_order()
    {
        byte[] pixels = [.. Enumerable.Range(0, 2 * 3 * 3).Select(i => (byte)(i * 11))];
        Write("b/2.PNG", TestImages.Png(pixels, 2, 3, 3));
        Write("b/1.png", TestImages.Png([.. pixels.Reverse()], 2, 3, 3));
        Write("a/deep/x.png", TestImages.Png([1, 2, 3, 4, 5, 6], 2, 3, 1));
        Write("a/notes.txt", [1]);
        IImageDataset data = Dataset.Open(_folder);
        Assert.That((data.Count, data.Channels, data.Height, data.Width), Is.EqualTo((3, 3, 2, 3)));
        Assert.That(data.ClassNames, Is.EqualTo(["a", "b"]));
        Assert.That(data.Labels(), Is.EqualTo([0, 1, 1]));
        Assert.That(Read(data, 0), Is.EqualTo([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]));
        byte[] planes = [.. Enumerable.Range(0, 18).Select(i => pixels[i % 6 * 3 + i / 6])];
        Assert.That(Read(data, 2), Is.EqualTo(planes));
        Assert.That(Read(data, 2), Is.EqualTo(planes), "from the cache");
    }

    [Test]
    public void Jpeg_is_read()
    {
        Write("x.jpg", Convert.FromBase64String(JpegBase64));
        IImageDataset data = Dataset.Open(_folder);
        Assert.That((data.Count, data.Channels, data.Height, data.Width, data.ClassCount, data.Label(0)), Is.EqualTo((1, 3, 8, 16, 0, -1)));
        byte[] image = Read(data, 0);
        Assert.That(new[] { image[0], image[15], image[128 + 5], image[256 + 5] }.Select(v => (int)v), Is.EqualTo([200, 40, 60, 100]).Within(6));
    }

    [Test]
    public void Images_of_different_sizes_need_a_size()
    {
        Write("train/a/1.png", TestImages.Png([.. Enumerable.Repeat((byte)77, 40)], 5, 8, 1));
        Write("train/a/2.png", TestImages.Png([.. Enumerable.Range(0, 24).Select(i => (byte)(i % 6 is 1 or 2 or 3 or 4 ? 100 : 0))], 4, 6, 1));
        Assert.That(() => Dataset.Open(_folder), Throws.TypeOf<DataFormatException>()
            .With.Message.Contains("5×8").And.Message.Contains("4×6").And.Message.Contains("2.png").And.Message.Contains("Give a size"));
        IImageDataset data = Dataset.Open(_folder, size: 3);
        Assert.That((data.Count, data.Channels, data.Height, data.Width), Is.EqualTo((2, 1, 3, 3)));
        Assert.That(Read(data, 0), Is.All.EqualTo(77));
        Assert.That(Read(data, 1), Is.All.EqualTo(100), "the sides are cut off, not squeezed in");
        Assert.That(() => Dataset.Open(_folder, Split.Test), Throws.TypeOf<DataFormatException>().With.Message.Contains("test part"));
    }

    [Test]
    public void A_small_png_that_claims_to_be_huge_costs_no_memory()
    {
        Write("x.png", TestImages.Png(new byte[100], 10, 10, 1, claimHeight: 8000, claimWidth: 8000));
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.That(() => new ImageFolder(_folder), Throws.TypeOf<DataFormatException>().With.Message.Contains("8000"));
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.LessThan(1 << 20));
    }

    [TestCase(new[] { 2, 3, 4 }, 1)]
    [TestCase(new[] { 2, 3, 4, 5 }, 3)]
    [TestCase(new[] { 2, 4, 5, 3 }, 3)]
    public void Npy_images_in_any_order_of_channels(int[] sizes, int channels)
    {
        byte[] values = [.. Enumerable.Range(0, sizes.Aggregate((a, b) => a * b)).Select(i => (byte)i)];
        Write("train-images.npy", Npy("|u1", $"({string.Join(", ", sizes)})", values));
        NpyFile.Write(Path.Combine(_folder, "train-labels.npy"), [4, 1], new Shape(2));
        IImageDataset data = Dataset.Open(_folder);
        Assert.That((data.Count, data.Channels), Is.EqualTo((2, channels)));
        Assert.That(data.Labels(), Is.EqualTo([4, 1]));
        int half = values.Length / 2, pixels = half / channels;
        byte[] expected = [.. Enumerable.Range(0, half).Select(i => sizes.Length == 4 && sizes[3] == 3
            ? values[half + i % pixels * 3 + i / pixels] : values[half + i])];
        Assert.That(Read(data, 1), Is.EqualTo(expected));
        Assert.That(Dataset.Open(Path.Combine(_folder, "train-images.npy")).Labels(), Is.EqualTo([4, 1]));
    }

    internal static byte[] Npy(string descr, string shape, byte[] data, int version = 1, string fortran = "False")
    {
        byte[] header = System.Text.Encoding.ASCII.GetBytes($"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        byte[] length = version == 1 ? [(byte)header.Length, 0] : [(byte)header.Length, 0, 0, 0];
        return [0x93, (byte)'N', (byte)'U', (byte)'M', (byte)'P', (byte)'Y', (byte)version, 0, .. length, .. header, .. data];
    }

    private static Gen<int> NpyVersion => Gen.Int[1, 3];

    [Test]
    public void Npy_arrays_go_out_and_come_back()
    {
        Gen.Select(Gen.Int[0, 5].Array[0, 4], Gen.Single, NpyVersion).Sample((sizes, seed, version) =>
        {
            var shape = new Shape(sizes);
            float[] values = [.. Enumerable.Range(0, (int)shape.Count).Select(i => i * seed)];
            string path = Path.Combine(_folder, "a.npy");
            NpyFile.Write(path, values, shape);
            NpyArray read = NpyFile.Read(path);
            Assert.That(read.Shape, Is.EqualTo(shape));
            Assert.That(read.ToSingles(), Is.EqualTo(values));
            int header = BitConverter.ToUInt16(File.ReadAllBytes(path), 8);
            Assert.That((header + 10) % 64, Is.Zero);

            byte[] doubles = [.. values.SelectMany(v => BitConverter.GetBytes((double)v))];
            string tuple = sizes.Length == 1 ? $"({sizes[0]},)" : $"({string.Join(", ", sizes)})";
            File.WriteAllBytes(path, Npy("<f8", tuple, doubles, version));
            Assert.That(NpyFile.Read(path).ToSingles(), Is.EqualTo(values));
        }, iter: 60, threads: 1);
    }

    [Test]
    public void Npy_whole_numbers_of_every_width()
    {
        Check("|i1", [255, 5], [-1, 5]);
        Check("|u1", [255, 5], [255, 5]);
        Check("<i2", [0, 128, 1, 0], [-32768, 1]);
        Check("<u2", [0, 128, 1, 0], [32768, 1]);
        Check("<i4", [255, 255, 255, 255, 2, 1, 0, 0], [-1, 258]);
        Check("<i8", [255, 255, 255, 255, 255, 255, 255, 255, 2, 1, 0, 0, 0, 0, 0, 0], [-1, 258]);
        string big = Write("big.npy", Npy("<i8", "(1,)", [0, 0, 0, 0, 1, 0, 0, 0]));
        Assert.That(() => NpyFile.Read(big).ToInt32s(), Throws.TypeOf<DataFormatException>().With.Message.Contains("4294967296"));

        void Check(string type, byte[] bytes, int[] expected)
        {
            NpyArray array = NpyFile.Read(Write("n.npy", Npy(type, "(2,)", bytes)));
            Assert.That(array.ToInt32s(), Is.EqualTo(expected), type);
            Assert.That(array.ToSingles(), Is.EqualTo(expected.Select(v => (float)v)), type);
        }
    }

    [TestCase(">f4", "(1,)", "False", "astype")]
    [TestCase("|O", "(1,)", "False", "'|O'")]
    [TestCase("<f4", "(1, 1)", "True", "ascontiguousarray")]
    [TestCase("<f4", "(-1,)", "False", "size below")]
    [TestCase("<f4", "(99999999999,)", "False", "size below")]
    [TestCase("<f4", "(2000000000, 2000000000, 2000000000)", "False", "at most")]
    [TestCase("<f4", "(0, 2000000000, 5)", "False", "end of the file")]
    [TestCase("<f4", "(500000000,)", "False", "2000000000 bytes")]
    public void Npy_errors_say_what_to_do(string descr, string shape, string fortran, string expected)
    {
        string path = Write("bad.npy", Npy(descr, shape, new byte[4], fortran: fortran));
        Assert.That(() => NpyFile.Read(path), Throws.TypeOf<DataFormatException>().With.Message.Contains(expected).And.Message.Contains(path));
    }

    [Test]
    public void Damaged_files_never_fail_otherwise_than_by_saying_so()
    {
        byte[] noise = [.. Enumerable.Range(0, 16 * 16 * 3).Select(i => (byte)(i * i * 31 >> 3))];
        (string Name, byte[] Bytes, Action<string> Open)[] formats =
        [
            ("i.idx3-ubyte", IdxTests.Idx([3, 4, 5], new byte[60]), p => IdxFile.ReadImages(p)),
            ("i.gz", IdxTests.Gzip(IdxTests.Idx([3, 4, 5], noise[..60])), p => IdxFile.ReadImages(p)),
            ("c.bin", Cifar(1, 1, 2), p => CifarFile.Read10([p])),
            ("n.npy", Npy("<f4", "(3, 5)", new byte[60]), p => NpyFile.Read(p).ToSingles()),
            ("n2.npy", Npy("|u1", "(3, 5, 4)", new byte[60], version: 2), p => Dataset.Open(p)),
            ("png/x.png", TestImages.Png(noise, 16, 16, 3), p => OpenFolder(p)),
            ("grey/x.png", TestImages.Png(noise[..256], 16, 16, 1), p => OpenFolder(p)),
            ("jpg/x.jpg", Convert.FromBase64String(JpegBase64), p => OpenFolder(p)),
        ];
        foreach (var (name, bytes, open) in formats)
        {
            string path = Write(name, bytes);
            open(path);
            Gen.Select(Gen.Int[0, bytes.Length], Gen.Select(Gen.Int[0, bytes.Length - 1], Gen.Byte).Array[0, 4], Gen.Bool)
                .Sample((length, changes, cut) =>
                {
                    byte[] damaged = [.. bytes];
                    foreach (var (at, value) in changes) damaged[at] = value;
                    File.WriteAllBytes(path, cut ? damaged[..length] : damaged);
                    try { open(path); }
                    catch (DataFormatException e) { Assert.That(e.Message, Does.Contain(path).And.Contain("expected")); }
                }, iter: 200, threads: 1);
        }

        static void OpenFolder(string path)
        {
            var folder = new ImageFolder(Path.GetDirectoryName(path)!);
            Read(folder, 0);
        }
    }

    [Test]
    public void Nothing_known_is_said_with_what_is_known()
    {
        Assert.That(() => Dataset.Open(_folder), Throws.TypeOf<DataFormatException>().With.Message.Contains("data_batch_1.bin").And.Message.Contains(_folder));
        string path = Write("x.zip", [1, 2, 3]);
        Assert.That(() => Dataset.Open(path), Throws.TypeOf<DataFormatException>());
    }

    [Test]
    public void The_shipped_digits_are_whole()
    {
        string? root = TestContext.CurrentContext.TestDirectory;
        while (root is not null && !File.Exists(Path.Combine(root, "KernelContrast.sln"))) root = Path.GetDirectoryName(root);
        Assert.That(root, Is.Not.Null, "the repository around the tests");
        string folder = Path.Combine(root!, "data", "mnist");
        IImageDataset train = Dataset.Open(folder), test = Dataset.Open(folder, Split.Test);
        Assert.That((train.Count, test.Count, train.ClassCount, test.ClassCount), Is.EqualTo((20000, 10000, 10, 10)));
        Assert.That(train.Labels()[..10], Is.EqualTo([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]));
        Assert.That(test.Labels()[..5], Is.EqualTo([7, 2, 1, 0, 4]));
    }

    [Test]
    public void Digits_are_moved_and_turned_once_by_the_seed()
    {
        // a bright bar right of the middle
        const int size = 28;
        var one = new byte[size * size];
        for (int y = 10; y < 18; y++)
            for (int x = 12; x < 16; x++) one[y * size + x] = 200;
        const int count = 300;
        var data = new MemoryDataset([.. Enumerable.Repeat(one, count).SelectMany(p => p)], [.. Enumerable.Range(0, count).Select(i => i % 10)], 1, size, size);
        var moved = new MovedDigits(data, seed: 4);
        var again = new MovedDigits(data.Take(20), seed: 4);
        Assert.That(moved.Labels(), Is.EqualTo(data.Labels()));
        Assert.That(Read(again, 7), Is.EqualTo(Read(moved, 7)));
        Assert.That(Read(new MovedDigits(data, seed: 5), 7), Is.Not.EqualTo(Read(moved, 7)));
        double least = 99, most = -99;
        for (int i = 0; i < count; i++)
        {
            byte[] image = Read(moved, i);
            double mass = image.Sum(v => v), x = 0, y = 0;
            for (int k = 0; k < image.Length; k++) (x, y) = (x + image[k] * (k % size), y + image[k] * (k / size));
            Assert.That(mass, Is.EqualTo(one.Sum(v => v)).Within(1).Percent);
            (x, y) = (x / mass - 13.5, y / mass - 13.5);
            Assert.That((Math.Abs(x), Math.Abs(y)), Is.LessThan((6.1, 6.1)));
            (least, most) = (Math.Min(least, x), Math.Max(most, x));
        }
        Assert.That((least, most), Is.EqualTo((-6.0, 6.0)).Within(0.3));
    }

    [Test]
    public void A_quarter_turn_is_counter_clockwise_and_a_shift_goes_right_and_down()
    {
        byte[] image = [1, 2, 3, 4, 5, 6, 7, 8, 9], turned = new byte[9];
        MovedDigits.Move(image, turned, 1, 3, 3, Math.PI / 2, 0, 0);
        Assert.That(turned, Is.EqualTo([3, 6, 9, 2, 5, 8, 1, 4, 7]));
        MovedDigits.Move(image, turned, 1, 3, 3, 0, 1, 2);
        Assert.That(turned, Is.EqualTo([0, 0, 0, 0, 0, 0, 0, 1, 2]));
    }
}
