using System.Diagnostics;
using System.Text;
using KernelContrast.Devices;
using KernelContrast.Interop;

namespace KernelContrast.Tests;

/// <summary>Which image a GPU gets, and what of it is kept on disk.</summary>
[TestFixture]
internal sealed class KernelImageTests
{
    private const string Module = "nn/relu", WriterVariable = "KERNELCONTRAST_TEST_CACHE_WRITER";

    private string _folder = "";

    [SetUp]
    public void MakeFolder() => _folder = Directory.CreateTempSubdirectory("kernelcontrast-images").FullName;

    [TearDown]
    public void RemoveFolder() => Directory.Delete(_folder, recursive: true);

    private static byte[] Image((int, int) capability, KernelCache cache, params string[] folders) =>
        KernelImage.ForGpu(Module, capability, driverMajor: 13, folders, cache);

    private static bool IsCubin(byte[] image) => image.AsSpan().StartsWith("\u007fELF"u8) && BitConverter.ToUInt16(image, 18) == 190; // EM_CUDA

    private string Ahead(string target, string hash)
    {
        File.WriteAllText(Path.Combine(_folder, KernelImage.NameOf(Module, target)), $"{target}\n// sources-sha256:{hash}\n");
        return KernelSources.HashOf(Module);
    }

    [Test]
    public void A_gpu_gets_a_cubin_from_the_sources_and_a_newer_one_ptx()
    {
        NvrtcForTests.Need();
        Assert.That(IsCubin(Image((8, 6), new(null))), Is.True);
        string ptx = Encoding.ASCII.GetString(Image((99, 0), new(null)));
        Assert.That(ptx, Does.Contain($".target sm_{Nvrtc.SupportedArchitectures().Max()}").And.EndsWith("\0"));
    }

    [Test]
    public void Targets_are_exact_where_known_and_the_newest_older_one_elsewhere()
    {
        int[] known = [50, 75, 80, 86, 90];
        const string plain = "", features = "#ifdef __CUDA_ARCH_FEAT_SM90_ALL";
        Assert.That(KernelCompiler.TargetFor((8, 6), known, plain), Is.EqualTo("sm_86"));
        Assert.That(KernelCompiler.TargetFor((8, 9), known, plain), Is.EqualTo("compute_86"));
        Assert.That(KernelCompiler.TargetFor((9, 0), known, plain), Is.EqualTo("sm_90"));
        Assert.That(KernelCompiler.TargetFor((9, 0), known, features), Is.EqualTo("sm_90a"));
        Assert.That(KernelCompiler.TargetFor((12, 0), known, features), Is.EqualTo("compute_90"));
        Assert.That(() => KernelCompiler.TargetFor((7, 5), known, plain), Throws.TypeOf<NotSupportedException>().With.Message.Contains("8.0"));
        Assert.That(() => KernelCompiler.TargetFor((8, 0), [50, 75], plain), Throws.TypeOf<NotSupportedException>().With.Message.Contains("newer"));
    }

    [Test]
    public void Compiled_images_are_kept_and_taken_again()
    {
        NvrtcForTests.Need();
        var cache = new KernelCache(Path.Combine(_folder, "made", "when needed"));
        byte[] image = Image((8, 0), cache);
        string file = Directory.GetFiles(_folder, "*", SearchOption.AllDirectories).Single();
        Assert.That(Path.GetFileName(file), Does.StartWith("nn.relu.sm_80.cubin."));
        DateTime written = File.GetLastWriteTimeUtc(file);
        Assert.That(Image((8, 0), cache), Is.EqualTo(image));
        Assert.That(File.GetLastWriteTimeUtc(file), Is.EqualTo(written));
        _ = Image((9, 0), cache);
        Assert.That(Directory.GetFiles(_folder, "*", SearchOption.AllDirectories), Has.Length.EqualTo(2));
    }

    [Test]
    public void A_file_that_is_torn_or_of_another_key_counts_as_missing()
    {
        var cache = new KernelCache(_folder);
        byte[] image = [.. Enumerable.Range(0, 1000).Select(i => (byte)i)];
        const string key = "0123456789abcdef-one", other = "0123456789abcdef-two";
        Assert.That(cache.Find("x", key), Is.Null);
        cache.Keep("x", key, image);
        Assert.That(cache.Find("x", key), Is.EqualTo(image));
        Assert.That(cache.Find("x", other), Is.Null, "same file, other key");
        byte[] file = File.ReadAllBytes(cache.PathOf("x", key));
        foreach (byte[] wrong in new byte[][] { [], file[..20], file[..^1], [.. file, 0], [.. file[..5], 77, .. file[6..]] })
        {
            File.WriteAllBytes(cache.PathOf("x", key), wrong);
            Assert.That(cache.Find("x", key), Is.Null, $"{wrong.Length} bytes");
        }
        cache.Keep("x", key, image);
        Assert.That(cache.Find("x", key), Is.EqualTo(image));
    }

    [Test]
    public void A_torn_file_of_the_cache_is_compiled_again()
    {
        NvrtcForTests.Need();
        var cache = new KernelCache(_folder);
        byte[] image = Image((8, 0), cache);
        string file = Directory.GetFiles(_folder).Single();
        File.WriteAllBytes(file, image[..100]);
        Assert.That(Image((8, 0), cache), Is.EqualTo(image));
        Assert.That(new FileInfo(file).Length, Is.GreaterThan(image.Length));
    }

    [Test]
    public void A_cache_that_cannot_be_written_is_no_error()
    {
        string file = Path.Combine(_folder, "a file");
        File.WriteAllText(file, "");
        foreach (string? folder in new[] { null, file, Path.Combine(file, "below") })
        {
            var cache = new KernelCache(folder);
            cache.Keep("x", "0123456789abcdef", [1]);
            Assert.That(cache.Find("x", "0123456789abcdef"), Is.Null);
        }
    }

    [Test]
    public void Writers_at_the_same_time_leave_one_whole_file()
    {
        var cache = new KernelCache(_folder);
        byte[] image = new byte[100_000];
        Parallel.For(0, 16, _ =>
        {
            for (int i = 0; i < 5; i++)
            {
                cache.Keep("x", "0123456789abcdef", image);
                Assert.That(cache.Find("x", "0123456789abcdef"), Is.EqualTo(image));
            }
        });
        Assert.That(Directory.GetFiles(_folder), Has.Length.EqualTo(1));
    }

    /// <summary>In a test program of its own, started by the test below with the cache's folder.</summary>
    [Test]
    public void A_process_that_writes_the_cache()
    {
        if (Environment.GetEnvironmentVariable(WriterVariable) is not { Length: > 0 } folder) return;
        var cache = new KernelCache(folder);
        File.WriteAllText(Path.Combine(folder, $"ready.{Environment.ProcessId}"), "");
        Assert.That(() => File.Exists(Path.Combine(folder, "go")), Is.True.After(60_000, 5));
        for (int i = 0; i < 200; i++)
        {
            byte[] image = new byte[100_000 + i];
            image.AsSpan().Fill((byte)i);
            cache.Keep("x", "0123456789abcdef", image);
            // Whichever process wrote last, the file is whole.
            byte[]? found = cache.Find("x", "0123456789abcdef");
            Assert.That(found, Is.Not.Null);
            Assert.That(found.AsSpan().ContainsAnyExcept(found![0]), Is.False);
        }
        File.WriteAllText(Path.Combine(folder, $"done.{Environment.ProcessId}"), "");
    }

    [Test]
    public void Processes_that_write_the_cache_at_the_same_time_leave_one_whole_file()
    {
        string program = Environment.ProcessPath!;
        Process[] writers = [.. Enumerable.Range(0, 2).Select(_ =>
        {
            // The host may be dotnet with the assembly as its argument, or the program itself.
            string[] arguments = Path.GetFileNameWithoutExtension(program) == "dotnet" ? [typeof(KernelImageTests).Assembly.Location] : [];
            var start = new ProcessStartInfo(program, [.. arguments, "--filter", $"Name={nameof(A_process_that_writes_the_cache)}"]) { RedirectStandardOutput = true };
            start.Environment[WriterVariable] = _folder;
            return Process.Start(start)!;
        })];
        try
        {
            Assert.That(() => Directory.GetFiles(_folder, "ready.*").Length, Is.EqualTo(2).After(90_000, 20), "both have begun");
            File.WriteAllText(Path.Combine(_folder, "go"), "");
            foreach (Process writer in writers)
            {
                string output = writer.StandardOutput.ReadToEnd();
                Assert.That(writer.WaitForExit(90_000), Is.True);
                Assert.That(writer.ExitCode, Is.Zero, output);
            }
            Assert.That(Directory.GetFiles(_folder, "done.*"), Has.Length.EqualTo(2));
            Assert.That(Directory.GetFiles(_folder, "x.*"), Has.Length.EqualTo(1));
            Assert.That(new KernelCache(_folder).Find("x", "0123456789abcdef"), Has.Length.EqualTo(100_199));
        }
        finally
        {
            foreach (Process writer in writers)
            {
                if (!writer.HasExited) writer.Kill();
                writer.Dispose();
            }
        }
    }

    [Test]
    public void The_cache_is_where_the_user_keeps_caches()
    {
        string? variable = Environment.GetEnvironmentVariable(KernelCache.Variable), xdg = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        try
        {
            Environment.SetEnvironmentVariable(KernelCache.Variable, null);
            Environment.SetEnvironmentVariable("XDG_CACHE_HOME", _folder);
            Assert.That(KernelCache.DefaultFolder(), Is.EqualTo(Path.Combine(_folder, "kernelcontrast")));
            Environment.SetEnvironmentVariable("XDG_CACHE_HOME", "relative");
            Assert.That(KernelCache.DefaultFolder(), Does.EndWith("kernelcontrast").And.Not.Contain("relative"));
            Environment.SetEnvironmentVariable(KernelCache.Variable, "chosen");
            Assert.That(KernelCache.DefaultFolder(), Is.EqualTo("chosen"));
        }
        finally
        {
            Environment.SetEnvironmentVariable(KernelCache.Variable, variable);
            Environment.SetEnvironmentVariable("XDG_CACHE_HOME", xdg);
        }
    }

    [Test]
    public void A_folder_of_images_that_is_none_is_refused_by_its_variable()
    {
        string? before = Environment.GetEnvironmentVariable(KernelImage.FolderVariable);
        try
        {
            Environment.SetEnvironmentVariable(KernelImage.FolderVariable, _folder);
            Directory.CreateDirectory(_folder);
            Assert.That(KernelImage.ImageFolders(), Is.EqualTo(new[] { _folder }));
            Environment.SetEnvironmentVariable(KernelImage.FolderVariable, Path.Combine(_folder, "none"));
            Assert.That(KernelImage.ImageFolders, Throws.InstanceOf<NotSupportedException>().With.Message.StartsWith($"{KernelImage.FolderVariable}={Path.Combine(_folder, "none")}: there is no such folder"));
        }
        finally { Environment.SetEnvironmentVariable(KernelImage.FolderVariable, before); }
    }

    [Test]
    public void An_image_built_ahead_is_taken_when_it_fits_the_gpu_and_the_sources()
    {
        string hash = Ahead("compute_80", KernelSources.HashOf(Module));
        Assert.That(Taken((8, 0)), Is.EqualTo("compute_80"));
        Assert.That(Taken((12, 0)), Is.EqualTo("compute_80"), "newer GPUs take PTX");
        Ahead("sm_80", hash);
        Assert.That(Taken((8, 9)), Is.EqualTo("sm_80"), "cubins run on later GPUs of the same major number");
        Assert.That(Taken((9, 0)), Is.EqualTo("compute_80"));
        Ahead("sm_90", hash);
        Assert.That(Taken((9, 0)), Is.EqualTo("sm_90"));
        Ahead("sm_90a", hash);
        Assert.That(Taken((9, 0)), Is.EqualTo("sm_90a"));
        Assert.That(Taken((8, 6)), Is.EqualTo("sm_80"));
        Ahead("sm_90a", new string('0', 64));
        Assert.That(Taken((9, 0)), Is.EqualTo("sm_90"), "made of other sources");
        Assert.That(() => Taken((7, 5)), Throws.TypeOf<NotSupportedException>().With.Message.Contains("8.0"));

        string Taken((int, int) capability)
        {
            string text = Encoding.ASCII.GetString(Image(capability, new(null), _folder));
            return text[..text.IndexOf('\n')];
        }
    }

    [Test]
    public void The_library_carries_every_kernel_file()
    {
        string kernels = Path.Combine(CudaLibrary.CheckoutFolders().First(), "kernels");
        string[] files = [.. Directory.GetFiles(kernels, "*.cu", SearchOption.AllDirectories).Select(f => Path.GetRelativePath(kernels, f)[..^3].Replace('\\', '/'))];
        Assert.That(KernelSources.Modules, Is.EquivalentTo(files));
        foreach (string module in files) Assert.That(KernelSources.Text(module), Is.EqualTo(File.ReadAllText(Path.Combine(kernels, module + ".cu"))));
        Assert.That(() => KernelSources.Text("nn/no_such_file"), Throws.TypeOf<FileNotFoundException>());
    }
}
