namespace KernelContrast.Training;

/// <summary>
/// The losses of steps whose values were not read yet. On a device whose ops finish later than they are issued, reading
/// one waits for all work so far, so they stay there and are read many at a time.
/// </summary>
internal sealed class LossReader : IDisposable
{
    /// <summary>The most steps that a report may lag behind.</summary>
    internal const int MostSteps = 16;

    private readonly List<Tensor> _losses = [];

    /// <summary>Losses that wait to be read.</summary>
    internal int Count => _losses.Count;

    /// <summary>Takes over a loss, a tensor of one element outside of any scope.</summary>
    internal void Add(Tensor loss) => _losses.Add(loss);

    /// <summary>Their values in the order of the steps, in one copy; none are left.</summary>
    internal float[] Read()
    {
        if (_losses.Count == 0) return [];
        try
        {
            if (_losses.Count == 1) return [_losses[0].Item()];
            using var scope = new TensorScope();
            using var unrecorded = new NoGrad();
            return Functional.Concat([.. _losses.Select(l => Functional.Reshape(l, new(1)))], 0).ToArray();
        }
        finally { Dispose(); }
    }

    public void Dispose()
    {
        foreach (Tensor loss in _losses) loss.Dispose();
        _losses.Clear();
    }
}
