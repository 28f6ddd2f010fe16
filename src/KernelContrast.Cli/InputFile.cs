namespace KernelContrast.Cli;

/// <summary>Files that the tool reads.</summary>
internal static class InputFile
{
    /// <exception cref="UserError">There is no such file, or it is a directory.</exception>
    internal static void Check(string path, string option, string expected)
    {
        if (File.Exists(path)) return;
        throw new UserError(Directory.Exists(path) ? $"{path}: this is a directory. {option} expects {expected}." : $"{path}: there is no such file. {option} expects {expected}.");
    }
}
