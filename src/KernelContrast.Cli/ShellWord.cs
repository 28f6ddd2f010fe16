namespace KernelContrast.Cli;

/// <summary>Arguments of a command that is printed to be typed again.</summary>
internal static class ShellWord
{
    private const string Plain = "_-./:=+,@%~";

    /// <summary>The word as a POSIX shell takes it: quoted where it holds anything a shell would look at.</summary>
    internal static string Quote(string word) =>
        word.Length > 0 && word[0] != '~' && word.All(c => char.IsLetterOrDigit(c) || Plain.Contains(c)) ? word : $"'{word.Replace("'", "'\\''")}'";
}
