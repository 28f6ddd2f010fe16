namespace KernelContrast.Cli;

/// <summary>Where a verb will write. Looked at before the work, so that nobody waits for a result that has no place.</summary>
internal static class OutputFile
{
    /// <summary>The extension of a file's name, in lower case, which must be one of <paramref name="known"/> where any are given.</summary>
    /// <exception cref="UserError">It is another, the path is a directory, or its directory does not exist.</exception>
    internal static string Check(string path, string option, params string[] known)
    {
        if (path.Trim().Length == 0) throw new UserError($"{option} is empty: give the name of a file.");
        string extension = Path.GetExtension(path).ToLowerInvariant();
        if (known.Length > 0 && !known.Contains(extension)) throw new UserError($"{option} is '{path}', expected the name of a {string.Join(" or ", known)} file.");
        if (Directory.Exists(path)) throw new UserError($"{option} {path}: expected the name of a file, but this is a directory.");
        string directory = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(directory)) throw new UserError($"{option} {path}: the directory {directory} does not exist. Create it, or choose another place.");
        return extension;
    }

    /// <summary>A directory that there is, or can be made.</summary>
    /// <exception cref="UserError">The path is empty, or it is a file.</exception>
    internal static string CheckDirectory(string path, string option)
    {
        if (path.Trim().Length == 0) throw new UserError($"{option} is empty: give a directory.");
        return File.Exists(path) ? throw new UserError($"{option} {path}: expected a directory, but this is a file.") : path;
    }
}
