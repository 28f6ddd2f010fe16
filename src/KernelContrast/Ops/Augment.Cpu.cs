using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AugmentOp
{
    /// <summary>
    /// One image at a time from its bytes to its view, in memory that stays in the core's cache. Inside, a channel is a
    /// plane with columns innermost-by-row swapped (x·H + y): the vertical pass of a resize writes it so, which makes the
    /// horizontal pass vectors too.
    /// </summary>
    internal sealed unsafe partial class Cpu : Kernels
    {
        internal override void Forward(Tensor views, ImageBatch batch, ReadOnlySpan<ViewRecipe> recipes, ViewParameters[] parameters)
        {
            if (views.Type == DType.BFloat16)
            {
                // to be stored, or sent to a device that computes in it: not worth a second way through the chain
                using Tensor floats = Tensor.Empty(views.Shape, views.Device);
                Forward(floats, batch, recipes, parameters);
                CastOp.On(views.Device).Convert(views, floats);
                return;
            }
            for (int r = 0; r < recipes.Length; r++) Forward(views, r * batch.Count, batch, recipes[r], parameters);
        }

        private static void Forward(Tensor views, int row, ImageBatch batch, ViewRecipe recipe, ViewParameters[] parameters)
        {
            CpuThreadPool workers = ((CpuDevice)views.Device).Workers;
            using var scratch = new ScratchMemory((CpuDevice)views.Device, workers.Count, batch, recipe, views.Shape[2], views.Shape[3]);
            fixed (byte* pixels = batch.Pixels)
            {
                nint from = (nint)pixels, to = views.Pointer;
                int count = batch.Channels * views.Shape[2] * views.Shape[3], size = batch.Channels * batch.Height * batch.Width;
                workers.For(batch.Count, (worker, i) =>
                {
                    Scratch memory = scratch.Of(worker);
                    byte* image = (byte*)from + (long)i * size;
                    float* view = (float*)to + (long)(row + i) * count;
                    switch (Simd.Bits)
                    {
                        case 512: View<F512>(view, image, recipe, parameters[row + i], memory); break;
                        case 256: View<F256>(view, image, recipe, parameters[row + i], memory); break;
                        default: View<F128>(view, image, recipe, parameters[row + i], memory); break;
                    }
                });
            }
        }

        private static void View<T>(float* view, byte* image, ViewRecipe recipe, in ViewParameters p, Scratch s) where T : struct, ISimd<T>
        {
            if (recipe.Warps) Warp<T>(image, p, s);
            else Resize<T>(image, recipe, p, s);
            if (p.JitterOrder >= 0) Jitter<T>(recipe, p, s);
            if (p.Greyscale && s.Channels == 3) Saturate<T>(s, 0);
            if (p.BlurSigma > 0) Blur<T>(p.BlurSigma, BlurRadius(recipe, s.OutHeight, s.OutWidth), s);
            if (p.Solarize) Solarize<T>(s, recipe.SolarizeThreshold);
            if (p.Noise > 0) AddNoise(s, p.Noise, p.Counter);
            Store(view, recipe, s);
        }

        // view[y, x, c] = plane[c][x, y] · factor + offset
        private static void Store(float* view, ViewRecipe recipe, Scratch s)
        {
            int height = s.OutHeight, width = s.OutWidth, channels = s.Channels;
            float* factor = stackalloc float[3], offset = stackalloc float[3];
            for (int c = 0; c < channels; c++) (factor[c], offset[c]) = Normalisation(recipe, channels, c);
            if (channels == 3)
            {
                float* red = s.Plane(0), green = s.Plane(1), blue = s.Plane(2);
                float f0 = factor[0], f1 = factor[1], f2 = factor[2], o0 = offset[0], o1 = offset[1], o2 = offset[2];
                for (int y = 0; y < height; y++)
                    for (int x = 0, i = y; x < width; x++, i += height, view += 3)
                        (view[0], view[1], view[2]) = (red[i] * f0 + o0, green[i] * f1 + o1, blue[i] * f2 + o2);
                return;
            }
            float* plane = s.Plane(0);
            for (int y = 0; y < height; y++)
                for (int x = 0, i = y; x < width; x++, i += height) *view++ = plane[i] * factor[0] + offset[0];
        }

        /// <summary>One worker's memory: the view's planes, a copy of them, a converted image, the resize's tables.</summary>
        internal struct Scratch
        {
            internal int Channels, Height, Width, OutHeight, OutWidth;
            internal int PlaneStride, SourceStride;
            internal float* Image, Spare, Source, Rows, Columns;
            internal ResampleTable Vertical, Horizontal;

            internal readonly int Pixels => OutHeight * OutWidth;

            internal readonly float* Plane(int channel) => Image + (long)channel * PlaneStride;

            internal readonly float* SparePlane(int channel) => Spare + (long)channel * PlaneStride;
        }

        private sealed class ScratchMemory : IDisposable
        {
            // Vectors may run over the end of a row or plane by less than this.
            private const int Slack = 16;

            private readonly DeviceBuffer _memory;
            private readonly long _floatsPerWorker;
            private readonly ImageBatch _batch;
            private readonly int _outHeight, _outWidth, _verticalTaps, _horizontalTaps;

            internal ScratchMemory(CpuDevice device, int workers, ImageBatch batch, ViewRecipe recipe, int outHeight, int outWidth)
            {
                (_batch, _outHeight, _outWidth) = (batch, outHeight, outWidth);
                _verticalTaps = ResampleTable.MostTaps(batch.Height, outHeight, recipe.Interpolation, recipe.Antialias);
                _horizontalTaps = ResampleTable.MostTaps(batch.Width, outWidth, recipe.Interpolation, recipe.Antialias);
                _floatsPerWorker = Lay(default, out _);
                _memory = device.Allocate(workers * _floatsPerWorker * sizeof(float));
            }

            internal Scratch Of(int worker)
            {
                Lay((float*)_memory.Pointer + worker * _floatsPerWorker, out Scratch scratch);
                return scratch;
            }

            public void Dispose() => _memory.Release();

            private long Lay(float* start, out Scratch s)
            {
                float* next = start;
                float* Take(long floats)
                {
                    float* taken = next;
                    next += Up(floats);
                    return taken;
                }
                int columns = Math.Max(_batch.Width, _outWidth);
                s = new Scratch
                {
                    Channels = _batch.Channels,
                    Height = _batch.Height,
                    Width = _batch.Width,
                    OutHeight = _outHeight,
                    OutWidth = _outWidth,
                    PlaneStride = Up((long)_outHeight * _outWidth + Slack),
                    // a warp's source has a border of one pixel before and two behind
                    SourceStride = Up((_batch.Height + 3L) * Math.Max(_batch.Width + 3, Up(_batch.Width)) + Slack),
                };
                s.Image = Take((long)s.Channels * s.PlaneStride);
                s.Spare = Take((long)s.Channels * s.PlaneStride);
                s.Source = Take((long)s.Channels * s.SourceStride);
                s.Rows = Take(4L * Up(_batch.Width));
                // the vertical pass's columns, or a blur's padded column
                s.Columns = Take((long)Up(columns) * Up(_outHeight) + 4L * Up(_outHeight) + Slack);
                s.Vertical.First = (int*)Take(_outHeight);
                s.Vertical.Weights = Take((long)_outHeight * _verticalTaps);
                s.Horizontal.First = (int*)Take(_outWidth);
                s.Horizontal.Weights = Take((long)_outWidth * _horizontalTaps);
                return next - start;
            }

            private static int Up(long floats) => checked((int)((floats + 15) / 16 * 16));
        }
    }
}
