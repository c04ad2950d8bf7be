// Labelled images, and the batches that training and evaluation take from them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "images/augment.h"
#include "images/dataset.h"
#include "images/preprocess.h"
#include "trainer/random.h"
#include "trainer/step.h"

namespace lbrt {

// Images of one size, preprocessed but not normalised: in memory where the dataset is, else read
// when they are asked for (class folders).
class Samples {
 public:
  int height = 0, width = 0, channels = 0;
  std::vector<int64_t> labels;
  std::vector<uint8_t> pixels;  // [n height width channels], or none: then of `dataset`
  Dataset dataset;
  Preprocessing preprocessing;

  size_t size() const { return labels.size(); }
  size_t image_bytes() const {
    return static_cast<size_t>(height) * static_cast<size_t>(width) *
           static_cast<size_t>(channels);
  }
  bool in_memory() const { return !pixels.empty(); }
  // uint8 [count height width channels].
  at::Tensor Pixels(size_t first, size_t count) const;
};

// The first `limit` samples (0: all). Throws InputError for labels outside 0 .. classes - 1, for
// images of another size than height x width after preprocessing, and for a dataset of `values`.
Samples Prepare(Dataset dataset, const Preprocessing& preprocessing, int height, int width,
                int classes, size_t limit);

// 0 .. n - 1 in random order (Fisher and Yates).
std::vector<uint32_t> ShuffledOrder(size_t n, Random& random);

// Batches of normalised images, float32 [n, c, h, w] in channels-last order, on a device. Images in
// memory stay on the device and are augmented there; others are read ahead by threads.
class Batcher {
 public:
  // Both references must outlive it.
  Batcher(const Samples& samples, const Preprocessing& preprocessing, at::Device device);
  ~Batcher();

  // Batches of augmented images in this order from position `first` on, or of the images at these
  // positions of it. What happens to the image at a position follows from `seed` and the position
  // alone.
  void Start(std::vector<uint32_t> order, size_t first, Augmentation augmentation, uint64_t seed);
  void Start(std::vector<uint32_t> order, std::vector<uint32_t> positions,
             Augmentation augmentation, uint64_t seed);
  Batch Next(size_t count);  // throws InputError where an image cannot be read

  // Images as they are, in the order of the samples.
  at::Tensor Images(size_t first, size_t count) const;

 private:
  class Readers;

  at::Tensor Normalised(const at::Tensor& pixels) const;
  at::Tensor Augmented(size_t count);
  at::Tensor AugmentedInMemory(size_t count) const;
  void PlanOnDevice();
  Placement PlacementAt(size_t position) const;

  const Samples& samples_;
  const at::Device device_;
  const at::Tensor table_;  // [channels 256], on the device
  at::Tensor pixels_;       // all of them, where the device is no CPU
  struct {
    at::Tensor chosen, labels, moves;  // of the images at positions_, on the device with pixels_
  } plan_;
  std::vector<uint32_t> order_, positions_;
  size_t next_ = 0;  // of positions_
  Augmentation augmentation_ = Augmentation::kNone;
  uint64_t seed_ = 0;
  std::unique_ptr<Readers> readers_;
};

}  // namespace lbrt
