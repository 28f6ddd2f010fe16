using KernelContrast.Losses;
using KernelContrast.Nn;

namespace KernelContrast.Training;

/// <summary>
/// A batch as large as the loss wants, with the activations of one chunk: embeds the batch chunk by chunk off the tape,
/// lets the loss see all embeddings, and then embeds each chunk again, on the tape, to send the gradients of its rows back.
/// </summary>
/// <remarks>
/// Gao, Zhang, Han, Callan: "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021. The
/// gradient is that of the whole batch, summed in another order, when an image's embedding depends on that image alone.
/// Batch norm takes the statistics of each chunk (its running ones move once per chunk). The price is a second forward
/// pass.
/// </remarks>
/// <example><code>
/// var cache = new GradientCache(chunks, chunk => model.Forward(ViewsOf(chunk)), views: 2, model);
/// NtXent.Loss(cache.Forward()).Backward();
/// cache.Backward();
/// </code></example>
public sealed class GradientCache
{
    private readonly int _chunks, _views;
    private readonly Func<int, Tensor> _embed;
    private readonly Module[] _modules;
    private readonly List<int> _rows = [];
    private Tensor? _embeddings;
    private long _requestsBeforeLoss;

    /// <summary>Prepares one step; computes nothing yet.</summary>
    /// <param name="chunks">Number of chunks.</param>
    /// <param name="embed">
    /// Chunk number to embeddings [views·m, D], one view of the chunk's m samples after the other. Called twice per chunk,
    /// it must do the same twice: random numbers (views, dropout) are counted by step and chunk, not drawn from a state.
    /// </param>
    /// <param name="views">Views per sample.</param>
    /// <param name="modules">What embeds: their buffers keep what the first pass left in them.</param>
    public GradientCache(int chunks, Func<int, Tensor> embed, int views, params ReadOnlySpan<Module> modules)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(chunks, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(views, 1);
        (_chunks, _embed, _views, _modules) = (chunks, embed, views, modules.ToArray());
    }

    /// <summary>
    /// The embeddings of all chunks, [views·N, D]: row v·N + i is view v of sample i, as if they were one batch. A leaf
    /// that wants its gradient.
    /// </summary>
    /// <exception cref="InvalidOperationException">A chunk's embeddings are no matrix, or not of that many views.</exception>
    public Tensor Forward()
    {
        using var unrecorded = new NoGrad();
        using var all = new TensorScope();
        _rows.Clear();
        var chunks = new Tensor[_chunks];
        for (int chunk = 0; chunk < _chunks; chunk++)
        {
            using var one = new TensorScope();
            Tensor embeddings = one.Keep(_embed(chunk));
            if (embeddings.Shape.Rank != 2 || embeddings.Shape[0] % _views != 0)
                throw new InvalidOperationException($"Chunk {chunk} has embeddings of shape {embeddings.Shape}, expected [{_views}·m, D]: {_views} views of each sample.");
            _rows.Add(embeddings.Shape[0] / _views);
            chunks[chunk] = Functional.Reshape(embeddings, new(_views, _rows[chunk], embeddings.Shape[1]));
            one.Keep(chunks[chunk]);
        }
        // views outermost: a view of all samples lies together
        Tensor whole = Functional.Concat(chunks, 1);
        whole = Functional.Reshape(whole, new(_views * whole.Shape[1], whole.Shape[2]));
        whole.RequiresGrad = true;
        _embeddings = all.Keep(whole);
        Device device = whole.Device;
        long joined = device.Memory.Requests;
        all.Dispose();
        device.DiscardUnused(long.MaxValue, since: joined - 1); // the chunks' own embeddings, which one chunk alone never has so many of
        MakeRoomForLoss(whole);
        return whole;
    }

    /// <summary>
    /// While the loss is computed there are no activations: what the chunks left unused in the pool makes room for it, as much
    /// as NT-Xent needs, which stands for any loss. Backward does the reverse.
    /// </summary>
    private void MakeRoomForLoss(Tensor embeddings)
    {
        Device device = embeddings.Device;
        var loss = new LossCall(LossKind.NtXent, (embeddings.Shape[0] + 1) / 2 * 2, 0, embeddings.Shape[1], temperature: 1);
        device.DiscardUnused(loss.SavedBytes(device) + loss.WorkspaceBytes(device) + embeddings.Bytes, since: 0);
        _requestsBeforeLoss = device.Memory.Requests;
    }

    /// <summary>Adds the gradient of every parameter, once the loss's backward pass has filled that of the embeddings.</summary>
    /// <exception cref="InvalidOperationException">
    /// There is no gradient of the embeddings, or a chunk's second embeddings have another shape than the first.
    /// </exception>
    public void Backward()
    {
        Tensor gradient = _embeddings?.Grad
            ?? throw new InvalidOperationException("The embeddings have no gradient yet: call Forward(), then Backward() of a loss of what it returns.");
        using var all = new TensorScope();
        gradient.Device.DiscardUnused(long.MaxValue, since: _requestsBeforeLoss);
        (Tensor Buffer, Tensor Value)[] kept = [.. _modules.SelectMany(m => m.NamedBuffers()).Select(b => (b.Tensor, b.Tensor.Clone()))];
        try
        {
            int dim = gradient.Shape[1];
            Tensor byView = Functional.Reshape(gradient, new(_views, gradient.Shape[0] / _views, dim));
            for (int chunk = 0, start = 0; chunk < _chunks; start += _rows[chunk], chunk++)
            {
                using var one = new TensorScope();
                Tensor embeddings = _embed(chunk);
                if (embeddings.Shape != new Shape(_views * _rows[chunk], dim))
                    throw new InvalidOperationException($"Chunk {chunk} had {_views * _rows[chunk]} embeddings of {dim} in the first pass, and {embeddings.Shape} in the second. It must do the same twice.");
                embeddings.Backward(Functional.Reshape(Functional.Slice(byView, 1, start, _rows[chunk]), embeddings.Shape));
            }
        }
        finally
        {
            foreach ((Tensor buffer, Tensor value) in kept) buffer.CopyFrom(value);
        }
    }
}
