namespace KernelContrast.Cli;

/// <summary>What was asked for cannot be done as asked. The tool prints the message, one line, and exits with 2.</summary>
internal sealed class UserError(string message) : Exception(message);
