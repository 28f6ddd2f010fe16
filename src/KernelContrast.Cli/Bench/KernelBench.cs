using System.Globalization;
using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;
using KernelContrast.Devices;

namespace KernelContrast.Cli.Bench;

/// <summary>
/// <c>bench kernels</c>: every kernel family on a CUDA device, by events, with the ceilings of the same run. Times between
/// two events hold gaps between launches too, which matter below some tens of microseconds.
/// </summary>
internal static class KernelBench
{
    private static IKernelRows[] Sources { get; } =
    [
        .. typeof(KernelBench).Assembly.GetTypes().Where(t => t.IsClass && typeof(IKernelRows).IsAssignableFrom(t)).OrderBy(t => t.Name, StringComparer.Ordinal)
            .Select(t => (IKernelRows)Activator.CreateInstance(t)!),
    ];

    internal static string[] Families { get; } = [.. Sources.SelectMany(s => s.Rows(tiny: true)).Select(r => r.Family).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>Whatever can be timed of the families (all when none is given), printed, and written to a file when asked.</summary>
    /// <exception cref="UserError">The device has no kernels.</exception>
    internal static void Run(Device device, string[] families, bool tiny, double seconds, string? json)
    {
        if (device is not CudaDevice cuda)
            throw new UserError($"'bench kernels' times CUDA kernels, and --device is {device}. Give --device cuda; './build.sh bench' times the CPU.");
        bool measures = cuda.Kind == Interop.CudaDriverKind.Nvidia;
        if (!measures) Terminal.Note("On the emulated driver: not a measurement.");
        using var timer = new DeviceTimer(device);
        bool vendor = cuda.UsesVendorLibraries;
        Ceilings ceilings = MeasureCeilings(cuda, timer, tiny, seconds);
        HopperKernels hopper = cuda.HopperKernels;
        bool keeps = cuda.KeepsLossWeightsInRegisters;
        cuda.UsesVendorLibraries = false; // the rows are our kernels'
        var results = new List<KernelTiming>();
        foreach (KernelRow row in Sources.SelectMany(s => s.Rows(tiny)).Where(r => (measures || !r.NeedsGraphs) && (families.Length == 0 || families.Contains(r.Family))))
        {
            cuda.HopperKernels = HopperKernels.Off;
            results.Add(Measure(row, device, timer, ceilings, tiny, seconds));
            // On compute capability 9.0 some products have a second kernel, whichever the setting is.
            if (cuda.ComputeCapability != (9, 0) || !row.HasHopperKernels) continue;
            cuda.HopperKernels = tiny ? HopperKernels.Always : HopperKernels.On;
            results.Add(Measure(row with { Item = $"{row.Item}, wgmma" }, device, timer, ceilings, tiny, seconds));
            if (!row.KeepsWeights) continue;
            cuda.KeepsLossWeightsInRegisters = false;
            results.Add(Measure(row with { Item = $"{row.Item}, wgmma, weights in memory" }, device, timer, ceilings, tiny, seconds));
            cuda.KeepsLossWeightsInRegisters = keeps;
        }
        cuda.HopperKernels = hopper;
        var report = new KernelReport(device.Name, device.Description, DateTime.UtcNow.ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture), Commit, measures, ceilings, results);
        cuda.UsesVendorLibraries = vendor;
        Print(report);
        if (json is not null) AtomicFile.Write(json, stream => JsonSerializer.Serialize(stream, report, KernelBenchJson.Default.KernelReport));
    }

    internal static string NameOf(Precision precision) => PrecisionOption.NameOf(precision);

    /// <summary>The largest difference as a share of the root mean square of what is expected; NaN when one is NaN.</summary>
    internal static double RelativeError(ReadOnlySpan<float> actual, double[] expected)
    {
        double square = 0, worst = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            square += expected[i] * expected[i];
            double difference = Math.Abs(actual[i] - expected[i]);
            if (!(difference <= worst)) worst = difference;
        }
        return worst / Math.Sqrt(square / expected.Length);
    }

    /// <summary>What the build says of itself: "0.1.0+COMMIT".</summary>
    private static string Commit { get; } =
        typeof(KernelBench).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[^1];

    private static Ceilings MeasureCeilings(CudaDevice device, DeviceTimer timer, bool tiny, double seconds)
    {
        using var work = new DeviceCeilings(device, tiny ? 1 << 16 : 1L << 30, blocks: tiny ? 2 : 4096, repeats: tiny ? 8 : 4096);
        double copy = Best(work.Copy), exponentials = Best(work.Exponentiate), launch = Best(work.Launch);
        int size = tiny ? 64 : 8192;
        string libraries = device.VendorLibraries;
        bool vendor = device.UsesVendorLibraries && device.HasVendorProducts;
        double? vendorF32 = vendor ? Product(Precision.Float32) : null, vendorTf32 = vendor ? Product(Precision.Tf32) : null, vendorBf16 = vendor ? Product(Precision.BFloat16) : null;
        device.UsesVendorLibraries = false;
        return new(2 * work.CopyBytes / copy / 1e6, Product(Precision.Float32), Product(Precision.Tf32), Product(Precision.BFloat16), work.ExponentialCount / exponentials / 1e6, launch * 1e3, size)
        {
            VendorLibraries = libraries,
            CublasLtF32Gflops = vendorF32,
            CublasLtTf32Gflops = vendorTf32,
            CublasLtBf16Gflops = vendorBf16,
        };

        double Best(Action run) => Repeat(timer, run, cold: false, tiny, seconds).Median;

        double Product(Precision precision)
        {
            using Tensor a = Tensor.RandomNormal(new(size, size), 1, device), b = Tensor.RandomNormal(new(size, size), 2, device);
            using Autocast numbers = Autocast.To(precision);
            using Tensor x = precision == Precision.BFloat16 ? a.To(DType.BFloat16) : a.Detach(), y = precision == Precision.BFloat16 ? b.To(DType.BFloat16) : b.Detach();
            return 2.0 * size * size * size / Best(() =>
            {
                using var unrecorded = new NoGrad();
                using Tensor c = Functional.MatMul(x, y);
            }) / 1e6;
        }
    }

    private static KernelTiming Measure(KernelRow row, Device device, DeviceTimer timer, Ceilings ceilings, bool tiny, double seconds)
    {
        using KernelWork work = row.Prepare(device);
        device.ReleaseUnusedMemory();
        device.ResetPeakMemory();
        long before = device.Memory.LiveBytes;
        work.Run();
        device.Synchronize();
        long extra = device.Memory.PeakLiveBytes - before;
        Timing hot = Repeat(timer, work.Run, cold: false, tiny, seconds), cold = Repeat(timer, work.Run, cold: true, tiny, seconds);
        double rate = ceilings.RateOf(row.Precision);
        double floor = Math.Max(row.Bytes / ceilings.CopyGBs, Math.Max(row.Flops / rate, row.Exponentials / ceilings.ExponentialsG)) / 1e6;
        return new(row.Family, row.Item, row.Precision, hot, cold, row.Bytes, row.Flops, floor, 100 * floor / hot.Median, extra,
            row.GemmFlops == 0 ? null : hot.Median * rate * 1e6 / row.GemmFlops, work.Error() is { } error && double.IsFinite(error) ? error : null);
    }

    /// <summary>Warms up, then repeats for about half of the seconds, five to 200 times; in small twice.</summary>
    private static Timing Repeat(DeviceTimer timer, Action run, bool cold, bool tiny, double seconds)
    {
        var times = new List<double>();
        if (!tiny)
            for (double spent = 0; spent < 100 * Math.Min(1, seconds);) spent += Math.Max(timer.Milliseconds(run), 0.1);
        double total = 0;
        while (times.Count < (tiny ? 2 : 5) || (!tiny && times.Count < 200 && total < seconds * 500))
        {
            times.Add(timer.Milliseconds(run, cold));
            total += times[^1];
        }
        return Timing.Of(times);
    }

    private static void Print(KernelReport report)
    {
        Terminal.Line($"{report.Device}, {report.Description}; {report.Date}, {report.Commit}");
        Ceilings c = report.Ceilings;
        Terminal.Line(Invariant($"Ceilings of this run: copy {c.CopyGBs:F0} GB/s; our product of {c.GemmSize}³ {c.GemmF32Gflops:F0} GFLOP/s in f32, {c.GemmTf32Gflops:F0} in tf32, {c.GemmBf16Gflops:F0} in bf16; ")
            + Invariant($"{c.ExponentialsG:F0} G exponentials/s; an empty launch {c.EmptyLaunchMicroseconds:F1} µs"));
        Terminal.Line("cuBLASLt: " + (c.CublasLtF32Gflops is { } f32 ? Invariant($"the same product {f32:F0} GFLOP/s in f32, {c.CublasLtTf32Gflops:F0} in tf32, {c.CublasLtBf16Gflops:F0} in bf16; {c.VendorLibraries}") : c.VendorLibraries));
        Terminal.Table(["family", "item", "numbers", "hot ms", "p20", "p80", "cold ms", "GB/s", "GFLOP/s", "% of floor", "GEMM-eq.", "extra MiB", "error"], [.. report.Rows.Select(r => new[]
        {
            r.Family, r.Item, r.Precision, Number(r.Hot.Median), Number(r.Hot.P20), Number(r.Hot.P80), Number(r.Cold.Median), Invariant($"{r.Bytes / r.Hot.Median / 1e6:F0}"),
            r.Flops == 0 ? "" : Invariant($"{r.Flops / r.Hot.Median / 1e6:F0}"), Invariant($"{r.PercentOfFloor:F0}"),
            r.GemmEquivalents is { } equivalents ? Invariant($"{equivalents:F2}") : "", Invariant($"{r.ExtraBytes / 1048576.0:F1}"), r.Error?.ToString("0.0e+0", CultureInfo.InvariantCulture) ?? "",
        })], textColumns: 3);
    }

    private static string Number(double milliseconds) => milliseconds.ToString("G4", CultureInfo.InvariantCulture);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}

/// <summary>What bounds every row, measured in the same run.</summary>
/// <param name="CopyGBs">GB/s of a large copy, read and written.</param>
/// <param name="GemmF32Gflops">GFLOP/s of our own product in float32.</param>
/// <param name="GemmTf32Gflops">The same in TF32.</param>
/// <param name="GemmBf16Gflops">The same in bfloat16.</param>
/// <param name="ExponentialsG">Billions of exponentials a second.</param>
/// <param name="EmptyLaunchMicroseconds">Time of a launch that does nothing.</param>
/// <param name="GemmSize">Rows of the products' square matrices.</param>
internal sealed record Ceilings(double CopyGBs, double GemmF32Gflops, double GemmTf32Gflops, double GemmBf16Gflops, double ExponentialsG, double EmptyLaunchMicroseconds, int GemmSize)
{
    /// <summary>NVIDIA's libraries, or why there are none.</summary>
    public required string VendorLibraries { get; init; }

    /// <summary>GFLOP/s of cuBLASLt's product in float32, where it is there; floors then count with the faster of the two.</summary>
    public double? CublasLtF32Gflops { get; init; }

    /// <summary>The same in TF32.</summary>
    public double? CublasLtTf32Gflops { get; init; }

    /// <summary>The same in bfloat16.</summary>
    public double? CublasLtBf16Gflops { get; init; }

    /// <summary>GFLOP/s of products in a row's numbers: of the faster of the two.</summary>
    internal double RateOf(string precision) => precision switch
    {
        "bf16" => Math.Max(GemmBf16Gflops, CublasLtBf16Gflops ?? 0),
        "tf32" => Math.Max(GemmTf32Gflops, CublasLtTf32Gflops ?? 0),
        _ => Math.Max(GemmF32Gflops, CublasLtF32Gflops ?? 0),
    };
}

/// <summary>A row's figures: times in milliseconds, its floor from the ceilings, GEMM-equivalents for losses.</summary>
internal sealed record KernelTiming(string Family, string Item, string Precision, Timing Hot, Timing Cold, long Bytes, long Flops, double FloorMilliseconds,
    double PercentOfFloor, long ExtraBytes, double? GemmEquivalents, double? Error);

/// <summary>What <c>bench kernels --json</c> writes.</summary>
internal sealed record KernelReport(string Device, string Description, string Date, string Commit, bool Measured, Ceilings Ceilings, IReadOnlyList<KernelTiming> Rows);

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(KernelReport))]
internal sealed partial class KernelBenchJson : JsonSerializerContext;
