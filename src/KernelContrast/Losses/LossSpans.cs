using System.Runtime.InteropServices;
using KernelContrast.Devices;

namespace KernelContrast.Losses;

/// <summary>Memory of the host for <see cref="LossCall.Run"/>; all row-major and dense. An empty span is what is absent or not wanted.</summary>
public ref struct LossSpans
{
    /// <summary>[rows · dim]: embeddings, queries or images.</summary>
    public ReadOnlySpan<float> Embeddings { get; set; }

    /// <summary>[columns · dim]: keys or texts, or MoCo's queue.</summary>
    public ReadOnlySpan<float> Keys { get; set; }

    /// <summary>[rows · dim]: MoCo's keys.</summary>
    public ReadOnlySpan<float> Positives { get; set; }

    /// <summary>As <see cref="LossCall.Labels"/> says.</summary>
    public ReadOnlySpan<int> Labels { get; set; }

    /// <summary>In: [rows], ∂/∂loss of each row, for <see cref="Reduction.None"/>; ones when empty.</summary>
    public ReadOnlySpan<float> GradLosses { get; set; }

    /// <summary>Out: [rows], for <see cref="Reduction.None"/>.</summary>
    public Span<float> Losses { get; set; }

    /// <summary>Out, overwritten: [rows · dim].</summary>
    public Span<float> GradEmbeddings { get; set; }

    /// <summary>Out, overwritten: [columns · dim].</summary>
    public Span<float> GradKeys { get; set; }
}

/// <summary>What <see cref="LossCall.Run"/> computes beside what it writes.</summary>
/// <param name="Loss">The mean or sum; with <see cref="Reduction.None"/> the sum.</param>
/// <param name="GradTemperature">∂/∂τ; 0 when no gradient was asked for.</param>
/// <param name="GradBias">∂/∂b of SigLIP, else 0.</param>
public readonly record struct LossResult(double Loss, float GradTemperature, float GradBias);

public partial struct LossCall
{
    /// <summary>
    /// Both passes on the CPU, on memory of the host, without tensors or a tape. Gradients are computed when a span for one
    /// is given. After the first call of a size, nothing is allocated.
    /// </summary>
    /// <exception cref="ArgumentException">The problem is not one of the kind's, a span has the wrong length, or an output overlaps an input.</exception>
    public readonly unsafe LossResult Run(LossSpans spans)
    {
        LossCall call = this;
        CpuDevice cpu = Device.Cpu;
        string op = ContrastOp.NameOf(Kind);
        bool moco = Kind == LossKind.Moco, apart = Reduction == Reduction.None;
        bool gradient = !spans.GradEmbeddings.IsEmpty || !spans.GradKeys.IsEmpty;
        Length(op, "embeddings", spans.Embeddings.Length, Rows);
        Length(op, "keys", spans.Keys.Length, IsWithinBatch ? 0 : Columns);
        Length(op, "positives", spans.Positives.Length, moco ? Rows : 0);
        if (!spans.GradEmbeddings.IsEmpty) Length(op, "gradient of the embeddings", spans.GradEmbeddings.Length, Rows);
        if (!spans.GradKeys.IsEmpty) Length(op, "gradient of the keys", spans.GradKeys.Length, Columns);
        int labels = moco ? Rows + Columns : Columns;
        if (!spans.Labels.IsEmpty && spans.Labels.Length != labels) throw new ArgumentException($"{op}: there are {spans.Labels.Length} labels, expected {labels}.");
        if (!spans.Losses.IsEmpty && (!apart || spans.Losses.Length != Rows) || !spans.GradLosses.IsEmpty && (!apart || spans.GradLosses.Length != Rows))
            throw new ArgumentException($"{op}: losses of rows go with Reduction.None, {Rows} of them; there is room for {spans.Losses.Length} and gradients are {spans.GradLosses.Length}.");
        Apart(op, "losses", spans.Losses, spans);
        Apart(op, "gradient of the embeddings", spans.GradEmbeddings, spans);
        Apart(op, "gradient of the keys", spans.GradKeys, spans);
        if (spans.GradEmbeddings.Overlaps(spans.GradKeys) || spans.Losses.Overlaps(spans.GradEmbeddings) || spans.Losses.Overlaps(spans.GradKeys))
            throw new ArgumentException($"{op}: two outputs overlap; give each memory of its own.");

        fixed (float* embeddings = spans.Embeddings, keys = spans.Keys, positives = spans.Positives, gradEmbeddings = spans.GradEmbeddings, gradKeys = spans.GradKeys)
        fixed (int* labelled = spans.Labels)
        {
            call.WantsGradient = gradient;
            call.WantsKeysGradient = !spans.GradKeys.IsEmpty;
            call.Embeddings = new((nint)embeddings, Dim);
            call.Keys = new((nint)keys, Dim);
            call.Positives = new((nint)positives, Dim);
            call.Labels = (nint)labelled;
            call.GradEmbeddings = call.GradKeys = default;
            (call.GradTemperature, call.GradBias) = (0, 0);
            ContrastOp.CheckArguments(call);
            // losses and their upstream gradients, then the scalars' gradients
            int losses = apart ? Rows : 1;
            long outputBytes = 4L * (2 * losses + 2), savedBytes = call.SavedBytes(cpu), workspaceBytes = call.WorkspaceBytes(cpu);
            float* output = (float*)cpu.Pool.Rent(outputBytes);
            (call.Saved, call.Workspace) = (cpu.Pool.Rent(savedBytes), cpu.Pool.Rent(workspaceBytes));
            try
            {
                float* upstream = output + losses, scalars = upstream + losses;
                call.Loss = (nint)output;
                call.Forward(cpu);
                double loss = 0;
                for (int i = 0; i < losses; i++) loss += output[i];
                if (!spans.Losses.IsEmpty) new ReadOnlySpan<float>(output, losses).CopyTo(spans.Losses);
                if (!gradient) return new(loss, 0, 0);

                scalars[0] = scalars[1] = 0;
                new Span<float>(upstream, losses).Fill(1);
                spans.GradLosses.CopyTo(new Span<float>(upstream, losses));
                call.GradLoss = (nint)upstream;
                call.GradEmbeddings = new((nint)gradEmbeddings, Dim);
                call.GradKeys = new((nint)gradKeys, Dim);
                call.GradTemperature = (nint)scalars;
                if (Kind == LossKind.SigLip) call.GradBias = (nint)(scalars + 1);
                call.Backward(cpu);
                return new(loss, scalars[0], scalars[1]);
            }
            finally
            {
                cpu.Pool.Return((nint)output, outputBytes);
                cpu.Pool.Return(call.Saved, savedBytes);
                cpu.Pool.Return(call.Workspace, workspaceBytes);
            }
        }
    }

    private readonly void Length(string op, string name, int length, int rows)
    {
        if (length != (long)rows * Dim)
            throw new ArgumentException($"{op}: {name} have {length} elements, but {rows} rows of {Dim} are {(long)rows * Dim} elements.");
    }

    private static void Apart(string op, string name, ReadOnlySpan<float> output, in LossSpans spans)
    {
        if (output.Overlaps(spans.Embeddings) || output.Overlaps(spans.Keys) || output.Overlaps(spans.Positives) || output.Overlaps(spans.GradLosses)
            || MemoryMarshal.AsBytes(output).Overlaps(MemoryMarshal.AsBytes(spans.Labels)))
            throw new ArgumentException($"{op}: the memory for the {name} overlaps an input's; give it memory of its own.");
    }
}
