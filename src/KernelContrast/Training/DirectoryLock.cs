namespace KernelContrast.Training;

/// <summary>
/// Keeps a run's directory to one process: a file that is open for nobody else. The system lets go of it when the
/// process ends, however it ends; a file that a killed run left behind locks nothing.
/// </summary>
internal sealed class DirectoryLock : IDisposable
{
    private const string FileName = ".lock";

    // "Would block" of flock on Linux and macOS, and the sharing violation of Windows.
    private static readonly int[] HeldElsewhere = [11, 35, 32];

    private readonly FileStream _file;

    private DirectoryLock(FileStream file) => _file = file;

    /// <summary>Makes the directory when it is missing, and locks it.</summary>
    /// <exception cref="IOException">It cannot be made or written, or another run has it.</exception>
    internal static DirectoryLock Take(string directory)
    {
        try
        {
            Directory.CreateDirectory(directory);
            return new(new FileStream(Path.Combine(directory, FileName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose));
        }
        catch (IOException e) when (e.GetType() == typeof(IOException) && HeldElsewhere.Contains(e.HResult & 0xFFFF))
        {
            throw new IOException($"{directory}: another run is at work in this directory. Wait for it to end, or choose another directory.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"{directory}: this directory cannot be written ({e.Message.TrimEnd('.')}). Choose another place.", e);
        }
    }

    public void Dispose() => _file.Dispose();
}
