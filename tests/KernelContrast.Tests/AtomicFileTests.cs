namespace KernelContrast.Tests;

[TestFixture]
internal sealed class AtomicFileTests
{
    private string _directory = "";

    [SetUp]
    public void MakeDirectory() => _directory = Directory.CreateTempSubdirectory("kc-atomic").FullName;

    [TearDown]
    public void RemoveDirectory() => Directory.Delete(_directory, recursive: true);

    [Test]
    public void Replaces_the_content_and_leaves_nothing_beside_it()
    {
        string path = Path.Combine(_directory, "a.bin");
        AtomicFile.Write(path, s => s.Write([1, 2, 3]));
        AtomicFile.Write(path, s => s.Write([4]));
        Assert.That(File.ReadAllBytes(path), Is.EqualTo(new byte[] { 4 }));
        Assert.That(Directory.GetFiles(_directory), Is.EqualTo(new[] { path }));
    }

    [Test]
    public void A_failure_half_way_keeps_the_old_content_and_names_the_file()
    {
        string path = Path.Combine(_directory, "a.bin");
        AtomicFile.Write(path, s => s.Write([1, 2, 3]));
        Assert.That(() => AtomicFile.Write(path, s =>
        {
            s.Write(new byte[100_000]);
            throw new IOException("No space left on device");
        }), Throws.TypeOf<IOException>().With.Message.Contains(path).And.Message.Contains("No space left").And.Message.Contains("unchanged"));
        Assert.That(File.ReadAllBytes(path), Is.EqualTo(new byte[] { 1, 2, 3 }));
        Assert.That(Directory.GetFiles(_directory), Is.EqualTo(new[] { path }));
    }

    [Test]
    public void A_missing_directory_is_named()
    {
        string path = Path.Combine(_directory, "missing", "a.bin");
        Assert.That(() => AtomicFile.Write(path, _ => { }), Throws.TypeOf<DirectoryNotFoundException>().With.Message.Contains("missing"));
    }

    [Test]
    public void What_a_killed_run_left_is_removed_and_nothing_else()
    {
        string path = Path.Combine(_directory, "a.bin"), other = Path.Combine(_directory, ".b.bin.0.partial");
        File.WriteAllText(Path.Combine(_directory, ".a.bin.0123.partial"), "torn");
        File.WriteAllText(other, "");
        File.WriteAllText(path, "whole");
        AtomicFile.RemoveLeftovers(path);
        Assert.That(Directory.GetFiles(_directory), Is.EquivalentTo(new[] { path, other }));
    }

    [Test]
    [Platform("Linux")]
    public void Devices_are_written_to_and_not_replaced()
    {
        AtomicFile.Write("/dev/null", s => s.Write([1]));
        Assert.That(() => AtomicFile.Write("/dev/full", s => s.Write(new byte[1 << 20])), Throws.InstanceOf<IOException>());
        Assert.That(new FileInfo("/dev/null").Length, Is.Zero);
    }

    [Test]
    [Platform("Linux")]
    public void A_link_stays_a_link()
    {
        string path = Path.Combine(_directory, "a.bin"), link = Path.Combine(_directory, "link");
        File.WriteAllText(path, "old");
        File.CreateSymbolicLink(link, path);
        AtomicFile.Write(link, s => s.Write("new"u8));
        Assert.That(File.ReadAllText(path), Is.EqualTo("new"));
        Assert.That(new FileInfo(link).LinkTarget, Is.EqualTo(path));
    }
}
