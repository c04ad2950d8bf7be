// Data for the tests of kernels/: random values, the packed forms of plain values, and buffers
// whose neighbouring pages cannot be touched.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace lbrt {

// Fast and the same everywhere: these tests also run under emulators.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 1) {}
  uint32_t Bits() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>(state_ >> 32);
  }
  int Between(int low, int high) {
    return low + static_cast<int>(Bits() % static_cast<uint32_t>(high - low + 1));
  }
  int Sign() { return Bits() >> 31 ? 1 : -1; }
  float Unit() { return static_cast<float>(static_cast<int32_t>(Bits())) * 0x1p-31f; }
  // Any float, infinities and NaN included.
  float AnyFloat() { return std::bit_cast<float>(Bits()); }

 private:
  uint64_t state_;
};

enum class Edge { kEnd, kBegin };

// `count` elements that end (or begin) at a page that cannot be read or written.
template <typename T>
class Guarded {
 public:
  Guarded(size_t count, Edge edge = Edge::kEnd) : count_(count) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t bytes = count * sizeof(T), room = RoundUp(bytes + 1, page);
    size_ = room + 2 * page;
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory_, MAP_FAILED);
    uint8_t* begin = static_cast<uint8_t*>(memory_);
    mprotect(begin, page, PROT_NONE);
    mprotect(begin + page + room, page, PROT_NONE);
    data_ = reinterpret_cast<T*>(edge == Edge::kEnd ? begin + page + room - bytes : begin + page);
  }
  Guarded(const std::vector<T>& values, Edge edge = Edge::kEnd) : Guarded(values.size(), edge) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() { munmap(memory_, size_); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  void* memory_;
  T* data_;
  size_t count_, size_;
};

inline std::vector<int32_t> RandomSigns(Random& random, size_t count) {
  std::vector<int32_t> signs(count);
  for (int32_t& sign : signs) sign = random.Sign();
  return signs;
}

inline std::vector<float> RandomFloats(Random& random, size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = random.Unit() * std::ldexp(1.0f, random.Between(-8, 8));
  return values;
}

// Values on which instruction sets are known to differ, among ordinary ones.
inline std::vector<float> AwkwardFloats(Random& random, size_t count) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kAwkward[] = {
      0.0f,  -0.0f,  1.0f,     -1.0f,     std::numeric_limits<float>::quiet_NaN(), kInf,
      -kInf, 1e-45f, -1e-45f,  1e-38f,    -1.1754942e-38f,                         3.4e38f,
      -3e38f, 0x1p-126f, 1.0f + 0x1p-12f, 0x1p-60f, -0x1p-24f, 0.99999994f};
  std::vector<float> values = RandomFloats(random, count);
  for (float& value : values) {
    if (random.Bits() % 3 == 0) value = kAwkward[random.Bits() % std::size(kAwkward)];
  }
  return values;
}

// Equal to the bit; every NaN is as good as another.
inline bool SameFloat(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

// The file's rows of +-1 weights [outputs][k]: bits, each row padded to 32.
class SignRows {
 public:
  SignRows(const std::vector<int32_t>& signs, size_t outputs, size_t runs, size_t run, Edge edge)
      : bits_(outputs * RoundUp(runs * run, 32) / 8, edge) {
    const size_t k = runs * run, row_bytes = RoundUp(k, 32) / 8;
    std::memset(bits_.data(), 0, bits_.size());
    for (size_t o = 0; o < outputs; ++o) {
      for (size_t i = 0; i < k; ++i) {
        if (signs[o * k + i] > 0) bits_[o * row_bytes + i / 8] |= uint8_t(1u << (i % 8));
      }
    }
    rows = {WeightForm::kSigns, {bits_.data()}, 1, row_bytes, outputs, runs, run};
  }
  WeightRows rows;

 private:
  Guarded<uint8_t> bits_;
};

// The file's rows of fixed-point weights: planes of signed limbs in base 256.
class LimbRows {
 public:
  LimbRows(const std::vector<int32_t>& weights, size_t limbs, size_t outputs, size_t runs,
           size_t run, Edge edge)
      : limbs_(limbs * weights.size(), edge) {
    for (size_t i = 0; i < weights.size(); ++i) {
      int32_t rest = weights[i];
      for (size_t limb = 0; limb < limbs; ++limb) {
        const int8_t low = static_cast<int8_t>(rest & 0xff);
        limbs_[limb * weights.size() + i] = low;
        rest = (rest - low) / 256;
      }
      EXPECT_EQ(rest, 0);
    }
    rows = {WeightForm::kLimbs, {}, limbs, runs * run, outputs, runs, run};
    for (size_t limb = 0; limb < limbs; ++limb) {
      rows.plane[limb] = limbs_.data() + limb * weights.size();
    }
  }
  WeightRows rows;

 private:
  Guarded<int8_t> limbs_;
};

// Nested codes as weighted planes (methods.md 1.3): 6 bits over 3, 8 over 4, 8 over 4 over 2; and
// 2 bits.
inline WeightRows WeightedForm(size_t planes) {
  switch (planes) {
    case 3: return {WeightForm::kWeighted, {}, 3, 0, 0, 0, 0, 2, 3, {2, 1, 1}};
    case 7: return {WeightForm::kWeighted, {}, 7, 0, 0, 0, 0, 6, 60, {36, 18, 9, 8, 4, 2, 1}};
    case 9:
      return {WeightForm::kWeighted, {}, 9, 0, 0, 0, 0, 8, 248, {136, 68, 34, 17, 16, 8, 4, 2, 1}};
    default:
      return {WeightForm::kWeighted,
              {},
              10,
              0,
              0,
              0,
              0,
              8,
              214,
              {170, 85, 68, 34, 17, 16, 8, 4, 2, 1}};
  }
}
// Which planes have a bit for `weight`: the heaviest first.
inline unsigned WeightedPlanes(const WeightRows& form, int32_t weight) {
  const int32_t size = 1 << form.bits;
  int32_t rest = (weight + size - 1) / 2 + size - form.offset;
  unsigned planes = 0;
  for (size_t i = 0; i < form.planes; ++i) {
    if (rest < form.weight[i]) continue;
    rest -= form.weight[i];
    planes |= 1u << i;
  }
  EXPECT_EQ(rest, 0) << weight;
  return planes;
}

// The file's rows of signs, ternary, odd or weighted numbers: planes of bits, each row padded to
// 32.
class PlaneRows {
 public:
  PlaneRows(WeightForm form, size_t planes, const std::vector<int32_t>& weights, size_t outputs,
            size_t runs, size_t run, Edge edge)
      : bits_(planes * outputs * RoundUp(runs * run, 32) / 8, edge) {
    const size_t k = runs * run, row_bytes = RoundUp(k, 32) / 8;
    std::memset(bits_.data(), 0, bits_.size());
    rows = {form, {}, planes, row_bytes, outputs, runs, run};
    if (form == WeightForm::kWeighted) {
      rows = WeightedForm(planes);
      rows.row_bytes = row_bytes;
      rows.outputs = outputs;
      rows.runs = runs;
      rows.run = run;
    }
    for (size_t plane = 0; plane < planes; ++plane) {
      uint8_t* bits = bits_.data() + plane * outputs * row_bytes;
      rows.plane[plane] = bits;
      for (size_t i = 0; i < outputs * k; ++i) {
        const int32_t w = weights[i];
        const bool bit = form == WeightForm::kTernary ? (plane == 0 ? w > 0 : w != 0)
                         : form == WeightForm::kWeighted
                             ? WeightedPlanes(rows, w) >> plane & 1
                         : form == WeightForm::kIntegers
                             ? w >> plane & 1
                             : ((w + (1 << planes) - 1) / 2) >> plane & 1;
        if (bit) bits[i / k * row_bytes + i % k / 8] |= uint8_t(1u << (i % k % 8));
      }
    }
  }
  WeightRows rows;

 private:
  Guarded<uint8_t> bits_;
};

// A precision of weights that are whole numbers, and random ones of it.
struct Precision {
  WeightForm form;
  size_t planes;
};
inline std::vector<int32_t> RandomWeights(Random& random, const Precision& p, size_t count) {
  std::vector<int32_t> weights(count);
  const size_t bits = p.form == WeightForm::kWeighted ? WeightedForm(p.planes).bits : p.planes;
  const int32_t odd = (1 << bits) - 1;
  for (int32_t& w : weights) {
    switch (p.form) {
      case WeightForm::kLimbs: {
        const int32_t limit = 127 << (8 * (p.planes - 1));
        w = random.Between(p.planes == 1 ? -128 : -limit, limit);
        break;
      }
      case WeightForm::kTernary: w = random.Between(-1, 1); break;
      case WeightForm::kIntegers:
        w = random.Between(-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
        break;
      default: w = 2 * random.Between(0, odd) - odd; break;
    }
  }
  return weights;
}
inline std::string Describe(const Precision& p) {
  constexpr const char* kForms[] = {"signs", "floats",   "limbs",   "ternary",
                                    "odd",   "weighted", "integers"};
  return std::string(kForms[static_cast<size_t>(p.form)]) + ", planes " + std::to_string(p.planes);
}

// The file's rows of any such precision.
class IntegerRows {
 public:
  IntegerRows(const Precision& p, const std::vector<int32_t>& weights, size_t outputs, size_t runs,
              size_t run, Edge edge) {
    if (p.form == WeightForm::kLimbs) {
      limbs_ = std::make_unique<LimbRows>(weights, p.planes, outputs, runs, run, edge);
    } else {
      planes_ = std::make_unique<PlaneRows>(p.form, p.planes, weights, outputs, runs, run, edge);
    }
    rows = limbs_ != nullptr ? limbs_->rows : planes_->rows;
  }
  WeightRows rows;

 private:
  std::unique_ptr<LimbRows> limbs_;
  std::unique_ptr<PlaneRows> planes_;
};

// What a column makes of the file's rows; empty where it reads them as they are.
class PackedWeights {
 public:
  PackedWeights(const Packing& packing, const WeightRows& rows)
      : packed_(packing.bytes(rows)) {
    EXPECT_EQ(packed_.size() % kPackedAlignment, 0u);
    if (packed_.size() > 0) packing.pack(rows, packed_.data());
    weights = {rows, packed_.size() > 0 ? packed_.data() : nullptr};
  }
  Weights weights;

 private:
  Guarded<uint8_t> packed_;
};

// A bits tensor of one image [height][width][channels] of +-1, with a ring of zero pixels.
class BitsImage {
 public:
  BitsImage(const std::vector<int32_t>& signs, size_t height, size_t width, size_t channels,
            size_t ring, Edge edge)
      : pixel_bytes(PixelBytes(channels)),
        row_bytes((width + 2 * ring) * pixel_bytes),
        bits_((height + 2 * ring) * row_bytes, edge) {
    std::memset(bits_.data(), 0, bits_.size());
    for (size_t y = 0; y < height; ++y) {
      for (size_t x = 0; x < width; ++x) {
        uint8_t* pixel = bits_.data() + (y + ring) * row_bytes + (x + ring) * pixel_bytes;
        for (size_t c = 0; c < channels; ++c) {
          if (signs[(y * width + x) * channels + c] > 0) pixel[c / 8] |= uint8_t(1u << (c % 8));
        }
      }
    }
  }
  const uint8_t* data() const { return bits_.data(); }  // of the ring's first pixel
  const size_t pixel_bytes, row_bytes;

 private:
  Guarded<uint8_t> bits_;
};

}  // namespace lbrt
