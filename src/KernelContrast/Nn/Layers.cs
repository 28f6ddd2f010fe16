namespace KernelContrast.Nn;

/// <summary>y = x Wᵀ + b, x [N, in], W [out, in].</summary>
/// <remarks>W and b start uniform in ±1/√in, as in PyTorch (He et al. 2015 with a = √5 gives that bound).</remarks>
public sealed class Linear : Module
{
    /// <summary>A layer with parameters <c>weight</c> and, unless told otherwise, <c>bias</c>.</summary>
    public Linear(int inputs, int outputs, Initializer random, bool bias = true)
    {
        ArgumentNullException.ThrowIfNull(random);
        ArgumentOutOfRangeException.ThrowIfLessThan(inputs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(outputs, 1);
        double bound = 1 / Math.Sqrt(inputs);
        AddParameter("weight", random.Uniform(new(outputs, inputs), bound));
        if (bias) AddParameter("bias", random.Uniform(new(outputs), bound));
    }

    /// <summary>[out, in].</summary>
    public Tensor Weight => Own("weight")!;

    /// <summary>[out], or null.</summary>
    public Tensor? Bias => Own("bias");

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => Forward(x, relu: false);

    /// <summary>With ReLU in the same pass when asked for.</summary>
    public Tensor Forward(Tensor x, bool relu) => Functional.Linear(x, Weight, Bias, relu);
}

/// <summary>Convolution of x [N, C, H, W] with K filters [K, C, R, S], with zeros beyond the border.</summary>
/// <remarks>
/// Weights start normal with deviation √(2 / (K·R·S)): He et al. 2015 for ReLU, counted over the outputs, as torchvision's
/// ResNets have it. The bias starts at 0.
/// </remarks>
public sealed class Conv2d : Module
{
    private readonly int _stride, _padding;

    /// <summary>A layer of square filters with parameters <c>weight</c> and, when wanted, <c>bias</c>.</summary>
    public Conv2d(int inputs, int outputs, int kernel, Initializer random, int stride = 1, int padding = 0, bool bias = false)
    {
        ArgumentNullException.ThrowIfNull(random);
        ArgumentOutOfRangeException.ThrowIfLessThan(inputs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(outputs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(kernel, 1);
        (_stride, _padding) = (stride, padding);
        AddParameter("weight", random.Normal(new(outputs, inputs, kernel, kernel), Math.Sqrt(2.0 / ((double)outputs * kernel * kernel))));
        if (bias) AddParameter("bias", random.Constant(new(outputs), 0));
    }

    /// <summary>[K, C, R, S].</summary>
    public Tensor Weight => Own("weight")!;

    /// <summary>[K], or null.</summary>
    public Tensor? Bias => Own("bias");

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => Functional.Conv2d(x, Weight, Bias, _stride, _padding);
}

/// <summary>
/// Batch normalisation: y = γ (x − mean) / √(variance + ε) + β, per channel; then, in one pass, a residual is added and
/// ReLU applied when asked for.
/// </summary>
/// <remarks>
/// Ioffe, Szegedy, ICML 2015. γ starts at 1, β at 0. Running statistics move by <c>momentum</c> toward the batch's, with
/// the unbiased variance, as in PyTorch. With <see cref="Normalization.None"/> the output is γ x + β, and what would be
/// running statistics stay at mean 0 and variance 1.
/// </remarks>
public abstract class BatchNorm : Module
{
    private readonly int _channels, _rank;
    private readonly float _momentum, _epsilon;
    private readonly bool _measures;

    private protected BatchNorm(int channels, int rank, Initializer random, float momentum, float epsilon, float gamma, Normalization norm)
    {
        ArgumentNullException.ThrowIfNull(random);
        ArgumentOutOfRangeException.ThrowIfLessThan(channels, 1);
        (_channels, _rank, _momentum) = (channels, rank, momentum);
        _measures = norm == Normalization.Batch;
        // (x − 0) / √(1 + 0), exactly
        _epsilon = _measures ? epsilon : 0;
        AddParameter("weight", random.Constant(new(channels), gamma));
        AddParameter("bias", random.Constant(new(channels), 0));
        AddBuffer("running_mean", random.Constant(new(channels), 0));
        AddBuffer("running_var", random.Constant(new(channels), 1));
    }

    /// <summary>γ, [C].</summary>
    public Tensor Weight => Own("weight")!;

    /// <summary>β, [C].</summary>
    public Tensor Bias => Own("bias")!;

    /// <summary>[C].</summary>
    public Tensor RunningMean => Own("running_mean")!;

    /// <summary>[C].</summary>
    public Tensor RunningVariance => Own("running_var")!;

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => Forward(x, relu: false);

    /// <summary>relu(bn(x) + residual), with what is asked for.</summary>
    public Tensor Forward(Tensor x, bool relu, Tensor? residual = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (x.Shape.Rank != _rank || x.Shape[1] != _channels)
            throw new ArgumentException($"{GetType().Name} of {_channels} channels got shape {x.Shape}, expected {(_rank == 2 ? $"[N, {_channels}]" : $"[N, {_channels}, H, W]")}.");
        return Functional.BatchNorm(x, Weight, Bias, RunningMean, RunningVariance, Training && _measures, _momentum, _epsilon, relu, residual);
    }
}

/// <summary><see cref="BatchNorm"/> of vectors, [N, C].</summary>
public sealed class BatchNorm1d(int channels, Initializer random, float momentum = 0.1f, float epsilon = 1e-5f, float gamma = 1, Normalization norm = Normalization.Batch)
    : BatchNorm(channels, 2, random, momentum, epsilon, gamma, norm);

/// <summary><see cref="BatchNorm"/> of feature maps, [N, C, H, W].</summary>
public sealed class BatchNorm2d(int channels, Initializer random, float momentum = 0.1f, float epsilon = 1e-5f, float gamma = 1, Normalization norm = Normalization.Batch)
    : BatchNorm(channels, 4, random, momentum, epsilon, gamma, norm);

/// <summary>max(x, 0).</summary>
public sealed class Relu : Module
{
    /// <inheritdoc/>
    public override Tensor Forward(Tensor x) => Functional.Relu(x);
}

/// <summary>Modules one after the other, named 0, 1, 2, … A ReLU behind a batch norm or a linear layer runs in the same pass.</summary>
public sealed class Sequential : Module
{
    private readonly Module[] _modules;

    /// <summary>Takes the modules over.</summary>
    public Sequential(params ReadOnlySpan<Module> modules)
    {
        _modules = modules.ToArray();
        for (int i = 0; i < _modules.Length; i++) AddModule(i.ToString(System.Globalization.CultureInfo.InvariantCulture), _modules[i]);
    }

    /// <inheritdoc/>
    public override Tensor Forward(Tensor x)
    {
        for (int i = 0; i < _modules.Length; i++)
        {
            bool relu = i + 1 < _modules.Length && _modules[i + 1] is Relu;
            (x, int used) = _modules[i] switch
            {
                BatchNorm norm when relu => (norm.Forward(x, relu: true), 2),
                Linear linear when relu => (linear.Forward(x, relu: true), 2),
                Module module => (module.Forward(x), 1),
            };
            i += used - 1;
        }
        return x;
    }
}
