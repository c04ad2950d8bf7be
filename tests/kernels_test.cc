// Every row of every column this CPU can run, against kernels/reference on plain values. Sizes are
// chosen by kind: one, around the vector widths, tails. All buffers end, or begin, at a page that
// faults.
#include "kernels/kernels.h"

#include <algorithm>

#include "kernels/crc32c.h"
#include "kernels/numerics.h"
#include "kernels/reference.h"
#include "kernels/weights.h"
#include "schema/crc32c.h"
#include "tests/kernels_data.h"

namespace lbrt {
namespace {

class KernelTest : public testing::TestWithParam<const Kernels*> {
 protected:
  const Kernels& kernels() const { return *GetParam(); }
};

std::string ColumnName(const testing::TestParamInfo<const Kernels*>& info) {
  std::string name = info.param->isa;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Columns, KernelTest, testing::ValuesIn(AvailableKernels()), ColumnName);

// All that whole numbers come in.
constexpr Precision kPrecisions[] = {
    {WeightForm::kSigns, 1}, {WeightForm::kTernary, 2}, {WeightForm::kLimbs, 1},
    {WeightForm::kLimbs, 2}, {WeightForm::kLimbs, 3},   {WeightForm::kOdd, 2},
    {WeightForm::kOdd, 3},   {WeightForm::kOdd, 4},     {WeightForm::kOdd, 5},
    {WeightForm::kOdd, 6},   {WeightForm::kOdd, 7},     {WeightForm::kOdd, 8},
    {WeightForm::kWeighted, 3}, {WeightForm::kWeighted, 7}, {WeightForm::kWeighted, 9},
    {WeightForm::kWeighted, 10},
    {WeightForm::kIntegers, 2}, {WeightForm::kIntegers, 3}, {WeightForm::kIntegers, 5},
    {WeightForm::kIntegers, 7}, {WeightForm::kIntegers, 8}};

// base[class of output][o] = valid taps * channels + 2 * popcount(weights over the padded taps).
// One row of `padded` entries per output pixel.
std::vector<int32_t> BaseOfPixels(const reference::Convolution& conv,
                                  const std::vector<int32_t>& weights, size_t padded) {
  std::vector<int32_t> base(conv.pixels() * padded, 12345);
  const size_t taps = static_cast<size_t>(conv.window.taps());
  for (size_t p = 0; p < conv.pixels(); ++p) {
    const TapRange ys = ValidRows(conv.window, static_cast<int>(conv.height),
                                  static_cast<int>(p / conv.out_width()));
    const TapRange xs = ValidColumns(conv.window, static_cast<int>(conv.width),
                                     static_cast<int>(p % conv.out_width()));
    for (size_t o = 0; o < conv.outputs; ++o) {
      int32_t& value = base[p * padded + o];
      value = ys.size() * xs.size() * static_cast<int32_t>(conv.channels);
      for (size_t tap = 0; tap < taps; ++tap) {
        const int ky = static_cast<int>(tap) / conv.window.kernel_w;
        const int kx = static_cast<int>(tap) % conv.window.kernel_w;
        if (ky >= ys.begin && ky < ys.end && kx >= xs.begin && kx < xs.end) continue;
        for (size_t c = 0; c < conv.channels; ++c) {
          value += weights[(o * taps + tap) * conv.channels + c] > 0 ? 2 : 0;
        }
      }
    }
  }
  return base;
}

// ---------------------------------------------------------------------------- popcount tiles

TEST_P(KernelTest, XorPopcountTileIsTheSignedDotProduct) {
  Random random(1);
  for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
    for (const size_t k : {1, 31, 32, 33, 64, 127, 128, 513, 2304}) {
      for (const size_t rows : {1, 2, 3, 4, 5, 8, 13}) {
        const size_t outputs = static_cast<size_t>(random.Between(1, 40));
        const reference::Convolution conv = {rows, 1, k, outputs, SquareWindow(1, 1, 0)};
        auto x = RandomSigns(random, rows * k), w = RandomSigns(random, outputs * k);
        if (rows == 2) {  // every bit differs: the largest counts
          std::fill(x.begin(), x.end(), 1);
          std::fill(w.begin(), w.end(), -1);
        }
        std::vector<int64_t> want(rows * outputs);
        reference::IntegerSums(conv, x.data(), w.data(), want.data());

        const SignRows inputs(x, rows, 1, k, edge);  // packed as weights are
        const SignRows file(w, outputs, 1, k, edge);
        const PackedWeights packed(kernels().pack_xor_popcount_tile, file.rows);
        const size_t padded = RoundUp(outputs, kernels().panel), words = (k + 31) / 32;
        const Guarded<int32_t> base(std::vector<int32_t>(padded, static_cast<int32_t>(k)), edge);
        const std::vector<const int32_t*> bases(rows, base.data());
        Guarded<int32_t> got(rows * padded, edge);
        kernels().xor_popcount_tile(
            {static_cast<const Word*>(inputs.rows.plane[0]), rows, words, 1, words, words},
            packed.weights, bases.data(), got.data(), padded);
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_EQ(got[i / outputs * padded + i % outputs], want[i])
              << "k " << k << ", rows " << rows << ", outputs " << outputs << ", at " << i;
        }
      }
    }
  }
}

TEST_P(KernelTest, XorPopcountTileConvolvesWithExactZeroPadding) {
  Random random(2);
  for (const size_t channels : {32, 64, 96}) {
    for (const int kernel : {1, 3, 5}) {
      for (const int stride : {1, 2}) {
        const size_t height = 5, width = static_cast<size_t>(random.Between(5, 12)), outputs = 19;
        const int pad = kernel / 2;
        const reference::Convolution conv = {height, width, channels, outputs,
                                             SquareWindow(kernel, stride, pad)};
        const size_t run = static_cast<size_t>(kernel) * channels, ring = static_cast<size_t>(pad);
        const auto x = RandomSigns(random, height * width * channels);
        const auto w = RandomSigns(random, outputs * static_cast<size_t>(kernel) * run);
        std::vector<int64_t> want(conv.pixels() * outputs);
        reference::IntegerSums(conv, x.data(), w.data(), want.data());

        const BitsImage image(x, height, width, channels, ring, Edge::kEnd);
        const SignRows file(w, outputs, static_cast<size_t>(kernel), run, Edge::kEnd);
        const PackedWeights packed(kernels().pack_xor_popcount_tile, file.rows);
        const size_t padded = RoundUp(outputs, kernels().panel), out_width = conv.out_width();
        const auto base = BaseOfPixels(conv, w, padded);
        for (size_t oy = 0; oy < conv.out_height(); ++oy) {
          std::vector<const int32_t*> bases;
          for (size_t ox = 0; ox < out_width; ++ox) {
            bases.push_back(&base[(oy * out_width + ox) * padded]);
          }
          Guarded<int32_t> got(out_width * padded);
          const size_t row_words = image.row_bytes / 4, s = static_cast<size_t>(stride);
          kernels().xor_popcount_tile(
              {reinterpret_cast<const Word*>(image.data()) + oy * s * row_words, out_width,
               s * channels / 32, static_cast<size_t>(kernel), run / 32, row_words},
              packed.weights, bases.data(), got.data(), padded);
          for (size_t i = 0; i < out_width * outputs; ++i) {
            ASSERT_EQ(got[i / outputs * padded + i % outputs], want[oy * out_width * outputs + i])
                << channels << " channels, kernel " << kernel << ", stride " << stride;
          }
        }
      }
    }
  }
}

TEST_P(KernelTest, XorPopcountLanesConvolvesWithExactZeroPadding) {
  Random random(3);
  for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
    for (const size_t channels : {16, 32, 64}) {
      for (const int kernel : {1, 3, 7}) {
        for (const size_t width : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 70}) {
          const int stride = random.Between(1, kernel == 7 ? 3 : 2), pad = kernel / 2;
          const size_t height = static_cast<size_t>(random.Between(1, 6));
          const size_t outputs = static_cast<size_t>(random.Between(1, 34));
          const reference::Convolution conv = {height, width, channels, outputs,
                                               SquareWindow(kernel, stride, pad)};
          const size_t k = static_cast<size_t>(kernel), run = k * channels;
          auto x = RandomSigns(random, height * width * channels);
          auto w = RandomSigns(random, outputs * k * run);
          if (width == 31) {  // every bit differs, in the ring too: the largest counts
            std::fill(x.begin(), x.end(), -1);
            std::fill(w.begin(), w.end(), 1);
          }
          std::vector<int64_t> want(conv.pixels() * outputs);
          reference::IntegerSums(conv, x.data(), w.data(), want.data());

          const BitsImage image(x, height, width, channels, static_cast<size_t>(pad), edge);
          const SignRows file(w, outputs, k, run, edge);
          const PackedWeights packed(kernels().pack_xor_popcount_lanes, file.rows);
          const auto by_pixel = BaseOfPixels(conv, w, outputs);
          const size_t out_width = conv.out_width(), out_height = conv.out_height();
          // Some rows at a time.
          for (size_t oy = 0; oy < out_height;) {
            const size_t rows =
                static_cast<size_t>(random.Between(1, static_cast<int>(out_height - oy)));
            Guarded<int32_t> base(rows * outputs * out_width, edge);
            std::vector<const int32_t*> bases;
            for (size_t y = 0; y < rows; ++y) {
              bases.push_back(base.data() + y * outputs * out_width);
              for (size_t o = 0; o < outputs; ++o) {
                for (size_t ox = 0; ox < out_width; ++ox) {
                  base[(y * outputs + o) * out_width + ox] =
                      by_pixel[((oy + y) * out_width + ox) * outputs + o];
                }
              }
            }
            Guarded<int32_t> got(outputs * rows * out_width, edge);
            const size_t s = static_cast<size_t>(stride);
            kernels().xor_popcount_lanes(
                {image.data() + oy * s * image.row_bytes, image.row_bytes, image.pixel_bytes, k, k,
                 s, s, rows, out_width},
                packed.weights, bases.data(), got.data());
            for (size_t i = 0; i < got.size(); ++i) {
              const size_t o = i / (rows * out_width), pixel = i % (rows * out_width);
              ASSERT_EQ(got[i], want[(oy * out_width + pixel) * outputs + o])
                  << channels << " channels, kernel " << kernel << ", stride " << stride
                  << ", width " << width << ", rows " << rows << ", at " << i;
            }
            oy += rows;
          }
        }
      }
    }
  }
}

// ------------------------------------------------------------------------------- float tiles

// Runs `tile` over all output pixels of a convolution, valid taps only: pixels with equal valid
// taps that are neighbours in a row go into one call.
template <typename Tile>
std::vector<float> RunFloatTile(const reference::Convolution& conv, const float* x,
                                const Weights& weights, size_t panel, Tile tile) {
  const Window& window = conv.window;
  const size_t padded = RoundUp(conv.outputs, panel), c = conv.channels;
  std::vector<float> sums(conv.pixels() * conv.outputs);
  for (size_t oy = 0; oy < conv.out_height(); ++oy) {
    const TapRange ys = ValidRows(window, static_cast<int>(conv.height), static_cast<int>(oy));
    for (size_t ox = 0; ox < conv.out_width();) {
      const auto taps = [&](size_t at) {
        return ValidColumns(window, static_cast<int>(conv.width), static_cast<int>(at));
      };
      const TapRange xs = taps(ox);
      size_t pixels = 1;
      while (ox + pixels < conv.out_width() && taps(ox + pixels) == xs) ++pixels;
      const int iy = static_cast<int>(oy) * window.stride_h - window.pad_top + ys.begin;
      const int ix = static_cast<int>(ox) * window.stride_w - window.pad_left + xs.begin;
      const size_t kernel_w = static_cast<size_t>(window.kernel_w);
      Guarded<float> acc(pixels * padded);
      tile({x + (static_cast<size_t>(iy) * conv.width + static_cast<size_t>(ix)) * c, pixels,
            static_cast<size_t>(window.stride_w) * c, static_cast<size_t>(ys.size()),
            static_cast<size_t>(xs.size()) * c, conv.width * c},
           weights,
           WeightSpan{static_cast<size_t>(ys.begin * window.kernel_w + xs.begin) * c,
                      kernel_w * c},
           acc.data(), padded);
      for (size_t p = 0; p < pixels; ++p, ++ox) {
        for (size_t o = 0; o < conv.outputs; ++o) {
          sums[(oy * conv.out_width() + ox) * conv.outputs + o] = acc[p * padded + o];
        }
      }
    }
  }
  return sums;
}

void ExpectSameFloats(const std::vector<float>& want, const std::vector<float>& got,
                      const std::string& what) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    ASSERT_TRUE(SameFloat(want[i], got[i]))
        << what << ", at " << i << ": " << got[i] << " instead of " << want[i];
  }
}

TEST_P(KernelTest, FloatTilesAddInOrderOverTheValidTaps) {
  Random random(4);
  for (const size_t channels : {1, 3, 16, 33}) {
    for (const int kernel : {1, 3}) {
      for (const size_t outputs : {1, 10, 16, 33, 64, 70}) {
        const int stride = random.Between(1, 2);
        const size_t height = 3, width = static_cast<size_t>(random.Between(3, 21));
        const reference::Convolution conv = {height, width, channels, outputs,
                                             SquareWindow(kernel, stride, kernel / 2)};
        const size_t k = static_cast<size_t>(kernel), run = k * channels;
        const Guarded<float> x(RandomFloats(random, height * width * channels));
        std::vector<float> want(conv.pixels() * outputs);
        const std::string what = std::to_string(channels) + " channels, kernel " +
                                 std::to_string(kernel) + ", outputs " + std::to_string(outputs);

        const auto signs = RandomSigns(random, outputs * k * run);
        reference::FloatSums(conv, x.data(), std::vector<float>(signs.begin(), signs.end()).data(),
                             want.data());
        const SignRows sign_rows(signs, outputs, k, run, Edge::kEnd);
        const PackedWeights packed_signs(kernels().pack_sign_sum_tile, sign_rows.rows);
        ExpectSameFloats(want, RunFloatTile(conv, x.data(), packed_signs.weights, kernels().panel,
                                            kernels().sign_sum_tile),
                         "signs, " + what);

        const Guarded<float> w(RandomFloats(random, outputs * k * run));
        reference::FloatSums(conv, x.data(), w.data(), want.data());
        const WeightRows rows = {WeightForm::kFloats, {w.data()}, 1, k * run * 4, outputs, k, run};
        const PackedWeights packed(kernels().pack_fma_tile, rows);
        ExpectSameFloats(want, RunFloatTile(conv, x.data(), packed.weights, kernels().panel,
                                            kernels().fma_tile),
                         "floats, " + what);
      }
    }
  }
}

TEST_P(KernelTest, FmaTileRoundsOnce) {
  Random random(5);
  constexpr size_t kOutputs = 37, kElements = 60;
  const reference::Convolution conv = {9, 1, kElements, kOutputs, SquareWindow(1, 1, 0)};
  auto x = AwkwardFloats(random, 9 * kElements), w = AwkwardFloats(random, kOutputs * kElements);
  // (1 + 2^-12)^2 is a tie in float; only one rounding sees the 2^-60 beside it.
  x[0] = 0x1p-60f, w[0] = 1.0f, x[1] = 1.0f + 0x1p-12f, w[1] = 1.0f + 0x1p-12f;
  for (size_t k = 2; k < kElements; ++k) x[k] = 0.0f, w[k] = 1.0f;
  std::vector<float> want(9 * kOutputs);
  reference::FloatSums(conv, x.data(), w.data(), want.data());
  ASSERT_EQ(want[0], 1.0f + 0x1p-11f + 0x1p-23f);
  const WeightRows rows = {WeightForm::kFloats, {w.data()}, 1, kElements * 4,
                           kOutputs,            1,          kElements};
  const PackedWeights packed(kernels().pack_fma_tile, rows);
  ExpectSameFloats(
      want, RunFloatTile(conv, x.data(), packed.weights, kernels().panel, kernels().fma_tile), "");
}

TEST_P(KernelTest, FmaTileTakesWeightsOfEveryForm) {
  Random random(12);
  for (const Precision& precision : kPrecisions) {
    for (const size_t channels : {1, 7, 33, 70}) {
      const size_t outputs = static_cast<size_t>(random.Between(1, 40));
      const reference::Convolution conv = {3, static_cast<size_t>(random.Between(3, 13)), channels,
                                           outputs, SquareWindow(3, 1, 1)};
      const Guarded<float> x(RandomFloats(random, conv.height * conv.width * channels));
      const auto w = RandomWeights(random, precision, outputs * 9 * channels);
      std::vector<float> want(conv.pixels() * outputs);
      reference::FloatSums(conv, x.data(), std::vector<float>(w.begin(), w.end()).data(),
                           want.data());
      const IntegerRows file(precision, w, outputs, 3, 3 * channels, Edge::kEnd);
      const PackedWeights packed(kernels().pack_fma_tile, file.rows);
      ExpectSameFloats(want, RunFloatTile(conv, x.data(), packed.weights, kernels().panel,
                                          kernels().fma_tile),
                       Describe(precision) + ", channels " + std::to_string(channels));
    }
  }
}

// ---------------------------------------------------------------------------------- dot tile

// One row of windows of kernel x kernel pixels at a stride of one against the exact sums.
void CheckDot(const Kernels& kernels, Random& random, const Precision& precision, size_t channels,
              size_t kernel, size_t pixels, size_t outputs) {
  const size_t run = kernel * channels, width = pixels + kernel - 1;
  const auto w = RandomWeights(random, precision, outputs * kernel * run);
  std::vector<uint8_t> x(kernel * width * channels);
  for (uint8_t& code : x) code = random.Bits() % 4 == 0 ? 255 : static_cast<uint8_t>(random.Bits());
  auto in_the_tile = w;
  const bool eight_bits =
      precision.form == WeightForm::kOdd ? precision.planes == 8
                                         : precision.form == WeightForm::kWeighted &&
                                               precision.planes > 7;
  if (eight_bits) {
    for (int32_t& weight : in_the_tile) weight = (weight - 1) / 2;
  }
  const reference::Convolution conv = {kernel, width, channels, outputs,
                                       SquareWindow(static_cast<int>(kernel), 1, 0)};
  std::vector<int64_t> want(pixels * outputs);
  reference::IntegerSums(conv, std::vector<int32_t>(x.begin(), x.end()).data(), in_the_tile.data(),
                         want.data());
  const size_t padded = RoundUp(outputs, kernels.panel);
  std::vector<int32_t> base(pixels * padded);
  for (int32_t& value : base) value = random.Between(-100000, 100000);
  for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
    const IntegerRows file(precision, w, outputs, kernel, run, edge);
    const PackedWeights packed(kernels.pack_dot_tile, file.rows);
    const Guarded<uint8_t> in(x, edge);
    const Guarded<int32_t> addend(base, edge);
    std::vector<const int32_t*> bases;
    for (size_t p = 0; p < pixels; ++p) bases.push_back(addend.data() + p * padded);
    for (const bool with_base : {false, true}) {
      Guarded<int32_t> got(pixels * padded, edge);
      kernels.dot_tile({in.data(), pixels, channels, kernel, run, width * channels},
                       packed.weights, with_base ? bases.data() : nullptr, got.data(), padded);
      for (size_t i = 0; i < want.size(); ++i) {
        const size_t at = i / outputs * padded + i % outputs;
        ASSERT_EQ(got[at], want[i] + (with_base ? base[at] : 0))
            << Describe(precision) << ", channels " << channels << ", kernel " << kernel
            << ", pixels " << pixels << ", outputs " << outputs << ", at " << i
            << (with_base ? ", with base" : "");
      }
    }
  }
}

TEST_P(KernelTest, DotTileIsTheExactSumOfEveryForm) {
  Random random(13);
  constexpr size_t kPixels[] = {1, 2, 3, 4, 5, 7, 8, 9, 13, 16};
  for (const Precision& precision : kPrecisions) {
    if (precision.form == WeightForm::kLimbs && precision.planes > 1) continue;
    for (const size_t channels : {1, 2, 3, 5, 31, 32, 33, 64, 127, 513}) {
      for (const size_t kernel : {1, 3}) {
        CheckDot(kernels(), random, precision, channels, kernel,
                 kPixels[random.Bits() % std::size(kPixels)],
                 static_cast<size_t>(random.Between(1, channels > 100 ? 35 : 50)));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(KernelTest, DotTileTakesPanelsThatEndAnywhere) {
  Random random(14);
  for (size_t outputs = 1; outputs <= 67; ++outputs) {
    const auto& precision = kPrecisions[outputs % 3];
    CheckDot(kernels(), random, precision, 6, 2, 1 + outputs % 12, outputs);
    if (HasFatalFailure()) return;
  }
}

TEST_P(KernelTest, DotTileDoesNotOverflowAtItsExtremes) {
  constexpr size_t kPixels = 5;
  for (const size_t runs : {size_t{1}, size_t{3}}) {
    const size_t run = kMaxFixedPointElements / runs, elements = runs * run;
    std::vector<int32_t> w(2 * elements, -128);
    std::fill(w.begin(), w.begin() + static_cast<std::ptrdiff_t>(elements), 127);
    const LimbRows file(w, 1, 2, runs, run, Edge::kEnd);
    const PackedWeights packed(kernels().pack_dot_tile, file.rows);
    const Guarded<uint8_t> x(std::vector<uint8_t>(elements + kPixels - 1, 255));
    const size_t padded = RoundUp(2, kernels().panel);
    Guarded<int32_t> got(kPixels * padded);
    kernels().dot_tile({x.data(), kPixels, 1, runs, run, run}, packed.weights, nullptr, got.data(),
                       padded);
    const int32_t sum = static_cast<int32_t>(elements * 255);
    for (size_t p = 0; p < kPixels; ++p) {
      ASSERT_EQ(got[p * padded], 127 * sum) << "pixel " << p << ", runs " << runs;
      ASSERT_EQ(got[p * padded + 1], -128 * sum) << "pixel " << p << ", runs " << runs;
    }
  }
}

TEST_P(KernelTest, CombineLimbsRoundsTheExactSumOnce) {
  Random random(31);
  // Of all magnitudes, the extremes among them.
  const auto any_sum = [&] {
    const auto bits = static_cast<int32_t>(random.Bits());
    if (random.Between(0, 7) > 0) return bits >> random.Between(0, 31);
    return bits > 0 ? INT32_MAX : INT32_MIN;
  };
  for (size_t n = 1; n <= 67; ++n) {
    for (const size_t limbs : {size_t{2}, size_t{3}}) {
      std::vector<std::vector<int32_t>> sums(limbs, std::vector<int32_t>(n));
      std::vector<const int32_t*> pointers;
      for (auto& limb : sums) {
        std::generate(limb.begin(), limb.end(), any_sum);
        pointers.push_back(limb.data());
      }
      Guarded<float> got(n);
      kernels().combine_limbs(pointers.data(), limbs, n, got.data());
      for (size_t i = 0; i < n; ++i) {
        int64_t sum = 0;
        for (size_t l = limbs; l-- > 0;) sum = sum * 256 + sums[l][i];
        ASSERT_EQ(static_cast<float>(sum), got[i]) << limbs << " limbs, element " << i;
      }
    }
  }
}

// --------------------------------------------------------------------------- plane popcount tile

// One row of windows of kernel x kernel pixels against the exact sums; the codes' planes made by
// code_plane.
void CheckPlanes(const Kernels& kernels, Random& random, const Precision& precision, size_t planes,
                 size_t channels, size_t kernel, size_t stride, size_t pixels, size_t outputs) {
  const size_t width = (pixels - 1) * stride + kernel, pixel = (channels + 31) / 32;
  const size_t words = width * pixel;
  const auto w = RandomWeights(random, precision, outputs * kernel * kernel * channels);
  std::vector<uint8_t> x(kernel * width * channels);
  for (uint8_t& code : x) code = static_cast<uint8_t>(random.Bits() % (1u << planes));
  Window window = SquareWindow(static_cast<int>(kernel), static_cast<int>(stride), 0);
  const reference::Convolution conv = {kernel, width, channels, outputs, window};
  std::vector<int64_t> want(pixels * outputs);
  reference::IntegerSums(conv, std::vector<int32_t>(x.begin(), x.end()).data(), w.data(),
                         want.data());
  const size_t padded = RoundUp(outputs, kernels.panel);
  for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
    const IntegerRows file(precision, w, outputs, kernel * kernel, channels, edge);
    const PackedWeights packed(kernels.pack_plane_popcount_tile, file.rows);
    const Guarded<uint8_t> codes(x, edge);
    Guarded<Word> in(planes * kernel * words, edge);
    for (size_t plane = 0; plane < planes; ++plane)
      kernels.code_plane(codes.data(), kernel * width, channels, plane,
                         in.data() + plane * kernel * words);
    Guarded<int32_t> got(pixels * padded, edge);
    kernels.plane_popcount_tile(
        {{in.data(), pixels, stride * pixel, kernel, kernel * pixel, words}, planes,
         kernel * words},
        packed.weights, got.data(), padded);
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(got[i / outputs * padded + i % outputs], want[i])
          << Describe(precision) << ", code planes " << planes << ", channels " << channels
          << ", kernel " << kernel << ", stride " << stride << ", pixels " << pixels
          << ", outputs " << outputs << ", at " << i;
  }
}

TEST_P(KernelTest, PlanePopcountTileIsTheExactSum) {
  if (kernels().plane_pairs == 0) {
    EXPECT_EQ(kernels().plane_popcount_tile, nullptr);
    EXPECT_EQ(kernels().code_plane, nullptr);
    return;
  }
  Random random(19);
  constexpr Precision kNumbers[] = {
      {WeightForm::kSigns, 1}, {WeightForm::kOdd, 2}, {WeightForm::kWeighted, 3}};
  for (const Precision& precision : kNumbers)
    for (const size_t planes : {1, 2, 3, 4}) {
      if (precision.form != WeightForm::kSigns && planes > 2) continue;
      for (const size_t channels : {1, 16, 31, 32, 33, 64, 70, 96, 2080})
        for (const size_t kernel : {1, 3})
          for (const size_t pixels : {1, 2, 3, 4, 7, 13}) {
            if (channels > 100 && pixels > 4) continue;
            CheckPlanes(kernels(), random, precision, planes, channels, kernel,
                        static_cast<size_t>(random.Between(1, 2)), pixels,
                        static_cast<size_t>(random.Between(1, channels > 100 ? 18 : 50)));
            if (HasFatalFailure()) return;
          }
    }
}

// What vectors add up for one element.
int8_t SumOfBits(const WeightRows& rows, size_t output, size_t k) {
  const ByteSum sum = ByteSumOf(rows);
  int32_t total = sum.offset;
  for (size_t i = 0; i < rows.planes; ++i) total += sum.weight[i] * RowBit(rows, i, output, k);
  return static_cast<int8_t>((total & sum.mask) + sum.least);
}

TEST(WeightsTest, EveryFormIsReadAsItsNumbers) {
  Random random(15);
  constexpr size_t kOutputs = 3, kRun = 75;
  for (const Precision& precision : kPrecisions) {
    const auto w = RandomWeights(random, precision, kOutputs * kRun);
    for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
      const IntegerRows file(precision, w, kOutputs, 1, kRun, edge);
      for (size_t i = 0; i < w.size(); ++i) {
        ASSERT_EQ(WeightCode(file.rows, i / kRun, i % kRun), w[i]) << Describe(precision);
        ASSERT_EQ(WeightFloat(file.rows, i / kRun, i % kRun), static_cast<float>(w[i]));
      }
      if (precision.form == WeightForm::kLimbs && precision.planes > 1) continue;
      const bool halved = file.rows.halved();
      for (size_t i = 0; i < w.size() && precision.form != WeightForm::kLimbs; ++i) {
        ASSERT_EQ(SumOfBits(file.rows, i / kRun, i % kRun), halved ? (w[i] - 1) / 2 : w[i])
            << Describe(precision);
      }
      for (size_t k = 0; k < kRun; ++k) {
        for (size_t count = 1; count <= kRun - k; count += 1 + count / 9) {
          Guarded<int8_t> buffer(count + kDotSlack, edge);
          const int8_t* got = DotWeights(file.rows, 2, k, count, buffer.data());
          for (size_t i = 0; i < count; ++i) {
            const int32_t want = w[2 * kRun + k + i];
            ASSERT_EQ(got[i], halved ? (want - 1) / 2 : want)
                << Describe(precision) << ", element " << k + i << " from " << k;
          }
        }
      }
    }
  }
}

// Whatever the planes hold: sums are taken modulo 2^bits.
TEST(WeightsTest, WeightedPlanesHaveAMeaningForAnyBits) {
  Random random(16);
  for (int round = 0; round < 200; ++round) {
    uint8_t planes[kMostPlanes][8];
    WeightRows rows = {WeightForm::kWeighted, {}, 0, 8, 1, 1, 64, 0, 0, {}};
    rows.planes = static_cast<size_t>(random.Between(2, kMostPlanes));
    rows.bits = static_cast<uint8_t>(random.Between(2, 8));
    const int32_t size = 1 << rows.bits;
    rows.offset = static_cast<uint8_t>(random.Between(0, size - 1));
    for (size_t i = 0; i < rows.planes; ++i) {
      rows.weight[i] = static_cast<uint8_t>(random.Between(1, size - 1));
      rows.plane[i] = planes[i];
      for (uint8_t& byte : planes[i]) byte = static_cast<uint8_t>(random.Bits());
    }
    int8_t buffer[64 + kDotSlack];
    const int8_t* got = DotWeights(rows, 0, 0, 64, buffer);
    for (size_t k = 0; k < 64; ++k) {
      int32_t q = rows.offset;
      for (size_t i = 0; i < rows.planes; ++i) q += (planes[i][k / 8] >> k % 8 & 1) * rows.weight[i];
      const int32_t w = 2 * (q % size) - (size - 1);
      ASSERT_EQ(WeightCode(rows, 0, k), w);
      ASSERT_EQ(got[k], rows.bits == 8 ? (w - 1) / 2 : w) << "bits " << int{rows.bits};
      ASSERT_EQ(SumOfBits(rows, 0, k), got[k]) << "bits " << int{rows.bits};
    }
  }
}

// ------------------------------------------------------------------------------- fixed point

struct FixedPointCase {
  size_t runs, run, step, pixels, outputs, limbs;
};

// Both orders against the exact sums. `x` holds every window's runs, run_stride apart.
void CheckFixedPoint(const Kernels& kernels, const FixedPointCase& c, const std::vector<uint8_t>& x,
                     size_t run_stride, const std::vector<int32_t>& w) {
  std::vector<float> want(c.pixels * c.outputs);
  for (size_t p = 0; p < c.pixels; ++p) {
    for (size_t o = 0; o < c.outputs; ++o) {
      int64_t sum = 0;
      for (size_t i = 0; i < c.runs * c.run; ++i) {
        sum += int64_t{w[o * c.runs * c.run + i]} *
               x[p * c.step + i / c.run * run_stride + i % c.run];
      }
      want[p * c.outputs + o] = static_cast<float>(sum);
    }
  }
  for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
    const LimbRows file(w, c.limbs, c.outputs, c.runs, c.run, edge);
    const Guarded<uint8_t> in(x, edge);
    const Windows<uint8_t> windows = {in.data(), c.pixels, c.step, c.runs, c.run, run_stride};
    const std::string what = "runs " + std::to_string(c.runs) + " of " + std::to_string(c.run) +
                             ", step " + std::to_string(c.step) + ", pixels " +
                             std::to_string(c.pixels) + ", limbs " + std::to_string(c.limbs);

    const size_t padded = RoundUp(c.outputs, kernels.panel);
    const PackedWeights tile(kernels.pack_fixed_point_tile, file.rows);
    Guarded<float> rows(c.pixels * padded, edge);
    kernels.fixed_point_tile(windows, tile.weights, rows.data(), padded);
    const PackedWeights lane(kernels.pack_fixed_point_lanes, file.rows);
    const size_t stride = c.pixels + 3;
    Guarded<float> lanes((c.outputs - 1) * stride + c.pixels, edge);
    kernels.fixed_point_lanes(windows, lane.weights, lanes.data(), stride);
    for (size_t i = 0; i < want.size(); ++i) {
      const size_t p = i / c.outputs, o = i % c.outputs;
      ASSERT_EQ(rows[p * padded + o], want[i]) << "tile, " << what << ", at " << i;
      ASSERT_EQ(lanes[o * stride + p], want[i]) << "lanes, " << what << ", at " << i;
    }
  }
}

constexpr int32_t kMaxWeight[] = {127, 32639, 8355711};

TEST_P(KernelTest, FixedPointSumsAreExactAndRoundedOnce) {
  Random random(6);
  // 3x3, 7x7 and 1x1 windows of colour images, deeper ones, a long row; strides and tails.
  const FixedPointCase cases[] = {
      {3, 9, 3, 32, 16, 3},  {3, 9, 3, 33, 17, 3},   {3, 9, 6, 16, 64, 3}, {3, 9, 3, 7, 5, 2},
      {3, 9, 3, 32, 16, 1},  {3, 9, 3, 1, 1, 2},     {7, 21, 6, 19, 24, 3}, {1, 1, 1, 5, 3, 1},
      {1, 1, 2, 64, 16, 3},  {1, 64, 128, 18, 20, 3}, {3, 48, 16, 9, 16, 2}, {5, 15, 3, 20, 12, 3},
      {1, 700, 700, 3, 9, 3}, {2, 31, 5, 40, 31, 3}, {3, 12, 4, 17, 16, 3}};
  for (const FixedPointCase& c : cases) {
    const size_t run_stride = (c.pixels - 1) * c.step + c.run + 5;
    std::vector<uint8_t> x((c.runs - 1) * run_stride + (c.pixels - 1) * c.step + c.run);
    for (uint8_t& value : x) value = static_cast<uint8_t>(random.Bits());
    std::vector<int32_t> w(c.outputs * c.runs * c.run);
    const int32_t limit = kMaxWeight[c.limbs - 1];
    for (int32_t& weight : w) weight = random.Between(-limit, limit);
    CheckFixedPoint(kernels(), c, x, run_stride, w);
  }
}

TEST_P(KernelTest, FixedPointSumsDoNotOverflowAtTheirExtremes) {
  for (const size_t limbs : {1, 2, 3}) {
    for (const int32_t sign : {1, -1}) {
      const FixedPointCase c = {7, 147, 147, 3, 18, limbs};
      const std::vector<uint8_t> x((c.runs - 1) * 500 + 3 * 147, 255);
      const std::vector<int32_t> w(c.outputs * c.runs * c.run, sign * kMaxWeight[limbs - 1]);
      CheckFixedPoint(kernels(), c, x, 500, w);
    }
  }
}

TEST_P(KernelTest, FixedPointSumsTakeTheLongestWindow) {
  const FixedPointCase c = {1, kMaxFixedPointElements, 1, 1, 2, 3};
  const std::vector<uint8_t> x(kMaxFixedPointElements, 255);
  std::vector<int32_t> w(c.outputs * c.run, -8355711);
  std::fill(w.begin(), w.begin() + kMaxFixedPointElements, 8355711);
  CheckFixedPoint(kernels(), c, x, c.run, w);
}

TEST_P(KernelTest, FixedPointSumsRoundTiesToEven) {
  // Sums of 25 to 36 bits that end in a tie, in its neighbours, and in ties of the limbs' carries.
  std::vector<int32_t> w;
  std::vector<uint8_t> x(27);
  for (size_t i = 0; i < 27; ++i) x[i] = i < 4 ? static_cast<uint8_t>(1 << (2 * i)) : 255;
  constexpr size_t kOutputs = 96;
  Random random(7);
  for (size_t o = 0; o < kOutputs; ++o) {
    int64_t rest = (int64_t{1} << (24 + o % 8)) * (random.Between(1, 3)) +
                   (int64_t{1} << (o % 8)) * random.Between(0, 5) + random.Between(-1, 1);
    if (o % 2) rest = -rest;
    std::vector<int32_t> row(27);
    for (size_t i = 27; i-- > 0;) {
      const int64_t q = std::clamp<int64_t>(rest / x[i], -8355711, 8355711);
      row[i] = static_cast<int32_t>(q);
      rest -= q * x[i];
    }
    ASSERT_EQ(rest, 0);
    w.insert(w.end(), row.begin(), row.end());
  }
  x.insert(x.end(), 27, 1);
  CheckFixedPoint(kernels(), {1, 27, 27, 2, kOutputs, 3}, x, 27, w);
}

// --------------------------------------------------------------------------------- epilogues

struct EpilogueCase {
  size_t channels, rows, width;
  bool sums, affine, b_per_pixel, residual, out, bits, in_place;
  Activation activation;
  bool codes = false;
};

// The cases in plain form: NHWC values and what they should become.
struct EpilogueData {
  std::vector<int32_t> sums;
  std::vector<float> values, a, b, b_pixels, residual, slopes, want;
  std::vector<int32_t> want_signs, want_codes;
  float inverse_step;
  int levels;
};

EpilogueData MakeEpilogueData(Random& random, const EpilogueCase& c) {
  const size_t pixels = c.rows * c.width, count = pixels * c.channels;
  EpilogueData data;
  data.values = AwkwardFloats(random, count);
  if (c.sums) {
    for (float& value : data.values) {
      const int32_t sum = random.Bits() % 4 == 0 ? static_cast<int32_t>(random.Bits())
                                                 : random.Between(-600, 600);
      data.sums.push_back(sum);
      value = static_cast<float>(sum);
    }
  }
  data.a = AwkwardFloats(random, c.channels);
  data.b = AwkwardFloats(random, c.channels);
  data.b_pixels = AwkwardFloats(random, count);
  data.residual = AwkwardFloats(random, count);
  data.want = data.values;
  if (c.affine) {
    std::vector<const float*> b_of_pixel;
    for (size_t p = 0; p < pixels; ++p) b_of_pixel.push_back(&data.b_pixels[p * c.channels]);
    reference::Affine(pixels, c.channels, data.a.data(), data.b.data(),
                      c.b_per_pixel ? b_of_pixel.data() : nullptr, data.want.data());
  }
  if (c.residual) reference::Add(count, data.residual.data(), data.want.data());
  data.slopes = AwkwardFloats(random, c.channels);
  if (c.activation == Activation::kPRelu) {
    reference::ActivatePRelu(pixels, c.channels, data.slopes.data(), data.want.data());
  } else {
    reference::Activate(count, c.activation, data.want.data());
  }
  constexpr int kLevels[] = {1, 3, 15, 127, 255};
  data.levels = kLevels[random.Bits() % std::size(kLevels)];
  const float steps[] = {0.5f, 0.1f, static_cast<float>(data.levels), 1e-30f, 3e38f};
  data.inverse_step = steps[random.Bits() % std::size(steps)];
  data.want_codes.resize(count);
  reference::Codes(count, data.want.data(), data.inverse_step, data.levels,
                   data.want_codes.data());
  data.want_signs.resize(count);
  reference::Signs(count, data.want.data(), data.want_signs.data());
  return data;
}

// Image [pixels][channels] to planes [channels][pixels].
template <typename T>
std::vector<T> Planar(const std::vector<T>& values, size_t channels) {
  std::vector<T> planes(values.size());
  const size_t pixels = values.size() / channels;
  for (size_t p = 0; p < pixels; ++p) {
    for (size_t c = 0; c < channels; ++c) planes[c * pixels + p] = values[p * channels + c];
  }
  return planes;
}

// Codes and PRelu are for rows order only.
std::vector<EpilogueCase> EpilogueCases(Random& random, size_t max_channels, bool rows_order) {
  std::vector<EpilogueCase> cases;
  for (const size_t channels : {1, 3, 8, 10, 15, 16, 17, 31, 32, 33, 64, 80}) {
    if (channels > max_channels) continue;
    for (const Activation activation :
         {Activation::kNone, Activation::kRelu, Activation::kHardtanh, Activation::kClipUnit,
          Activation::kPRelu}) {
      if (activation == Activation::kPRelu && !rows_order) continue;
      for (int flags = 0; flags < 32; ++flags) {
        const bool residual = flags & 4, out = flags & 8;
        cases.push_back({channels, static_cast<size_t>(random.Between(1, 3)),
                         static_cast<size_t>(random.Between(1, 34)), (flags & 1) != 0,
                         (flags & 2) != 0, random.Sign() > 0, residual, out, (flags & 16) != 0,
                         residual && out && random.Sign() > 0, activation,
                         rows_order && random.Sign() > 0});
      }
    }
  }
  return cases;
}

std::string Describe(const EpilogueCase& c) {
  std::string text = std::to_string(c.channels) + " channels, " + std::to_string(c.rows) + "x" +
                     std::to_string(c.width) + ", activation " +
                     std::to_string(static_cast<int>(c.activation));
  if (c.sums) text += ", sums";
  if (c.affine) text += c.b_per_pixel ? ", affine with b per pixel" : ", affine";
  if (c.residual) text += ", residual";
  if (c.in_place) text += " in place";
  if (c.codes) text += ", codes";
  return text;
}

TEST_P(KernelTest, EpilogueRowsIsAffineAddActivateStoreSignAndCode) {
  Random random(8);
  for (const EpilogueCase& c : EpilogueCases(random, 80, true)) {
    const EpilogueData data = MakeEpilogueData(random, c);
    const size_t pixels = c.rows * c.width, n = c.channels;
    const Edge edge = random.Sign() > 0 ? Edge::kEnd : Edge::kBegin;
    const Guarded<int32_t> sums(data.sums, edge);
    const Guarded<float> values(data.values, edge), a(data.a, edge), b(data.b, edge);
    const Guarded<float> b_pixels(data.b_pixels, edge);
    Guarded<float> residual(data.residual, edge);
    Guarded<float> out(pixels * n, edge);
    const size_t bits_stride = PixelBytes(n) + 2;
    Guarded<uint8_t> bits((pixels - 1) * bits_stride + PixelBytes(n), edge);
    std::memset(bits.data(), 0xa5, bits.size());
    const Guarded<float> slopes(data.slopes, edge);
    const size_t codes_stride = n + 3;
    Guarded<uint8_t> codes((pixels - 1) * codes_stride + n, edge);
    std::memset(codes.data(), 0xa5, codes.size());
    std::vector<const float*> b_rows;
    for (size_t p = 0; p < pixels; ++p) b_rows.push_back(b_pixels.data() + p * n);

    EpilogueRows e = {};
    e.sums = c.sums ? sums.data() : nullptr;
    e.values = c.sums ? nullptr : values.data();
    e.channels = n;
    e.a = c.affine ? a.data() : nullptr;
    e.b = c.affine && !c.b_per_pixel ? b.data() : nullptr;
    e.b_rows = c.affine && c.b_per_pixel ? b_rows.data() : nullptr;
    e.activation = c.activation;
    e.pixels = pixels;
    e.in_stride = e.residual_stride = e.out_stride = n;
    e.residual = c.residual ? residual.data() : nullptr;
    float* result = c.in_place ? residual.data() : out.data();
    e.out = c.out ? result : nullptr;
    e.bits = c.bits ? bits.data() : nullptr;
    e.bits_stride = bits_stride;
    e.slopes = c.activation == Activation::kPRelu ? slopes.data() : nullptr;
    e.codes = c.codes ? codes.data() : nullptr;
    e.codes_stride = codes_stride;
    e.inverse_step = data.inverse_step;
    e.levels = data.levels;
    kernels().epilogue_rows(e);
    for (size_t i = 0; i < pixels * n; ++i) {
      const size_t p = i / n, channel = i % n;
      if (c.out) {
        ASSERT_TRUE(SameFloat(result[i], data.want[i]))
            << Describe(c) << ", at " << i << ": " << result[i] << " instead of " << data.want[i];
      }
      if (c.codes) {
        ASSERT_EQ(codes[p * codes_stride + channel], data.want_codes[i])
            << Describe(c) << ", code " << i << " of " << data.want[i];
        if (p + 1 < pixels) {
          ASSERT_EQ(codes[p * codes_stride + n], 0xa5) << "wrote beyond the pixel's codes";
        }
      }
      const uint8_t* group = bits.data() + p * bits_stride;
      if (c.bits) {
        ASSERT_EQ((group[channel / 8] >> (channel % 8)) & 1, data.want_signs[i] > 0)
            << Describe(c) << ", bit " << i;
        for (size_t bit = n; bit < PixelBytes(n) * 8; ++bit) {
          ASSERT_EQ((group[bit / 8] >> (bit % 8)) & 1, 0) << Describe(c) << ", padding bit " << bit;
        }
        if (p + 1 < pixels) {
          ASSERT_EQ(group[PixelBytes(n)], 0xa5) << "wrote beyond the pixel";
        }
      }
    }
  }
}

// Of integers that count where t < x; flipped, where -x - 1 does.
template <typename T>
void ExpectThresholds(Random& random, size_t channels, int levels, bool shared,
                      void (*kernel)(const ThresholdRows<T>&)) {
  constexpr bool kFloats = std::is_same_v<T, float>;
  const size_t pixels = static_cast<size_t>(random.Between(1, 9)), stride = channels + 2;
  const size_t rows = static_cast<size_t>(levels), columns = shared ? 1 : channels;
  const Edge edge = random.Sign() > 0 ? Edge::kEnd : Edge::kBegin;
  std::vector<T> x(pixels * stride);
  std::vector<float> awkward = AwkwardFloats(random, x.size());
  for (size_t i = 0; i < x.size(); ++i)
    if constexpr (kFloats)
      x[i] = awkward[i];
    else
      x[i] = random.Bits() % 8 == 0 ? INT32_MAX - 1 : random.Between(-20, 20);
  std::vector<T> thresholds(rows * columns);
  const auto some = [&](int low, int high) {
    return static_cast<T>(random.Between(low, high)) * static_cast<T>(kFloats ? 0.0625 : 1);
  };
  for (size_t i = 0; i < thresholds.size(); ++i)
    thresholds[i] = i < columns ? some(-25, 20) : thresholds[i - columns] + some(0, 3);
  if (!kFloats && random.Sign() > 0) {  // always; never
    thresholds.front() = std::numeric_limits<T>::lowest();
    thresholds.back() = std::numeric_limits<T>::max();
  }
  std::vector<int32_t> flip(channels);
  for (int32_t& f : flip) f = random.Sign() > 0 ? 0 : -1;

  std::vector<double> values(pixels * channels), all(rows * channels);
  for (size_t i = 0; i < values.size(); ++i) {
    const T value = x[i / channels * stride + i % channels];
    values[i] = static_cast<double>(value);
    if (!kFloats) values[i] = (flip[i % channels] != 0 ? -values[i] - 1 : values[i]) - 0.5;
  }
  for (size_t i = 0; i < all.size(); ++i)
    all[i] = static_cast<double>(thresholds[shared ? i / channels : i]);
  std::vector<int32_t> want(values.size());
  reference::CountThresholds(pixels, channels, values.data(), levels, all.data(), want.data());

  const Guarded<T> in(x, edge), guarded(thresholds, edge);
  const Guarded<int32_t> flips(flip, edge);
  Guarded<uint8_t> codes((pixels - 1) * stride + channels, edge);
  ThresholdRows<T> r = {};
  r.in = in.data();
  r.pixels = pixels;
  r.in_stride = r.codes_stride = stride;
  r.channels = channels;
  r.thresholds = guarded.data();
  r.levels = rows;
  r.level_stride = columns;
  r.flip = kFloats ? nullptr : flips.data();
  r.codes = codes.data();
  kernel(r);
  const std::string what = std::to_string(channels) + " channels, " + std::to_string(levels) +
                           " levels" + (shared ? ", shared" : "") + (kFloats ? ", floats" : "");
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(codes[i / channels * stride + i % channels], want[i]) << what << ", at " << i;
  if (levels != 1) return;
  r.codes = nullptr;
  r.bits_stride = PixelBytes(channels) + 2;
  Guarded<uint8_t> bits((pixels - 1) * r.bits_stride + PixelBytes(channels), edge);
  std::memset(bits.data(), 0xa5, bits.size());
  r.bits = bits.data();
  kernel(r);
  for (size_t p = 0; p < pixels; ++p)
    for (size_t bit = 0; bit < PixelBytes(channels) * 8; ++bit)
      ASSERT_EQ(bits[p * r.bits_stride + bit / 8] >> (bit % 8) & 1,
                bit < channels ? want[p * channels + bit] : 0)
          << what << ", pixel " << p << ", bit " << bit;
}

TEST_P(KernelTest, ThresholdsAreCounted) {
  Random random(21);
  for (const size_t channels : {1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 80})
    for (const int levels : {1, 2, 3, 4, 7, 15, 255})
      for (const bool shared : {false, true}) {
        if (shared && channels == 1) continue;
        ExpectThresholds<float>(random, channels, levels, shared, kernels().threshold_f32);
        ExpectThresholds<int32_t>(random, channels, levels, shared, kernels().threshold_sums);
        if (HasFatalFailure()) return;
      }
}

TEST_P(KernelTest, EpilogueLanesIsAffineAddActivateStoreSign) {
  Random random(9);
  for (const EpilogueCase& c : EpilogueCases(random, 64, false)) {
    const EpilogueData data = MakeEpilogueData(random, c);
    const size_t pixels = c.rows * c.width, n = c.channels;
    const Edge edge = random.Sign() > 0 ? Edge::kEnd : Edge::kBegin;
    const Guarded<int32_t> sums(Planar(data.sums, n), edge);
    const Guarded<float> values(Planar(data.values, n), edge), a(data.a, edge), b(data.b, edge);
    std::vector<float> by_row;  // [rows][channels][width]
    std::vector<const float*> b_rows;
    for (size_t y = 0; y < c.rows; ++y) {
      const std::vector<float> row(&data.b_pixels[y * c.width * n],
                                   &data.b_pixels[y * c.width * n] + c.width * n);
      const std::vector<float> planes = Planar(row, n);
      by_row.insert(by_row.end(), planes.begin(), planes.end());
    }
    const Guarded<float> b_pixels(by_row, edge);
    for (size_t y = 0; y < c.rows; ++y) b_rows.push_back(b_pixels.data() + y * n * c.width);
    Guarded<float> residual(Planar(data.residual, n), edge);
    Guarded<float> out(pixels * n, edge);
    const size_t pixel_bytes = PixelBytes(n), row_bytes = (c.width + 2) * pixel_bytes;
    Guarded<uint8_t> bits((c.rows - 1) * row_bytes + c.width * pixel_bytes, edge);
    std::memset(bits.data(), 0xa5, bits.size());

    EpilogueLanes e = {};
    e.sums = c.sums ? sums.data() : nullptr;
    e.values = c.sums ? nullptr : values.data();
    e.channels = n;
    e.a = c.affine ? a.data() : nullptr;
    e.b = c.affine && !c.b_per_pixel ? b.data() : nullptr;
    e.b_rows = c.affine && c.b_per_pixel ? b_rows.data() : nullptr;
    e.activation = c.activation;
    e.rows = c.rows;
    e.width = c.width;
    e.in_plane = e.residual_plane = e.out_plane = pixels;
    e.residual = c.residual ? residual.data() : nullptr;
    float* result = c.in_place ? residual.data() : out.data();
    e.out = c.out ? result : nullptr;
    e.bits = c.bits ? bits.data() : nullptr;
    e.bits_row_bytes = row_bytes;
    kernels().epilogue_lanes(e);
    for (size_t i = 0; i < pixels * n; ++i) {
      const size_t p = i / n, channel = i % n;
      if (c.out) {
        ASSERT_TRUE(SameFloat(result[channel * pixels + p], data.want[i]))
            << Describe(c) << ", pixel " << p << ", channel " << channel << ": "
            << result[channel * pixels + p] << " instead of " << data.want[i];
      }
      const uint8_t* group =
          bits.data() + p / c.width * row_bytes + p % c.width * pixel_bytes;
      if (c.bits) {
        ASSERT_EQ((group[channel / 8] >> (channel % 8)) & 1, data.want_signs[i] > 0)
            << Describe(c) << ", bit " << i;
        for (size_t bit = n; bit < pixel_bytes * 8; ++bit) {
          ASSERT_EQ((group[bit / 8] >> (bit % 8)) & 1, 0) << Describe(c) << ", padding bit " << bit;
        }
      }
    }
    for (size_t y = 0; c.bits && y + 1 < c.rows; ++y) {
      ASSERT_EQ(bits[y * row_bytes + c.width * pixel_bytes], 0xa5) << "wrote into the ring";
    }
  }
}

// fma(1 + 2^-12, 1 + 2^-12, 2^-60) and its like: a billion random cases do not meet such a tie.
TEST_P(KernelTest, EpiloguesRoundTheAffineOnce) {
  Random random(10);
  constexpr size_t kCount = 4096;
  std::vector<float> x(kCount), a(kCount), b(kCount), rows(kCount), lanes(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    const float scale = std::ldexp(1.0f, random.Between(-60, 60));
    x[i] = (1.0f + std::ldexp(1.0f, -random.Between(1, 12))) * scale;
    a[i] = 1.0f + std::ldexp(1.0f, -12) * static_cast<float>(random.Between(1, 3));
    b[i] = std::ldexp(static_cast<float>(random.Sign()), -random.Between(20, 60)) * scale;
  }
  x[0] = a[0] = 1.0f + 0x1p-12f, b[0] = 0x1p-60f;
  EpilogueRows r = {};
  r.values = x.data(), r.channels = kCount, r.a = a.data(), r.b = b.data(), r.pixels = 1;
  r.out = rows.data();
  kernels().epilogue_rows(r);
  EpilogueLanes l = {};
  const float one_a = a[0];
  const float* b_row = b.data();
  l.values = x.data(), l.channels = 1, l.a = &one_a, l.b_rows = &b_row, l.rows = 1;
  l.width = kCount, l.out = lanes.data();
  kernels().epilogue_lanes(l);
  EXPECT_EQ(rows[0], 1.0f + 0x1p-11f + 0x1p-23f);
  for (size_t i = 0; i < kCount; ++i) {
    ASSERT_EQ(rows[i], ExactFma(x[i], a[i], b[i])) << i;
    ASSERT_EQ(lanes[i], ExactFma(x[i], one_a, b[i])) << i;
  }
}

// ----------------------------------------------------------------------------------- pooling

TEST_P(KernelTest, AveragePoolIsTheOrderedSumOverValidTaps) {
  Random random(11);
  const Window windows[] = {SquareWindow(2, 2, 0), SquareWindow(3, 2, 1), SquareWindow(8, 8, 0),
                            SquareWindow(1, 2, 0), SquareWindow(3, 1, 1), SquareWindow(3, 3, 1),
                            {8, 8, 1, 1, 0, 0, 0, 0}};
  for (const Window& window : windows) {
    for (const size_t channels : {1, 3, 8, 16, 17, 33}) {
      const bool global = window.kernel_h == 8;
      const size_t height = global ? 8 : static_cast<size_t>(random.Between(3, 9));
      const size_t width = global ? 8 : static_cast<size_t>(random.Between(3, 70));
      const reference::Convolution conv = {height, width, channels, 0, window};
      const size_t before = static_cast<size_t>(random.Between(0, 3));
      const size_t after = static_cast<size_t>(random.Between(0, 3));
      const float scale = 1.0f / static_cast<float>(window.taps());
      const auto x = AwkwardFloats(random, height * width * channels);
      const size_t total = before + channels + after;
      std::vector<float> want(conv.pixels() * total);
      reference::AveragePool(conv, x.data(), scale, before, after, want.data());
      for (const bool lanes : {false, true}) {
        const Guarded<float> in(lanes ? Planar(x, channels) : x);
        Guarded<float> out(want.size());
        const AveragePool pool = {in.data(), height, width,  channels, window,
                                  scale,     before, after, out.data()};
        (lanes ? kernels().average_pool_lanes : kernels().average_pool_rows)(pool);
        ExpectSameFloats(lanes ? Planar(want, total) : want,
                         std::vector<float>(out.data(), out.data() + out.size()),
                         std::string(lanes ? "lanes" : "rows") + ", kernel " +
                             std::to_string(window.kernel_h) + ", channels " +
                             std::to_string(channels) + ", width " + std::to_string(width));
      }
    }
  }
}

// Windows that lie in the image, rows and pixels apart as strides have them; weights [k][channels].
TEST_P(KernelTest, DepthwiseIsAConvolutionOfEachChannel) {
  Random random(17);
  for (const size_t channels : {1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 127, 513}) {
    for (const int pixels : {1, 3, 4, 5, 9}) {
      const Window window = {random.Between(1, 3), random.Between(1, 5), 1, random.Between(1, 3),
                             0, 0, 0, 0};
      const size_t height = static_cast<size_t>(window.kernel_h);
      const size_t width =
          static_cast<size_t>((pixels - 1) * window.stride_w + window.kernel_w);
      const reference::Convolution conv = {height, width, channels, channels, window, channels};
      const size_t taps = static_cast<size_t>(window.taps()), outputs = conv.pixels() * channels;
      const Edge edge = random.Sign() > 0 ? Edge::kEnd : Edge::kBegin;
      const std::string what = "channels " + std::to_string(channels) + ", pixels " +
                               std::to_string(pixels) + ", taps " + std::to_string(taps);
      const size_t stride = channels + static_cast<size_t>(random.Between(0, 5));
      const auto dense = [&](const auto& acc) {
        std::vector<std::remove_cvref_t<decltype(acc[0])>> values;
        for (size_t i = 0; i < outputs; ++i)
          values.push_back(acc[i / channels * stride + i % channels]);
        return values;
      };
      const auto by_tap = [&](const auto& weights) {
        auto result = weights;
        for (size_t i = 0; i < weights.size(); ++i)
          result[i % taps * channels + i / taps] = weights[i];
        return result;
      };
      const size_t acc_size = (conv.pixels() - 1) * stride + channels;

      std::vector<int32_t> x(height * width * channels), w(channels * taps);
      for (int32_t& value : x) value = random.Between(0, 255);
      for (int32_t& value : w) value = random.Between(-128, 127);
      const int32_t zero = random.Between(0, 1) * random.Between(1, 255);
      std::vector<int32_t> centred = x;
      for (int32_t& value : centred) value -= zero;
      std::vector<int64_t> sums(outputs);
      reference::IntegerSums(conv, centred.data(), w.data(), sums.data());
      const Guarded<uint8_t> codes(std::vector<uint8_t>(x.begin(), x.end()), edge);
      // The window is a part of a larger one, whose other taps are not met.
      const size_t row = static_cast<size_t>(random.Between(0, 2));
      const size_t column = static_cast<size_t>(random.Between(0, 2));
      const size_t runs = row + static_cast<size_t>(window.kernel_h + random.Between(0, 2));
      const size_t run = column + static_cast<size_t>(window.kernel_w + random.Between(0, 2));
      std::vector<int8_t> bytes(channels * runs * run);
      for (int8_t& value : bytes) value = static_cast<int8_t>(random.Between(-128, 127));
      for (size_t i = 0; i < w.size(); ++i) {
        const auto kernel_w = static_cast<size_t>(window.kernel_w);
        const size_t y = row + i % taps / kernel_w, x = column + i % kernel_w;
        bytes[(i / taps * runs + y) * run + x] = static_cast<int8_t>(w[i]);
      }
      WeightRows rows = {};
      rows.form = WeightForm::kLimbs;
      rows.plane[0] = bytes.data();
      rows.planes = 1;
      rows.row_bytes = runs * run;
      rows.outputs = channels;
      rows.runs = runs;
      rows.run = run;
      const PackedWeights packed(kernels().pack_depthwise_codes, rows);
      Guarded<int32_t> acc(acc_size, edge);
      kernels().depthwise_codes(
          {codes.data(), conv.pixels(), static_cast<size_t>(window.stride_w) * channels,
           static_cast<size_t>(window.kernel_h), static_cast<size_t>(window.kernel_w),
           width * channels, channels, channels},
          packed.weights, row, column, zero, acc.data(), stride);
      const std::vector<int32_t> got = dense(acc);
      for (size_t i = 0; i < outputs; ++i) ASSERT_EQ(got[i], sums[i]) << what << ", at " << i;

      const Guarded<float> floats(AwkwardFloats(random, x.size()), edge);
      const std::vector<float> float_w = AwkwardFloats(random, w.size());
      const Guarded<float> float_weights(by_tap(float_w), edge);
      std::vector<float> want(outputs);
      reference::FloatSums(conv, floats.data(), float_w.data(), want.data());
      Guarded<float> float_acc(acc_size, edge);
      kernels().depthwise_f32(
          {floats.data(), conv.pixels(), static_cast<size_t>(window.stride_w) * channels,
           static_cast<size_t>(window.kernel_h), static_cast<size_t>(window.kernel_w),
           width * channels, channels, channels},
          {float_weights.data(), static_cast<size_t>(window.kernel_w) * channels},
          float_acc.data(), stride);
      ExpectSameFloats(want, dense(float_acc), what);
    }
  }
}

TEST_P(KernelTest, MaxPoolIsTheLargestValidTap) {
  Random random(16);
  const Window windows[] = {SquareWindow(2, 2, 0), SquareWindow(3, 2, 1), SquareWindow(3, 1, 1),
                            SquareWindow(3, 3, 0), {2, 3, 2, 1, 0, 1, 1, 1}, SquareWindow(1, 2, 0)};
  for (const Window& window : windows) {
    for (const size_t channels : {1, 3, 4, 8, 15, 16, 17, 31, 32, 33, 64, 127, 513}) {
      const size_t height = static_cast<size_t>(random.Between(3, 7));
      const size_t width = static_cast<size_t>(random.Between(3, 9));
      const reference::Convolution conv = {height, width, channels, 0, window};
      const Edge edge = random.Sign() > 0 ? Edge::kEnd : Edge::kBegin;
      const std::string what = "kernel " + std::to_string(window.kernel_h) + ", channels " +
                               std::to_string(channels) + ", width " + std::to_string(width);

      const Guarded<float> x(AwkwardFloats(random, height * width * channels), edge);
      std::vector<float> want(conv.pixels() * channels);
      reference::MaxPool(conv, x.data(), want.data());
      Guarded<float> got(want.size(), edge);
      kernels().max_pool_f32({x.data(), height, width, channels, window, got.data()});
      ExpectSameFloats(want, std::vector<float>(got.data(), got.data() + got.size()), what);

      std::vector<int32_t> values(x.size()), largest(want.size());
      for (int32_t& value : values) value = random.Between(0, 255);
      reference::MaxPool(conv, values.data(), largest.data());
      const Guarded<uint8_t> codes(std::vector<uint8_t>(values.begin(), values.end()), edge);
      Guarded<uint8_t> out(largest.size(), edge);
      kernels().max_pool_codes({codes.data(), height, width, channels, window, out.data()});
      for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], largest[i]) << what << ", at " << i;

      std::vector<uint8_t> minimum(channels), flips(channels);
      for (size_t c = 0; c < channels; ++c) {
        minimum[c] = random.Sign() > 0 ? 1 : 0;
        flips[c] = minimum[c] != 0 ? 255 : 0;
      }
      reference::MaxPool(conv, values.data(), largest.data(), minimum.data());
      const Guarded<uint8_t> flip(flips, edge);
      kernels().max_pool_codes(
          {codes.data(), height, width, channels, window, out.data(), flip.data()});
      for (size_t i = 0; i < out.size(); ++i)
        ASSERT_EQ(out[i], largest[i]) << what << " with minima, at " << i;
    }
  }
}

// --------------------------------------------------------------------------------- checksums

TEST(Crc32cTest, TheInstructionGivesTheTablesResult) {
  Crc32cRow* instruction = FindCrc32c();
  if (instruction == nullptr) GTEST_SKIP() << "this CPU has none";
  EXPECT_EQ(instruction("123456789", 9, 0), 0xE3069283u);  // RFC 3720's check value
  Random random(21);
  // Around whole words, around where three parts are worth it, and large.
  for (const size_t size :
       {0, 1, 7, 8, 9, 63, 64, 65, 2047, 2048, 2049, 2071, 2072, 6000, 100003}) {
    for (const Edge edge : {Edge::kEnd, Edge::kBegin}) {
      Guarded<uint8_t> bytes(size, edge);
      for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(random.Bits());
      const uint32_t want = lbm::Crc32c(bytes.data(), size);
      ASSERT_EQ(instruction(bytes.data(), size, 0), want) << size;
      const size_t half = size / 2;
      const uint32_t begun = lbm::Crc32c(bytes.data(), half);
      ASSERT_EQ(instruction(bytes.data() + half, size - half, begun), want) << size;
    }
  }
}

// ---------------------------------------------------------------------------------- choosing

TEST(ColumnsTest, TheScalarColumnIsThereAndRepacksNothing) {
  EXPECT_EQ(FindKernels("scalar"), &kScalarKernels);
  const WeightRows rows = {WeightForm::kLimbs, {}, 3, 64, 16, 3, 9};
  for (const Packing& packing :
       {kScalarKernels.pack_xor_popcount_tile, kScalarKernels.pack_xor_popcount_lanes,
        kScalarKernels.pack_sign_sum_tile, kScalarKernels.pack_fma_tile,
        kScalarKernels.pack_fixed_point_tile, kScalarKernels.pack_fixed_point_lanes,
        kScalarKernels.pack_dot_tile}) {
    EXPECT_EQ(packing.bytes(rows), 0u);
  }
}

TEST(ColumnsTest, ColumnsAreFoundByNameAndOthersAreNot) {
  for (const Kernels* kernels : AvailableKernels()) EXPECT_EQ(FindKernels(kernels->isa), kernels);
  EXPECT_EQ(FindKernels("no such column"), nullptr);
  EXPECT_EQ(FindKernels(""), nullptr);
}

TEST(ColumnsTest, TheEnvironmentChoosesTheColumn) {
  unsetenv("LBRT_ISA");
  EXPECT_EQ(BestKernels(), AvailableKernels().back());
  setenv("LBRT_ISA", "scalar", 1);
  EXPECT_EQ(BestKernels(), &kScalarKernels);
  setenv("LBRT_ISA", "no such column", 1);
  EXPECT_EQ(BestKernels(), nullptr);
  unsetenv("LBRT_ISA");
}

}  // namespace
}  // namespace lbrt
