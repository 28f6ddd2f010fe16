using KernelContrast.Devices;

namespace KernelContrast;

/// <summary>
/// A convolution that writes some of a pass's output pixels: all of them forward, every stride-th of every stride-th
/// row in the gradient of the input. Output pixel (i, j) of the phase is pixel (OutY + i·OutStep, OutX + j·OutStep) of
/// the image and reads the padded input from (SourceY + i·InStep, SourceX + j·InStep).
/// </summary>
internal unsafe struct ConvPhase
{
    public int TapsY, TapsX;
    /// <summary>In the gradient of the input: the filter's taps FirstTap, FirstTap + OutStep, …, last one first.</summary>
    public int FirstTapY, FirstTapX;
    public int SourceY, SourceX;
    public int OutY, OutX, OutHeight, OutWidth;
    /// <summary>Panels of two vectors of output channels: for each, TapsY × TapsX × Channels × panel width.</summary>
    public float* Panels;
}

/// <summary>One or more convolutions from the same images into the same images, see <see cref="ConvPhase"/>.</summary>
internal unsafe struct ConvPass
{
    // Of padded input that one job item keeps at hand: with the weights of a panel it fits the L2 cache.
    private const int ItemBytes = 256 << 10;

    public float* Output, Input, Weight, Bias;
    public int Images, Height, Width, Channels, OutHeight, OutWidth, OutChannels, KernelHeight, KernelWidth;
    /// <summary>Rows and columns of zeros before the image; negative: so many of its own are skipped.</summary>
    public int Top, Left;
    public int InStep, OutStep;
    /// <summary>Whether this is the gradient of the input: Channels are the convolution's output channels.</summary>
    public bool Backward;

    private ConvPhase* _phases;
    private int _phaseCount, _paddedHeight, _paddedWidth, _span, _group, _groups, _band, _bands;
    private bool _copies;
    private float* _scratch;
    private long _scratchFloats;

    internal void Run(CpuDevice cpu, Span<ConvPhase> phases)
    {
        if ((long)Images * OutHeight * OutWidth * OutChannels == 0) return;
        fixed (ConvPhase* pinned = phases)
        {
            _phases = pinned;
            _phaseCount = phases.Length;
            switch (Simd.Bits)
            {
                case 512: Run<F512>(cpu); break;
                case 256: Run<F256>(cpu); break;
                default: Run<F128>(cpu); break;
            }
        }
    }

    private void Run<T>(CpuDevice cpu) where T : struct, ISimd<T>
    {
        int threads = cpu.Workers.Count, panelWidth = 2 * T.Width, panels = Gemm.CeilDivide(OutChannels, panelWidth);
        int rows = 0;
        long panelFloats = 0;
        for (int i = 0; i < _phaseCount; i++)
        {
            ref ConvPhase phase = ref _phases[i];
            rows = Math.Max(rows, phase.OutHeight);
            _span = Math.Max(_span, phase.SourceY + phase.TapsY);
            _paddedHeight = Math.Max(_paddedHeight, phase.SourceY + (phase.OutHeight - 1) * InStep + phase.TapsY);
            _paddedWidth = Math.Max(_paddedWidth, phase.SourceX + (phase.OutWidth - 1) * InStep + phase.TapsX);
            panelFloats += (long)phase.TapsY * phase.TapsX * Channels * panels * panelWidth;
        }
        _copies = Top != 0 || Left != 0 || _paddedHeight > Height || _paddedWidth > Width;
        long rowBytes = 4L * _paddedWidth * Channels, imageBytes = rowBytes * _paddedHeight;
        _group = (int)Math.Clamp(ItemBytes / Math.Max(1, imageBytes), 1, Math.Max(1, Images / (4 * threads)));
        _groups = Gemm.CeilDivide(Images, _group);
        _band = rows;
        if (_group == 1)
        {
            // Large images in bands of rows, and enough bands for every thread.
            _band = (int)Math.Clamp((ItemBytes / Math.Max(1, rowBytes) - _span) / InStep + 1, Math.Min(4, rows), rows);
            int bands = Math.Max(Gemm.CeilDivide(rows, _band), Math.Min(Gemm.CeilDivide(rows, 4), Gemm.CeilDivide(2 * threads, Images)));
            _band = Gemm.CeilDivide(rows, bands);
        }
        _bands = Gemm.CeilDivide(rows, _band);
        _scratchFloats = _copies ? (long)_group * ((_band - 1) * InStep + _span) * _paddedWidth * Channels : 0;

        long bytes = 4 * (panelFloats + _scratchFloats * threads);
        float* memory = (float*)cpu.Pool.Rent(bytes), next = memory;
        for (int i = 0; i < _phaseCount; i++)
        {
            _phases[i].Panels = next;
            next += (long)_phases[i].TapsY * _phases[i].TapsX * Channels * panels * panelWidth;
        }
        _scratch = next;
        if (panelFloats < 65536)
            for (int panel = 0; panel < panels; panel++) PackPanel<T>(ref this, 0, panel);
        else cpu.Workers.For(panels, ref this, &PackPanel<T>);
        cpu.Workers.For(_groups * _bands, ref this, &Convolve<T>);
        cpu.Pool.Return((nint)memory, bytes);
    }

    private static void PackPanel<T>(ref ConvPass pass, int worker, int panel) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, channel = panel * width, count = Math.Min(width, pass.OutChannels - channel);
        for (int i = 0; i < pass._phaseCount; i++)
        {
            ref ConvPhase phase = ref pass._phases[i];
            int depth = phase.TapsY * phase.TapsX * pass.Channels;
            float* to = phase.Panels + (long)panel * depth * width;
            if (!pass.Backward)
            {
                // Stored [K,R,S,C]: output channels are rows, along the depth.
                Pack.Transposed(to, pass.Weight + (long)channel * depth, depth, count, width, depth);
                continue;
            }
            long filter = (long)pass.KernelHeight * pass.KernelWidth * pass.OutChannels;
            for (int tapY = phase.TapsY - 1; tapY >= 0; tapY--)
                for (int tapX = phase.TapsX - 1; tapX >= 0; tapX--, to += (long)pass.Channels * width)
                {
                    int r = phase.FirstTapY + tapY * pass.OutStep, s = phase.FirstTapX + tapX * pass.OutStep;
                    Pack.Straight(to, pass.Weight + ((long)r * pass.KernelWidth + s) * pass.OutChannels + channel, filter, count, width, pass.Channels);
                }
        }
    }

    private static void Convolve<T>(ref ConvPass pass, int worker, int item) where T : struct, ISimd<T>
    {
        int band = item % pass._bands, firstRow = band * pass._band;
        int firstImage = item / pass._bands * pass._group, images = Math.Min(pass._group, pass.Images - firstImage);
        long imageFloats = (long)pass.Height * pass.Width * pass.Channels;
        float* source = pass.Input + firstImage * imageFloats + (long)firstRow * pass.InStep * pass.Width * pass.Channels;
        int sourceWidth = pass.Width;
        if (pass._copies)
        {
            float* scratch = pass._scratch + worker * pass._scratchFloats;
            int height = (pass._band - 1) * pass.InStep + pass._span;
            long padded = (long)height * pass._paddedWidth * pass.Channels;
            for (int image = 0; image < images; image++)
                PaddedCopy.Run(scratch + image * padded, height, pass._paddedWidth,
                    pass.Input + (firstImage + image) * imageFloats, pass.Height, pass.Width, pass.Channels, pass.Top - firstRow * pass.InStep, pass.Left);
            source = scratch;
            imageFloats = padded;
            sourceWidth = pass._paddedWidth;
        }
        for (int i = 0; i < pass._phaseCount; i++)
            ConvolvePhase<T>(ref pass, ref pass._phases[i], source, imageFloats, sourceWidth, firstImage, images, firstRow);
    }

    private static void ConvolvePhase<T>(ref ConvPass pass, ref ConvPhase phase, float* source, long imageFloats, int sourceWidth,
        int firstImage, int images, int firstRow) where T : struct, ISimd<T>
    {
        int width = 2 * T.Width, endRow = Math.Min(firstRow + pass._band, phase.OutHeight);
        if (firstRow >= endRow || phase.OutWidth == 0) return;
        float* zeros = stackalloc float[width];
        new Span<float>(zeros, width).Clear();
        long sourceRow = (long)sourceWidth * pass.Channels, outPixel = (long)pass.OutStep * pass.OutChannels;
        long outRow = (long)pass.OutStep * pass.OutWidth * pass.OutChannels;
        int depth = phase.TapsX * pass.Channels;
        // Narrow images fill a tile with two rows.
        bool pairs = phase.OutWidth <= Tile.MaxPair<T>();
        var tile = new Tile
        {
            ARow = (nint)(4L * pass.InStep * pass.Channels),
            AStep = 4,
            AOuter = (nint)(4 * sourceRow),
            BStep = 4 * width,
            BOuter = (nint)(4L * depth * width),
            Blocks = 1,
            Outer = phase.TapsY,
            Inner = depth,
            OutRow = (nint)outPixel,
        };
        for (int channel = 0; channel < pass.OutChannels; channel += width)
        {
            int channels = Math.Min(width, pass.OutChannels - channel);
            tile.B = phase.Panels + (long)channel * phase.TapsY * depth;
            float* initial = pass.Bias != null ? pass.Bias + channel : zeros;
            for (int image = 0; image < images; image++)
            {
                float* from = source + image * imageFloats + phase.SourceY * sourceRow + (long)phase.SourceX * pass.Channels;
                float* to = pass.Output + (((long)(firstImage + image) * pass.OutHeight + phase.OutY) * pass.OutWidth + phase.OutX) * pass.OutChannels + channel;
                for (int row = firstRow; row < endRow; row++)
                {
                    tile.A0 = from + (row - firstRow) * pass.InStep * sourceRow;
                    tile.Out0 = to + row * outRow;
                    tile.Initial0 = initial;
                    if (pairs && row + 1 < endRow)
                    {
                        tile.A1 = tile.A0 + pass.InStep * sourceRow;
                        tile.Out1 = tile.Out0 + outRow;
                        tile.Initial1 = initial;
                        tile.Run<T>(phase.OutWidth, 2, channels);
                        row++;
                        continue;
                    }
                    for (int left = phase.OutWidth; left > 0;)
                    {
                        int pixels = Tile.NextRows(left, Tile.MaxRows<T>());
                        tile.Run<T>(pixels, channels);
                        left -= pixels;
                        tile.A0 = (float*)((byte*)tile.A0 + pixels * tile.ARow);
                        tile.Out0 += pixels * tile.OutRow;
                    }
                }
            }
        }
    }
}

/// <summary>Copies an NHWC image with a border of zeros.</summary>
internal static unsafe class PaddedCopy
{
    /// <summary>destination[i, j, :] = source[i − top, j − left, :], 0 outside of the source; any sign of top and left.</summary>
    internal static void Run(float* destination, int height, int width, float* source, int sourceHeight, int sourceWidth, int channels, int top, int left)
    {
        int before = Math.Clamp(left, 0, width), skipped = Math.Max(0, -left);
        int copied = Math.Clamp(sourceWidth - skipped, 0, width - before);
        for (int i = 0; i < height; i++)
        {
            var row = new Span<float>(destination + (long)i * width * channels, width * channels);
            int from = i - top;
            if (from < 0 || from >= sourceHeight) { row.Clear(); continue; }
            row[..(before * channels)].Clear();
            new ReadOnlySpan<float>(source + ((long)from * sourceWidth + skipped) * channels, copied * channels).CopyTo(row[(before * channels)..]);
            row[((before + copied) * channels)..].Clear();
        }
    }
}
