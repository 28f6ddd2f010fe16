namespace KernelContrast.Losses;

/// <summary>A matrix of float32 (or what <see cref="Type"/> says) in memory of a device that somebody else owns.</summary>
/// <param name="Pointer">Address of the first element, on the device.</param>
/// <param name="RowStride">Elements from one row to the next, at least the number of columns.</param>
/// <param name="Type">Type of the elements.</param>
public readonly record struct DeviceMatrix(nint Pointer, long RowStride, DType Type = DType.Float32);

/// <summary>
/// One loss of the family and its gradient on memory the caller owns: addresses in, addresses out. No tensors, no tape,
/// nothing allocated, and on CUDA no wait: kernels are issued to <see cref="Stream"/> and read scalars from the device.
/// </summary>
/// <remarks>
/// Set what describes the problem, ask <see cref="SavedBytes"/> and <see cref="WorkspaceBytes"/>, set the addresses, then
/// call <see cref="Forward"/> and, when gradients are wanted, <see cref="Backward"/> with the same values. The tape and the
/// calls on spans go through here too. Addresses are multiples of their elements' size, on CUDA those of saved memory and
/// workspace of 256; others are refused.
/// <para><b>Threads.</b> Any number of calls may run at the same time on one device, from any threads, and each gives the bits that it
/// gives alone, as long as none writes memory that another uses: outputs, saved memory and workspace are each call's own, inputs
/// may be shared. On the CPU they take turns at the device's threads; <see cref="Devices.CpuDevice.Threads"/>, on which sizes and bits
/// depend, stays the same from <see cref="SavedBytes"/> to the end of <see cref="Backward"/>. On CUDA each is issued to its stream, and its
/// memory is in use until the stream is past it: two may share a workspace only where one thread issues both, one after the
/// other, to one stream. Device.Dispose, <see cref="Devices.CudaDevice.Capture"/> and changes of the device's settings wait until no call is under way.</para>
/// </remarks>
public partial struct LossCall
{
    /// <summary>
    /// A problem of these sizes. What is wrong by itself is refused here; what depends on properties that are set later
    /// (labels, bias, addresses, a τ set anew) where memory is asked for and where the call runs.
    /// </summary>
    /// <param name="kind">Which loss; the classes of the same names state their formulas.</param>
    /// <param name="rows">Rows of embeddings: two per pair for the losses within one batch, else queries or images.</param>
    /// <param name="columns">Keys, texts or the queue's rows; 0 or as many as rows for the losses within one batch.</param>
    /// <param name="dim">Elements per row.</param>
    /// <param name="temperature">τ, positive and finite, also where <see cref="TemperatureAt"/> will stand for it.</param>
    /// <exception cref="ArgumentException">There is no such kind, the sizes are not those of a problem of the kind, or τ is no temperature.</exception>
    public LossCall(LossKind kind, int rows, int columns, int dim, float temperature)
    {
        (Kind, Rows, Columns, Dim, Temperature) = (kind, rows, columns, dim, temperature);
        if (IsWithinBatch && columns == 0) Columns = rows;
        ContrastOp.CheckSizes(this);
        ContrastOp.CheckTemperature(this);
    }

    /// <summary>Which loss.</summary>
    public LossKind Kind { get; }

    /// <summary>Rows of embeddings.</summary>
    public int Rows { get; }

    /// <summary>What the rows are contrasted with: themselves, the keys, or the queue.</summary>
    public int Columns { get; }

    /// <summary>Elements per row.</summary>
    public int Dim { get; }

    /// <summary>τ, unless <see cref="TemperatureAt"/> is set.</summary>
    public float Temperature { get; set; }

    /// <summary>b of <see cref="LossKind.SigLip"/>, unless <see cref="BiasAt"/> is set.</summary>
    public float Bias { get; set; }

    /// <summary>Address of one float32 on the device that holds τ; 0: <see cref="Temperature"/> holds.</summary>
    public nint TemperatureAt { get; set; }

    /// <summary>Address of one float32 on the device that holds b; 0: <see cref="Bias"/> holds.</summary>
    public nint BiasAt { get; set; }

    /// <summary>Which rows are pairs, for <see cref="LossKind.NtXent"/> and <see cref="LossKind.Dcl"/>.</summary>
    public PairLayout Layout { get; set; }

    /// <summary>Mean, sum or each row's loss.</summary>
    public Reduction Reduction { get; set; }

    /// <summary>In which numbers products are formed.</summary>
    public Precision Precision { get; set; }

    /// <summary>Whether rows are divided by their norm, and gradients led back through it. On unless switched off.</summary>
    public bool Normalize { get; set; } = true;

    /// <summary>Whether a backward pass will follow; when not, the forward pass may save less, and <see cref="LossKind.SigLip"/>'s mean and
    /// sum have one product in place of three. On unless switched off; <see cref="Backward"/> is refused where it is off.</summary>
    public bool WantsGradient { get; set; } = true;

    /// <summary>
    /// Whether <see cref="GradKeys"/> may be asked for; when not, <see cref="LossKind.InfoNce"/> computes less and keeps
    /// nothing of the keys' size, and <see cref="LossKind.SigLip"/> computes and saves less. On unless switched off; <see cref="LossKind.Moco"/>'s queue has no gradient anyway.
    /// </summary>
    public bool WantsKeysGradient { get; set; } = true;

    /// <summary>
    /// Where all similarities take no more bytes than this, the CPU's forward pass keeps them for the backward pass, as part of
    /// <see cref="SavedBytes"/>; else they are computed again. They are four bytes for each row and column, within one batch half of it: 64 MiB, the
    /// value unless set, hold 4,096 queries and keys or 5,700 rows of one batch. 0 never keeps them. Nor are they kept where it does not
    /// pay (fewer than 32 elements a row; <see cref="LossKind.SigLip"/>'s mean and sum, whose gradients are formed with the loss), where they
    /// are doubles (rows not normalised; τ below 0.023, though the memory is asked for), and on CUDA.
    /// </summary>
    public long MostKeptBytes { get; set; } = 64L << 20;

    /// <summary>Whether the kind contrasts the rows with themselves.</summary>
    public readonly bool IsWithinBatch => Kind is LossKind.NtXent or LossKind.Dcl or LossKind.SupCon;

    /// <summary>In: [rows, dim], the embeddings, queries or images.</summary>
    public DeviceMatrix Embeddings { get; set; }

    /// <summary>In: [columns, dim], the keys or texts, or <see cref="LossKind.Moco"/>'s queue. Unused within one batch.</summary>
    public DeviceMatrix Keys { get; set; }

    /// <summary>In: [rows, dim], the positive keys of <see cref="LossKind.Moco"/>.</summary>
    public DeviceMatrix Positives { get; set; }

    /// <summary>
    /// In: int32 labels, or 0 for none; negative ones equal no other. [rows] within one batch, [columns] for keys (row i has
    /// key i's), [rows + columns] for <see cref="LossKind.Moco"/>, the queue's last. <see cref="LossKind.SupCon"/> finds
    /// partners by them, the other kinds leave negatives of a row's own label out.
    /// </summary>
    public nint Labels { get; set; }

    /// <summary>Out: the loss, one float32, or [rows] with <see cref="Reduction.None"/>.</summary>
    public nint Loss { get; set; }

    /// <summary>What the forward pass leaves for the backward pass: <see cref="SavedBytes"/>.</summary>
    public nint Saved { get; set; }

    /// <summary>Scratch memory of either pass: <see cref="WorkspaceBytes"/>.</summary>
    public nint Workspace { get; set; }

    /// <summary>In to backward: ∂/∂loss, of the loss's shape.</summary>
    public nint GradLoss { get; set; }

    /// <summary>Out, overwritten: [rows, dim]; address 0: not wanted.</summary>
    public DeviceMatrix GradEmbeddings { get; set; }

    /// <summary>Out, overwritten: [columns, dim]; address 0: not wanted. Never for <see cref="LossKind.Moco"/> or within one batch.</summary>
    public DeviceMatrix GradKeys { get; set; }

    /// <summary>Out, overwritten: ∂/∂τ, one float32; 0: not wanted.</summary>
    public nint GradTemperature { get; set; }

    /// <summary>Out, overwritten: ∂/∂b of <see cref="LossKind.SigLip"/>, one float32; 0: not wanted.</summary>
    public nint GradBias { get; set; }

    /// <summary>A CUstream of the current context; 0: the device's own; 1: the legacy default stream. The CPU ignores it.</summary>
    public nint Stream { get; set; }

    /// <summary>
    /// Bytes of <see cref="Saved"/>. They and <see cref="WorkspaceBytes"/> are the same for every τ, but for <see cref="LossKind.Moco"/>, and
    /// <see cref="LossKind.InfoNce"/> whose keys are constants, on the CPU: there ask again when a τ crosses 0.023, or give it by
    /// <see cref="TemperatureAt"/>.
    /// </summary>
    /// <exception cref="ArgumentException">The problem is not one of the kind's.</exception>
    public readonly long SavedBytes(Device device)
    {
        ContrastOp.CheckArguments(this);
        return ContrastOp.On(Kind, device).SavedBytes(device, this);
    }

    /// <summary>Bytes of <see cref="Workspace"/>, enough for both passes.</summary>
    /// <exception cref="ArgumentException">The problem is not one of the kind's.</exception>
    public readonly long WorkspaceBytes(Device device)
    {
        ContrastOp.CheckArguments(this);
        ContrastKernels kernels = ContrastOp.On(Kind, device);
        long forward = kernels.WorkspaceBytes(device, this, backward: false);
        if (!WantsGradient) return forward;
        // Whichever addresses are set by now: any gradient that is wanted may get one before Backward.
        LossCall all = this;
        all.GradEmbeddings = new(1, Dim);
        if (!IsWithinBatch && Kind != LossKind.Moco && WantsKeysGradient) all.GradKeys = new(1, Dim);
        return Math.Max(forward, kernels.WorkspaceBytes(device, all, backward: true));
    }

    /// <summary>Fills <see cref="Loss"/> and <see cref="Saved"/>.</summary>
    /// <exception cref="ArgumentException">The problem is not one of the kind's, or an address is missing.</exception>
    /// <exception cref="NotSupportedException">The device cannot do what is asked; the message says what.</exception>
    public readonly void Forward(Device device)
    {
        ContrastOp.CheckForward(this);
        ContrastOp.On(Kind, device).Forward(device, this);
    }

    /// <summary>Fills the gradients whose addresses are set, after <see cref="Forward"/> with the same values.</summary>
    /// <inheritdoc cref="Forward"/>
    public readonly void Backward(Device device)
    {
        ContrastOp.CheckBackward(this);
        ContrastOp.On(Kind, device).Backward(device, this);
    }
}
