using System.CommandLine;
using KernelContrast.Training;

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

    /// <summary>No output of a verb is another one of it, or what it reads: a run's checkpoint, a data set's array, a file.</summary>
    /// <exception cref="UserError">One is.</exception>
    internal static void CheckApart(ParseResult parsed, VerbCommand verb)
    {
        var seen = new List<(string Name, string Path)>();
        foreach (Option option in verb.Options.Append(ConfigFile.Option).Except(verb.Outputs)) AddInput(option.Name, parsed.GetResult(option)?.GetValueOrDefault<object?>());
        foreach (Argument argument in verb.Arguments) AddInput(argument.HelpName ?? argument.Name, parsed.GetResult(argument)?.GetValueOrDefault<object?>());
        foreach (Option option in verb.Outputs)
        {
            if (parsed.GetResult(option)?.GetValueOrDefault<object?>() is not string path || path.Trim().Length == 0) continue;
            string real = RealPath(path);
            if (seen.FirstOrDefault(s => string.Equals(s.Path, real, OperatingSystem.IsWindows() ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal)) is { Name: { } other })
                throw new UserError($"{option.Name} {path} is the file of {other} too, which would be overwritten. Choose another name.");
            seen.Add((option.Name, real));
        }

        void AddInput(string name, object? value)
        {
            if (value is not string path) return;
            if (File.Exists(path)) seen.Add((name, RealPath(path)));
            else if (Directory.Exists(path))
                seen.AddRange(Directory.EnumerateFiles(path).Where(f => Path.GetFileName(f) == Checkpoint.FileName || (name == "--data" && Path.GetExtension(f) == ".npy"))
                    .Select(f => (name, RealPath(f))));
        }
    }

    /// <summary>The full path, with links followed as far as there are any.</summary>
    private static string RealPath(string path)
    {
        path = Path.GetFullPath(path);
        FileSystemInfo at = Directory.Exists(path) ? new DirectoryInfo(path) : new FileInfo(path);
        string real = (at.LinkTarget is null ? null : at.ResolveLinkTarget(returnFinalTarget: true))?.FullName ?? path;
        return Path.GetDirectoryName(real) is { } directory ? Path.Combine(RealPath(directory), Path.GetFileName(real)) : real;
    }

    /// <summary>A directory that there is, or can be made.</summary>
    /// <exception cref="UserError">The path is empty, or it is a file.</exception>
    internal static string CheckDirectory(string path, string option)
    {
        if (path.Trim().Length == 0) throw new UserError($"{option} is empty: give a directory.");
        return File.Exists(path) ? throw new UserError($"{option} {path}: expected a directory, but this is a file.") : path;
    }
}
