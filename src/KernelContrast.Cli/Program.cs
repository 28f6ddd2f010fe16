using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using KernelContrast.Cli.Verbs;
using KernelContrast.Training;

namespace KernelContrast.Cli;

/// <summary>
/// The tool. Exit codes: 0 done; 1 it failed (a check did not hold, training diverged, a bug); 2 it was asked for
/// something that cannot be, and one line on the error stream says what; 130 it was stopped (Ctrl-C) and saved its work.
/// </summary>
internal static class Program
{
    private const string Name = "kernelcontrast";

    private static readonly Func<VerbCommand>[] Verbs =
    [
        AugmentCommand.Create,
        BenchCommand.Create,
        DevicesCommand.Create,
        EmbedCommand.Create,
        EvaluateCommand.Create,
        GradcheckCommand.Create,
        LossCommand.Create,
        NeighboursCommand.Create,
        PretrainCommand.Create,
        PlotCommand.Create,
        DemoCommand.Create,
    ];

    private static int Main(string[] args)
    {
        try
        {
            return Run(args);
        }
        catch (Exception e) when (Root(e) is UserError or IOException or UnauthorizedAccessException or NotSupportedException)
        {
            Console.Error.WriteLine($"{Name}: {OneLine(Root(e).Message)}");
            return 2;
        }
        catch (TrainingFailedException e)
        {
            Console.Error.WriteLine($"{Name}: {OneLine(e.Message)}");
            return 1;
        }
        catch (Exception e)
        {
            if (Environment.GetEnvironmentVariable("KERNELCONTRAST_TRACE") == "1")
                Console.Error.WriteLine(e);
            else
                Console.Error.WriteLine($"{Name}: this should not happen: {e.GetType().Name}: {OneLine(e.Message)}. "
                    + "Please report it with the output of the same command under KERNELCONTRAST_TRACE=1.");
            return 1;
        }
    }

    private static int Run(string[] args)
    {
        RootCommand root = CreateRoot();
        ParseResult parsed = ConfigFile.Parse(root, args);
        bool actionNeedsNoValidArguments = parsed.Action is CommandLineAction { ClearsParseErrors: true };
        bool unknownVerb = parsed.CommandResult.Command is RootCommand && parsed.UnmatchedTokens.Count > 0;
        if (args.Length == 0) parsed = root.Parse(["--help"]);
        else if (unknownVerb || (parsed.Errors.Count > 0 && !actionNeedsNoValidArguments)) throw new UserError(Describe(parsed, args));
        else if (!actionNeedsNoValidArguments && parsed.CommandResult.Command is VerbCommand verb) OutputFile.CheckApart(parsed, verb);
        return parsed.Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
    }

    private static RootCommand CreateRoot()
    {
        var root = new RootCommand("Contrastive learning with hand-written kernels, driven from C#: pre-train without labels, evaluate, look.");
        foreach (Func<VerbCommand> verb in Verbs) root.Subcommands.Add(verb());
        root.Options.Add(ConfigFile.Option);
        RefuseCommas(root);
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    /// <summary>A comma in a fraction would be read over as a thousands separator: 0,5 as 5.</summary>
    private static void RefuseCommas(Command command)
    {
        foreach (Command verb in command.Subcommands) RefuseCommas(verb);
        foreach (Option option in command.Options)
        {
            Type type = Nullable.GetUnderlyingType(option.ValueType) ?? option.ValueType;
            if (type != typeof(float) && type != typeof(double)) continue;
            option.Validators.Add(result =>
            {
                if (result.Tokens.FirstOrDefault(t => t.Value.Contains(',')) is { } token)
                    result.AddError($"{option.Name} is '{token.Value}', expected a number, whose decimal sign is a point");
            });
        }
    }

    private static string Describe(ParseResult parsed, string[] args)
    {
        // What was typed wrongly comes before what was not typed.
        ParseError? error = parsed.Errors.FirstOrDefault(e => args.Any(a => e.Message.Contains($"'{a}'"))) ?? parsed.Errors.FirstOrDefault();
        string problem = parsed.CommandResult.Command is RootCommand && parsed.UnmatchedTokens is [var first, ..] ? $"there is no verb '{first}'"
            : ParseProblem.Describe(error!);
        if (parsed.CommandResult.Command is VerbCommand verb)
        {
            string path = string.Concat(verb.Parents.OfType<VerbCommand>().Select(p => $"{p.Name} "));
            return $"{problem}. '{Name} {path}{verb.Name} --help' shows what there is.";
        }
        return $"{problem}. Verbs are {string.Join(", ", parsed.RootCommandResult.Command.Subcommands.Select(c => c.Name))}; '{Name} --help' shows more.";
    }

    /// <summary>What went wrong while a type was made ready (an environment variable it reads, say) comes wrapped.</summary>
    private static Exception Root(Exception e) => e is TypeInitializationException ? e.GetBaseException() : e;

    private static string OneLine(string message) => message.ReplaceLineEndings(" ").TrimEnd('.');

    private sealed class HelpWithExamples(HelpAction plain) : SynchronousCommandLineAction
    {
        public override bool ClearsParseErrors => true;

        public override int Invoke(ParseResult parsed)
        {
            int code = plain.Invoke(parsed);
            TextWriter output = parsed.InvocationConfiguration.Output;
            if (parsed.CommandResult.Command is VerbCommand { Examples: var examples })
            {
                output.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
                foreach (string example in examples) output.WriteLine($"  {example}");
            }
            else
            {
                output.WriteLine("Example:");
                output.WriteLine($"  {Name} devices");
            }
            return code;
        }
    }
}
