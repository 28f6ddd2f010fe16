using System.CommandLine;

namespace KernelContrast.Cli;

/// <summary>A verb of the tool: a command whose help ends with examples.</summary>
/// <param name="name">As typed.</param>
/// <param name="description">One or two sentences for the help.</param>
/// <param name="examples">Whole command lines.</param>
internal sealed class VerbCommand(string name, string description, params string[] examples) : Command(name, description)
{
    internal IReadOnlyList<string> Examples { get; } = examples;

    /// <summary>The options that name files to write; all other names are of what it reads.</summary>
    internal IReadOnlyList<Option> Outputs { get; set; } = [];

    /// <summary>The directory of the run that goes on, if one does.</summary>
    internal Func<ParseResult, string?>? Resumed { get; set; }

    /// <summary>What a run that goes on takes from its <see cref="ConfigFile.FileName"/> where it is not given again.</summary>
    internal IReadOnlyList<string> Remembered { get; set; } = [];
}
