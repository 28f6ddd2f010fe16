namespace KernelContrast;

/// <summary>Computes the gradients of an op's inputs from that of its output.</summary>
internal delegate void BackwardFunction(in BackwardContext context);

/// <summary>
/// One recorded op. Reference-counted by the tensor it made and by the nodes that consumed it, so that a graph that is
/// never run backward is released as soon as its tensors are.
/// </summary>
internal sealed class Node
{
    private static long s_sequence;

    private int _references = 1;

    internal Node(string name, Shape shape, Edge[] inputs, Tensor[] saved, BackwardFunction? backward)
    {
        Name = name;
        Shape = shape;
        Inputs = inputs;
        Saved = saved;
        Backward = backward;
        Sequence = Interlocked.Increment(ref s_sequence);
    }

    internal string Name { get; }

    /// <summary>Shape of the output, hence of its gradient.</summary>
    internal Shape Shape { get; }

    /// <summary>Grows with time: an order in which every node comes after its inputs.</summary>
    internal long Sequence { get; }

    internal Edge[] Inputs { get; private set; }

    internal Tensor[] Saved { get; private set; }

    /// <summary>Null for a leaf.</summary>
    internal BackwardFunction? Backward { get; private set; }

    /// <summary>The tensor whose gradient a leaf's node fills.</summary>
    internal WeakReference<Tensor>? Leaf { get; init; }

    internal List<Action<Tensor>>? Hooks { get; set; }

    internal bool IsConsumed { get; private set; }

    /// <summary>Gradient gathered so far during a backward pass.</summary>
    internal Tensor? Gradient { get; set; }

    internal Node Retain()
    {
        Interlocked.Increment(ref _references);
        return this;
    }

    /// <summary>Drops one reference; without recursion, since chains may be long.</summary>
    internal void Release()
    {
        Stack<Node>? pending = null;
        Node? node = this;
        do
        {
            if (Interlocked.Decrement(ref node._references) == 0)
            {
                foreach (Edge edge in node.Inputs)
                    if (edge.Node is { } input) (pending ??= new()).Push(input);
                node.Inputs = [];
                node.ReleaseSaved();
            }
        }
        while (pending is not null && pending.TryPop(out node));
    }

    /// <summary>After its backward ran: nothing saved is needed any more.</summary>
    internal void Consume()
    {
        IsConsumed = true;
        ReleaseSaved();
    }

    private void ReleaseSaved()
    {
        foreach (Tensor tensor in Saved) tensor.Dispose();
        Saved = [];
        Backward = null;
    }
}

/// <summary>An input of a recorded op: its shape, type, device and, when its gradient is wanted, its node.</summary>
internal readonly record struct Edge(Node? Node, Shape Shape, DType Type, Device Device);

/// <summary>What a backward function sees.</summary>
internal readonly ref struct BackwardContext(Node node, Tensor gradOutput, Tensor?[] results)
{
    /// <summary>The upstream gradient, with the output's shape. Not to be overwritten.</summary>
    internal Tensor GradOutput => gradOutput;

    /// <summary>A tensor given to <see cref="Tape.Record"/> as saved.</summary>
    internal Tensor Saved(int index) => node.Saved[index];

    /// <summary>Whether the gradient of an input is wanted.</summary>
    internal bool Needs(int input) => node.Inputs[input].Node is not null;

    internal Shape InputShape(int input) => node.Inputs[input].Shape;

    internal DType InputType(int input) => node.Inputs[input].Type;

    /// <summary>Uninitialised memory for the gradient of an input, of its shape and type, to be filled by the caller.</summary>
    internal Tensor NewGrad(int input) => results[input] = Tensor.Empty(InputShape(input), node.Inputs[input].Device, InputType(input));

    /// <summary>Hands over a tensor (a view of the upstream gradient, say) as the gradient of an input.</summary>
    internal void SetGrad(int input, Tensor gradient) => results[input] = gradient;
}
