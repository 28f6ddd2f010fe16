using CsCheck;
using KernelContrast.Augment;
using KernelContrast.Datasets;

namespace KernelContrast.Tests;

[TestFixture]
internal sealed class BatchLoaderTests
{
    private static MemoryDataset Numbered(int count) =>
        new([.. Enumerable.Range(0, count).SelectMany(i => new[] { (byte)i, (byte)(i >> 8) })],
            [.. Enumerable.Range(0, count).Select(i => i % 10)], 1, 1, 2);

    private static List<(int Index, int Label, int Pixel)> All(IEnumerable<ImageBatch> batches) =>
        [.. batches.SelectMany(b => Enumerable.Range(0, b.Count).Select(i =>
            (b.Indices[i], b.Labels[i], b.Pixels[2 * i] | b.Pixels[2 * i + 1] << 8)))];

    [Test]
    public void Shuffles_are_permutations_and_differ_by_seed_and_epoch() =>
        Gen.Select(Gen.Int[0, 400], Gen.ULong, Gen.Int[0, 1000]).Sample((count, seed, epoch) =>
        {
            int[] order = Shuffle.Permutation(count, seed, epoch);
            Assert.That(order.Order(), Is.EqualTo(Enumerable.Range(0, count)));
            Assert.That(Shuffle.Permutation(count, seed, epoch), Is.EqualTo(order));
            if (count < 30) return;
            Assert.That(Shuffle.Permutation(count, seed + 1, epoch), Is.Not.EqualTo(order));
            Assert.That(Shuffle.Permutation(count, seed, epoch + 1), Is.Not.EqualTo(order));
        }, iter: 200);

    [Test]
    public void Every_image_comes_once_with_its_own_label_and_pixels() =>
        Gen.Select(Gen.Int[1, 300], Gen.Int[1, 64], Gen.Int[1, 4], Gen.Bool).Sample((count, size, ahead, shuffle) =>
        {
            var loader = new BatchLoader(Numbered(count), size, seed: 5, shuffle, dropLast: false, ahead);
            List<(int Index, int Label, int Pixel)> all = All(loader.Epoch(3));
            Assert.That(all.Select(x => x.Index).Order(), Is.EqualTo(Enumerable.Range(0, count)));
            Assert.That(all, Has.All.Matches<(int Index, int Label, int Pixel)>(x => x.Pixel == x.Index && x.Label == x.Index % 10));
        }, iter: 50);

    [Test]
    public void An_epoch_can_go_on_from_its_middle()
    {
        var loader = new BatchLoader(Numbered(100), 7, seed: 1);
        Assert.That(loader.BatchesPerEpoch, Is.EqualTo(14));
        List<(int, int, int)> whole = All(loader.Epoch(2));
        Assert.That(All(loader.Epoch(2, firstBatch: 5)), Is.EqualTo(whole.Skip(35)));
        Assert.That(All(loader.Epoch(2, firstBatch: 14)), Is.Empty);
        // leaving early stops the reader
        Assert.That(loader.Epoch(0).First().Count, Is.EqualTo(7));
    }

    [Test]
    public void A_batch_that_leaves_its_images_unread_gives_them_part_by_part()
    {
        MemoryDataset data = Numbered(600);
        ImageBatch batch = new BatchLoader(data, 512, seed: 4) { LeavesUnread = true }.Epoch(1).Single(), part = new(data, 100);
        Assert.That(batch.Pixels, Is.Empty);
        Assert.That(batch.Indices, Is.EqualTo(new BatchLoader(data, 512, seed: 4).Epoch(1).Single().Indices));
        Assert.That(All([part.Fill(batch, 40, 100)]), Is.EqualTo(batch.Indices[40..140].Select(i => (i, i % 10, i))));
        Assert.That(() => new Pipeline("none", seed: 1).View(batch, 0, 0), Throws.InvalidOperationException.With.Message.Contains("read"));
    }

    [Test]
    public void An_unreadable_image_surfaces_where_its_batch_is_asked_for()
    {
        var loader = new BatchLoader(new Broken(Numbered(40), at: 25), 10, shuffle: false);
        var seen = new List<int>();
        Assert.That(() => { foreach (ImageBatch batch in loader.Epoch(0)) seen.Add(batch.Indices[0]); },
            Throws.TypeOf<DataFormatException>());
        Assert.That(seen, Is.EqualTo([0, 10]));
    }

    [Test]
    public void A_batch_larger_than_the_data_set_is_an_error() =>
        Assert.That(() => new BatchLoader(Numbered(5), 6), Throws.ArgumentException.With.Message.Contains("6").And.Message.Contains("5"));

    private sealed class Broken(IImageDataset data, int at) : IImageDataset
    {
        public int Count => data.Count;
        public int Channels => data.Channels;
        public int Height => data.Height;
        public int Width => data.Width;
        public int ClassCount => data.ClassCount;
        public IReadOnlyList<string> ClassNames => data.ClassNames;
        public int Label(int index) => data.Label(index);

        public void Read(int index, Span<byte> pixels)
        {
            if (index == at) throw new DataFormatException("image.png", 0, "expected an image.");
            data.Read(index, pixels);
        }
    }
}
