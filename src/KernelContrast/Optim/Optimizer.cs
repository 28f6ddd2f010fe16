namespace KernelContrast.Optim;

/// <summary>Changes parameters along their gradients. Parameters without a gradient (frozen ones) stay as they are.</summary>
/// <example><code>
/// optimizer.LearningRate = schedule.At(step);
/// optimizer.ClearGradients();
/// loss.Backward();
/// optimizer.Step();
/// </code></example>
public abstract class Optimizer : IDisposable
{
    private readonly List<(string Name, Tensor Tensor)> _state = [];
    private readonly TensorGroup _group = new();
    private readonly bool _decayVectors;

    private protected Optimizer(IReadOnlyList<(string Name, Tensor Tensor)> parameters, double learningRate, double weightDecay, bool decayVectors)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        if (parameters.Count == 0) throw new ArgumentException("An optimizer needs at least one parameter.");
        foreach ((string name, Tensor parameter) in parameters)
            if (parameter.Type != DType.Float32) throw new ArgumentException($"Only float tensors are optimized, but '{name}' holds {parameter.Type}.");
        ArgumentOutOfRangeException.ThrowIfNegative(weightDecay);
        Parameters = [.. parameters];
        WeightDecay = weightDecay;
        LearningRate = learningRate;
        _decayVectors = decayVectors;
    }

    /// <summary>What is optimized, by name.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> Parameters { get; }

    /// <summary>Size of the next steps; a schedule sets it before each.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The value is negative or not finite.</exception>
    public double LearningRate
    {
        get;
        set
        {
            if (!(value >= 0 && double.IsFinite(value)))
                throw new ArgumentOutOfRangeException(nameof(value), value, "A learning rate is a finite number from 0 up.");
            field = value;
        }
    }

    /// <summary>Strength of the pull toward zero.</summary>
    public double WeightDecay { get; }

    /// <summary>Number of steps taken.</summary>
    public long Steps { get; private set; }

    /// <summary>Changes every parameter that has a gradient.</summary>
    public void Step()
    {
        Steps++;
        _group.Clear();
        for (int i = 0; i < Parameters.Count; i++)
        {
            Tensor parameter = Parameters[i].Tensor;
            if (parameter is { RequiresGrad: true, Grad: { } grad })
                _group.Add(Entry(i, parameter, grad, IsVector(parameter) && !_decayVectors ? 0 : WeightDecay));
        }
        if (_group.Count > 0) Step(_group);
    }

    /// <summary>Drops the gradients of the last backward pass.</summary>
    public void ClearGradients()
    {
        foreach ((_, Tensor parameter) in Parameters) parameter.ClearGrad();
    }

    /// <summary>
    /// What the optimizer remembers, to be saved together with <see cref="Steps"/>: named as the parameter, behind what
    /// it is ("momentum/fc.weight"). The tensors are the optimizer's own.
    /// </summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> State => _state;

    /// <summary>Goes on where another optimizer of the same kind and parameters was saved.</summary>
    /// <exception cref="ArgumentException">Names or shapes differ; nothing was changed.</exception>
    public void LoadState(IReadOnlyDictionary<string, Tensor> state, long steps)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(steps);
        NamedTensors.Copy($"The optimizer ({GetType().Name})", _state, state);
        Steps = steps;
    }

    /// <summary>Gives the memory of <see cref="State"/> back; the parameters are not its own.</summary>
    public void Dispose()
    {
        foreach ((_, Tensor tensor) in _state) tensor.Dispose();
        _group.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Whether a parameter is a bias or belongs to a normalisation: those have one dimension, weights more.</summary>
    private protected static bool IsVector(Tensor parameter) => parameter.Shape.Rank <= 1;

    /// <summary>What a step reads and changes of a parameter.</summary>
    private protected abstract GroupEntry Entry(int index, Tensor parameter, Tensor grad, double decay);

    /// <summary>Changes all parameters that have a gradient.</summary>
    private protected abstract void Step(TensorGroup group);

    /// <summary>A tensor of zeros for each parameter.</summary>
    private protected Tensor[] Remember(string what)
    {
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        var tensors = new Tensor[Parameters.Count];
        for (int i = 0; i < tensors.Length; i++)
        {
            (string name, Tensor parameter) = Parameters[i];
            tensors[i] = Tensor.Zeros(parameter.Shape, parameter.Device);
            _state.Add(($"{what}/{name}", tensors[i]));
        }
        return tensors;
    }

    private protected static void CheckShare(double value, string name)
    {
        if (!(value >= 0 && value < 1)) throw new ArgumentOutOfRangeException(name, value, $"{name} is at least 0 and less than 1.");
    }
}
