// Quantizers of QONNX, Brevitas and FINN.
#include <cmath>

#include "converter/onnx/operators/shapes.h"

namespace lbrt::onnx::operators {
namespace {

double RoundHalfToEven(double x) {
  const double below = std::floor(x);
  const double rest = x - below;
  if (rest != 0.5) return rest < 0.5 ? below : below + 1;
  return std::fmod(below, 2) == 0 ? below : below + 1;
}

double Rounded(const Call& call, const std::string& mode, double x) {
  std::string name = mode;
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  const double sign = x < 0 ? -1 : 1, size = std::fabs(x);
  if (name == "ROUND" || name == "HALF_EVEN") return RoundHalfToEven(x);
  if (name == "CEIL") return std::ceil(x);
  if (name == "FLOOR") return std::floor(x);
  if (name == "UP") return sign * std::ceil(size);
  if (name == "DOWN" || name == "ROUND_TO_ZERO") return sign * std::floor(size);
  if (name == "HALF_UP") return sign * std::floor(size + 0.5);
  if (name == "HALF_DOWN") return sign * std::ceil(size - 0.5);
  call.Refuse("has the rounding mode \"" + mode +
              "\", expected ROUND, CEIL, FLOOR, UP, DOWN, "
              "HALF_UP or HALF_DOWN");
}

struct Range {
  double least, most;
};
Range RangeOf(bool is_signed, bool narrow, double bits) {
  if (is_signed) return {-std::exp2(bits - 1) + (narrow ? 1 : 0), std::exp2(bits - 1) - 1};
  return {0, std::exp2(bits) - 1 - (narrow ? 1 : 0)};
}

Value Quant(const Call& call) {
  const Value& x = call.in(0);
  const auto scale = BroadcastIndices(call, call.in(1).shape, x.shape);
  const auto zero = BroadcastIndices(call, call.in(2).shape, x.shape);
  const double bits = call.number(3);
  const bool is_signed = call.node.Int("signed", 1) != 0;
  const Range range = RangeOf(is_signed, call.node.Int("narrow", 0) != 0, bits);
  const std::string mode = call.node.Text("rounding_mode", "ROUND");
  Value y;
  y.shape = x.shape;
  for (size_t i = 0; i < x.values.size(); ++i) {
    const double s = call.in(1).values[scale[i]], z = call.in(2).values[zero[i]];
    double q = ToFloat(ToFloat(x.values[i] / s) + z);
    if (bits == 1 && is_signed)
      q = q >= 0 ? 1 : -1;
    else
      q = Rounded(call, mode, std::min(std::max(q, range.least), range.most));
    const double code = ToFloat(q - z);
    y.values.push_back(ToFloat(code * s));
    y.codes.push_back(code);
    y.scales.push_back(s);
  }
  return y;
}

Value BipolarQuant(const Call& call) {
  const Value& x = call.in(0);
  const auto scale = BroadcastIndices(call, call.in(1).shape, x.shape);
  Value y;
  y.shape = x.shape;
  for (size_t i = 0; i < x.values.size(); ++i) {
    y.codes.push_back(x.values[i] >= 0 ? 1 : -1);
    y.scales.push_back(call.in(1).values[scale[i]]);
    y.values.push_back(y.codes[i] * y.scales[i]);
  }
  return y;
}

// Version 1 has five inputs and clips nothing; version 2 has seven.
Value Trunc(const Call& call) {
  const Value& x = call.in(0);
  const bool second = call.inputs.size() >= 7;
  const double s = call.number(1), z = call.number(2);
  const double out_scale = second ? call.number(4) : s;
  const double shift = second ? std::exp2(RoundHalfToEven(std::log2(out_scale / s)))
                              : std::exp2(call.number(3) - call.number(4));
  const Range range = RangeOf(call.node.Int("signed", 1) != 0, call.node.Int("narrow", 0) != 0,
                              second ? call.number(6) : 1);
  const std::string mode = call.node.Text("rounding_mode", "FLOOR");
  const double out_zero = second ? ToFloat(z / shift) : z;
  Value y;
  y.shape = x.shape;
  for (const double v : x.values) {
    double q = ToFloat(RoundHalfToEven(ToFloat(ToFloat(v / s) + z)) / shift);
    if (second) q = std::min(std::max(q, range.least), range.most);
    q = Rounded(call, mode, q);
    const double code = ToFloat(q - out_zero);
    y.values.push_back(ToFloat(code * out_scale));
    y.codes.push_back(code);
    y.scales.push_back(out_scale);
  }
  return y;
}

// Thresholds [channels or 1][steps]. The channels are axis 1, or the last one.
Value MultiThreshold(const Call& call) {
  const Value &x = call.in(0), &thresholds = call.in(1);
  const std::string layout = call.node.Text("data_layout", "NCHW");
  const double scale = static_cast<double>(call.node.Float("out_scale", 1));
  const double bias = static_cast<double>(call.node.Float("out_bias", 0));
  if (thresholds.shape.size() != 2 || x.shape.size() < 2)
    call.Refuse("its thresholds are " + ShapeText(thresholds.shape) + " for an input of " +
                ShapeText(x.shape) + ", expected rows of them a channel");
  const bool first = layout == "NCHW" && (x.shape.size() == 2 || x.shape.size() == 4);
  const size_t axis = first ? 1 : x.shape.size() - 1;
  const size_t inner = Sides(x.shape, axis + 1, x.shape.size());
  const auto channels = static_cast<size_t>(x.shape[axis]);
  const auto rows = static_cast<size_t>(thresholds.shape[0]);
  const auto steps = static_cast<size_t>(thresholds.shape[1]);
  if (rows != 1 && rows != channels)
    call.Refuse("has thresholds of " + std::to_string(rows) + " channels, expected " +
                std::to_string(channels));
  Value y;
  y.shape = x.shape;
  const double half = bias / scale;
  const bool integral = half == std::floor(half), odd = 2 * half == std::floor(2 * half);
  for (size_t i = 0; i < x.values.size(); ++i) {
    const size_t row = rows == 1 ? 0 : i / inner % channels;
    double count = 0;
    for (size_t k = 0; k < steps; ++k)
      if (x.values[i] >= thresholds.values[row * steps + k]) ++count;
    y.values.push_back(ToFloat(scale * count + bias));
    if (!integral && !odd) continue;
    y.codes.push_back(integral ? count + half : 2 * (count + half));
    y.scales.push_back(integral ? scale : scale / 2);
  }
  return y;
}

constexpr Operator kOperators[] = {
    {"BipolarQuant", BipolarQuant},
    {"IntQuant", Quant},
    {"MultiThreshold", MultiThreshold},
    {"Quant", Quant},
    {"Trunc", Trunc},
};

}  // namespace

std::span<const Operator> Quantizers() { return kOperators; }

}  // namespace lbrt::onnx::operators
