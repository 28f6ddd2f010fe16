using System.CommandLine;

namespace KernelContrast.Cli;

/// <summary>A verb of the tool: a command whose help ends with examples.</summary>
/// <param name="name">As typed.</param>
/// <param name="description">One or two sentences for the help.</param>
/// <param name="examples">Whole command lines.</param>
internal sealed class VerbCommand(string name, string description, params string[] examples) : Command(name, description)
{
    internal IReadOnlyList<string> Examples { get; } = examples;
}
