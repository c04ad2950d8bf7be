// Labelled images in memory, and the batches that training and evaluation take from them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "images/dataset.h"
#include "images/preprocess.h"
#include "trainer/random.h"

namespace lbrt {

// Images of one size, preprocessed but not normalised.
struct Samples {
  int height = 0, width = 0, channels = 0;
  std::vector<uint8_t> pixels;  // [n height width channels]
  std::vector<int64_t> labels;

  size_t size() const { return labels.size(); }
  size_t image_bytes() const { return static_cast<size_t>(height) * width * channels; }
  const uint8_t* image(size_t i) const { return pixels.data() + i * image_bytes(); }
};

// The first `limit` samples (0: all). Throws InputError for labels outside 0 .. classes - 1, for
// images of another size than height x width after preprocessing, and for a dataset of `values`.
Samples Prepare(const Dataset& dataset, const Preprocessing& preprocessing, int height, int width,
                int classes, size_t limit);

// What surrounds an image when a crop of its own size is moved by up to kCropBorder pixels.
enum class Augment {
  kNone,
  kBlack,    // black, before normalisation (ReCU, methods.md 4.4)
  kReflect,  // mirrored without repeating the edge (McDonnell, methods.md 3.4)
};
Augment ParseAugment(const std::string& text);  // throws InputError listing the names
const char* AugmentName(Augment augment);
inline constexpr int kCropBorder = 4;

// The crop whose upper left pixel is the image's (y, x), in -kCropBorder .. kCropBorder, then
// mirrored left to right if `flip`.
struct Placement {
  int y = 0, x = 0;
  bool flip = false;
};
Placement RandomPlacement(Random& random);
void Crop(const uint8_t* image, int height, int width, int channels, Augment border,
          const Placement& placement, uint8_t* out);

// The chosen images, normalised: float32 [n, c, h, w] in channels-last order. With an augmentation,
// each image is placed at random.
class Batcher {
 public:
  Batcher(const Samples& samples, const Preprocessing& preprocessing);
  at::Tensor Images(std::span<const uint32_t> indices, Augment augment, Random& random);
  at::Tensor Images(size_t first, size_t count);  // as they are
  at::Tensor Labels(std::span<const uint32_t> indices) const;

 private:
  void Normalise(const uint8_t* image, float* out) const;

  const Samples& samples_;
  std::vector<float> table_;  // [channels 256]
  std::vector<uint8_t> crop_;
};

// 0 .. n - 1 in random order (Fisher and Yates).
std::vector<uint32_t> ShuffledOrder(size_t n, Random& random);

}  // namespace lbrt
