// Any-Precision DNNs (methods.md 1.1, 1.3): u = tanh(W) / (2 max|tanh(W)|) + 1/2 in [0, 1], codes
// q = round(n u) of n = 2^bits - 1, weights (2q - n) E / n with E = mean|W| over the layer. Codes
// of 1, 2 and 4 bits come from that of 8, which stores them all; the reference rounds u at each
// width and differs for three values of u: those weights are counted. The truncating quantizer
// takes the upper bits of floor(256 u), so that every width is a prefix.
#include <algorithm>
#include <cmath>

#include "network/quantizers/codes.h"

namespace lbrt {
namespace {

// E, and u of every weight as the reference computes it, in T.
template <typename T>
double Normalise(const T* weights, int64_t count, std::vector<T>& u) {
  double sum = 0;
  T largest = 0;
  u.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    sum += std::abs(static_cast<double>(weights[i]));
    T& t = u[static_cast<size_t>(i)];
    t = std::tanh(weights[i]);
    largest = std::max(largest, std::abs(t));
  }
  if (largest == 0) largest = 1;
  for (T& t : u) t = t / 2 / largest + T{0.5};
  return sum / static_cast<double>(count);
}

// q of u; `derived` is what is stored, and the reference's own rounding is returned in *direct.
template <typename T>
int Rounded(T u, int bits, int* direct) {
  const auto round = [&](int levels) {
    return static_cast<int>(std::nearbyint(static_cast<T>(levels) * u));
  };
  *direct = round((1 << bits) - 1);
  return 8 % bits == 0 ? AnyPrecisionFrom8(round(255), bits) : *direct;
}

template <typename T, typename Code>
WeightCodes Codes(const WeightQuantizer& q, const T* weights, int64_t outputs, int64_t taps,
                  Code code) {
  std::vector<T> u;
  const double mean = Normalise(weights, outputs * taps, u);
  WeightCodes result;
  if (q.bits == 32) {
    for (const T value : u)
      result.floats.push_back(static_cast<float>(mean * (2 * static_cast<double>(value) - 1)));
    return result;
  }
  const int levels = (1 << q.bits) - 1;
  WeightPlane& plane = PlaneOf(result, outputs, taps, mean / levels);
  for (const T value : u)
    plane.codes.push_back(static_cast<int16_t>(2 * code(value, result.cases) - levels));
  return result;
}

}  // namespace

int AnyPrecisionFrom8(int code8, int bits) {
  switch (bits) {
    case 1:
      return (code8 + 127) / 255;
    case 2:
      return (code8 + 42) / 85;
    case 4:
      return (code8 + 8) / 17;
    default:
      return code8;
  }
}

template <typename T>
WeightCodes AnyPrecisionCodes(const WeightQuantizer& q, const T* weights, int64_t outputs,
                              int64_t taps) {
  return Codes(q, weights, outputs, taps, [&](T u, int64_t& cases) {
    int direct;
    const int code = Rounded(u, q.bits, &direct);
    cases += code != direct;
    return code;
  });
}
template WeightCodes AnyPrecisionCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes AnyPrecisionCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

template <typename T>
WeightCodes TruncatingCodes(const WeightQuantizer& q, const T* weights, int64_t outputs,
                            int64_t taps) {
  return Codes(q, weights, outputs, taps, [&](T u, int64_t&) {
    const int code8 = std::min(255, static_cast<int>(std::floor(u * 256)));
    return code8 >> (8 - q.bits);
  });
}
template WeightCodes TruncatingCodes(const WeightQuantizer&, const float*, int64_t, int64_t);
template WeightCodes TruncatingCodes(const WeightQuantizer&, const double*, int64_t, int64_t);

}  // namespace lbrt
