namespace KernelContrast.Cli;

/// <summary>What was asked for cannot be done as asked. The tool prints the message, one line, and exits with 2.</summary>
internal sealed class UserError(string message) : Exception(message)
{
    /// <summary>Runs what checks its arguments itself: what it refuses, the user asked for.</summary>
    internal static T Check<T>(Func<T> action)
    {
        try { return action(); }
        catch (ArgumentException e) { throw new UserError(e.Message); }
    }
}
