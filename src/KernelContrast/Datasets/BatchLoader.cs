using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace KernelContrast.Datasets;

/// <summary>
/// Walks a data set in batches, shuffled anew each epoch, and reads ahead on a thread of its own. What comes out is a
/// pure function of (seed, epoch, batch number), so a run can go on in the middle of an epoch.
/// </summary>
public sealed class BatchLoader
{
    private readonly IImageDataset _data;
    private readonly ulong _seed;
    private readonly bool _shuffle;
    private readonly int _readAhead;

    /// <summary>A loader of <paramref name="data"/>.</summary>
    /// <param name="data">Where the images come from.</param>
    /// <param name="batchSize">Images per batch.</param>
    /// <param name="seed">Of the shuffles.</param>
    /// <param name="shuffle">Whether each epoch has an order of its own; else the data set's.</param>
    /// <param name="dropLast">Whether an incomplete last batch is left out.</param>
    /// <param name="readAhead">Batches read before they are asked for.</param>
    /// <exception cref="ArgumentException">There would be no batch.</exception>
    public BatchLoader(IImageDataset data, int batchSize, ulong seed = 0, bool shuffle = true, bool dropLast = true, int readAhead = 2)
    {
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(readAhead, 1);
        if (data.Count == 0) throw new ArgumentException("The data set has no images.");
        if (dropLast && batchSize > data.Count)
            throw new ArgumentException($"A batch of {batchSize} is larger than the data set of {data.Count} image{(data.Count == 1 ? "" : "s")}. Choose a smaller batch.");
        (_data, BatchSize, _seed, _shuffle, _readAhead) = (data, batchSize, seed, shuffle, readAhead);
        BatchesPerEpoch = dropLast ? data.Count / batchSize : (int)(((long)data.Count + batchSize - 1) / batchSize);
    }

    /// <summary>Images per batch; the last of an epoch may have fewer.</summary>
    public int BatchSize { get; }

    /// <summary>Batches per epoch.</summary>
    public int BatchesPerEpoch { get; }

    /// <summary>All images where ops run (<see cref="ImageBatch.Resident"/>): batches then carry indices only.</summary>
    internal Tensor? Resident { get; set; }

    /// <summary>Whether batches carry indices only, for a caller who takes images from them part by part (<see cref="ImageBatch.Unread"/>).</summary>
    internal bool LeavesUnread { get; init; }

    /// <summary>
    /// The batches of an epoch from <paramref name="firstBatch"/> on. A batch is valid until the next is asked for: its
    /// memory is used again.
    /// </summary>
    /// <exception cref="DataFormatException">An image cannot be read; it comes when its batch is asked for.</exception>
    public IEnumerable<ImageBatch> Epoch(int epoch, int firstBatch = 0)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(epoch);
        ArgumentOutOfRangeException.ThrowIfNegative(firstBatch);
        return Walk(epoch, firstBatch);
    }

    private IEnumerable<ImageBatch> Walk(int epoch, int firstBatch)
    {
        int remaining = BatchesPerEpoch - firstBatch;
        if (remaining <= 0) yield break;
        int[]? order = _shuffle ? Shuffle.Permutation(_data.Count, _seed, epoch) : null;
        using var free = new BlockingCollection<ImageBatch>();
        using var full = new BlockingCollection<ImageBatch>();
        using var stop = new CancellationTokenSource();
        int capacity = Math.Min(BatchSize, _data.Count);
        // one more than are read ahead: the caller holds one
        for (int i = Math.Min(_readAhead + 1, remaining); i > 0; i--) free.Add(new ImageBatch(_data, capacity, Resident, LeavesUnread));
        Exception? failure = null;
        var reader = new Thread(() =>
        {
            try
            {
                var indices = new int[capacity];
                for (int b = firstBatch; b < BatchesPerEpoch; b++)
                {
                    int start = b * BatchSize, count = Math.Min(BatchSize, _data.Count - start);
                    for (int i = 0; i < count; i++) indices[i] = order is null ? start + i : order[start + i];
                    full.Add(free.Take(stop.Token).Fill(_data, indices.AsSpan(0, count)));
                }
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested) { }
            catch (Exception e) { failure = e; }
            finally { full.CompleteAdding(); }
        })
        { IsBackground = true, Name = "KernelContrast loader" };
        reader.Start();
        try
        {
            foreach (ImageBatch batch in full.GetConsumingEnumerable())
            {
                yield return batch;
                free.Add(batch);
            }
            if (failure is not null) ExceptionDispatchInfo.Throw(failure);
        }
        finally
        {
            stop.Cancel();
            reader.Join();
        }
    }
}

/// <summary>Random orders.</summary>
public static class Shuffle
{
    // Counter word 3 of the shuffles' numbers: 'S' keeps them apart from every other use of the same seed.
    private const uint Domain = 0x53u << 24;

    /// <summary>
    /// A permutation of 0 … count − 1, a pure function of (seed, epoch): Fisher–Yates from the top, position i drawing
    /// from Philox with counter (i, 0, epoch, domain).
    /// </summary>
    public static int[] Permutation(int count, ulong seed, int epoch)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        var order = new int[count];
        for (int i = 0; i < count; i++) order[i] = i;
        for (int i = count - 1; i > 0; i--)
        {
            var (x, y, _, _) = Philox.Block((uint)i, 0, (uint)epoch, Domain, (uint)seed, (uint)(seed >> 32));
            // 64 random bits × (i + 1) ≫ 64: off from uniform by less than 2⁻³³
            int j = (int)Math.BigMul(((ulong)x << 32) | y, (ulong)i + 1, out _);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }
}
