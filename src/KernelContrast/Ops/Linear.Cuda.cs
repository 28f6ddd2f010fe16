namespace KernelContrast;

internal static partial class LinearOp
{
    internal sealed class Cuda : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, bool relu, Precision precision) =>
            Gemm.RunCuda(y, x, false, weight, true, depth: x.Shape[1], precision, bias, relu);

        internal override void BackwardX(Tensor gradX, Tensor gradY, Tensor weight, Precision precision) =>
            Gemm.RunCuda(gradX, gradY, false, weight, false, depth: weight.Shape[0], precision);

        internal override void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Precision precision) =>
            Gemm.RunCuda(gradWeight, gradY, true, x, false, depth: x.Shape[0], precision);

        internal override void BackwardBias(Tensor gradBias, Tensor gradY) =>
            ColumnSums.RunCuda(gradBias, gradY, gradY.Shape[0], gradY.Shape[1]);
    }
}
