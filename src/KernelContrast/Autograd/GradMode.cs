namespace KernelContrast;

/// <summary>Switches recording off for the code that runs until it is disposed, on this thread.</summary>
/// <example><code>using (new NoGrad()) embeddings = encoder.Forward(images);</code></example>
public sealed class NoGrad : IDisposable
{
    [ThreadStatic] private static int t_depth;
    private bool _ended;

    /// <summary>Switches recording off.</summary>
    public NoGrad() => t_depth++;

    internal static bool IsActive => t_depth > 0;

    /// <summary>Switches recording on again, when this is the last.</summary>
    public void Dispose()
    {
        if (_ended) return;
        _ended = true;
        t_depth--;
    }
}
