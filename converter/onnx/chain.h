// A value of an ONNX graph as the lowering carries it: a value of our graph, and the element-wise
// steps from there, not yet computed. A quantizer at the end of such a chain is a row of thresholds
// on our value, found with the chain's own float32 arithmetic, so that it is exact however scales
// and batch norms round. Private to converter/onnx/.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "converter/onnx/model.h"

namespace lbrt::onnx {

// One number for all channels, or one a channel.
struct Numbers {
  std::vector<double> list = {0};

  Numbers() = default;
  Numbers(double all) : list{all} {}
  explicit Numbers(std::vector<double> numbers) : list(std::move(numbers)) {}
  double operator[](size_t c) const { return list.size() == 1 ? list[0] : list[c]; }
  bool single() const;  // the same for all
};

// Each rounds to float32 once, as the interpreter does.
struct Step {
  enum Kind {
    kAdd,           // x + a
    kSubtractFrom,  // a - x
    kMultiply,      // x * a
    kDivide,        // x / a
    kBatchNorm,     // (x - a) / b * c + d
    kRelu,
    kClip,   // to [a, b]
    kPRelu,  // x > 0 ? x : x * a
  };
  Kind kind;
  Numbers a, b, c, d;
};

// S is the value of graph node `node`, or, where that is an average, S * factor is. The ONNX value
// is the steps of float32(S * unit + offset).
struct Chain {
  int node = -1;
  bool integers = false;  // S is a whole number, from `least` to `most`
  double least = 0, most = 0;
  float factor = 1;
  Numbers unit = 1, offset = 0;
  std::vector<Step> steps;

  double Value(double s, size_t channel) const;
  // +1 where the value grows with S, -1 where it falls, 0 where it is constant. Throws InputError,
  // named `where`, for steps that do neither.
  int Direction(size_t channel, const std::string& where) const;
};

// Whole numbers `least` to `most` of an ONNX value, in steps of it: what a quantizer makes.
struct Quantizer {
  std::function<double(double x, size_t channel)> integer;  // rises with x
  double least = 0, most = 0;
  bool sign = false;  // -1 and +1 only
  Numbers zero = 0;   // the ONNX result is (integer - zero) * scale
  Numbers scale = 1;

  int levels() const { return static_cast<int>(most - least); }
};

// integer(value) - least = the number of thresholds [level][channel] that direction * (the graph
// node's value) reaches. Those never reached or always are the largest floats.
struct Thresholds {
  std::vector<float> direction;  // +1 or -1, a channel
  std::vector<float> values;
};
Thresholds FindThresholds(const Chain& chain, const Quantizer& quantizer, size_t channels,
                          const std::string& where);

// The affine z = fma(g, a, b) of the graph node's value g whose code, round half to even of z
// clipped to [0, levels], is what the thresholds give for every S there can be. Empty `a` where
// there is none; then `why` says it.
struct CodeAffine {
  std::vector<float> a, b;
  std::string why;
};
CodeAffine FindAffine(const Chain& chain, const Quantizer& quantizer, const Thresholds& thresholds,
                      size_t channels, const std::string& where);

}  // namespace lbrt::onnx
