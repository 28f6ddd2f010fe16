using SkiaSharp;

namespace KernelContrast.Cli.Plots;

/// <summary>A colour per class.</summary>
internal static class Palette
{
    private static readonly SKColor[] s_ten =
    [
        new(0x3B, 0x6F, 0xB6), new(0xEF, 0x86, 0x2E), new(0x4E, 0xA3, 0x4A), new(0xD6, 0x45, 0x4B), new(0x8F, 0x63, 0xB8),
        new(0x8C, 0x5E, 0x48), new(0xE3, 0x77, 0xB4), new(0x6E, 0x76, 0x7F), new(0xC2, 0xB0, 0x2A), new(0x2B, 0xB3, 0xC2),
    ];

    /// <summary>Ten chosen by hand; more classes go round the colour circle by the golden angle, so that neighbours differ.</summary>
    internal static SKColor Of(int label, int classes)
    {
        if (label < 0) return new SKColor(0x9A, 0xA2, 0xAC);
        if (classes <= s_ten.Length) return s_ten[label];
        float hue = label * 137.508f % 360;
        return SKColor.FromHsl(hue, label % 2 == 0 ? 70 : 50, label % 3 == 0 ? 38 : 55);
    }
}
