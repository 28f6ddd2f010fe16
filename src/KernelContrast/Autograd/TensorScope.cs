namespace KernelContrast;

/// <summary>
/// Disposes the tensors created on this thread since it began, but those given to <see cref="Keep"/>. Scopes nest; a
/// kept tensor belongs to the scope around, or to nobody.
/// </summary>
/// <example><code>
/// using var scope = new TensorScope();
/// Tensor loss = Loss(model.Forward(batch));
/// loss.Backward();
/// </code></example>
public sealed class TensorScope : IDisposable
{
    [ThreadStatic] private static TensorScope? t_current;

    private readonly TensorScope? _outer = t_current;
    private readonly List<Tensor> _tensors = [];
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private bool _ended;

    /// <summary>Begins a scope on this thread.</summary>
    public TensorScope() => t_current = this;

    /// <summary>Moves a tensor made in this scope to the scope around it, or to the caller when there is none.</summary>
    public Tensor Keep(Tensor tensor)
    {
        if (_tensors.Remove(tensor)) _outer?._tensors.Add(tensor);
        return tensor;
    }

    /// <summary>Disposes what was made in the scope. Never throws for scopes ended out of order; the inner ones end too.</summary>
    public void Dispose()
    {
        if (_ended) return;
        _ended = true;
        if (Environment.CurrentManagedThreadId == _thread)
        {
            while (t_current is { } inner && inner != this)
            {
                if (!Encloses(inner)) break;
                inner.Dispose();
            }
            if (t_current == this) t_current = _outer;
        }
        foreach (Tensor tensor in _tensors) tensor.Dispose();
        _tensors.Clear();
    }

    /// <summary>No scope sees the tensors made while the result is alive: parameters, optimizer state, kept gradients.</summary>
    internal static Suspension Suspend() => new();

    internal static void Register(Tensor tensor) => t_current?._tensors.Add(tensor);

    private bool Encloses(TensorScope inner)
    {
        for (TensorScope? scope = inner; scope is not null; scope = scope._outer)
            if (scope == this) return true;
        return false;
    }

    internal readonly ref struct Suspension
    {
        private readonly TensorScope? _suspended;

        public Suspension()
        {
            _suspended = t_current;
            t_current = null;
        }

        public void Dispose() => t_current = _suspended;
    }
}
