namespace KernelContrast;

internal static partial class BatchNormOp
{
    /// <summary>
    /// Channels are innermost, so a tensor is rows × channels. Rows are taken together until their length is a multiple
    /// of 16 floats (a "wide row"), so that every channel count runs on whole vectors with per-channel numbers that
    /// repeat. Two passes over memory each way.
    /// </summary>
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Statistics(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, Tensor x, float momentum, float epsilon)
        {
            var layout = new Layout(x);
            using var center = new Lanes(layout);
            // Deviations from the mean of the first rows: squares of large values would cancel, and one odd row is no center.
            FirstRows(layout, x.Floats, center.Pointer);
            using var sums = new PartSums(layout);
            layout.Run(new StatisticsRows { X = x.Floats, Center = center.Pointer, Sums = sums.Base, Stride = sums.Stride, Layout = layout });
            (double[] deviations, double[] squares) = sums.Total();
            for (int c = 0; c < layout.Channels; c++)
            {
                double offset = deviations[c] / layout.Rows, variance = squares[c] / layout.Rows - offset * offset;
                // Rounding may leave a constant channel a hair below zero; NaN stays NaN.
                if (variance < 0) variance = 0;
                double exact = center.Pointer[c] + offset, unbiased = variance * layout.Rows / (layout.Rows - 1.0);
                mean.Floats[c] = (float)exact;
                mean.Floats[layout.Channels + c] = (float)(exact - (float)exact);
                inverseDeviation.Floats[c] = (float)(1 / Math.Sqrt(variance + epsilon));
                runningMean.Floats[c] = (float)((1.0 - momentum) * runningMean.Floats[c] + momentum * exact);
                runningVariance.Floats[c] = (float)((1.0 - momentum) * runningVariance.Floats[c] + momentum * unbiased);
            }
        }

        internal override void FromRunning(Tensor mean, Tensor inverseDeviation, Tensor runningMean, Tensor runningVariance, float epsilon)
        {
            int channels = (int)runningMean.Count;
            for (int c = 0; c < channels; c++)
            {
                mean.Floats[c] = runningMean.Floats[c];
                mean.Floats[channels + c] = 0;
                inverseDeviation.Floats[c] = (float)(1 / Math.Sqrt((double)runningVariance.Floats[c] + epsilon));
            }
        }

        internal override void Normalize(Tensor y, Tensor x, Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, Tensor? residual, bool relu)
        {
            var layout = new Layout(x);
            using var affine = new Affine(layout, mean, inverseDeviation, gamma, beta);
            layout.Run(new NormalizeRows
            {
                Y = y.Floats,
                X = x.Floats,
                Residual = residual is null ? null : residual.Floats,
                Mean = affine.Mean.Pointer,
                Scale = affine.Scale.Pointer,
                Shift = affine.Shift.Pointer,
                Relu = relu,
                Layout = layout,
            });
        }

        internal override void Backward(Tensor? gradX, Tensor? gradGamma, Tensor? gradBeta, Tensor? gradResidual, Tensor gradY, Tensor x, Tensor? y,
            Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta, bool relu, bool training)
        {
            var layout = new Layout(x);
            int channels = layout.Channels;
            using var affine = new Affine(layout, mean, inverseDeviation, gamma, beta);
            double[] sumG = [], sumGX = [];
            if (training || gradGamma is not null || gradBeta is not null || gradResidual is not null)
                (sumG, sumGX) = Sums(layout, affine, gradResidual, gradY, x, y, relu);
            for (int c = 0; c < sumG.Length; c++)
            {
                // the sums were around the mean's leading part
                sumGX[c] -= sumG[c] * mean.Floats[channels + c];
                if (gradBeta is not null) gradBeta.Floats[c] = (float)sumG[c];
                if (gradGamma is not null) gradGamma.Floats[c] = (float)(sumGX[c] * inverseDeviation.Floats[c]);
            }
            if (gradX is null) return;

            // grad_x = γ·r·g + slope·(x − μ) + offset
            using Lanes slope = new(layout), offset = new(layout);
            for (int lane = 0; training && lane < layout.Width; lane++)
            {
                int c = lane % channels;
                double r = inverseDeviation.Floats[c], factor = r * (gamma is null ? 1 : gamma.Floats[c]);
                double steep = -factor * r * r * sumGX[c] / layout.Rows;
                slope.Pointer[lane] = (float)steep;
                offset.Pointer[lane] = (float)(-factor * sumG[c] / layout.Rows - steep * mean.Floats[channels + c]);
            }
            layout.Run(new BackwardRows
            {
                GradX = gradX.Floats,
                // with a residual its gradient is g already
                GradY = gradResidual is null ? gradY.Floats : gradResidual.Floats,
                X = x.Floats,
                Y = gradResidual is not null || y is null ? null : y.Floats,
                Mean = affine.Mean.Pointer,
                Scale = affine.Scale.Pointer,
                Shift = affine.Shift.Pointer,
                Slope = slope.Pointer,
                Offset = offset.Pointer,
                Relu = relu && gradResidual is null,
                Layout = layout,
            });
        }

        /// <summary>Σg and Σg·(x − Mean) per channel; fills the residual's gradient with g.</summary>
        private static (double[] G, double[] GX) Sums(in Layout layout, in Affine affine, Tensor? gradResidual, Tensor gradY, Tensor x, Tensor? y, bool relu)
        {
            using var sums = new PartSums(layout);
            layout.Run(new BackwardSumRows
            {
                GradResidual = gradResidual is null ? null : gradResidual.Floats,
                GradY = gradY.Floats,
                X = x.Floats,
                Y = y is null ? null : y.Floats,
                Mean = affine.Mean.Pointer,
                Scale = affine.Scale.Pointer,
                Shift = affine.Shift.Pointer,
                Relu = relu,
                Sums = sums.Base,
                Stride = sums.Stride,
                Layout = layout,
            });
            return sums.Total();
        }

        /// <summary>Means of the first up to 64 rows, on every lane.</summary>
        private static void FirstRows(in Layout layout, float* x, float* center)
        {
            int rows = (int)Math.Min(64, layout.Rows), channels = layout.Channels;
            for (int c = 0; c < channels; c++)
            {
                double sum = 0;
                for (int row = 0; row < rows; row++) sum += x[(long)row * channels + c];
                center[c] = (float)(sum / rows);
            }
            for (int lane = channels; lane < layout.Width; lane++) center[lane] = center[lane - channels];
        }

        /// <summary>μ's leading part, γ·r and β − μ's rest · γ·r on every lane: ŷ = (x − Mean)·Scale + Shift.</summary>
        private readonly ref struct Affine
        {
            internal readonly Lanes Mean, Scale, Shift;

            internal Affine(in Layout layout, Tensor mean, Tensor inverseDeviation, Tensor? gamma, Tensor? beta)
            {
                Mean = new(layout);
                Scale = new(layout);
                Shift = new(layout);
                for (int lane = 0; lane < layout.Width; lane++)
                {
                    int c = lane % layout.Channels;
                    float scale = inverseDeviation.Floats[c] * (gamma is null ? 1 : gamma.Floats[c]);
                    Mean.Pointer[lane] = mean.Floats[c];
                    Scale.Pointer[lane] = scale;
                    Shift.Pointer[lane] = (beta is null ? 0 : beta.Floats[c]) - mean.Floats[layout.Channels + c] * scale;
                }
            }

            public void Dispose()
            {
                Mean.Dispose();
                Scale.Dispose();
                Shift.Dispose();
            }
        }

        /// <summary>Zeroed scratch, one number per lane of a wide row, and a vector's room behind.</summary>
        private readonly ref struct Lanes
        {
            private readonly Tensor _memory;

            internal Lanes(in Layout layout)
            {
                using (TensorScope.Suspend()) _memory = Tensor.Zeros(new(layout.Width + 16), layout.Cpu);
                Pointer = _memory.Floats;
            }

            internal readonly float* Pointer;

            public void Dispose() => _memory.Dispose();
        }
    }
}
