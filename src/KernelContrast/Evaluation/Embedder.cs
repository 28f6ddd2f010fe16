using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Nn;

namespace KernelContrast.Evaluation;

/// <summary>Runs an encoder over a data set, in batches and without a tape.</summary>
public static class Embedder
{
    /// <summary>Features of every image, in the data set's order.</summary>
    /// <param name="encoder">[B, C, H, W] → [B, D]; a model must be in eval mode.</param>
    /// <param name="data">At least one image.</param>
    /// <param name="recipe">Size and normalisation of the images, as in training; its random parts are left out. Null for pixels in [0, 1].</param>
    /// <param name="batchSize">Images per forward pass.</param>
    /// <param name="device">Where the encoder's parameters are; the CPU when null.</param>
    /// <param name="progress">Called after each batch with the number of images done.</param>
    /// <exception cref="ArgumentException">The encoder's output is not [B, D].</exception>
    public static FeatureMatrix Embed(Func<Tensor, Tensor> encoder, IImageDataset data, ViewRecipe? recipe = null,
        int batchSize = 256, Device? device = null, Action<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(data);
        ArgumentOutOfRangeException.ThrowIfLessThan(batchSize, 1);
        if (data.Count == 0) throw new ArgumentException("There are no images to embed.");
        using var detached = new NoGrad();
        float[] values = [];
        int dim = 0;
        var batch = new ImageBatch(data, Math.Min(batchSize, data.Count));
        var indices = new int[batch.Indices.Length];
        for (int first = 0; first < data.Count; first += batchSize)
        {
            int count = Math.Min(batchSize, data.Count - first);
            for (int i = 0; i < count; i++) indices[i] = first + i;
            using var scope = new TensorScope();
            Tensor features = encoder(Pipeline.Plain(batch.Fill(data, indices.AsSpan(0, count)), recipe, device));
            if (features.Shape.Rank != 2 || features.Shape[0] != count || (dim > 0 && features.Shape[1] != dim))
                throw new ArgumentException($"The encoder made a tensor of shape {features.Shape} of {count} images, expected [{count}, D] with one D for all batches.");
            if (dim == 0)
            {
                dim = features.Shape[1];
                values = new float[(long)data.Count * dim];
            }
            features.ToArray().CopyTo(values, (long)first * dim);
            progress?.Invoke(first + count);
        }
        return new FeatureMatrix(values, data.Count, dim);
    }

    /// <summary>
    /// Features of every image, with batch statistics frozen: the model is put in eval mode, and back in the mode it was
    /// in afterwards.
    /// </summary>
    /// <param name="encoder">[B, C, H, W] → [B, D].</param>
    /// <param name="data">At least one image.</param>
    /// <param name="recipe">Size and normalisation of the images, as in training; its random parts are left out. Null for pixels in [0, 1].</param>
    /// <param name="batchSize">Images per forward pass.</param>
    /// <param name="device">Where the encoder's parameters are; the CPU when null.</param>
    /// <param name="progress">Called after each batch with the number of images done.</param>
    /// <exception cref="ArgumentException">The encoder's output is not [B, D].</exception>
    public static FeatureMatrix Embed(Module encoder, IImageDataset data, ViewRecipe? recipe = null,
        int batchSize = 256, Device? device = null, Action<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(encoder);
        ArgumentNullException.ThrowIfNull(data);
        bool training = encoder.Training;
        encoder.Eval();
        try { return Embed(encoder.Forward, data, recipe, batchSize, device, progress); }
        finally { if (training) encoder.Train(); }
    }

    /// <summary>The pixels themselves as features, channel by channel: the baseline any encoder has to beat.</summary>
    /// <inheritdoc cref="Embed(Func{Tensor, Tensor}, IImageDataset, ViewRecipe?, int, Device?, Action{int}?)"/>
    public static FeatureMatrix Pixels(IImageDataset data, ViewRecipe? recipe = null)
    {
        ArgumentNullException.ThrowIfNull(data);
        return Embed(static images => Tensor.From<float>(images.ToArray(), new(images.Shape[0], (int)(images.Count / images.Shape[0]))), data, recipe);
    }
}
