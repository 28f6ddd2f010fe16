using System.CommandLine.Parsing;
using System.Text.RegularExpressions;

namespace KernelContrast.Cli;

/// <summary>The parser's complaints in the tool's words: which option, what it was given, what it takes.</summary>
internal static partial class ParseProblem
{
    /// <summary>One line without a full stop.</summary>
    internal static string Describe(ParseError error)
    {
        string message = error.Message.TrimEnd('.');
        if (WrongType().Match(message) is { Success: true } type)
            return $"{type.Groups["option"].Value} is '{type.Groups["value"].Value}', expected {Words(type.Groups["type"].Value)}";
        if (NotAmong().Match(message) is { Success: true } among)
        {
            string known = string.Join(", ", Quoted().Matches(among.Groups["known"].Value).Select(m => m.Groups[1].Value));
            return $"{Symbol(error)} is '{among.Groups["value"].Value}', expected {(known.Contains(',') ? "one of " : "")}{known}";
        }
        return message;
    }

    private static string Symbol(ParseError error) => error.SymbolResult switch
    {
        OptionResult option => option.Option.Name,
        ArgumentResult { Parent: OptionResult option } => option.Option.Name,
        ArgumentResult argument => argument.Argument.HelpName ?? argument.Argument.Name,
        _ => "an argument",
    };

    private static string Words(string type) => type switch
    {
        _ when type.Contains("UInt") => "a whole number of 0 or more",
        _ when type.Contains("Int") => "a whole number",
        _ when type.Contains("Single") || type.Contains("Double") => "a number",
        _ when type.Contains("Boolean") => "true or false",
        _ => type,
    };

    [GeneratedRegex("^Cannot parse argument '(?<value>.*)' for option '(?<option>.*)' as expected type '(?<type>.*)'$", RegexOptions.Singleline)]
    private static partial Regex WrongType();

    [GeneratedRegex("^Argument '(?<value>.*)' not recognized. Must be one of:(?<known>.*)$", RegexOptions.Singleline)]
    private static partial Regex NotAmong();

    [GeneratedRegex("'([^']*)'")]
    private static partial Regex Quoted();
}
