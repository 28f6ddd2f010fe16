using KernelContrast.Devices;

namespace KernelContrast.Tests;

/// <summary>The numbers that the losses' products on CUDA are formed of, and by which kernels.</summary>
internal enum Products
{
    Float32,
    Tf32,
    BFloat16,

    /// <summary>bfloat16 by wgmma, at every size.</summary>
    Hopper,

    /// <summary>The same, with blocks so few that each goes along many tiles where weights stay in registers.</summary>
    HopperInTwoBlocks,

    /// <summary>The same, with weights that always go through memory.</summary>
    HopperInStripes,
}

/// <summary>Switches the kernels for compute capability 9.0 on for a test; the emulated driver runs them whatever it says it is.</summary>
internal static class HopperKernelsForTests
{
    internal static Precision Precision(this Products products) => products >= Products.Hopper ? KernelContrast.Precision.BFloat16 : (Precision)(int)products;

    /// <summary>Has the kernels of <paramref name="products"/> used until disposed. Skips the test on a GPU that cannot run them.</summary>
    internal static IDisposable Use(this Products products)
    {
        CudaDevice device = TestDevice.Cuda;
        if (products >= Products.Hopper && !TestDevice.IsEmulated && device.ComputeCapability != (9, 0))
            Assert.Ignore($"wgmma needs a GPU of compute capability 9.0, this is one of {device.ComputeCapability}.");
        return new Restore(device, products >= Products.Hopper ? HopperKernels.Always : HopperKernels.Off, products != Products.HopperInStripes,
            products == Products.HopperInTwoBlocks ? 2 : ContrastFused.LargeGpu);
    }

    private sealed class Restore : IDisposable
    {
        private readonly CudaDevice _device;
        private readonly (HopperKernels, bool, int) _before;

        internal Restore(CudaDevice device, HopperKernels now, bool keepsWeights, int fusedBlocks)
        {
            (_device, _before) = (device, (device.HopperKernels, device.KeepsLossWeightsInRegisters, device.FusedBlocks));
            (device.HopperKernels, device.KeepsLossWeightsInRegisters, device.FusedBlocks) = (now, keepsWeights, fusedBlocks);
        }

        public void Dispose() => (_device.HopperKernels, _device.KeepsLossWeightsInRegisters, _device.FusedBlocks) = _before;
    }
}
