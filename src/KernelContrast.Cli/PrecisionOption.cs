using System.CommandLine;

namespace KernelContrast.Cli;

/// <summary><c>--precision</c>: in which numbers products are formed.</summary>
internal static class PrecisionOption
{
    internal static Option<string> Create(string description)
    {
        var option = new Option<string>("--precision") { Description = description, DefaultValueFactory = _ => "f32" };
        option.AcceptOnlyFromAmong("f32", "tf32", "bf16");
        return option;
    }

    internal static Precision Parse(string name) => name switch { "f32" => Precision.Float32, "tf32" => Precision.Tf32, _ => Precision.BFloat16 };

    internal static string NameOf(Precision precision) => precision switch { Precision.Float32 => "f32", Precision.Tf32 => "tf32", _ => "bf16" };
}
