namespace KernelContrast;

public sealed partial class Tensor
{
    private Tensor? _grad;
    private bool _requiresGrad;

    /// <summary>
    /// Whether gradients flow to this tensor. Set it on leaves (parameters, inputs); results of ops inherit it from
    /// their inputs. Clearing it on a parameter freezes it.
    /// </summary>
    /// <exception cref="InvalidOperationException">Set on a result of an op, or on a tensor that holds no floats.</exception>
    public bool RequiresGrad
    {
        get => _requiresGrad || _node is { Leaf: null };
        set
        {
            if (_node is { Leaf: null })
                throw new InvalidOperationException("RequiresGrad is set on leaves only; cut a result from the tape with Detach() first.");
            if (value && Type != DType.Float32)
                throw new InvalidOperationException($"Only float tensors have gradients; this one holds {Type}.");
            _requiresGrad = value;
        }
    }

    /// <summary>The sum of the gradients of every backward pass since it was last cleared; null before the first.</summary>
    public Tensor? Grad => _grad;

    /// <summary>Drops the gradient, giving its memory back.</summary>
    public void ClearGrad() => Interlocked.Exchange(ref _grad, null)?.Dispose();

    /// <summary>Runs the tape backward from this scalar, whose own gradient is 1.</summary>
    /// <param name="keepGraph">Keep what was saved, so that backward can run again.</param>
    /// <exception cref="InvalidOperationException">The tensor is no scalar, or nothing below it wants a gradient.</exception>
    public void Backward(bool keepGraph = false)
    {
        if (Count != 1)
            throw new InvalidOperationException($"Backward() without a gradient starts at a scalar, but this tensor has shape {Shape}. Pass the upstream gradient.");
        using var suspended = TensorScope.Suspend();
        using Tensor one = Full(Shape, 1, Device);
        using Tensor typed = one.To(Type);
        Backward(typed, keepGraph);
    }

    /// <summary>Runs the tape backward from this tensor with the given upstream gradient, of the same shape.</summary>
    /// <exception cref="ArgumentException">The gradient's shape or device differs.</exception>
    /// <exception cref="InvalidOperationException">Nothing below wants a gradient, or the graph was already released.</exception>
    public void Backward(Tensor gradient, bool keepGraph = false)
    {
        if (gradient.Shape != Shape)
            throw new ArgumentException($"The upstream gradient has shape {gradient.Shape}, the tensor {Shape}.");
        if (gradient.Type != Type)
            throw new ArgumentException($"The upstream gradient holds {gradient.Type}, the tensor {Type}. Convert it with To(DType.{Type}).");
        if (gradient.Device != Device)
            throw new ArgumentException($"The upstream gradient is on {gradient.Device}, the tensor on {Device}.");
        if (!RequiresGrad)
            throw new InvalidOperationException("Nothing to differentiate: no input of this tensor has RequiresGrad, or it was made under NoGrad.");
        Tape.Backward(NodeForGradient(), gradient, keepGraph);
    }

    /// <summary>Calls <paramref name="hook"/> with this tensor's whole gradient each time a backward pass reaches it.</summary>
    /// <remarks>The hook may read the gradient and, on leaves, scale it in place; the tensor it is given is valid during the call only.</remarks>
    public void RegisterHook(Action<Tensor> hook)
    {
        if (!RequiresGrad) throw new InvalidOperationException("A hook needs a tensor with RequiresGrad.");
        (NodeForGradient().Hooks ??= []).Add(hook);
    }

    internal void AttachNode(Node node) => _node = node;

    internal Node NodeForGradient() =>
        _node ??= new Node("leaf", Shape, [], [], null) { Leaf = new WeakReference<Tensor>(this) };

    /// <summary>Takes over <paramref name="gradient"/>.</summary>
    internal void AccumulateGrad(Tensor gradient)
    {
        if (IsDisposed) { gradient.Dispose(); return; }
        _grad = _grad is { } sum ? AddInPlaceOp.Sum(sum, gradient) : gradient.Buffer.IsExclusive ? gradient : Own(gradient);
    }

    private static Tensor Own(Tensor shared)
    {
        Tensor copy = shared.Clone();
        shared.Dispose();
        return copy;
    }
}
