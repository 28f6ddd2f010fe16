namespace KernelContrast;

/// <summary>One tensor of a model's, and what a step reads and changes beside it. All are of the parameter's shape.</summary>
/// <param name="Parameter">What changes.</param>
/// <param name="Source">Its gradient, or what it follows.</param>
/// <param name="First">What the optimizer remembers, if anything.</param>
/// <param name="Second">Likewise.</param>
/// <param name="Decay">Weight decay.</param>
/// <param name="Scaled">Whether it has a trust ratio of its own (LARS).</param>
internal readonly record struct GroupEntry(Tensor Parameter, Tensor Source, Tensor? First = null, Tensor? Second = null, double Decay = 0, bool Scaled = false);

/// <summary>
/// The tensors of one step of an optimizer. It is kept from step to step, because a device may keep a table of them: CUDA
/// works on all in one launch.
/// </summary>
internal sealed partial class TensorGroup : IDisposable
{
    private readonly List<GroupEntry> _entries = [];

    internal TensorGroup(params ReadOnlySpan<GroupEntry> entries)
    {
        foreach (GroupEntry entry in entries) Add(entry);
    }

    internal int Count => _entries.Count;

    internal GroupEntry this[int index] => _entries[index];

    /// <summary>Where they are, all of them.</summary>
    internal Device Device => _entries[0].Parameter.Device;

    internal void Clear() => _entries.Clear();

    /// <exception cref="ArgumentException">The tensor is on another device than those before, or its companions are not of its shape and device.</exception>
    internal void Add(GroupEntry entry)
    {
        foreach (Tensor? other in (ReadOnlySpan<Tensor?>)[entry.Source, entry.First, entry.Second])
            if (other is not null && (other.Shape != entry.Parameter.Shape || other.Device != entry.Parameter.Device || other.Type != DType.Float32))
                throw new ArgumentException($"A float tensor of shape {entry.Parameter.Shape} on {entry.Parameter.Device} cannot follow {other}.");
        if (_entries.Count > 0 && entry.Parameter.Device != Device)
            throw new ArgumentException($"All parameters of an optimizer are on one device, but these are on {Device} and {entry.Parameter.Device}. Move the model with To(device) first.");
        _entries.Add(entry);
    }
}
