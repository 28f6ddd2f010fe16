using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LinearOp
{
    internal sealed unsafe class Cpu : Kernels
    {
        internal override void Forward(Tensor y, Tensor x, Tensor weight, Tensor? bias, bool relu, Precision precision) =>
            Gemm.Run((CpuDevice)y.Device, y.Floats, x.Floats, false, weight.Floats, true,
                y.Shape[0], y.Shape[1], x.Shape[1], bias is null ? null : bias.Floats, relu);

        internal override void BackwardX(Tensor gradX, Tensor gradY, Tensor weight, Precision precision) =>
            Gemm.Run((CpuDevice)gradX.Device, gradX.Floats, gradY.Floats, false, weight.Floats, false,
                gradX.Shape[0], gradX.Shape[1], weight.Shape[0]);

        internal override void BackwardWeight(Tensor gradWeight, Tensor gradY, Tensor x, Precision precision) =>
            Gemm.Run((CpuDevice)gradWeight.Device, gradWeight.Floats, gradY.Floats, true, x.Floats, false,
                gradWeight.Shape[0], gradWeight.Shape[1], x.Shape[0]);

        internal override void BackwardBias(Tensor gradBias, Tensor gradY) =>
            ColumnSums.Run((CpuDevice)gradY.Device, gradBias.Floats, gradY.Floats, gradY.Shape[0], gradY.Shape[1]);
    }
}
