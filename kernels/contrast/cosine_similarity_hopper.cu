// The cosine-similarity matrix on the tile of compute capability 9.0: bfloat16 products by wgmma. As cosine_similarity.cu's
// kernels; launched by Ops/CosineSimilarity.Cuda.cs where KERNELCONTRAST_HOPPER_KERNELS is on.
#include "common/product_tile_hopper.cuh"
#include "common/similarity_tile.cuh"

#if defined(KCE_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

extern "C" __global__ void __launch_bounds__(256, 2) cosine_similarity_hopper(SimilarityArguments arguments) { similarities<Hopper>(arguments); }

#endif
