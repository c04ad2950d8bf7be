// Augmentation and normalisation of a batch in one pass: a thread a pixel.
#include "trainer/cuda/device.cuh"
#include "trainer/cuda/kernels.h"

namespace lbrt::cuda {
namespace {

// 0 .. size - 1 as it is; what lies beyond mirrored at the last pixel, or kept at it.
__device__ int64_t Into(int64_t i, int64_t size, bool reflect) {
  if (reflect) {
    const int64_t left = i < 0 ? -i : i;
    return left < size ? left : 2 * (size - 1) - left;
  }
  return i < 0 ? 0 : i < size ? i : size - 1;
}

__global__ void CropsKernel(Crops crops, float* out) {
  const int64_t area = int64_t{crops.height} * crops.width;
  const int64_t pixel = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (pixel >= crops.n * area) return;
  const int64_t image = pixel / area, row = pixel % area / crops.width;
  const int64_t column = pixel % crops.width;
  const int64_t flipped =
      crops.moves[2 * crops.stride + image] != 0 ? crops.width - 1 - column : column;
  const int64_t y = row + crops.moves[image], x = flipped + crops.moves[crops.stride + image];
  const bool inside = y >= 0 && y < crops.height && x >= 0 && x < crops.width;
  const uint8_t* in =
      crops.images + (crops.chosen[image] * area + Into(y, crops.height, crops.reflect) *
                                                       crops.width +
                      Into(x, crops.width, crops.reflect)) *
                         crops.channels;
  for (int c = 0; c < crops.channels; ++c)
    out[pixel * crops.channels + c] =
        crops.table[c * 256 + (inside || crops.reflect ? in[c] : 0)];
}

}  // namespace

void CropAndNormalise(const Crops& crops, float* out, Stream stream) {
  const int64_t pixels = crops.n * crops.height * crops.width;
  CropsKernel<<<static_cast<unsigned>((pixels + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      crops, out);
  CheckLaunch("CropAndNormalise");
}

}  // namespace lbrt::cuda
