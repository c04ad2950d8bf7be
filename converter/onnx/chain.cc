#include "converter/onnx/chain.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "images/error.h"
#include "kernels/numerics.h"
#include "network/channel_steps.h"

namespace lbrt::onnx {
namespace {

constexpr double kExactFloats = 1 << 24;  // up to here every whole number is a float
constexpr float kLargest = std::numeric_limits<float>::max();

double Float32(double x) { return static_cast<double>(static_cast<float>(x)); }

// Floats in their order: keys differ by one from one float to the next.
int32_t KeyOf(float x) {
  const auto bits = std::bit_cast<int32_t>(x);
  return bits < 0 ? INT32_MIN - bits : bits;
}
float FloatOf(int32_t key) { return std::bit_cast<float>(key < 0 ? INT32_MIN - key : key); }

// The positions at which a chain can be, in the order in which its value rises: whole numbers, or
// floats by their keys, times the channel's direction.
class Positions {
 public:
  Positions(const Chain& chain, int direction) : chain_(chain), direction_(direction) {
    if (!chain.integers) {
      last_ = KeyOf(kLargest);
      first_ = -last_;
      return;
    }
    first_ = static_cast<int64_t>(direction > 0 ? chain.least : -chain.most);
    last_ = static_cast<int64_t>(direction > 0 ? chain.most : -chain.least);
  }
  int64_t first() const { return first_; }
  int64_t last() const { return last_; }
  double S(int64_t at) const {
    return direction_ * (chain_.integers ? static_cast<double>(at)
                                         : static_cast<double>(FloatOf(static_cast<int32_t>(at))));
  }
  // The graph node's value there.
  float Graph(int64_t at) const { return static_cast<float>(S(at)) * chain_.factor; }

 private:
  const Chain& chain_;
  const int direction_;
  int64_t first_ = 0, last_ = 0;
};

int DirectionOf(const Chain& chain, size_t channel, const std::string& where) {
  const int direction = chain.Direction(channel, where);
  return direction == 0 ? 1 : direction;
}

// a * S + b of the chain, its clipping steps left out; false where it has others.
bool Linear(const Chain& chain, size_t channel, double* a, double* b) {
  *a = chain.unit[channel];
  *b = chain.offset[channel];
  for (const Step& step : chain.steps) {
    const double p = step.a[channel];
    switch (step.kind) {
      case Step::kAdd:
        *b += p;
        break;
      case Step::kSubtractFrom:
        *a = -*a;
        *b = p - *b;
        break;
      case Step::kMultiply:
        *a *= p;
        *b *= p;
        break;
      case Step::kDivide:
        *a /= p;
        *b /= p;
        break;
      case Step::kBatchNorm: {
        const double factor = step.c[channel] / step.b[channel];
        *a *= factor;
        *b = (*b - p) * factor + step.d[channel];
        break;
      }
      case Step::kRelu:
      case Step::kClip:
        break;
      case Step::kPRelu:
        return false;
    }
  }
  return true;
}

}  // namespace

bool Numbers::single() const {
  return std::all_of(list.begin(), list.end(), [&](double x) { return x == list[0]; });
}

double Chain::Value(double s, size_t channel) const {
  double x = Float32(s * unit[channel] + offset[channel]);
  for (const Step& step : steps) {
    const double p = step.a[channel];
    switch (step.kind) {
      case Step::kAdd:
        x += p;
        break;
      case Step::kSubtractFrom:
        x = p - x;
        break;
      case Step::kMultiply:
        x *= p;
        break;
      case Step::kDivide:
        x /= p;
        break;
      case Step::kBatchNorm:
        x = (x - p) / step.b[channel] * step.c[channel] + step.d[channel];
        break;
      case Step::kRelu:
        x = x > 0 ? x : 0;
        break;
      case Step::kClip:
        x = std::min(std::max(x, p), step.b[channel]);
        break;
      case Step::kPRelu:
        x = x > 0 ? x : x * p;
        break;
    }
    x = Float32(x);
  }
  return x;
}

int Chain::Direction(size_t channel, const std::string& where) const {
  const auto sign = [](double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; };
  int direction = sign(unit[channel]);
  for (const Step& step : steps) switch (step.kind) {
      case Step::kSubtractFrom:
        direction = -direction;
        break;
      case Step::kMultiply:
      case Step::kDivide:
        direction *= sign(step.a[channel]);
        break;
      case Step::kBatchNorm:
        direction *= sign(step.c[channel]);
        break;
      case Step::kPRelu:
        if (step.a[channel] < 0)
          throw InputError(where,
                           "quantizes a value that both falls and rises: a PRelu before it "
                           "has the slope " +
                               std::to_string(step.a[channel]));
        break;
      default:
        break;
    }
  return direction;
}

Thresholds FindThresholds(const Chain& chain, const Quantizer& quantizer, size_t channels,
                          const std::string& where) {
  Thresholds result;
  const int levels = quantizer.levels();
  result.values.resize(static_cast<size_t>(levels) * channels);
  for (size_t c = 0; c < channels; ++c) {
    const int direction = DirectionOf(chain, c, where);
    result.direction.push_back(static_cast<float>(direction));
    const Positions positions(chain, direction);
    int64_t first = positions.first();
    for (int level = 1; level <= levels; ++level) {
      const double wanted = quantizer.least + level;
      first = FirstReached(first, positions.last(), [&](int64_t at) {
        return quantizer.integer(chain.Value(positions.S(at), c), c) >= wanted;
      });
      float& t = result.values[static_cast<size_t>(level - 1) * channels + c];
      if (first > positions.last())
        t = kLargest;
      else
        t = first == positions.first() ? -kLargest
                                       : static_cast<float>(direction) * positions.Graph(first);
    }
  }
  return result;
}

CodeAffine FindAffine(const Chain& chain, const Quantizer& quantizer, const Thresholds& thresholds,
                      size_t channels, const std::string& where) {
  CodeAffine result;
  if (!chain.integers) return {{}, {}, "real numbers are compared with thresholds"};
  if (std::max(chain.most, -chain.least) > kExactFloats)
    return {
        {}, {}, "sums of more than 24 bits are rounded to float32, then compared with thresholds"};
  const int levels = quantizer.levels();
  for (size_t c = 0; c < channels; ++c) {
    double alpha = 0, beta = 0;
    if (!Linear(chain, c, &alpha, &beta)) return {{}, {}, "a PRelu lies before it"};
    const double scale = quantizer.scale[c];
    const double a = alpha / scale, b = beta / scale + quantizer.zero[c] - quantizer.least;
    const Positions positions(chain, DirectionOf(chain, c, where));
    const auto right = [&](float fa, float fb, int64_t at) {
      const float z = Affine(positions.Graph(at), fa, fb);
      const double code = quantizer.integer(chain.Value(positions.S(at), c), c) - quantizer.least;
      return static_cast<double>(ActivationCode(z, 1, levels)) == code;
    };
    // Right at both ends and on both sides of each threshold: right everywhere, for both rise.
    const auto holds = [&](float fa, float fb) {
      if (!std::isfinite(fa) || !std::isfinite(fb)) return false;
      if (!right(fa, fb, positions.first()) || !right(fa, fb, positions.last())) return false;
      for (int level = 0; level < levels; ++level) {
        const float t = thresholds.values[static_cast<size_t>(level) * channels + c];
        if (std::fabs(t) == kLargest) continue;
        const auto at = static_cast<int64_t>(
            std::llround(static_cast<double>(t) / static_cast<double>(chain.factor)));
        if (!right(fa, fb, at) || (at > positions.first() && !right(fa, fb, at - 1))) return false;
      }
      return true;
    };
    // Sums are whole, so that b may lie anywhere within a step of them.
    bool found = false;
    for (const double part : {0.0, 0.25, -0.25, 0.5, -0.5}) {
      for (const double rounding : {0.0, -0.5, 0.5}) {
        const auto fa = static_cast<float>(a / static_cast<double>(chain.factor));
        const auto fb = static_cast<float>(b + rounding + part * std::fabs(a));
        if (found || !holds(fa, fb)) continue;
        found = true;
        result.a.push_back(fa);
        result.b.push_back(fb);
      }
    }
    if (!found)
      return {{},
              {},
              "an affine would round sums of channel " + std::to_string(c) +
                  " to other codes: compared with thresholds"};
  }
  return result;
}

}  // namespace lbrt::onnx
