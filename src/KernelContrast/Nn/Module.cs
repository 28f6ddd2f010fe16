namespace KernelContrast.Nn;

/// <summary>
/// A part of a network: parameters, which are learned, buffers, which are not (running statistics), and modules within.
/// Names are joined with dots, as in PyTorch: <c>layer1.0.conv1.weight</c>.
/// </summary>
/// <remarks>A subclass adds what it is made of in its constructor; names and order follow the order of adding.</remarks>
public abstract class Module : IDisposable
{
    private readonly List<(string Name, Tensor Tensor)> _parameters = [], _buffers = [];
    private readonly List<(string Name, Module Module)> _children = [];

    /// <summary>
    /// Whether batch statistics are used and running ones updated (true at first), or running statistics used.
    /// </summary>
    public bool Training { get; private set; } = true;

    /// <summary>The output for a batch; a fresh tensor, on the tape.</summary>
    public abstract Tensor Forward(Tensor x);

    /// <summary>Every parameter, those of inner modules included.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> NamedParameters() => [.. All().Where(t => t.IsParameter).Select(t => (t.Name, t.Tensor))];

    /// <summary>Every buffer, those of inner modules included.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> NamedBuffers() => [.. All().Where(t => !t.IsParameter).Select(t => (t.Name, t.Tensor))];

    /// <summary>Parameters and buffers, module by module: all that a saved model holds.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor)> NamedTensors() => [.. All().Select(t => (t.Name, t.Tensor))];

    /// <summary>Number of learned values.</summary>
    public long ParameterCount => NamedParameters().Sum(p => p.Tensor.Count);

    /// <summary>Releases parameters and buffers, those of inner modules included.</summary>
    public void Dispose()
    {
        foreach ((_, Tensor tensor, _) in All()) tensor.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Adds a parameter, taking the tensor over.</summary>
    protected void AddParameter(string name, Tensor tensor)
    {
        tensor.RequiresGrad = true;
        _parameters.Add((name, tensor));
    }

    /// <summary>Adds a buffer, taking the tensor over.</summary>
    protected void AddBuffer(string name, Tensor tensor) => _buffers.Add((name, tensor));

    /// <summary>Adds an inner module, and returns it.</summary>
    protected T AddModule<T>(string name, T module) where T : Module
    {
        if (name.Length == 0 || name.Contains('.')) throw new ArgumentException($"A module's name is not empty and holds no dot, but got '{name}'.");
        if (_children.Any(c => c.Name == name)) throw new ArgumentException($"Two modules are named '{name}'.");
        _children.Add((name, module));
        return module;
    }

    /// <summary>A parameter or buffer of this very module; null when it was not added.</summary>
    protected Tensor? Own(string name)
    {
        foreach ((string key, Tensor tensor) in _parameters) if (key == name) return tensor;
        foreach ((string key, Tensor tensor) in _buffers) if (key == name) return tensor;
        return null;
    }

    internal void SetTraining(bool training)
    {
        Training = training;
        foreach ((_, Module module) in _children) module.SetTraining(training);
    }

    internal void MoveTo(Device device)
    {
        using TensorScope.Suspension suspended = TensorScope.Suspend();
        Move(_parameters, device);
        Move(_buffers, device);
        foreach ((_, Module module) in _children) module.MoveTo(device);
    }

    private static void Move(List<(string Name, Tensor Tensor)> tensors, Device device)
    {
        for (int i = 0; i < tensors.Count; i++)
        {
            (string name, Tensor tensor) = tensors[i];
            if (tensor.Device == device) continue;
            Tensor moved = tensor.To(device);
            moved.RequiresGrad = tensor.RequiresGrad;
            tensor.Dispose();
            tensors[i] = (name, moved);
        }
    }

    private IEnumerable<(string Name, Tensor Tensor, bool IsParameter)> All()
    {
        foreach ((string name, Tensor tensor) in _parameters) yield return (name, tensor, true);
        foreach ((string name, Tensor tensor) in _buffers) yield return (name, tensor, false);
        foreach ((string prefix, Module module) in _children)
            foreach ((string name, Tensor tensor, bool isParameter) in module.All()) yield return ($"{prefix}.{name}", tensor, isParameter);
    }
}

/// <summary>What is done to a module as a whole; each call returns the module.</summary>
public static class ModuleExtensions
{
    /// <summary>Switches to training, inner modules included: batch norm uses the batch's statistics and updates the running ones.</summary>
    public static T Train<T>(this T module) where T : Module
    {
        module.SetTraining(true);
        return module;
    }

    /// <summary>Switches to evaluation, inner modules included: batch norm uses its running statistics.</summary>
    public static T Eval<T>(this T module) where T : Module
    {
        module.SetTraining(false);
        return module;
    }

    /// <summary>
    /// Moves parameters and buffers to a device. They are new tensors there, so make the optimizer afterwards.
    /// </summary>
    public static T To<T>(this T module, Device device) where T : Module
    {
        module.MoveTo(device);
        return module;
    }

    /// <summary>
    /// Stops the learning of every parameter, and with it the backward pass into them. Running statistics still follow
    /// the data in training; call <see cref="Eval"/> to stop those too.
    /// </summary>
    public static T Freeze<T>(this T module) where T : Module => Learn(module, false);

    /// <summary>Lets every parameter learn again.</summary>
    public static T Unfreeze<T>(this T module) where T : Module => Learn(module, true);

    private static T Learn<T>(T module, bool learn) where T : Module
    {
        foreach ((_, Tensor parameter) in module.NamedParameters())
        {
            parameter.RequiresGrad = learn;
            if (!learn) parameter.ClearGrad();
        }
        return module;
    }
}
