#include "apps/lbbench/kernel_benchmarks.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "apps/model_runner.h"
#include "converter/emit.h"
#include "converter/interpret.h"
#include "converter/passes.h"
#include "kernels/numerics.h"
#include "kernels/reference.h"

namespace lbrt {
namespace {

constexpr size_t kScratchBytes = 16 * 1024;  // as the runtime's convolutions: half of an L1 cache

// A convolution without padding, square; real layers pad by one pixel, and their rings are read
// like any other pixel.
struct Shape {
  size_t outputs, channels, size, kernel, stride;  // size: of the result

  size_t in_size() const { return (size - 1) * stride + kernel; }
  size_t elements() const { return kernel * kernel * channels; }
  double macs() const { return static_cast<double>(size * size * outputs * elements()); }
  std::string name() const {
    std::string name = std::to_string(outputs) + "@" + std::to_string(size);
    if (channels != outputs) name = std::to_string(channels) + "->" + name;
    if (stride != 1) name += "s" + std::to_string(stride);
    return name;
  }
  reference::Convolution convolution() const {
    return {in_size(), in_size(), channels, outputs,
            SquareWindow(static_cast<int>(kernel), static_cast<int>(stride), 0)};
  }
};

uint32_t Next(uint32_t& state) { return (state = state * 1664525 + 1013904223) >> 8; }

std::vector<int32_t> RandomIntegers(size_t count, int32_t low, int32_t high, uint32_t seed) {
  std::vector<int32_t> result(count);
  for (int32_t& x : result)
    x = low + static_cast<int32_t>(Next(seed) % static_cast<uint32_t>(high - low + 1));
  return result;
}
std::vector<int32_t> RandomSigns(size_t count, uint32_t seed) {
  std::vector<int32_t> result = RandomIntegers(count, 0, 1, seed);
  for (int32_t& x : result) x = 2 * x - 1;
  return result;
}
std::vector<float> ToFloats(const std::vector<int32_t>& values, float scale) {
  std::vector<float> result;
  for (int32_t x : values) result.push_back(static_cast<float>(x) * scale);
  return result;
}

// Bit c of each group of `group` values into a group of `bytes` bytes.
std::vector<uint8_t> PackBits(const std::vector<int32_t>& values, size_t group, size_t bytes) {
  std::vector<uint8_t> packed(values.size() / group * bytes, 0);
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] > 0)
      packed[i / group * bytes + i % group / 8] |= static_cast<uint8_t>(1u << (i % group % 8));
  return packed;
}

// Everything a tile needs to be called: the weights in the file's form and the column's.
struct Layer {
  Shape shape;
  const Kernels& kernels;
  std::vector<uint8_t> planes[kMostPlanes];  // of weights
  std::unique_ptr<uint8_t[]> packed_memory;
  Weights weights = {};
  std::vector<uint8_t> input;
  std::vector<uint8_t> scratch;
  std::vector<uint8_t> result;  // int32 or float, in the order of the reference; when checking

  Layer(const Shape& s, const Kernels& k) : shape(s), kernels(k) {}

  void SetWeights(WeightForm form, size_t plane_count, size_t row_bytes, const Packing& packing) {
    SetWeights(form, plane_count, row_bytes, packing, shape.channels);
  }
  // Each output reads so many channels.
  void SetWeights(WeightForm form, size_t plane_count, size_t row_bytes, const Packing& packing,
                  size_t channels) {
    WeightRows& rows = weights.rows;
    rows.form = form;
    for (size_t i = 0; i < plane_count; ++i) rows.plane[i] = planes[i].data();
    rows.planes = plane_count;
    rows.row_bytes = row_bytes;
    rows.outputs = shape.outputs;
    rows.runs = shape.kernel;
    rows.run = shape.kernel * channels;
    const size_t bytes = packing.bytes(rows);
    if (bytes == 0) return;
    packed_memory = std::make_unique<uint8_t[]>(bytes + kPackedAlignment);
    void* aligned = packed_memory.get();
    size_t space = bytes + kPackedAlignment;
    std::align(kPackedAlignment, bytes, aligned, space);
    packing.pack(rows, aligned);
    weights.packed = aligned;
  }

  template <typename T>
  Windows<T> WindowsAt(size_t y, size_t x, size_t pixels, size_t pixel_elements) const {
    const size_t row = shape.in_size() * pixel_elements;
    return {reinterpret_cast<const T*>(input.data()) + y * shape.stride * row +
                x * shape.stride * pixel_elements,
            pixels,
            shape.stride * pixel_elements,
            shape.kernel,
            shape.kernel * pixel_elements,
            row};
  }

  // Calls tile(y, x, pixels, scratch, stride) for blocks of pixels that fit the scratch, and keeps
  // the sums where they are wanted.
  template <typename Sum, typename Tile>
  void RunTiles(Tile tile, bool keep) {
    const size_t stride = RoundUp(shape.outputs, kernels.panel);
    const size_t tiles = kScratchBytes / (stride * sizeof(Sum) * kernels.tile_rows);
    const size_t block = std::min(shape.size, std::max<size_t>(tiles, 1) * kernels.tile_rows);
    scratch.resize(block * stride * sizeof(Sum));
    Sum* sums = reinterpret_cast<Sum*>(scratch.data());
    for (size_t y = 0; y < shape.size; ++y)
      for (size_t x = 0; x < shape.size; x += block) {
        const size_t pixels = std::min(block, shape.size - x);
        tile(y, x, pixels, sums, stride);
        if (!keep) continue;
        for (size_t r = 0; r < pixels; ++r) Keep<Sum>({sums + r * stride, shape.outputs}, y, x + r);
      }
  }
  template <typename Sum>
  void Keep(std::span<const Sum> sums, size_t y, size_t x) {
    result.resize(shape.size * shape.size * shape.outputs * sizeof(Sum));
    std::memcpy(result.data() + (y * shape.size + x) * shape.outputs * sizeof(Sum), sums.data(),
                sums.size_bytes());
  }
  template <typename Sum>
  bool Equals(const std::vector<Sum>& expected) const {
    return result.size() == expected.size() * sizeof(Sum) &&
           std::memcmp(result.data(), expected.data(), result.size()) == 0;
  }
};

std::vector<int32_t> ExpectedSums(const Shape& shape, const std::vector<int32_t>& x,
                                  const std::vector<int32_t>& w) {
  std::vector<int64_t> sums(shape.size * shape.size * shape.outputs);
  reference::IntegerSums(shape.convolution(), x.data(), w.data(), sums.data());
  return {sums.begin(), sums.end()};
}

KernelBenchmark Named(const char* row, const Shape& shape, Peak peak) {
  return {std::string("kernel/") + row + "/" + shape.name(), peak, shape.macs(), {}, {}};
}

KernelBenchmark XorPopcountTile(const Kernels& kernels, const Shape& shape) {
  const auto layer = std::make_shared<Layer>(shape, kernels);
  const size_t words = shape.channels / 32;
  const auto x = RandomSigns(shape.in_size() * shape.in_size() * shape.channels, 1);
  const auto w = RandomSigns(shape.outputs * shape.elements(), 2);
  layer->input = PackBits(x, shape.channels, words * sizeof(Word));
  layer->planes[0] = PackBits(w, shape.elements(), shape.elements() / 8);
  layer->SetWeights(WeightForm::kSigns, 1, shape.elements() / 8, kernels.pack_xor_popcount_tile);
  const auto base = std::make_shared<std::vector<int32_t>>(RoundUp(shape.outputs, kernels.panel),
                                                           static_cast<int32_t>(shape.elements()));
  const auto bases = std::make_shared<std::vector<const int32_t*>>(shape.size, base->data());

  const auto run = [=](bool keep) {
    layer->RunTiles<int32_t>(
        [&](size_t y, size_t left, size_t pixels, int32_t* sums, size_t stride) {
          layer->kernels.xor_popcount_tile(layer->WindowsAt<Word>(y, left, pixels, words),
                                           layer->weights, bases->data(), sums, stride);
          (void)base;
        },
        keep);
  };
  KernelBenchmark benchmark = Named("xor_popcount_tile", shape, Peak::kPopcount);
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] { return run(true), layer->Equals(ExpectedSums(shape, x, w)); };
  return benchmark;
}

KernelBenchmark XorPopcountLanes(const Kernels& kernels, const Shape& shape) {
  const auto layer = std::make_shared<Layer>(shape, kernels);
  const size_t pixel_bytes = PixelBytes(shape.channels);
  const size_t row_bytes = RoundUp(shape.elements(), 32) / 8;
  const auto x = RandomSigns(shape.in_size() * shape.in_size() * shape.channels, 1);
  const auto w = RandomSigns(shape.outputs * shape.elements(), 2);
  layer->input = PackBits(x, shape.channels, pixel_bytes);
  layer->planes[0] = PackBits(w, shape.elements(), row_bytes);
  layer->SetWeights(WeightForm::kSigns, 1, row_bytes, kernels.pack_xor_popcount_lanes);
  const auto base = std::make_shared<std::vector<int32_t>>(shape.outputs * shape.size,
                                                           static_cast<int32_t>(shape.elements()));
  const auto bases = std::make_shared<std::vector<const int32_t*>>(shape.size, base->data());
  const size_t plane_bytes = shape.outputs * shape.size * sizeof(int32_t);
  const size_t block = std::clamp<size_t>(kScratchBytes / plane_bytes, 1, shape.size);
  layer->scratch.resize(block * plane_bytes);

  const auto run = [=](bool keep) {
    (void)base;
    int32_t* sums = reinterpret_cast<int32_t*>(layer->scratch.data());
    for (size_t y = 0; y < shape.size; y += block) {
      PixelLanes in;
      in.row_bytes = shape.in_size() * pixel_bytes;
      in.first = layer->input.data() + y * shape.stride * in.row_bytes;
      in.pixel_bytes = pixel_bytes;
      in.kernel_h = in.kernel_w = shape.kernel;
      in.stride_h = in.stride_w = shape.stride;
      in.rows = std::min(block, shape.size - y);
      in.width = shape.size;
      layer->kernels.xor_popcount_lanes(in, layer->weights, bases->data() + y, sums);
      if (!keep) continue;
      std::vector<int32_t> pixel(shape.outputs);
      for (size_t i = 0; i < in.rows * in.width; ++i) {
        for (size_t o = 0; o < shape.outputs; ++o) pixel[o] = sums[o * in.rows * in.width + i];
        layer->Keep<int32_t>(pixel, y + i / in.width, i % in.width);
      }
    }
  };
  KernelBenchmark benchmark = Named("xor_popcount_lanes", shape, Peak::kPopcount);
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] { return run(true), layer->Equals(ExpectedSums(shape, x, w)); };
  return benchmark;
}

// sign_sum_tile and fma_tile differ in their weights only.
KernelBenchmark FloatTile(const Kernels& kernels, const Shape& shape, bool signs) {
  const auto layer = std::make_shared<Layer>(shape, kernels);
  const auto x =
      ToFloats(RandomIntegers(shape.in_size() * shape.in_size() * shape.channels, -1000, 1000, 1),
               0x1.3p-9f);
  const auto codes = RandomSigns(shape.outputs * shape.elements(), 2);
  const auto w = signs ? ToFloats(codes, 1.0f)
                       : ToFloats(RandomIntegers(codes.size(), -1000, 1000, 3), 0x1.5p-9f);
  layer->input.resize(x.size() * sizeof(float));
  std::memcpy(layer->input.data(), x.data(), layer->input.size());
  if (signs) {
    const size_t row_bytes = RoundUp(shape.elements(), 32) / 8;
    layer->planes[0] = PackBits(codes, shape.elements(), row_bytes);
    layer->SetWeights(WeightForm::kSigns, 1, row_bytes, kernels.pack_sign_sum_tile);
  } else {
    layer->planes[0].resize(w.size() * sizeof(float));
    std::memcpy(layer->planes[0].data(), w.data(), layer->planes[0].size());
    layer->SetWeights(WeightForm::kFloats, 1, shape.elements() * sizeof(float),
                       kernels.pack_fma_tile);
  }

  const auto run = [=](bool keep) {
    const auto tile = signs ? layer->kernels.sign_sum_tile : layer->kernels.fma_tile;
    const WeightSpan whole = {0, layer->weights.rows.run};
    layer->RunTiles<float>(
        [&](size_t y, size_t left, size_t pixels, float* sums, size_t stride) {
          tile(layer->WindowsAt<float>(y, left, pixels, shape.channels), layer->weights, whole,
               sums, stride);
        },
        keep);
  };
  KernelBenchmark benchmark = Named(signs ? "sign_sum_tile" : "fma_tile", shape, Peak::kFma);
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] {
    std::vector<float> sums(shape.size * shape.size * shape.outputs);
    reference::FloatSums(shape.convolution(), x.data(), w.data(), sums.data());
    return run(true), layer->Equals(sums);
  };
  return benchmark;
}

KernelBenchmark FixedPoint(const Kernels& kernels, const Shape& shape, size_t limbs, bool lanes) {
  const auto layer = std::make_shared<Layer>(shape, kernels);
  const auto x = RandomIntegers(shape.in_size() * shape.in_size() * shape.channels, 0, 255, 1);
  std::vector<int32_t> w(shape.outputs * shape.elements(), 0);
  for (size_t limb = limbs; limb-- > 0;) {  // the least significant last, as digits of base 256
    const auto digits = RandomIntegers(w.size(), -127, 127, static_cast<uint32_t>(limb + 2));
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] = w[i] * 256 + digits[i];
      layer->planes[limb].push_back(static_cast<uint8_t>(digits[i]));
    }
  }
  layer->input.assign(x.begin(), x.end());
  layer->SetWeights(WeightForm::kLimbs, limbs, shape.elements(),
                    lanes ? kernels.pack_fixed_point_lanes : kernels.pack_fixed_point_tile);
  layer->scratch.resize(RoundUp(shape.outputs, kernels.panel) * shape.size * sizeof(float));

  const auto run = [=](bool keep) {
    if (!lanes) {
      layer->RunTiles<float>(
          [&](size_t y, size_t left, size_t pixels, float* sums, size_t stride) {
            layer->kernels.fixed_point_tile(
                layer->WindowsAt<uint8_t>(y, left, pixels, shape.channels), layer->weights, sums,
                stride);
          },
          keep);
      return;
    }
    float* sums = reinterpret_cast<float*>(layer->scratch.data());
    for (size_t y = 0; y < shape.size; ++y) {
      layer->kernels.fixed_point_lanes(layer->WindowsAt<uint8_t>(y, 0, shape.size, shape.channels),
                                       layer->weights, sums, shape.size);
      if (!keep) continue;
      std::vector<float> pixel(shape.outputs);
      for (size_t i = 0; i < shape.size; ++i) {
        for (size_t o = 0; o < shape.outputs; ++o) pixel[o] = sums[o * shape.size + i];
        layer->Keep<float>(pixel, y, i);
      }
    }
  };
  KernelBenchmark benchmark =
      Named(lanes ? "fixed_point_lanes" : "fixed_point_tile", shape, Peak::kDot8);
  benchmark.name += "/i" + std::to_string(8 * limbs);
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] {
    std::vector<int64_t> sums(shape.size * shape.size * shape.outputs);
    reference::IntegerSums(shape.convolution(), x.data(), w.data(), sums.data());
    return run(true), layer->Equals(std::vector<float>(sums.begin(), sums.end()));
  };
  return benchmark;
}

// A form of integer weights with as many planes, and its name.
struct Integers {
  const char* name;
  WeightForm form;
  size_t planes;

  std::vector<int32_t> Random(size_t count, uint32_t seed) const {
    if (form == WeightForm::kLimbs) return RandomIntegers(count, -127, 127, seed);
    if (form == WeightForm::kTernary) return RandomIntegers(count, -1, 1, seed);
    const int32_t largest = (1 << planes) - 1;
    std::vector<int32_t> result = RandomIntegers(count, 0, largest, seed);
    for (int32_t& w : result) w = 2 * w - largest;
    return result;
  }
  int32_t Bit(int32_t w, size_t plane) const {
    if (form == WeightForm::kTernary) return plane == 0 ? w > 0 : w != 0;
    return (w + (1 << planes) - 1) / 2 >> plane & 1;
  }
};

// A layer with integer weights, packed for a row.
std::shared_ptr<Layer> IntegerLayer(const Kernels& kernels, const Shape& shape,
                                    const Integers& integers, const std::vector<int32_t>& w,
                                    const Packing& packing) {
  const auto layer = std::make_shared<Layer>(shape, kernels);
  const bool limbs = integers.form == WeightForm::kLimbs;
  const size_t row_bytes = limbs ? shape.elements() : RoundUp(shape.elements(), 32) / 8;
  for (size_t plane = 0; plane < integers.planes; ++plane) {
    std::vector<int32_t> bits;
    for (const int32_t weight : w) bits.push_back(limbs ? weight : integers.Bit(weight, plane));
    layer->planes[plane] = limbs ? std::vector<uint8_t>(bits.begin(), bits.end())
                                 : PackBits(bits, shape.elements(), row_bytes);
  }
  layer->SetWeights(integers.form, integers.planes, row_bytes, packing);
  return layer;
}

// Codes of activations times integer weights.
KernelBenchmark DotTile(const Kernels& kernels, const Shape& shape, const Integers& integers) {
  const auto x = RandomIntegers(shape.in_size() * shape.in_size() * shape.channels, 0, 255, 1);
  std::vector<int32_t> w = integers.Random(shape.outputs * shape.elements(), 2);
  const auto layer = IntegerLayer(kernels, shape, integers, w, kernels.pack_dot_tile);
  if (layer->weights.rows.halved())
    for (int32_t& weight : w) weight = (weight - 1) / 2;
  layer->input.assign(x.begin(), x.end());

  const auto run = [=](bool keep) {
    layer->RunTiles<int32_t>(
        [&](size_t y, size_t left, size_t pixels, int32_t* sums, size_t stride) {
          layer->kernels.dot_tile(layer->WindowsAt<uint8_t>(y, left, pixels, shape.channels),
                                  layer->weights, nullptr, sums, stride);
        },
        keep);
  };
  KernelBenchmark benchmark = Named("dot_tile", shape, Peak::kDot8);
  benchmark.name += std::string("/") + integers.name;
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] { return run(true), layer->Equals(ExpectedSums(shape, x, w)); };
  return benchmark;
}

// Codes of few bits, their planes made on the way, times signs or numbers of two bits.
KernelBenchmark PlanePopcountTile(const Kernels& kernels, const Shape& shape,
                                  const Integers& integers, size_t code_bits) {
  const size_t pixels = shape.in_size() * shape.in_size();
  const auto x = RandomIntegers(pixels * shape.channels, 0, (1 << code_bits) - 1, 1);
  const auto w = integers.Random(shape.outputs * shape.elements(), 2);
  const auto layer = IntegerLayer(kernels, shape, integers, w, kernels.pack_plane_popcount_tile);
  const size_t words = shape.channels / 32, plane = pixels * words;
  const auto codes = std::make_shared<std::vector<uint8_t>>(x.begin(), x.end());
  layer->input.resize(code_bits * plane * sizeof(Word));

  const auto run = [=](bool keep) {
    auto* planes = reinterpret_cast<Word*>(layer->input.data());
    for (size_t bit = 0; bit < code_bits; ++bit)
      layer->kernels.code_plane(codes->data(), pixels, shape.channels, bit, planes + bit * plane);
    layer->RunTiles<int32_t>(
        [&](size_t y, size_t left, size_t count, int32_t* sums, size_t stride) {
          layer->kernels.plane_popcount_tile(
              {layer->WindowsAt<Word>(y, left, count, words), code_bits, plane}, layer->weights,
              sums, stride);
        },
        keep);
  };
  KernelBenchmark benchmark = Named("plane_popcount_tile", shape, Peak::kPopcount);
  benchmark.name += std::string("/") + integers.name + "a" + std::to_string(code_bits);
  benchmark.run = [=] { run(false); };
  benchmark.right = [=] { return run(true), layer->Equals(ExpectedSums(shape, x, w)); };
  return benchmark;
}

int32_t AddTap(int32_t w, int32_t x, int32_t sum) { return sum + w * x; }
float AddTap(float w, float x, float sum) { return Fma(w, x, sum); }

// Every channel meets a window of its own; of a T `x` and a Weight `w`, [tap][channel].
// sums(in, acc, acc_stride) is a depthwise row with these weights.
template <typename T, typename Weight, typename Sums>
KernelBenchmark DepthwiseBenchmark(const char* row, const Shape& shape, Peak peak,
                                   const std::vector<T>& x, const std::vector<Weight>& w,
                                   size_t tile_rows, Sums sums) {
  const size_t channels = shape.channels, kernel = shape.kernel;
  const size_t row_elements = shape.in_size() * channels;
  const size_t tiles = kScratchBytes / (channels * sizeof(Weight) * tile_rows);
  const size_t block = std::min(shape.size, std::max<size_t>(tiles, 1) * tile_rows);
  const auto input = std::make_shared<const std::vector<T>>(x);
  const auto weights = std::make_shared<const std::vector<Weight>>(w);
  const auto scratch = std::make_shared<std::vector<Weight>>(block * channels);
  // visit(y, x, pixels): what is in the scratch.
  const auto run = [=](auto visit) {
    for (size_t top = 0; top < shape.size; ++top)
      for (size_t left = 0; left < shape.size; left += block) {
        DepthwiseWindows<T> in;
        in.first = input->data() + shape.stride * (top * row_elements + left * channels);
        in.pixels = std::min(block, shape.size - left);
        in.step = shape.stride * channels;
        in.rows = in.columns = kernel;
        in.row_stride = row_elements;
        in.column_stride = in.channels = channels;
        sums(in, scratch->data(), channels);
        visit(top, left, in.pixels);
      }
  };
  KernelBenchmark benchmark = Named(row, shape, peak);
  benchmark.name += "/" + std::to_string(kernel) + "x" + std::to_string(kernel);
  benchmark.work = static_cast<double>(shape.size * shape.size * shape.elements());
  benchmark.run = [=] { run([](size_t, size_t, size_t) {}); };
  benchmark.right = [=] {
    bool right = true;
    run([&](size_t top, size_t left, size_t pixels) {
      for (size_t i = 0; i < pixels * channels; ++i) {
        const size_t at = shape.stride * (top * row_elements + (left + i / channels) * channels);
        Weight sum = 0;
        for (size_t tap = 0; tap < kernel * kernel; ++tap)
          sum = AddTap((*weights)[tap * channels + i % channels],
                       static_cast<Weight>((*input)[at + tap / kernel * row_elements +
                                                    tap % kernel * channels + i % channels]),
                       sum);
        right = right && sum == (*scratch)[i];
      }
    });
    return right;
  };
  return benchmark;
}

KernelBenchmark DepthwiseCodes(const Kernels& kernels, const Shape& shape) {
  const auto x = RandomIntegers(shape.in_size() * shape.in_size() * shape.channels, 0, 255, 1);
  const size_t taps = shape.kernel * shape.kernel;
  const std::vector<int32_t> w = RandomIntegers(shape.channels * taps, -127, 127, 2);
  const auto layer = std::make_shared<Layer>(shape, kernels);
  for (size_t i = 0; i < w.size(); ++i)
    layer->planes[0].push_back(static_cast<uint8_t>(w[i % taps * shape.channels + i / taps]));
  layer->SetWeights(WeightForm::kLimbs, 1, taps, kernels.pack_depthwise_codes, /*channels=*/1);
  return DepthwiseBenchmark<uint8_t, int32_t>(
      "depthwise_codes", shape, Peak::kDot8, {x.begin(), x.end()}, w, kernels.tile_rows,
      [layer](const auto& in, int32_t* acc, size_t stride) {
        layer->kernels.depthwise_codes(in, layer->weights, 0, 0, 0, acc, stride);
      });
}
KernelBenchmark DepthwiseF32(const Kernels& kernels, const Shape& shape) {
  const size_t inputs = shape.in_size() * shape.in_size() * shape.channels;
  const auto w = std::make_shared<const std::vector<float>>(
      ToFloats(RandomIntegers(shape.elements(), -1000, 1000, 2), 0x1p-9f));
  return DepthwiseBenchmark<float, float>(
      "depthwise_f32", shape, Peak::kFma, ToFloats(RandomIntegers(inputs, -1000, 1000, 1), 0x1p-9f),
      *w, kernels.tile_rows, [w, &kernels, shape](const auto& in, float* acc, size_t stride) {
        kernels.depthwise_f32(in, {w->data(), shape.kernel * shape.channels}, acc, stride);
      });
}

// The epilogue of ReCU's convolutions, over sums in the scratch: affine, residual in place,
// hardtanh, f32 and signs.
struct Epilogued {
  size_t channels, size;
  std::vector<int32_t> sums;
  std::vector<float> a, b, start, out;
  std::vector<uint8_t> bits;

  Epilogued(size_t c, size_t s)
      : channels(c),
        size(s),
        sums(RandomIntegers(c * s, -100, 100, 1)),
        a(ToFloats(RandomIntegers(c, 1, 100, 2), 0x1.7p-12f)),
        b(ToFloats(RandomIntegers(c, -100, 100, 3), 0x1.7p-10f)),
        start(ToFloats(RandomIntegers(c * s, -100, 100, 4), 0x1p-8f)),
        out(start),
        bits(s * PixelBytes(c)) {}

  void Fill(Epilogue& e) const {
    e.sums = sums.data();
    e.values = nullptr;
    e.channels = channels;
    e.a = a.data();
    e.b = b.data();
    e.activation = Activation::kHardtanh;
  }

  // Of element [pixel][channel] in rows order, [channel][pixel] in lanes.
  bool Right(bool lanes) const {
    for (size_t p = 0; p < size; ++p)
      for (size_t c = 0; c < channels; ++c) {
        const size_t i = lanes ? c * size + p : p * channels + c;
        float z = static_cast<float>(sums[i]);
        reference::Affine(1, 1, &a[c], &b[c], nullptr, &z);
        reference::Add(1, &start[i], &z);
        reference::Activate(1, Activation::kHardtanh, &z);
        int32_t sign = 0;
        reference::Signs(1, &z, &sign);
        const int bit = bits[p * PixelBytes(channels) + c / 8] >> (c % 8) & 1;
        if (std::memcmp(&z, &out[i], sizeof z) != 0 || bit != (sign > 0)) return false;
      }
    return true;
  }
};

KernelBenchmark EpilogueBenchmark(const Kernels& kernels, size_t channels, size_t size,
                                  bool lanes) {
  const auto data = std::make_shared<Epilogued>(channels, size);
  KernelBenchmark benchmark;
  benchmark.name = std::string("kernel/epilogue_") + (lanes ? "lanes/" : "rows/") +
                   std::to_string(channels) + "x" + std::to_string(size);
  benchmark.work = static_cast<double>(channels * size);
  benchmark.run = [data, &kernels, lanes] {
    if (lanes) {
      EpilogueLanes e = {};
      data->Fill(e);
      e.rows = 1;
      e.width = e.in_plane = e.residual_plane = e.out_plane = data->size;
      e.residual = e.out = data->out.data();
      e.bits = data->bits.data();
      e.bits_row_bytes = data->size * PixelBytes(data->channels);
      kernels.epilogue_lanes(e);
    } else {
      EpilogueRows e = {};
      data->Fill(e);
      e.pixels = data->size;
      e.in_stride = e.residual_stride = e.out_stride = data->channels;
      e.residual = e.out = data->out.data();
      e.bits = data->bits.data();
      e.bits_stride = PixelBytes(data->channels);
      kernels.epilogue_rows(e);
    }
  };
  benchmark.right = [data, run = benchmark.run, lanes] {
    data->out = data->start;
    run();
    return data->Right(lanes);
  };
  return benchmark;
}

// Signs of sums by an affine, or by comparing each with its channel's threshold.
KernelBenchmark SignsEpilogue(const Kernels& kernels, size_t channels, size_t size,
                              bool thresholds) {
  const auto data = std::make_shared<Epilogued>(channels, size);
  const auto limits = std::make_shared<std::vector<int32_t>>(RandomIntegers(channels, -99, 99, 5));
  const size_t stride = PixelBytes(channels);
  KernelBenchmark benchmark;
  benchmark.name = std::string("kernel/") + (thresholds ? "threshold_sums" : "epilogue_rows") +
                   "/signs/" + std::to_string(channels) + "x" + std::to_string(size);
  benchmark.work = static_cast<double>(channels * size);
  benchmark.run = [=, &kernels] {
    if (thresholds)
      return kernels.threshold_sums({data->sums.data(), size, channels, channels, limits->data(), 1,
                                     channels, nullptr, nullptr, 0, data->bits.data(), stride});
    EpilogueRows e = {};
    data->Fill(e);
    e.activation = Activation::kNone;
    e.pixels = size;
    e.in_stride = channels;
    e.bits = data->bits.data();
    e.bits_stride = stride;
    kernels.epilogue_rows(e);
  };
  benchmark.right = [=, run = benchmark.run] {
    run();
    for (size_t i = 0; i < channels * size; ++i) {
      const size_t p = i / channels, c = i % channels;
      float z = static_cast<float>(data->sums[i]);
      reference::Affine(1, 1, &data->a[c], &data->b[c], nullptr, &z);
      const bool want = thresholds ? data->sums[i] > (*limits)[c] : SignBit(z);
      if ((data->bits[p * stride + c / 8] >> (c % 8) & 1) != want) return false;
    }
    return true;
  };
  return benchmark;
}

// Codes of sums by counting thresholds, of which so many are levels.
KernelBenchmark ThresholdSums(const Kernels& kernels, size_t channels, size_t size, int levels) {
  const auto data = std::make_shared<Epilogued>(channels, size);
  const auto codes = std::make_shared<std::vector<uint8_t>>(channels * size);
  const auto thresholds = std::make_shared<std::vector<int32_t>>();
  for (int level = 0; level < levels; ++level)
    for (size_t c = 0; c < channels; ++c)
      thresholds->push_back((2 * level - levels) * 200 / levels + static_cast<int32_t>(c));
  KernelBenchmark benchmark;
  benchmark.name = "kernel/threshold_sums/codes/" + std::to_string(channels) + "x" +
                   std::to_string(size) + "/" + std::to_string(levels + 1);
  benchmark.work = static_cast<double>(channels * size);
  benchmark.run = [=, &kernels] {
    kernels.threshold_sums({data->sums.data(), size, channels, channels, thresholds->data(),
                            static_cast<size_t>(levels), channels, nullptr, codes->data(), channels,
                            nullptr, 0});
  };
  benchmark.right = [=, run = benchmark.run] {
    run();
    for (size_t i = 0; i < channels * size; ++i) {
      int code = 0;
      for (size_t t = i % channels; t < thresholds->size(); t += channels)
        code += data->sums[i] > (*thresholds)[t] ? 1 : 0;
      if ((*codes)[i] != code) return false;
    }
    return true;
  };
  return benchmark;
}

// The epilogue between layers of codes: affine, codes.
KernelBenchmark CodesEpilogue(const Kernels& kernels, size_t channels, size_t size, int levels) {
  const auto data = std::make_shared<Epilogued>(channels, size);
  const auto codes = std::make_shared<std::vector<uint8_t>>(channels * size);
  const float inverse_step = static_cast<float>(levels);
  KernelBenchmark benchmark;
  benchmark.name = "kernel/epilogue_rows/codes/" + std::to_string(channels) + "x" +
                   std::to_string(size) + "/" + std::to_string(levels + 1);
  benchmark.work = static_cast<double>(channels * size);
  benchmark.run = [=, &kernels] {
    EpilogueRows e = {};
    data->Fill(e);
    e.activation = Activation::kNone;
    e.pixels = size;
    e.in_stride = channels;
    e.codes = codes->data();
    e.codes_stride = channels;
    e.inverse_step = inverse_step;
    e.levels = levels;
    kernels.epilogue_rows(e);
  };
  benchmark.right = [=, run = benchmark.run] {
    run();
    for (size_t i = 0; i < channels * size; ++i) {
      float z = static_cast<float>(data->sums[i]);
      reference::Affine(1, 1, &data->a[i % channels], &data->b[i % channels], nullptr, &z);
      int32_t code = 0;
      reference::Codes(1, &z, inverse_step, levels, &code);
      if ((*codes)[i] != code) return false;
    }
    return true;
  };
  return benchmark;
}

// ResNet's: 3x3 windows, half as many of them along each axis.
template <typename T>
KernelBenchmark MaxPoolBenchmark(const char* row, void (*kernel)(const MaxPool<T>&),
                                 size_t channels, size_t size) {
  const auto plain = RandomIntegers(size * size * channels, 0, 255, 1);
  const auto x = std::make_shared<std::vector<T>>(plain.begin(), plain.end());
  const reference::Convolution window = {size, size, channels, 0, SquareWindow(3, 2, 1)};
  const auto y = std::make_shared<std::vector<T>>(window.pixels() * channels);
  KernelBenchmark benchmark;
  benchmark.name = std::string("kernel/") + row + "/" + std::to_string(channels) + "@" +
                   std::to_string(window.out_width());
  benchmark.work = static_cast<double>(y->size());
  benchmark.run = [=] {
    kernel({x->data(), size, size, channels, window.window, y->data()});
  };
  benchmark.right = [=, run = benchmark.run] {
    std::vector<int32_t> largest(y->size());
    reference::MaxPool(window, plain.data(), largest.data());
    run();
    return std::ranges::equal(*y, std::vector<T>(largest.begin(), largest.end()));
  };
  return benchmark;
}

// The op that compares floats with thresholds, of many levels by halving, in a model. The largest
// code of each channel follows, a few percent of the time, for a model ends in one pixel.
KernelBenchmark ThresholdModel(const Kernels& kernels, int channels, int size, int levels) {
  const auto graph = std::make_shared<Graph>();
  const auto append = [&](GraphOp op, ValueType type, int side) -> GraphNode& {
    GraphNode& node = graph->nodes.emplace_back();
    node.op = op;
    node.name = "node" + std::to_string(graph->nodes.size());
    if (op != GraphOp::kInput) node.inputs = {static_cast<int>(graph->nodes.size()) - 2};
    node.type = type;
    node.height = node.width = side;
    node.channels = channels;
    if (type == ValueType::kCode) node.levels = levels;
    return node;
  };
  append(GraphOp::kInput, ValueType::kF32, size);
  GraphNode& threshold = append(GraphOp::kThreshold, ValueType::kCode, size);
  for (int level = 0; level < levels; ++level)
    for (int c = 0; c < channels; ++c)
      threshold.thresholds.push_back(static_cast<float>(2 * level - levels) / 256 +
                                     static_cast<float>(c) * 0x1p-12f);
  append(GraphOp::kMaxPool, ValueType::kCode, 1).window = SquareWindow(size, size, 0);
  append(GraphOp::kDecode, ValueType::kF32, 1);
  graph->output = 3;
  LoweredGraph lowered = Lower(*graph);
  for (const Pass& pass : Passes()) pass.run(lowered);

  KernelBenchmark benchmark;
  benchmark.name = "kernel/threshold/" + std::to_string(channels) + "@" + std::to_string(size) +
                   "/" + std::to_string(levels + 1);
  RunnerOptions options;
  options.isa = kernels.isa;
  const auto runner = std::make_shared<ModelRunner>(Emit(lowered, {}), benchmark.name, options);
  runner->SetNoise();
  benchmark.work = static_cast<double>(channels * size * size);
  benchmark.run = [=] { runner->Run(); };
  benchmark.right = [=] {
    const auto* values = static_cast<const float*>(runner->input().data);
    const std::vector<float> x(values, values + channels * size * size);
    const std::span<const float> y = runner->Run();
    return SameBits(AsFloats(Interpret(*graph, x).back()), {y.begin(), y.end()});
  };
  return benchmark;
}

}  // namespace

std::vector<KernelBenchmark> KernelBenchmarks(const Kernels& kernels) {
  std::vector<KernelBenchmark> all;
  // ResNet-18 on ImageNet.
  for (const Shape& shape :
       {Shape{64, 64, 56, 3, 1}, Shape{128, 64, 28, 3, 2}, Shape{128, 128, 28, 3, 1},
        Shape{256, 128, 14, 3, 2}, Shape{256, 256, 14, 3, 1}, Shape{512, 256, 7, 3, 2},
        Shape{512, 512, 7, 3, 1}})
    all.push_back(XorPopcountTile(kernels, shape));
  // recu/resnet20.
  for (const Shape& shape :
       {Shape{16, 16, 32, 3, 1}, Shape{32, 16, 16, 3, 2}, Shape{32, 32, 16, 3, 1},
        Shape{64, 32, 8, 3, 2}, Shape{64, 64, 8, 3, 1}})
    all.push_back(XorPopcountLanes(kernels, shape));
  // mcdonnell/wrn-20-1 and -4.
  for (const Shape& shape : {Shape{16, 16, 32, 3, 1}, Shape{32, 32, 16, 3, 1},
                             Shape{64, 64, 8, 3, 1}, Shape{64, 64, 32, 3, 1}})
    all.push_back(FloatTile(kernels, shape, /*signs=*/true));
  for (const Shape& shape : {Shape{16, 3, 32, 3, 1}, Shape{64, 64, 8, 3, 1}})
    all.push_back(FloatTile(kernels, shape, /*signs=*/false));
  for (size_t limbs : {1, 2, 3}) {
    all.push_back(FixedPoint(kernels, {16, 3, 32, 3, 1}, limbs, /*lanes=*/true));
    all.push_back(FixedPoint(kernels, {64, 3, 112, 7, 2}, limbs, /*lanes=*/false));
  }
  // EdMIPS's and any-precision's layers; ternary and 8-bit ones of other networks.
  constexpr Integers kSigns = {"w1", WeightForm::kSigns, 1}, kTwoBits = {"w2", WeightForm::kOdd, 2};
  for (const Shape& shape :
       {Shape{16, 16, 32, 3, 1}, Shape{32, 16, 16, 3, 2}, Shape{32, 32, 16, 3, 1},
        Shape{64, 64, 8, 3, 1}, Shape{64, 64, 56, 3, 1}, Shape{128, 128, 28, 3, 1},
        Shape{256, 256, 14, 3, 1}, Shape{512, 512, 7, 3, 1}})
    all.push_back(DotTile(kernels, shape, kTwoBits));
  for (const Integers& integers :
       {kSigns, Integers{"ternary", WeightForm::kTernary, 2}, Integers{"w4", WeightForm::kOdd, 4},
        Integers{"w8", WeightForm::kOdd, 8}, Integers{"i8", WeightForm::kLimbs, 1}})
    all.push_back(DotTile(kernels, {64, 64, 56, 3, 1}, integers));
  // A group of ResNeXt's and RegNet's: its convolution alone.
  for (const Shape& shape : {Shape{4, 4, 56, 3, 1}, Shape{8, 8, 28, 3, 1}, Shape{24, 24, 14, 3, 1}})
    all.push_back(DotTile(kernels, shape, Integers{"i8", WeightForm::kLimbs, 1}));
  // MobileNet's depthwise layers.
  for (const Shape& shape : {Shape{32, 32, 112, 3, 1}, Shape{128, 128, 56, 3, 1},
                             Shape{256, 256, 28, 3, 2}, Shape{512, 512, 14, 3, 1},
                             Shape{512, 512, 14, 5, 1}}) {
    all.push_back(DepthwiseCodes(kernels, shape));
    all.push_back(DepthwiseF32(kernels, shape));
  }
  for (const Shape& shape : {Shape{64, 64, 56, 3, 1}, Shape{256, 256, 14, 3, 1}})
    for (const auto& [integers, code_bits] :
         {std::pair<Integers, size_t>{kSigns, 1}, {kSigns, 2}, {kSigns, 3}, {kSigns, 4},
          {kTwoBits, 1}, {kTwoBits, 2}})
      if (kernels.plane_pairs > 0)
        all.push_back(PlanePopcountTile(kernels, shape, integers, code_bits));
  for (const auto& [channels, size] : {std::pair<size_t, size_t>{16, 256}, {32, 128}, {64, 64}})
    all.push_back(EpilogueBenchmark(kernels, channels, size, /*lanes=*/true));
  for (const auto& [channels, size] :
       {std::pair<size_t, size_t>{16, 64}, {64, 64}, {256, 16}, {512, 8}})
    all.push_back(EpilogueBenchmark(kernels, channels, size, /*lanes=*/false));
  for (const int levels : {3, 255}) all.push_back(CodesEpilogue(kernels, 64, 64, levels));
  all.push_back(CodesEpilogue(kernels, 16, 64, 3));
  all.push_back(CodesEpilogue(kernels, 512, 8, 3));
  for (const int levels : {1, 3, 7, 15}) all.push_back(ThresholdSums(kernels, 64, 64, levels));
  all.push_back(ThresholdSums(kernels, 512, 8, 3));
  for (const bool thresholds : {false, true})
    for (const auto& [channels, size] : {std::pair<size_t, size_t>{64, 64}, {512, 8}})
      all.push_back(SignsEpilogue(kernels, channels, size, thresholds));
  all.push_back(MaxPoolBenchmark("max_pool_f32", kernels.max_pool_f32, 64, 112));
  all.push_back(MaxPoolBenchmark("max_pool_codes", kernels.max_pool_codes, 64, 112));
  for (const int levels : {3, 15, 255}) all.push_back(ThresholdModel(kernels, 64, 56, levels));
  return all;
}

}  // namespace lbrt
