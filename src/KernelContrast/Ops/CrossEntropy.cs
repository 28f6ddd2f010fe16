namespace KernelContrast;

public static partial class Functional
{
    /// <summary>
    /// Mean over the rows of −log softmax(logits[n, :])[labels[n]], in nats.
    /// </summary>
    /// <param name="logits">[N, K], N ≥ 1.</param>
    /// <param name="labels">[N], Int32, each in [0, K).</param>
    /// <returns>A scalar.</returns>
    /// <exception cref="ArgumentException">
    /// Shapes or types do not fit, there are no rows, or a label is outside of [0, K): the message names its row.
    /// </exception>
    public static Tensor CrossEntropy(Tensor logits, Tensor labels)
    {
        ArgumentNullException.ThrowIfNull(logits);
        ArgumentNullException.ThrowIfNull(labels);
        return CrossEntropyOp.Apply(logits, labels);
    }
}

/// <summary>
/// Forward: L = (1/N) Σ_n (lse_n − x[n, label_n]) with lse_n = log Σ_k exp x[n, k].
/// Backward: grad_x[n, k] = (exp(x[n, k] − lse_n) − [k = label_n]) · grad_L / N. Saves x, the labels and lse.
/// </summary>
internal static partial class CrossEntropyOp
{
    internal abstract class Kernels
    {
        /// <summary>First row whose label is outside of [0, classes), with the label; (−1, 0) when there is none.</summary>
        internal abstract (int Row, int Label) FindBadLabel(Tensor labels, int classes);
        internal abstract void Forward(Tensor loss, Tensor logSumExp, Tensor logits, Tensor labels);
        internal abstract void Backward(Tensor gradLogits, Tensor gradLoss, Tensor logits, Tensor labels, Tensor logSumExp);
    }

    internal static Kernels On(Device device) => device.Pick<Kernels, Cpu, Cuda>();

    internal static Tensor Apply(Tensor logits, Tensor labels)
    {
        const string Op = "cross-entropy";
        Device device = Check.SameDevice(Op, logits);
        Check.Rank(Op, logits, 2);
        int rows = logits.Shape[0], classes = logits.Shape[1];
        Check.That(labels.Type == DType.Int32, $"{Op}: labels holds {labels.Type}, expected Int32.");
        Check.That(labels.Device == device, $"{Op}: logits is on {device}, labels on {labels.Device}. Move one with To(device).");
        Check.Shape(Op, labels, new(rows));
        Check.That(rows > 0, $"{Op}: logits has shape {logits.Shape}; the mean over no rows is undefined.");
        (int row, int label) = On(device).FindBadLabel(labels, classes);
        Check.That(row < 0, $"{Op}: the label of row {row} is {label}, but logits of shape {logits.Shape} has classes 0 to {classes - 1}.");

        Tensor loss = Tensor.Empty(new(), device);
        using Tensor logSumExp = Tensor.Empty(new(rows), device);
        On(device).Forward(loss, logSumExp, logits, labels);
        return Tape.Record(Op, loss, [logits], saved: [logits, labels, logSumExp], static (in b) =>
            On(b.GradOutput.Device).Backward(b.NewGrad(0), b.GradOutput, logits: b.Saved(0), labels: b.Saved(1), logSumExp: b.Saved(2)));
    }
}
