using System.Reflection;
using System.Text.RegularExpressions;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace KernelContrast.Cli.Tests;

/// <summary>What the README shows is true: its C# compiles and runs, its files are there.</summary>
[TestFixture]
internal sealed partial class ReadmeTests
{
    private const string GlobalUsings = "global using System; global using System.Collections.Generic; global using System.IO; global using System.Linq;";

    private static string[] ExamplesOf(string page) =>
        [.. CSharpBlock().Matches(File.ReadAllText(Path.Combine(SmallDigits.Repository, page))).Select(m => m.Groups[1].Value)];

    [Test]
    public void There_are_examples_and_the_longest_has_at_most_30_lines()
    {
        string[] examples = ExamplesOf("README.md");
        Assert.That(examples, Is.Not.Empty);
        Assert.That(examples.Max(e => e.TrimEnd().Split('\n').Length), Is.LessThanOrEqualTo(30));
    }

    private static IEnumerable<TestCaseData> Cases =>
        from page in new[] { "README.md", "docs/interop.md" }
        from example in ExamplesOf(page).Index()
        select new TestCaseData(example.Item).SetName($"{page} example {example.Index + 1} compiles and runs");

    [TestCaseSource(nameof(Cases))]
    public void Example(string source)
    {
        using var folder = new TemporaryFolder();
        SmallDigits.Write(folder["data/mnist"], train: 600, test: 200);
        string back = Environment.CurrentDirectory;
        TextWriter console = Console.Out;
        using var output = new StringWriter();
        try
        {
            Environment.CurrentDirectory = folder["."];
            Console.SetOut(output);
            Run(Compile(source));
        }
        finally
        {
            Console.SetOut(console);
            Environment.CurrentDirectory = back;
        }
        Assert.That(output.ToString(), Is.Not.Empty.And.Not.Contain("NaN").And.Not.Contain("False"));
    }

    [TestCase("README.md"), TestCase("docs/losses.md"), TestCase("docs/README.md"), TestCase("docs/design/README.md")]
    public void Links_into_the_repository_lead_somewhere(string page)
    {
        string path = Path.Combine(SmallDigits.Repository, page);
        string[] targets = [.. Link().Matches(File.ReadAllText(path)).Select(m => m.Groups[1].Success ? m.Groups[1].Value : m.Groups[2].Value)
            .Where(t => !t.StartsWith("http", StringComparison.Ordinal) && !t.StartsWith('#'))];
        Assert.That(targets, Has.Length.GreaterThan(3));
        foreach (string target in targets)
            Assert.That(Path.Exists(Path.Combine(Path.GetDirectoryName(path)!, target.Split('#')[0])), target);
    }

    private static Assembly Compile(string source)
    {
        var options = new CSharpParseOptions(LanguageVersion.Latest);
        SyntaxTree[] trees = [CSharpSyntaxTree.ParseText(GlobalUsings, options), CSharpSyntaxTree.ParseText(source, options)];
        IEnumerable<MetadataReference> references = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Select(path => MetadataReference.CreateFromFile(path));
        var compilation = CSharpCompilation.Create("ReadmeExample", trees, references,
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable, allowUnsafe: true));
        using var image = new MemoryStream();
        var result = compilation.Emit(image);
        Assert.That(result.Diagnostics.Where(d => d.Severity >= DiagnosticSeverity.Warning).Select(d => d.ToString()), Is.Empty);
        return Assembly.Load(image.ToArray());
    }

    /// <summary>Examples that need a device take it from their argument.</summary>
    private static void Run(Assembly example) => example.EntryPoint!.Invoke(null, [new[] { "cuda-emulated" }]);

    [GeneratedRegex("(?ms)^```csharp\n(.*?)^```$")]
    private static partial Regex CSharpBlock();

    [GeneratedRegex(@"\]\(([^)\s]+)\)|src=""([^""]+)""")]
    private static partial Regex Link();
}
