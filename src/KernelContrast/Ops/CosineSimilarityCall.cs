using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// <see cref="Functional.CosineSimilarity"/> and its gradient on memory the caller owns: addresses in, addresses out. No
/// tensors, no tape, and on CUDA nothing allocated and no wait: kernels are issued to <see cref="Stream"/>.
/// </summary>
/// <remarks>
/// Set what describes the problem, ask <see cref="SavedBytes"/> and, for gradients, <see cref="WorkspaceBytes"/>, set the
/// addresses, then call <see cref="Forward"/> and, when gradients are wanted, <see cref="Backward"/> with the same values.
/// Addresses are multiples of their elements' size, on CUDA those of saved memory and workspace of 256; others are refused.
/// Several may run at the same time, each on memory of its own: <see cref="LossCall"/> says what that takes.
/// </remarks>
public struct CosineSimilarityCall
{
    /// <summary>A problem of these sizes.</summary>
    /// <param name="rows">Rows of a, at least 1.</param>
    /// <param name="columns">Rows of b, at least 1.</param>
    /// <param name="dim">Elements per row, at least 1.</param>
    /// <exception cref="ArgumentException">The sizes are no matrices'.</exception>
    public CosineSimilarityCall(int rows, int columns, int dim)
    {
        (Rows, Columns, Dim) = (rows, columns, dim);
        CosineSimilarityOp.CheckArguments(this);
    }

    /// <summary>Rows of a.</summary>
    public int Rows { get; }

    /// <summary>Rows of b.</summary>
    public int Columns { get; }

    /// <summary>Elements per row.</summary>
    public int Dim { get; }

    /// <summary>Whether b is a; <see cref="B"/> is then not looked at, and a's gradient holds both sides'.</summary>
    public bool WithItself { get; set; }

    /// <summary>In which numbers products are formed.</summary>
    public Precision Precision { get; set; }

    /// <summary>In: [rows, dim].</summary>
    public DeviceMatrix A { get; set; }

    /// <summary>In: [columns, dim].</summary>
    public DeviceMatrix B { get; set; }

    /// <summary>Out: float32 [rows, columns].</summary>
    public nint Similarities { get; set; }

    /// <summary>What the forward pass leaves for the backward pass: <see cref="SavedBytes"/>.</summary>
    public nint Saved { get; set; }

    /// <summary>Scratch memory of the backward pass: <see cref="WorkspaceBytes"/>.</summary>
    public nint Workspace { get; set; }

    /// <summary>In to backward: float32 [rows, columns], ∂/∂similarities.</summary>
    public nint GradSimilarities { get; set; }

    /// <summary>Out, overwritten: [rows, dim]; address 0: not wanted.</summary>
    public DeviceMatrix GradA { get; set; }

    /// <summary>Out, overwritten: [columns, dim]; address 0: not wanted.</summary>
    public DeviceMatrix GradB { get; set; }

    /// <summary>A CUstream of the current context; 0: the device's own; 1: the legacy default stream. The CPU ignores it.</summary>
    public nint Stream { get; set; }

    /// <summary>Bytes of <see cref="Saved"/>.</summary>
    /// <exception cref="ArgumentException">The sizes are no matrices', or b is a of another size.</exception>
    public readonly long SavedBytes(Device device)
    {
        CosineSimilarityOp.CheckArguments(this);
        return CosineSimilarityOp.On(device).SavedBytes(device, this);
    }

    /// <summary>Bytes of <see cref="Workspace"/>.</summary>
    /// <exception cref="ArgumentException">The sizes are no matrices', or b is a of another size.</exception>
    public readonly long WorkspaceBytes(Device device)
    {
        CosineSimilarityOp.CheckArguments(this);
        return CosineSimilarityOp.On(device).WorkspaceBytes(device, this);
    }

    /// <summary>Fills <see cref="Similarities"/> and <see cref="Saved"/>.</summary>
    /// <exception cref="ArgumentException">An address is missing or misaligned, or sizes do not fit together.</exception>
    public readonly void Forward(Device device)
    {
        CosineSimilarityOp.CheckForward(this);
        CosineSimilarityOp.On(device).Forward(device, this);
    }

    /// <summary>Fills the gradients whose addresses are set, after <see cref="Forward"/> with the same values.</summary>
    /// <inheritdoc cref="Forward"/>
    public readonly void Backward(Device device)
    {
        CosineSimilarityOp.CheckBackward(this);
        CosineSimilarityOp.On(device).Backward(device, this);
    }
}
