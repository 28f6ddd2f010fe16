using KernelContrast.Devices;

namespace KernelContrast;

internal static partial class LarsStepOp
{
    /// <summary>The kernels of <c>kernels/optim/lars.cu</c>.</summary>
    internal sealed class Cuda : Kernels
    {
        private const string File = "optim/lars";
        private const int Threads = 256;

        private static readonly CudaKernel Squares = new(File, "lars_squares");
        private static readonly CudaKernel NormsKernel = new(File, "lars_norms");
        private static readonly CudaKernel StepKernel = new(File, "lars_step");

        /// <summary>Waits for the device.</summary>
        internal override (double Parameter, double Update) Norms(Tensor parameter, Tensor grad, float decay)
        {
            Device device = parameter.Device;
            LaunchShape shape = LaunchShape.GridStride(parameter.Count, Threads, mostBlocks: 512);
            using Tensor partial = Tensor.Empty(new(shape.GridX, 2), device), norms = Tensor.Empty(new(2), device);
            Squares.Launch(device, shape, partial, parameter, grad, decay, parameter.Count);
            NormsKernel.Launch(device, new(1, Threads), norms, partial, shape.GridX);
            float[] values = norms.ToArray();
            return (values[0], values[1]);
        }

        internal override void Step(Tensor parameter, Tensor buffer, Tensor grad, float inner, float outer, float momentum, float decay) =>
            StepKernel.Launch(parameter.Device, LaunchShape.GridStride(parameter.Count, Threads), parameter, buffer, grad,
                inner, outer, momentum, decay, parameter.Count);
    }
}
