#include "trainer/samples.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

#include "images/error.h"
#ifdef LBRT_CUDA
#include "trainer/cuda/functions.h"
#endif

namespace lbrt {
namespace {

void CheckLabel(const Dataset& dataset, size_t i, int classes) {
  const int label = dataset.labels[i];
  if (label < 0 || label >= classes)
    throw InputError(dataset.name(i), "has label " + std::to_string(label) +
                                          ", the network knows classes 0 to " +
                                          std::to_string(classes - 1));
}

// A source of random numbers of the image at a position: independent of those of all others.
Random RandomAt(uint64_t seed, size_t position) {
  return Random(Random(seed + position * 0x9e3779b97f4a7c15u).Next());
}

Image Preprocessed(const Samples& samples, const Dataset& dataset, size_t i) {
  Image image = Apply(samples.preprocessing, dataset.image(i));
  if (image.height != samples.height || image.width != samples.width)
    throw InputError(dataset.name(i),
                     "is " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                         " pixels after preprocessing, the network takes " +
                         std::to_string(samples.width) + " x " + std::to_string(samples.height));
  return image;
}

at::Tensor EmptyPixels(const Samples& samples, size_t count) {
  return at::empty({static_cast<int64_t>(count), samples.height, samples.width, samples.channels},
                   at::kByte);
}

}  // namespace

Samples Prepare(Dataset dataset, const Preprocessing& preprocessing, int height, int width,
                int classes, size_t limit) {
  if (!dataset.values.empty())
    throw InputError(dataset.source, "holds float arrays, expected images");
  const size_t count = limit == 0 ? dataset.size() : std::min(limit, dataset.size());
  if (count == 0) throw InputError(dataset.source, "holds no images");
  Samples samples;
  samples.height = height;
  samples.width = width;
  samples.channels = preprocessing.channels;
  samples.preprocessing = preprocessing;
  const bool in_memory = dataset.files.empty();
  if (in_memory) samples.pixels.reserve(count * samples.image_bytes());
  for (size_t i = 0; i < count; ++i) {
    CheckLabel(dataset, i, classes);
    samples.labels.push_back(dataset.labels[i]);
    if (!in_memory) continue;
    const Image image = Preprocessed(samples, dataset, i);
    samples.pixels.insert(samples.pixels.end(), image.pixels.begin(), image.pixels.end());
  }
  if (!in_memory) samples.dataset = std::move(dataset);
  return samples;
}

at::Tensor Samples::Pixels(size_t first, size_t count) const {
  at::Tensor result = EmptyPixels(*this, count);
  uint8_t* out = result.data_ptr<uint8_t>();
  if (in_memory()) {
    std::memcpy(out, pixels.data() + first * image_bytes(), count * image_bytes());
    return result;
  }
  at::parallel_for(0, static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const size_t k = static_cast<size_t>(i);
      const Image image = Preprocessed(*this, dataset, first + k);
      std::memcpy(out + k * image_bytes(), image.pixels.data(), image_bytes());
    }
  });
  return result;
}

std::vector<uint32_t> ShuffledOrder(size_t n, Random& random) {
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0u);
  for (size_t i = n; i > 1; --i)
    std::swap(order[i - 1], order[random.Below(static_cast<uint32_t>(i))]);
  return order;
}

// --- Images that are read ----------------------------------------------------------------------

// Threads that augment images ahead of those who take them, as far as a ring has room.
class Batcher::Readers {
 public:
  Readers(const Samples& samples, const std::vector<uint32_t>& order,
          const std::vector<uint32_t>& positions, Augmentation augmentation, uint64_t seed)
      : samples_(samples),
        order_(order),
        positions_(positions),
        augmentation_(augmentation),
        seed_(seed),
        ring_(kRing) {
    for (int i = 0; i < at::get_num_threads(); ++i) threads_.emplace_back([this] { Read(); });
  }

  ~Readers() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  // The image at the next position, to `out`.
  void Take(uint8_t* out) {
    std::unique_lock lock(mutex_);
    Slot& slot = ring_[taken_ % kRing];
    ready_.wait(lock, [&] { return slot.ready; });
    if (slot.error) std::rethrow_exception(slot.error);
    std::memcpy(out, slot.pixels.data(), slot.pixels.size());
    slot.ready = false;
    ++taken_;
    room_.notify_one();
  }

 private:
  static constexpr size_t kRing = 1024;
  struct Slot {
    std::vector<uint8_t> pixels;
    std::exception_ptr error;
    bool ready = false;
  };

  void Read() {
    for (;;) {
      size_t i;
      {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return stop_ || next_ < taken_ + kRing; });
        if (stop_ || next_ >= positions_.size()) return;
        i = next_++;
      }
      std::vector<uint8_t> pixels;
      std::exception_ptr error;
      try {
        const uint32_t position = positions_[i];
        Random random = RandomAt(seed_, position);
        pixels = TrainingImage(samples_.dataset, order_[position], samples_.preprocessing,
                               augmentation_, samples_.width, samples_.height,
                               [&] { return random.Uniform(); })
                     .pixels;
      } catch (...) {
        error = std::current_exception();
      }
      const std::lock_guard lock(mutex_);
      Slot& slot = ring_[i % kRing];
      slot.pixels = std::move(pixels);
      slot.error = error;
      slot.ready = true;
      ready_.notify_all();
    }
  }

  const Samples& samples_;
  const std::vector<uint32_t>&order_, &positions_;
  const Augmentation augmentation_;
  const uint64_t seed_;
  std::mutex mutex_;
  std::condition_variable room_, ready_;
  size_t next_ = 0, taken_ = 0;  // of positions_: to be read, to be taken
  bool stop_ = false;
  std::vector<Slot> ring_;
  std::vector<std::thread> threads_;
};

// --- Batches -------------------------------------------------------------------------------------

Batcher::Batcher(const Samples& samples, const Preprocessing& preprocessing, at::Device device)
    : samples_(samples),
      device_(device),
      table_(at::tensor(NormaliseTable(preprocessing)).view({samples.channels, 256}).to(device)) {
  if (samples.in_memory() && !device.is_cpu())
    pixels_ = samples.Pixels(0, samples.size()).to(device);
}

Batcher::~Batcher() = default;

void Batcher::Start(std::vector<uint32_t> order, size_t first, Augmentation augmentation,
                    uint64_t seed) {
  std::vector<uint32_t> positions(order.size() - first);
  std::iota(positions.begin(), positions.end(), static_cast<uint32_t>(first));
  Start(std::move(order), std::move(positions), augmentation, seed);
}

void Batcher::Start(std::vector<uint32_t> order, std::vector<uint32_t> positions,
                    Augmentation augmentation, uint64_t seed) {
  const bool placed = augmentation == Augmentation::kNone ||
                      augmentation == Augmentation::kBlack ||
                      augmentation == Augmentation::kReflect;
  if (samples_.in_memory() && !placed)
    throw InputError(std::string("augment = \"") + AugmentationName(augmentation) +
                     "\" is for class folders, expected none, black or reflect");
  readers_.reset();
  order_ = std::move(order);
  positions_ = std::move(positions);
  next_ = 0;
  augmentation_ = augmentation;
  seed_ = seed;
  if (!samples_.in_memory())
    readers_ = std::make_unique<Readers>(samples_, order_, positions_, augmentation, seed);
  if (pixels_.defined()) PlanOnDevice();
}

Batch Batcher::Next(size_t count) {
  Batch batch;
  batch.input = Augmented(count);
  if (pixels_.defined()) {
    batch.labels = plan_.labels.narrow(0, static_cast<int64_t>(next_), batch.input.size(0));
  } else {
    at::Tensor labels = at::empty({static_cast<int64_t>(count)}, at::kLong);
    for (size_t i = 0; i < count; ++i)
      labels.data_ptr<int64_t>()[i] = samples_.labels[order_[positions_[next_ + i]]];
    batch.labels = labels.to(device_);
  }
  next_ += count;
  return batch;
}

at::Tensor Batcher::Augmented(size_t count) {
#ifdef LBRT_CUDA
  if (pixels_.defined()) {
    const int64_t first = static_cast<int64_t>(next_), n = static_cast<int64_t>(count);
    return cuda::CropAndNormalise(pixels_, plan_.chosen.narrow(0, first, n),
                                  plan_.moves.narrow(1, first, n), table_,
                                  augmentation_ == Augmentation::kReflect);
  }
#endif
  if (!readers_) return Normalised(AugmentedInMemory(count));
  at::Tensor pixels = EmptyPixels(samples_, count);
  for (size_t i = 0; i < count; ++i)
    readers_->Take(pixels.data_ptr<uint8_t>() + i * samples_.image_bytes());
  return Normalised(pixels.to(device_));
}

Placement Batcher::PlacementAt(size_t position) const {
  if (augmentation_ == Augmentation::kNone) return {};
  Random random = RandomAt(seed_, position);
  return DrawPlacement([&] { return random.Uniform(); });
}

at::Tensor Batcher::AugmentedInMemory(size_t count) const {
  at::Tensor pixels = EmptyPixels(samples_, count);
  uint8_t* out = pixels.data_ptr<uint8_t>();
  const size_t bytes = samples_.image_bytes();
  for (size_t i = 0; i < count; ++i, out += bytes) {
    const uint32_t position = positions_[next_ + i];
    Place(samples_.pixels.data() + order_[position] * bytes, samples_.height, samples_.width,
          samples_.channels, augmentation_ == Augmentation::kReflect, PlacementAt(position), out);
  }
  return pixels;
}

// All that the host says of an epoch's batches goes to the device at once: a copy for each batch
// would make the host wait for the step before.
void Batcher::PlanOnDevice() {
  const int64_t n = static_cast<int64_t>(positions_.size());
  at::Tensor chosen = at::empty({n}, at::kLong), labels = at::empty({n}, at::kLong);
  at::Tensor moves = at::empty({3, n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t position = positions_[static_cast<size_t>(i)], image = order_[position];
    const Placement placement = PlacementAt(position);
    chosen.data_ptr<int64_t>()[i] = image;
    labels.data_ptr<int64_t>()[i] = samples_.labels[image];
    moves.data_ptr<int64_t>()[i] = placement.y;
    moves.data_ptr<int64_t>()[n + i] = placement.x;
    moves.data_ptr<int64_t>()[2 * n + i] = placement.flip ? 1 : 0;
  }
  plan_ = {chosen.to(device_), labels.to(device_), moves.to(device_)};
}

at::Tensor Batcher::Images(size_t first, size_t count) const {
  if (pixels_.defined())
    return Normalised(pixels_.slice(0, static_cast<int64_t>(first),
                                    static_cast<int64_t>(first + count)));
  return Normalised(samples_.Pixels(first, count).to(device_));
}

// By a table, so that every device gets the same numbers, those of a float stem in the runtime.
at::Tensor Batcher::Normalised(const at::Tensor& pixels) const {
  if (pixels.is_cpu()) {
    at::Tensor result = at::empty(pixels.sizes(), at::kFloat);
    const uint8_t* in = pixels.data_ptr<uint8_t>();
    const float* table = table_.data_ptr<float>();
    float* out = result.data_ptr<float>();
    const size_t n = static_cast<size_t>(pixels.numel());
    const size_t c = static_cast<size_t>(samples_.channels);
    for (size_t i = 0; i < n; i += c)
      for (size_t k = 0; k < c; ++k) out[i + k] = table[k * 256 + in[i + k]];
    return result.permute({0, 3, 1, 2});
  }
  const at::Tensor rows =
      at::arange(samples_.channels, at::TensorOptions(at::kLong).device(pixels.device())) * 256;
  return table_.flatten().index({pixels.to(at::kLong) + rows}).permute({0, 3, 1, 2});
}

}  // namespace lbrt
