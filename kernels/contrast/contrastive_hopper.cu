// The contrastive losses' hot kernels on the tile of compute capability 9.0: bfloat16 products by wgmma. Formulas, arguments
// and grids are those of contrastive.cu; blocks have 256 threads, two warpgroups. Launched by Ops/Contrast.Cuda.cs on such a
// GPU, and on the emulated driver when it says that it is one, where KERNELCONTRAST_HOPPER_KERNELS is on.
#include "common/product_tile_hopper.cuh"
#include "common/contrastive_tiles.cuh"

#if defined(KCE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_statistics_hopper(StatisticsArguments arguments) { statistics<Hopper>(arguments); }

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_weights_hopper(WeightsArguments arguments) { weights<Hopper>(arguments); }

extern "C" __global__ void __launch_bounds__(256, 2) contrastive_product_hopper(ProductArguments arguments) { gradient_product<Hopper>(arguments); }

#endif
