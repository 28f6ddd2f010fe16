using System.Runtime.InteropServices;
using KernelContrast.Augment;
using KernelContrast.Datasets;
using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class AugmentOp
{
    /// <summary>
    /// The kernels of <c>kernels/augment/views.cu</c>: one launch for all views. Parameters are drawn on the host, since
    /// crops depend on logarithms, exponentials and roots, whose last bits differ between devices, and a crop that is off by
    /// a pixel is another view; a table of them, 168 bytes per view, goes up with the batch.
    /// </summary>
    internal sealed unsafe class Cuda : Kernels
    {
        private const string File = "augment/views";
        private const long MostScratchBytes = 128L << 20;

        private static readonly TypedKernel Shared = new(File, "views_shared");
        private static readonly TypedKernel Global = new(File, "views_global");

        /// <summary>Views that need more shared memory than this, or than the device has, are made in global memory.</summary>
        internal int MostSharedBytes { get; init; } = int.MaxValue;

        /// <summary>More views than this share blocks.</summary>
        internal int MostBlocks { get; init; } = 65536;

        internal override void Forward(Tensor views, ImageBatch batch, ReadOnlySpan<ViewRecipe> recipes, ViewParameters[] parameters)
        {
            var device = (CudaDevice)views.Device;
            bool resident = batch.Resident is not null;
            using Tensor? uploaded = resident ? null : Upload(batch, device);
            Tensor images = uploaded ?? batch.Resident!;
            var table = new Entry[parameters.Length];
            for (int v = 0; v < table.Length; v++)
            {
                int image = v % batch.Count;
                table[v] = new Entry(parameters[v], recipes[v / batch.Count], resident ? batch.Indices[image] : image, batch.Channels,
                    views.Shape[2], views.Shape[3]);
            }
            using Tensor entries = Tensor.Empty(new(table.Length, sizeof(Entry)), device, DType.UInt8);
            device.Upload(entries.Buffer, MemoryMarshal.AsBytes(table.AsSpan()));

            Sizes sizes = Sizes.Of(batch, recipes, views.Shape[2], views.Shape[3], out long floats);
            long bytes = floats * sizeof(float);
            if (bytes <= Math.Min(device.SharedBytesPerBlock - 1024, MostSharedBytes))
            {
                Shared.For(views.Type).Launch(device, new(Math.Min(table.Length, MostBlocks), 256, SharedBytes: (int)bytes), views, images, entries, KernelArgument.Struct(&sizes), table.Length);
                return;
            }
            int blocks = (int)Math.Clamp(MostScratchBytes / bytes, 1, Math.Min(table.Length, MostBlocks));
            using Tensor scratch = Tensor.Empty(new(blocks, checked((int)floats)), device);
            Global.For(views.Type).Launch(device, new(blocks, 512), views, scratch, images, entries, KernelArgument.Struct(&sizes), floats, table.Length);
        }

        private static Tensor Upload(ImageBatch batch, CudaDevice device)
        {
            int bytes = batch.Count * batch.Channels * batch.Height * batch.Width;
            Tensor images = Tensor.Empty(new(bytes), device, DType.UInt8);
            device.Upload(images.Buffer, batch.Pixels.AsSpan(0, bytes));
            return images;
        }

        /// <summary>The kernel's <c>ViewSizes</c>.</summary>
        [StructLayout(LayoutKind.Sequential)]
        private struct Sizes
        {
            private int _channels, _height, _width, _outHeight, _outWidth, _spareFloats, _verticalTaps, _horizontalTaps;

            /// <summary>Sizes, and the floats a block needs: planes, a spare one, and the resize's tables or the blur's weights.</summary>
            internal static Sizes Of(ImageBatch batch, ReadOnlySpan<ViewRecipe> recipes, int outHeight, int outWidth, out long floats)
            {
                var s = new Sizes { _channels = batch.Channels, _height = batch.Height, _width = batch.Width, _outHeight = outHeight, _outWidth = outWidth };
                long spare = 0, behind = 0;
                foreach (ViewRecipe recipe in recipes)
                {
                    if (recipe.BlurProbability > 0)
                    {
                        spare = Math.Max(spare, (long)outHeight * outWidth);
                        behind = Math.Max(behind, 2 * BlurRadius(recipe, outHeight, outWidth) + 1);
                    }
                    if (recipe.Warps) continue;
                    spare = Math.Max(spare, (long)outHeight * batch.Width);
                    s._verticalTaps = Math.Max(s._verticalTaps, ResampleTable.MostTaps(batch.Height, outHeight, recipe.Interpolation, recipe.Antialias));
                    s._horizontalTaps = Math.Max(s._horizontalTaps, ResampleTable.MostTaps(batch.Width, outWidth, recipe.Interpolation, recipe.Antialias));
                }
                behind = Math.Max(behind, outHeight * (1L + s._verticalTaps) + outWidth * (1L + s._horizontalTaps));
                s._spareFloats = checked((int)spare);
                floats = (long)batch.Channels * outHeight * outWidth + spare + behind;
                return s;
            }
        }

        /// <summary>The kernel's <c>ViewEntry</c>.</summary>
        [StructLayout(LayoutKind.Sequential)]
        private struct Entry
        {
            private const int Flip = 1, Warp = 2, Bicubic = 4, Antialias = 8, Greyscale = 16, Solarize = 32, NoOperation = 15;

            private int _image, _left, _top, _width, _height, _flags;
            private float _xx, _xy, _x0, _yx, _yy, _y0;
            private int _jitter;
            private float _brightness, _contrast, _saturation, _hueSixths, _blurSigma;
            private int _blurRadius;
            private float _solarizeThreshold, _noiseScale;
            private uint _seedLow, _seedHigh, _epoch, _sample, _noiseDomain;
            private fixed float _factor[3], _offset[3];

            internal Entry(in ViewParameters p, ViewRecipe recipe, int image, int channels, int outHeight, int outWidth)
            {
                _image = image;
                (_left, _top, _width, _height) = (p.Left, p.Top, p.Width, p.Height);
                _flags = (p.Flip ? Flip : 0) | (recipe.Warps ? Warp : 0) | (recipe.Interpolation == Interpolation.Bicubic ? Bicubic : 0)
                    | (recipe.Antialias ? Antialias : 0) | (p.Greyscale ? Greyscale : 0) | (p.Solarize ? Solarize : 0);
                (_xx, _xy, _x0, _yx, _yy, _y0) = (p.Xx, p.Xy, p.X0, p.Yx, p.Yy, p.Y0);
                Span<int> order = stackalloc int[4];
                if (p.JitterOrder >= 0) JitterOrder(p.JitterOrder, order);
                for (int i = 0; i < 4; i++)
                {
                    float strength = p.JitterOrder < 0 ? 0 : order[i] switch
                    {
                        0 => recipe.Brightness,
                        1 => recipe.Contrast,
                        2 => recipe.Saturation,
                        _ => recipe.Hue,
                    };
                    _jitter |= (strength > 0 ? order[i] : NoOperation) << 4 * i;
                }
                (_brightness, _contrast, _saturation, _hueSixths) = (p.Brightness, p.Contrast, p.Saturation, 6 * p.Hue);
                (_blurSigma, _blurRadius) = (p.BlurSigma, BlurRadius(recipe, outHeight, outWidth));
                (_solarizeThreshold, _noiseScale) = (recipe.SolarizeThreshold, p.Noise / NoiseByteSumDeviation);
                (_seedLow, _seedHigh, _epoch, _sample) = ((uint)p.Counter.Seed, (uint)(p.Counter.Seed >> 32), p.Counter.Epoch, p.Counter.Sample);
                _noiseDomain = p.Counter.Word(DrawOp.Noise);
                for (int c = 0; c < channels; c++) (_factor[c], _offset[c]) = Normalisation(recipe, channels, c);
            }
        }
    }
}
