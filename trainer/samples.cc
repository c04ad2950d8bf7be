#include "trainer/samples.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "images/error.h"

namespace lbrt {

Samples Prepare(const Dataset& dataset, const Preprocessing& preprocessing, int height, int width,
                int classes, size_t limit) {
  if (!dataset.values.empty())
    throw InputError(dataset.source, "holds float arrays, expected images");
  const size_t count = limit == 0 ? dataset.size() : std::min(limit, dataset.size());
  if (count == 0) throw InputError(dataset.source, "holds no images");
  Samples samples{height, width, preprocessing.channels, {}, {}};
  samples.pixels.reserve(count * samples.image_bytes());
  samples.labels.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const int label = dataset.labels[i];
    if (label < 0 || label >= classes)
      throw InputError(dataset.name(i), "has label " + std::to_string(label) +
                                            ", the network knows classes 0 to " +
                                            std::to_string(classes - 1));
    const Image image = Apply(preprocessing, dataset.image(i));
    if (image.height != height || image.width != width)
      throw InputError(dataset.name(i), "is " + std::to_string(image.width) + " x " +
                                            std::to_string(image.height) +
                                            " pixels after preprocessing, the network takes " +
                                            std::to_string(width) + " x " + std::to_string(height));
    samples.pixels.insert(samples.pixels.end(), image.pixels.begin(), image.pixels.end());
    samples.labels.push_back(label);
  }
  return samples;
}

static constexpr struct {
  Augment augment;
  const char* name;
} kAugments[] = {
    {Augment::kNone, "none"}, {Augment::kBlack, "black"}, {Augment::kReflect, "reflect"}};

Augment ParseAugment(const std::string& text) {
  for (const auto& a : kAugments)
    if (text == a.name) return a.augment;
  throw InputError("unknown augmentation \"" + text + "\", expected none, black or reflect");
}

const char* AugmentName(Augment augment) {
  for (const auto& a : kAugments)
    if (augment == a.augment) return a.name;
  return "";
}

Placement RandomPlacement(Random& random) {
  Placement p;
  p.y = static_cast<int>(random.Below(2 * kCropBorder + 1)) - kCropBorder;
  p.x = static_cast<int>(random.Below(2 * kCropBorder + 1)) - kCropBorder;
  p.flip = random.Below(2) == 1;
  return p;
}

// Position i of an axis of n pixels continued by reflection, ... 2 1 [0 1 2 ... n-1] n-2 ...
static int Reflect(int i, int n) {
  if (i < 0) i = -i;
  return i < n ? i : 2 * (n - 1) - i;
}

void Crop(const uint8_t* image, int height, int width, int channels, Augment border,
          const Placement& placement, uint8_t* out) {
  const bool reflect = border == Augment::kReflect;
  const size_t c = static_cast<size_t>(channels);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x, out += c) {
      int from_y = y + placement.y;
      int from_x = (placement.flip ? width - 1 - x : x) + placement.x;
      if (reflect) {
        from_y = Reflect(from_y, height);
        from_x = Reflect(from_x, width);
      }
      if (from_y < 0 || from_y >= height || from_x < 0 || from_x >= width)
        std::memset(out, 0, c);
      else
        std::memcpy(out, image + (static_cast<size_t>(from_y) * width + from_x) * c, c);
    }
}

Batcher::Batcher(const Samples& samples, const Preprocessing& preprocessing)
    : samples_(samples), table_(NormaliseTable(preprocessing)), crop_(samples.image_bytes()) {}

void Batcher::Normalise(const uint8_t* image, float* out) const {
  const size_t c = static_cast<size_t>(samples_.channels), n = samples_.image_bytes();
  for (size_t i = 0; i < n; i += c)
    for (size_t k = 0; k < c; ++k) out[i + k] = table_[k * 256 + image[i + k]];
}

static at::Tensor EmptyImages(const Samples& samples, size_t count) {
  return at::empty({static_cast<int64_t>(count), samples.channels, samples.height, samples.width},
                   at::TensorOptions(at::kFloat).memory_format(at::MemoryFormat::ChannelsLast));
}

at::Tensor Batcher::Images(std::span<const uint32_t> indices, Augment augment, Random& random) {
  at::Tensor result = EmptyImages(samples_, indices.size());
  float* out = result.data_ptr<float>();
  for (size_t i = 0; i < indices.size(); ++i, out += samples_.image_bytes()) {
    const uint8_t* image = samples_.image(indices[i]);
    if (augment != Augment::kNone) {
      Crop(image, samples_.height, samples_.width, samples_.channels, augment,
           RandomPlacement(random), crop_.data());
      image = crop_.data();
    }
    Normalise(image, out);
  }
  return result;
}

at::Tensor Batcher::Images(size_t first, size_t count) {
  at::Tensor result = EmptyImages(samples_, count);
  float* out = result.data_ptr<float>();
  for (size_t i = 0; i < count; ++i)
    Normalise(samples_.image(first + i), out + i * samples_.image_bytes());
  return result;
}

at::Tensor Batcher::Labels(std::span<const uint32_t> indices) const {
  at::Tensor result = at::empty({static_cast<int64_t>(indices.size())}, at::kLong);
  int64_t* out = result.data_ptr<int64_t>();
  for (size_t i = 0; i < indices.size(); ++i) out[i] = samples_.labels[indices[i]];
  return result;
}

std::vector<uint32_t> ShuffledOrder(size_t n, Random& random) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = n; i > 1; --i)
    std::swap(order[i - 1], order[random.Below(static_cast<uint32_t>(i))]);
  return order;
}

}  // namespace lbrt
