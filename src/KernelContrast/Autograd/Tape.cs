namespace KernelContrast;

/// <summary>Records ops and runs them backward (reverse mode, Linnainmaa 1970).</summary>
internal static class Tape
{
    /// <summary>
    /// Puts the op that made <paramref name="output"/> on the tape, when recording is on and an input wants a gradient.
    /// </summary>
    /// <param name="name">The op, for messages.</param>
    /// <param name="output">A fresh tensor; returned.</param>
    /// <param name="inputs">Null entries are absent optional inputs.</param>
    /// <param name="saved">What backward needs; kept alive until it ran.</param>
    /// <param name="backward">Fills the gradients of the inputs that want one.</param>
    internal static Tensor Record(string name, Tensor output, ReadOnlySpan<Tensor?> inputs, ReadOnlySpan<Tensor> saved, BackwardFunction backward)
    {
        if (NoGrad.IsActive) return output;
        bool wanted = false;
        foreach (Tensor? input in inputs) wanted |= input is { RequiresGrad: true };
        if (!wanted) return output;

        var edges = new Edge[inputs.Length];
        for (int i = 0; i < edges.Length; i++)
            edges[i] = inputs[i] is { } input ? new Edge(input.RequiresGrad ? input.NodeForGradient().Retain() : null, input.Shape, input.Type, input.Device) : default;
        var kept = new Tensor[saved.Length];
        using (TensorScope.Suspend())
            for (int i = 0; i < kept.Length; i++) kept[i] = saved[i].Detach();
        output.AttachNode(new Node(name, output.Shape, edges, kept, backward));
        return output;
    }

    /// <summary>Runs the graph below <paramref name="root"/> backward, adding to the gradient of every leaf that wants one.</summary>
    internal static void Backward(Node root, Tensor gradient, bool keepGraph)
    {
        using var unrecorded = new NoGrad();
        using var suspended = TensorScope.Suspend();
        // Every consumer of a node has a greater sequence number than the node, so taking the greatest first visits it
        // when its gradient is whole.
        var queue = new PriorityQueue<Node, long>();
        var queued = new HashSet<Node>();
        try
        {
            Enqueue(root, gradient.Detach());
            while (queue.TryDequeue(out Node? node, out _))
            {
                Tensor grad = node.Gradient!;
                node.Gradient = null;
                if (node.Hooks is { } hooks)
                    foreach (Action<Tensor> hook in hooks) hook(grad);
                if (node.Leaf is { } leaf)
                {
                    if (leaf.TryGetTarget(out Tensor? tensor)) tensor.AccumulateGrad(grad); else grad.Dispose();
                    continue;
                }
                Run(node, grad, keepGraph, Enqueue);
            }
        }
        finally
        {
            // An op that threw leaves half a pass behind: nothing of it may leak into the next.
            foreach (Node node in queued)
            {
                node.Gradient?.Dispose();
                node.Gradient = null;
            }
        }

        void Enqueue(Node node, Tensor contribution)
        {
            node.Gradient = node.Gradient is { } sum ? AddInPlaceOp.Sum(sum, contribution) : contribution;
            if (queued.Add(node)) queue.Enqueue(node, -node.Sequence);
        }
    }

    private static void Run(Node node, Tensor grad, bool keepGraph, Action<Node, Tensor> enqueue)
    {
        if (node.IsConsumed || node.Backward is null)
            throw new InvalidOperationException(
                $"Backward reached '{node.Name}' a second time, after its saved tensors were released. Pass keepGraph: true to the first call.");
        var results = new Tensor?[node.Inputs.Length];
        try
        {
            node.Backward(new BackwardContext(node, grad, results));
            for (int i = 0; i < results.Length; i++)
            {
                Tensor? result = results[i];
                results[i] = null;
                if (node.Inputs[i].Node is not { } input) { result?.Dispose(); continue; }
                if (result is null)
                    throw new InvalidOperationException($"The backward of '{node.Name}' gave no gradient for its input {i}.");
                if (result.Shape != node.Inputs[i].Shape || result.Type != node.Inputs[i].Type)
                    throw new InvalidOperationException($"The backward of '{node.Name}' gave a gradient of shape {result.Shape} and type {result.Type} for its input {i} of shape {node.Inputs[i].Shape} and type {node.Inputs[i].Type}.");
                enqueue(input, result);
            }
        }
        finally
        {
            foreach (Tensor? left in results) left?.Dispose();
            grad.Dispose();
        }
        if (!keepGraph) node.Consume();
    }
}
