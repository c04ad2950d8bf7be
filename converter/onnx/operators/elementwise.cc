// Steps on single elements.
#include <algorithm>
#include <cmath>

#include "converter/onnx/operators/shapes.h"

namespace lbrt::onnx::operators {
namespace {

template <typename F>
Value Map(const Value& x, F f) {
  Value y;
  y.shape = x.shape;
  y.integers = x.integers;
  for (const double v : x.values) y.values.push_back(x.integers ? f(v) : ToFloat(f(v)));
  return y;
}

template <typename F>
Value Pairwise(const Call& call, F f) {
  const Value &a = call.in(0), &b = call.in(1);
  Value y;
  y.shape = BroadcastShape(call, a.shape, b.shape);
  y.integers = a.integers && b.integers;
  const auto ia = BroadcastIndices(call, a.shape, y.shape);
  const auto ib = BroadcastIndices(call, b.shape, y.shape);
  for (size_t i = 0; i < ia.size(); ++i) {
    const double z = f(a.values[ia[i]], b.values[ib[i]]);
    y.values.push_back(y.integers ? std::trunc(z) : ToFloat(z));
  }
  return y;
}

Value Add(const Call& call) {
  return Pairwise(call, [](double a, double b) { return a + b; });
}
Value Subtract(const Call& call) {
  return Pairwise(call, [](double a, double b) { return a - b; });
}
// Quantized values times one number are quantized with another scale.
Value Scaled(const Value& x, Value y, double factor) {
  if (x.codes.empty() || y.shape != x.shape) return y;
  y.codes = x.codes;
  for (const double scale : x.scales) y.scales.push_back(scale * factor);
  return y;
}
Value Product2(const Call& call) {
  const Value &a = call.in(0), &b = call.in(1);
  Value y = Pairwise(call, [](double u, double v) { return u * v; });
  if (b.values.size() == 1) return Scaled(a, std::move(y), b.values[0]);
  if (a.values.size() == 1) return Scaled(b, std::move(y), a.values[0]);
  return y;
}
Value Divide(const Call& call) {
  Value y = Pairwise(call, [](double a, double b) { return a / b; });
  return call.in(1).values.size() == 1 ? Scaled(call.in(0), std::move(y), 1 / call.in(1).values[0])
                                       : y;
}

Value Identity(const Call& call) { return call.in(0); }
Value Relu(const Call& call) {
  const Value& x = call.in(0);
  Value y = Map(x, [](double v) { return v > 0 ? v : 0; });
  if (x.codes.empty()) return y;
  y.scales = x.scales;
  for (size_t i = 0; i < x.codes.size(); ++i) y.codes.push_back(x.values[i] > 0 ? x.codes[i] : 0);
  return y;
}
Value LeakyRelu(const Call& call) {
  const double slope = static_cast<double>(call.node.Float("alpha", 0.01f));
  return Map(call.in(0), [&](double v) { return v > 0 ? v : v * slope; });
}
Value PRelu(const Call& call) {
  return Pairwise(call, [](double v, double slope) { return v > 0 ? v : v * slope; });
}
Value Negate(const Call& call) {
  return Map(call.in(0), [](double v) { return -v; });
}
Value Sigmoid(const Call& call) {
  return Map(call.in(0), [](double v) { return 1 / (1 + std::exp(-v)); });
}
Value Clip(const Call& call) {
  double least = -INFINITY, most = INFINITY;
  if (call.opset < 11) {
    least = static_cast<double>(call.node.Float("min", -INFINITY));
    most = static_cast<double>(call.node.Float("max", INFINITY));
  }
  if (call.has(1)) least = call.number(1);
  if (call.has(2)) most = call.number(2);
  return Map(call.in(0), [&](double v) { return std::min(std::max(v, least), most); });
}

Value Softmax(const Call& call) {
  const Value& x = call.in(0);
  Value y = x;
  y.codes.clear();
  y.scales.clear();
  if (x.values.empty()) call.Refuse("has no values");
  const size_t rows = call.opset < 13 ? static_cast<size_t>(x.shape.at(0))
                                      : x.values.size() / static_cast<size_t>(x.shape.back());
  const size_t classes = x.values.size() / rows;
  for (size_t r = 0; r < rows; ++r) {
    double* row = &y.values[r * classes];
    const double largest = *std::max_element(row, row + classes);
    double sum = 0;
    for (size_t i = 0; i < classes; ++i) sum += row[i] = std::exp(row[i] - largest);
    for (size_t i = 0; i < classes; ++i) row[i] = ToFloat(row[i] / sum);
  }
  return y;
}

Value BatchNormalization(const Call& call) {
  const Value& x = call.in(0);
  if (x.shape.size() < 2) call.Refuse("its input is " + ShapeText(x.shape));
  const double eps = static_cast<double>(call.node.Float("epsilon", 1e-5f));
  const size_t inner = Sides(x.shape, 2, x.shape.size());
  const auto channels = static_cast<size_t>(x.shape[1]);
  for (size_t i = 1; i < 5; ++i)
    if (call.in(i).values.size() != channels)
      call.Refuse("input " + std::to_string(i) + " is " + ShapeText(call.in(i).shape) +
                  ", expected " + std::to_string(channels) + " numbers");
  Value y;
  y.shape = x.shape;
  for (size_t i = 0; i < x.values.size(); ++i) {
    const size_t c = i / inner % channels;
    y.values.push_back(ToFloat((x.values[i] - call.in(3).values[c]) /
                                   std::sqrt(call.in(4).values[c] + eps) * call.in(1).values[c] +
                               call.in(2).values[c]));
  }
  return y;
}

constexpr Operator kOperators[] = {
    {"Add", Add},
    {"BatchNormalization", BatchNormalization},
    {"Clip", Clip},
    {"Div", Divide},
    {"Dropout", Identity},
    {"Identity", Identity},
    {"LeakyRelu", LeakyRelu},
    {"Mul", Product2},
    {"Neg", Negate},
    {"PRelu", PRelu},
    {"Relu", Relu},
    {"Sigmoid", Sigmoid},
    {"Softmax", Softmax},
    {"Sub", Subtract},
};

}  // namespace

std::span<const Operator> Elementwise() { return kOperators; }

}  // namespace lbrt::onnx::operators
