using KernelContrast.Losses;

namespace KernelContrast;

/// <summary>
/// The streaming contrastive losses. One family, one skeleton: tiles of similarities s_ij = z_i·k_j, an epilogue, sums per
/// row (and per column); backward computes the tiles again, and no matrix of rows × columns is stored (on the CPU, none above <see cref="LossCall.MostKeptBytes"/>). With logits
/// x_ij = s_ij/τ (+ b), row i's candidates j, its loss l_i and the upstream weight u_i of that loss (its share of
/// gradLoss, 0 for a row that does not count):
/// <code>
/// E_ij = exp((s_ij − m_i)/τ)  for any shift m_i, N_i = Σ E_ij over the negatives, r_i = 1/(sum in the logarithm)
///
/// nt-xent   rows × rows, j ≠ i, partner p    l_i = log((E_ip + N_i)/E_ip)
/// dcl       the same                         l_i = log(N_i/E_ip)
/// supcon    rows × rows, j ≠ i, P_i by label l_i = log Σ_j exp x_ij − mean over p in P_i of x_ip
/// info-nce  queries × keys, key i            l_i = log((E_ii + N_i)/E_ii)
/// clip      images × texts, both ways        l_i = ½ (info-nce of row i + info-nce of column i)
/// moco      query i: key i and the queue     l_i = log((E_i+ + N_i)/E_i+)
/// siglip    images × texts                   l_i = log(1 + exp(−x_ii)) + Σ_{j ≠ i} log(1 + exp(x_ij))
/// </code>
/// Backward, with weights w_ij = ∂L/∂x_ij, g_i = 1/τ Σ_j w_ij k_j for rows and likewise Σ_i w_ij z_i for columns; within
/// one batch both fall on the same rows, so there w_ij stands for w_ij + w_ji:
/// <code>
/// nt-xent   E_ij (u_i r_i + u_j r_j)         partner: −(u_i share_i + u_p share_p), share_i = N_i r_i
/// dcl       E_ij (u_i r_i + u_j r_j)         partner: −(u_i + u_p)
/// supcon    E_ij (u_i r_i + u_j r_j) − [y_i = y_j] (u_i/|P_i| + u_j/|P_j|)
/// info-nce  u_i E_ij r_i                     key i: −u_i share_i;  moco the same
/// clip      ½ (u_i E_ij r_i + u_j E'_ij c_j) key i: −½ (u_i share_i + u_i share'_i), the accents: of columns
/// siglip    u_i σ(x_ij)                      key i: −u_i σ(−x_ii)
///
/// grad h_i = (g_i − z_i (z_i·g_i))/‖h_i‖     or g_i when not normalised
/// grad τ   = −1/τ Σ_i z_i·g_i over the rows, half of it within one batch: x depends on τ by s/τ alone
/// grad b   = Σ_ij w_ij
/// </code>
/// A partner's weight is written through the negatives' share, so that a pair that has converged keeps its digits. The
/// shift is 1 where that cannot underflow (<see cref="IsFixedShift"/>): then E is symmetric and one exponential serves both
/// sides; else m_i is the row's own greatest similarity.
/// Labels leave out of row i the negatives of its own label; a row with labels and no negative left, and a row of supcon
/// without partner, contribute 0 and do not count in the mean.
/// </summary>
internal static class ContrastOp
{
    /// <summary>From here on exp((s − 1)/τ) with s in [−1, 1] stays a normal float32: exp(−2/0.023) = 1.7e-38.</summary>
    internal const float FixedShiftTemperature = 0.023f;

    internal static bool IsFixedShift(float temperature, bool normalize) => normalize && temperature >= FixedShiftTemperature;

    /// <summary>As the tool and messages say it.</summary>
    internal static string NameOf(LossKind kind) => kind switch
    {
        LossKind.NtXent => "nt-xent",
        LossKind.Dcl => "dcl",
        LossKind.SupCon => "supcon",
        LossKind.InfoNce => "info-nce",
        LossKind.Clip => "clip",
        LossKind.SigLip => "siglip",
        LossKind.Moco => "moco",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "There is no such loss."),
    };

    internal static ContrastKernels On(LossKind kind, Device device) => kind switch
    {
        LossKind.NtXent => NtXentOp.On(device),
        LossKind.Dcl => DclOp.On(device),
        LossKind.SupCon => SupConOp.On(device),
        LossKind.InfoNce => InfoNceOp.On(device),
        LossKind.Clip => ClipOp.On(device),
        LossKind.SigLip => SigLipOp.On(device),
        _ => MocoOp.On(device),
    };

    /// <summary>Records the loss of a call whose scalars and choices are set; addresses come from the tensors.</summary>
    /// <param name="kernels">The kind's, on the tensors' device.</param>
    /// <param name="call">The problem.</param>
    /// <param name="embeddings">[rows, dim].</param>
    /// <param name="keys">[columns, dim]: keys, or moco's queue.</param>
    /// <param name="positives">[rows, dim]: moco's keys.</param>
    /// <param name="labels">Int32, as <see cref="LossCall.Labels"/> says.</param>
    /// <param name="temperature">[] in place of the call's τ.</param>
    /// <param name="bias">[] in place of the call's b.</param>
    internal static Tensor Record(ContrastKernels kernels, LossCall call, Tensor embeddings, Tensor? keys = null,
        Tensor? positives = null, Tensor? labels = null, Tensor? temperature = null, Tensor? bias = null)
    {
        Device device = embeddings.Device;
        CheckLabels(call, device, labels);
        if (call.Kind == LossKind.Moco && keys is { RequiresGrad: true })
            throw new ArgumentException("moco: the queue wants a gradient, but only the query gets one. Cut it from the tape with Detach().");
        if (positives is { RequiresGrad: true })
            throw new ArgumentException("moco: the keys want a gradient, but only the query gets one. Cut them from the tape with Detach().");
        bool wanted = !NoGrad.IsActive && (embeddings.RequiresGrad || keys is { RequiresGrad: true }
            || temperature is { RequiresGrad: true } || bias is { RequiresGrad: true });
        call.WantsGradient = wanted;
        call.WantsKeysGradient = wanted && keys is { RequiresGrad: true };
        call.Embeddings = new(embeddings.Pointer, call.Dim);
        call.Keys = new(keys?.Pointer ?? 0, call.Dim);
        call.Positives = new(positives?.Pointer ?? 0, call.Dim);
        call.Labels = labels?.Pointer ?? 0;
        call.TemperatureAt = temperature?.Pointer ?? 0;
        call.BiasAt = bias?.Pointer ?? 0;
        CheckArguments(call);

        Tensor loss = Tensor.Empty(call.Reduction == Reduction.None ? new(call.Rows) : new(), device);
        using Tensor saved = Bytes(device, kernels.SavedBytes(device, call));
        using (Tensor workspace = Bytes(device, kernels.WorkspaceBytes(device, call, backward: false)))
        {
            (call.Loss, call.Saved, call.Workspace) = (loss.Pointer, saved.Pointer, workspace.Pointer);
            kernels.Forward(device, call);
        }
        GC.KeepAlive((embeddings, keys, positives, labels, temperature, bias));
        if (!wanted) return loss;
        // What is absent is stood in for by what is there: the addresses tell.
        return Tape.Record(NameOf(call.Kind), loss, [embeddings, keys, temperature, bias],
            saved: [saved, labels ?? saved, temperature ?? saved, bias ?? saved], (in b) =>
            {
                Device on = b.GradOutput.Device;
                LossCall back = call;
                back.Embeddings = back.Keys = back.Positives = default;
                back.Loss = 0;
                back.GradLoss = b.GradOutput.Pointer;
                back.Saved = b.Saved(0).Pointer;
                if (back.Labels != 0) back.Labels = b.Saved(1).Pointer;
                if (back.TemperatureAt != 0) back.TemperatureAt = b.Saved(2).Pointer;
                if (back.BiasAt != 0) back.BiasAt = b.Saved(3).Pointer;
                if (b.Needs(0)) back.GradEmbeddings = new(b.NewGrad(0).Pointer, back.Dim);
                if (b.Needs(1)) back.GradKeys = new(b.NewGrad(1).Pointer, back.Dim);
                if (b.Needs(2)) back.GradTemperature = b.NewGrad(2).Pointer;
                if (b.Needs(3)) back.GradBias = b.NewGrad(3).Pointer;
                using Tensor workspace = Bytes(on, kernels.WorkspaceBytes(on, back, backward: true));
                back.Workspace = workspace.Pointer;
                kernels.Backward(on, back);
            });
    }

    /// <summary>Uninitialised memory of at least so many bytes.</summary>
    internal static Tensor Bytes(Device device, long bytes)
    {
        const int Row = 4096;
        return Tensor.Empty(new((int)((bytes + Row - 1) / Row), Row / sizeof(float)), device);
    }

    /// <summary>The columns of a matrix of embeddings, once it is one.</summary>
    internal static int Dim(LossKind kind, Tensor embeddings, Tensor? keys = null, Tensor? other = null)
    {
        string op = NameOf(kind);
        ArgumentNullException.ThrowIfNull(embeddings);
        Check.SameDevice(op, embeddings, keys, other);
        Check.Rank(op, embeddings, 2);
        foreach (Tensor? tensor in (ReadOnlySpan<Tensor?>)[keys, other])
        {
            if (tensor is null) continue;
            if (tensor.Shape.Rank != 2 || tensor.Shape[1] != embeddings.Shape[1])
                throw new ArgumentException($"{op}: embeddings have shape {embeddings.Shape} and are contrasted with {tensor.Shape}; expected matrices of as many columns.");
        }
        return embeddings.Shape[1];
    }

    /// <summary>The device of a scalar given as a tensor is the embeddings', and it holds one float.</summary>
    internal static void CheckScalar(LossKind kind, Tensor embeddings, Tensor scalar, string name)
    {
        Check.SameDevice(NameOf(kind), embeddings, scalar);
        if (scalar.Count != 1)
            throw new ArgumentException($"{NameOf(kind)}: the {name} has shape {scalar.Shape}, expected one element.");
    }

    private static void CheckLabels(in LossCall call, Device device, Tensor? labels)
    {
        string op = NameOf(call.Kind);
        if (labels is null) return;
        int expected = call.Kind == LossKind.Moco ? call.Rows + call.Columns : call.Columns;
        if (labels.Type != DType.Int32 || labels.Device != device || labels.Shape.Rank != 1 || labels.Shape[0] != expected)
            throw new ArgumentException($"{op}: labels are {labels}, expected {expected} of Int32 on {device}"
                + (call.Kind == LossKind.Moco ? ": the queries', then the queue's." : "."));
    }

    internal static void CheckForward(in LossCall call)
    {
        CheckArguments(call);
        string op = NameOf(call.Kind);
        CheckMatrix(call.Embeddings, "embeddings", call.Dim);
        if (!call.IsWithinBatch) CheckMatrix(call.Keys, "keys", call.Dim);
        if (call.Kind == LossKind.Moco) CheckMatrix(call.Positives, "positives", call.Dim);
        if (call.Loss == 0 || call.Saved == 0 || call.Workspace == 0)
            throw new ArgumentException($"{op}: set Loss, Saved and Workspace to memory of the device before Forward.");
        CheckAddresses(call);

        void CheckMatrix(DeviceMatrix matrix, string name, int dim)
        {
            if (matrix.Pointer == 0 || matrix.RowStride < dim)
                throw new ArgumentException($"{op}: {name} are at {matrix.Pointer:x} with a row stride of {matrix.RowStride}, expected an address and a stride of {dim} or more.");
        }
    }

    internal static void CheckBackward(in LossCall call)
    {
        CheckArguments(call);
        string op = NameOf(call.Kind);
        if (call.GradLoss == 0 || call.Saved == 0 || call.Workspace == 0)
            throw new ArgumentException($"{op}: set GradLoss, Saved and Workspace to memory of the device before Backward.");
        CheckAddresses(call);
        if (!call.WantsGradient)
            throw new ArgumentException($"{op}: Backward of a call whose WantsGradient is off, so forward may have saved too little; set it for both passes.");
        if (call.GradKeys.Pointer != 0 && (call.IsWithinBatch || call.Kind == LossKind.Moco))
            throw new ArgumentException($"{op}: there is no gradient for keys; leave GradKeys empty.");
        if (call.GradKeys.Pointer != 0 && !call.WantsKeysGradient)
            throw new ArgumentException($"{op}: a gradient for keys, which WantsKeysGradient says nobody wants; set it for both passes.");
        if (call.GradBias != 0 && call.Kind != LossKind.SigLip)
            throw new ArgumentException($"{op}: there is no bias; leave GradBias empty.");
        foreach (DeviceMatrix gradient in (ReadOnlySpan<DeviceMatrix>)[call.GradEmbeddings, call.GradKeys])
            if (gradient.Pointer != 0 && (gradient.RowStride < call.Dim || gradient.Type != DType.Float32))
                throw new ArgumentException($"{op}: a gradient is of {gradient.Type} with a row stride of {gradient.RowStride}, expected Float32 and {call.Dim} or more.");
    }

    /// <summary>Addresses are the caller's, and a misaligned one would end a GPU's context, or make sums of other values.</summary>
    private static void CheckAddresses(in LossCall call)
    {
        Matrix(call, call.Embeddings, nameof(call.Embeddings));
        Matrix(call, call.Keys, nameof(call.Keys));
        Matrix(call, call.Positives, nameof(call.Positives));
        Matrix(call, call.GradEmbeddings, nameof(call.GradEmbeddings));
        Matrix(call, call.GradKeys, nameof(call.GradKeys));
        CheckAligned(call, call.Labels, 4, nameof(call.Labels));
        CheckAligned(call, call.Loss, 4, nameof(call.Loss));
        CheckAligned(call, call.GradLoss, 4, nameof(call.GradLoss));
        CheckAligned(call, call.TemperatureAt, 4, nameof(call.TemperatureAt));
        CheckAligned(call, call.BiasAt, 4, nameof(call.BiasAt));
        CheckAligned(call, call.GradTemperature, 4, nameof(call.GradTemperature));
        CheckAligned(call, call.GradBias, 4, nameof(call.GradBias));
        CheckAligned(call, call.Saved, 4, nameof(call.Saved));
        CheckAligned(call, call.Workspace, 4, nameof(call.Workspace));

        static void Matrix(in LossCall call, DeviceMatrix matrix, string name)
        {
            if (matrix.Pointer != 0 && !matrix.Type.IsFloat())
                throw new ArgumentException($"{NameOf(call.Kind)}: {name} are of {matrix.Type}, expected Float32 or BFloat16.");
            CheckAligned(call, matrix.Pointer, matrix.Type.Size(), name);
        }
    }

    internal static void CheckAligned(in LossCall call, nint address, int bytes, string name)
    {
        if (address % bytes != 0)
            throw new ArgumentException($"{NameOf(call.Kind)}: {name} are at {address:x}, expected a multiple of {bytes}.");
    }

    /// <summary>What a call is made with, all of it known at once.</summary>
    internal static void CheckSizes(in LossCall call)
    {
        string op = NameOf(call.Kind);
        int rows = call.Rows, columns = call.Columns, dim = call.Dim;
        if (rows < 1 || dim < 1 || (call.Kind is LossKind.NtXent or LossKind.Dcl && rows % 2 != 0))
            throw new ArgumentException(call.Kind is LossKind.NtXent or LossKind.Dcl
                ? $"{op}: embeddings have shape [{rows}, {dim}], expected an even number of rows, two per pair, and at least one column."
                : $"{op}: embeddings have shape [{rows}, {dim}], expected at least one row and one column.");
        if (call.IsWithinBatch && columns != rows)
            throw new ArgumentException($"{op} contrasts the {rows} rows with themselves, not with {columns} columns. Give 0, or as many.");
        // far beyond any device's memory, and sizes in bytes stay far below 2⁶³
        if ((long)Math.Max(rows, columns) * dim > Check.MostElements)
            throw new ArgumentException($"{op}: {Math.Max(rows, columns)} rows of {dim} are more than 2⁴⁴ elements.");
        if (call.Kind == LossKind.Dcl && rows == 2)
            throw new ArgumentException("dcl: one pair has no negatives to be told from; expected two pairs or more.");
        if (call.Kind == LossKind.Clip && columns != rows)
            throw new ArgumentException($"clip: there are {rows} images and {columns} texts, expected one text per image.");
        if (call.Kind is LossKind.InfoNce or LossKind.SigLip && columns < rows)
            throw new ArgumentException($"{op}: there are {rows} rows but only {columns} keys; row i belongs to key i, more keys are negatives.");
        if (call.Kind == LossKind.Moco && columns < 1)
            throw new ArgumentException("moco: the queue is empty, so there are no negatives.");
    }

    internal static void CheckTemperature(in LossCall call)
    {
        if (!(call.Temperature > 0 && float.IsNormal(call.Temperature)))
            throw new ArgumentException($"{NameOf(call.Kind)}: the temperature is {call.Temperature}, expected a positive finite number, not subnormal (its inverse would be infinite).");
    }

    internal static void CheckArguments(in LossCall call)
    {
        string op = NameOf(call.Kind);
        CheckSizes(call); // of a default struct, which no constructor made
        if (call.Precision is not (Precision.Float32 or Precision.Tf32 or Precision.BFloat16) || call.Reduction is not (Reduction.Mean or Reduction.Sum or Reduction.None) || call.Layout is not (PairLayout.Halves or PairLayout.Interleaved))
            throw new ArgumentException($"{op}: precision {call.Precision}, reduction {call.Reduction} and layout {call.Layout} are not all among those there are.");
        if (call.Kind == LossKind.SupCon && call.Labels == 0)
            throw new ArgumentException("supcon: there are no labels, which say what rows belong together.");
        if (call.MostKeptBytes < 0)
            throw new ArgumentException($"{op}: MostKeptBytes is {call.MostKeptBytes}, expected 0 (nothing is kept) or more.");
        if (call.TemperatureAt == 0) CheckTemperature(call);
        if (call.BiasAt == 0 && !float.IsFinite(call.Bias))
            throw new ArgumentException($"{op}: the bias is {call.Bias}, expected a finite number.");
    }
}

/// <summary>The family on a device. What a kind saves, and in what order, is the device's own affair.</summary>
internal abstract class ContrastKernels
{
    /// <summary>Bytes that forward leaves for backward.</summary>
    internal abstract long SavedBytes(Device device, in LossCall call);

    /// <summary>Bytes of scratch memory of one pass.</summary>
    internal abstract long WorkspaceBytes(Device device, in LossCall call, bool backward);

    /// <summary>
    /// Fills Loss and Saved from Embeddings, Keys, Positives, Labels and the scalars, which stay on the device where
    /// TemperatureAt or BiasAt says so: a host that read them would wait.
    /// </summary>
    internal abstract void Forward(Device device, in LossCall call);

    /// <summary>
    /// Fills GradEmbeddings, GradKeys, GradTemperature and GradBias as far as they have addresses, from Saved, GradLoss,
    /// Labels and the scalars. The inputs themselves are not there any more.
    /// </summary>
    internal abstract void Backward(Device device, in LossCall call);
}
