#include "runtime/ops/thresholds.h"

#include "runtime/ops/checks.h"

namespace lbrt {
namespace {

// No sum is larger: 2^31 - 1 is a prime number, and no product of the numbers of elements, weights
// and levels.
constexpr int64_t kMostSum = INT32_MAX - 1;

// A chain as a function that does not fall, of positions: the sum, or its complement, which falls
// as the sum rises.
struct Rising {
  const SumChain& chain;
  bool flip;

  int64_t first() const { return flip ? ~kMostSum : -kMostSum; }
  int64_t last() const { return flip ? kMostSum - 1 : kMostSum; }
  int Code(int64_t position) const { return chain.Code(flip ? ~position : position); }
};

// The value from which on the chain has the code `level`.
double ValueOf(const SumChain& chain, int level) {
  if (chain.levels == 0) return 0;
  if (chain.counted.list == nullptr) return (level - 0.5) / static_cast<double>(chain.inverse_step);
  const size_t at = static_cast<size_t>(level - 1) * chain.counted.stride;
  return static_cast<double>(chain.counted.list[at]);
}
// The sum that gives it, roughly.
double Guess(const SumChain& chain, int level) {
  const double z = ValueOf(chain, level);
  if (!chain.affine) return z;
  return (z - static_cast<double>(chain.b)) / static_cast<double>(chain.a);
}

// The first position of the level, from position `from` on: outwards from a guess, then by halving.
int64_t FirstOf(const Rising& rising, int level, int64_t from) {
  int64_t low = from, after = rising.last() + 1;  // it is one of [low, after]
  const double guess = Guess(rising.chain, level);
  int64_t middle = (low + after) / 2;
  if (guess > -2147483647.0 && guess < 2147483647.0) {
    const auto sum = static_cast<int64_t>(guess);
    middle = rising.flip ? ~sum : sum;
  }
  for (int64_t step = 1; low < after; step *= 2) {
    if (middle < low) middle = low;
    if (middle >= after) middle = after - 1;
    if (rising.Code(middle) >= level) {
      after = middle;
      middle -= step;
    } else {
      low = middle + 1;
      middle += step;
    }
    if (step > 8) middle = low + (after - low) / 2;
  }
  return after;
}

// Eight comparisons at most.
uint8_t Search(const Thresholds& thresholds, const float* channel, float x) {
  size_t code = 0;
  for (size_t step = 128; step > 0; step /= 2)
    if (code + step <= thresholds.levels && x >= channel[(code + step - 1) * thresholds.stride])
      code += step;
  return static_cast<uint8_t>(code);
}

}  // namespace

Refusal CheckThresholds(const FileView& file, const lbm::Floats* list, int64_t levels,
                        int64_t channels) {
  if (levels < 1) return {"thresholds of no level", 1, 0};
  if (list == nullptr) return {"a threshold op without thresholds"};
  const int64_t all = channels * levels;
  if (list->count() != all && list->count() != levels)
    return {"not one threshold for each level and channel", all, list->count()};
  if (Refusal r = CheckFiniteFloats(file, list->segment(), list->offset(), list->count())) return r;
  const auto* t = reinterpret_cast<const float*>(file.data(list->segment()) + list->offset());
  const int64_t row = list->count() / levels;
  for (int64_t i = row; i < list->count(); ++i)
    if (t[i] < t[i - row]) return {"the thresholds of a channel do not ascend"};
  return {};
}

Thresholds ThresholdsOf(const FileView& file, const lbm::Floats& list, size_t levels) {
  return {reinterpret_cast<const float*>(file.data(list.segment()) + list.offset()), levels,
          list.count() / levels};
}

void CountThresholds(const Kernels& kernels, const Thresholds& thresholds, const float* values,
                     size_t pixels, size_t channels, size_t in_stride, uint8_t* codes,
                     size_t codes_stride) {
  if (thresholds.levels <= kMostCounted)
    return kernels.threshold_f32({values, pixels, in_stride, channels, thresholds.list,
                                  thresholds.levels, thresholds.stride, nullptr, codes,
                                  codes_stride, nullptr, 0});
  for (size_t p = 0; p < pixels; ++p)
    for (size_t c = 0; c < channels; ++c) {
      const float* channel = thresholds.list + (thresholds.stride == 1 ? 0 : c);
      codes[p * codes_stride + c] = Search(thresholds, channel, values[p * in_stride + c]);
    }
}

int SumChain::Code(int64_t sum) const {
  float z = static_cast<float>(sum);
  if (affine) z = Affine(z, a, b);
  z = Activate(z, activation, slope);
  if (levels == 0) return SignBit(z) ? 1 : 0;
  if (counted.list == nullptr) return static_cast<int>(ActivationCode(z, inverse_step, levels));
  return Search(counted, counted.list, z);
}

void FindSumThresholds(const SumChain& chain, size_t stride, int32_t* thresholds, int32_t* flip) {
  const Rising rising = {chain, chain.affine && chain.a < 0};
  *flip = rising.flip ? -1 : 0;
  int64_t first = rising.first();
  const int levels = chain.levels == 0 ? 1 : chain.levels;
  for (int level = 1; level <= levels; ++level) {
    first = FirstOf(rising, level, first);
    int64_t threshold = first - 1;
    if (first == rising.first()) threshold = INT32_MIN;  // always
    if (first > rising.last()) threshold = INT32_MAX;    // never
    thresholds[static_cast<size_t>(level - 1) * stride] = static_cast<int32_t>(threshold);
  }
}

}  // namespace lbrt
