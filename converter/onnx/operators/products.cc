// Convolutions and matrix products.
#include <algorithm>
#include <cmath>
#include <optional>

#include "converter/onnx/operators/shapes.h"
#include "converter/onnx/operators/slide.h"

namespace lbrt::onnx::operators {
namespace {

// An operand of a sum: whole numbers and what they are to be multiplied by, or values as they are.
struct Operand {
  const std::vector<double>* numbers;
  const std::vector<double>* scales;  // null: 1
  bool exact;
};
Operand OperandOf(const Value& x) {
  if (!x.codes.empty()) return {&x.codes, &x.scales, true};
  const bool whole =
      std::all_of(x.values.begin(), x.values.end(), [](double v) { return v == std::floor(v); });
  return {&x.values, nullptr, whole};
}

// The sum over pairs of indices, each given by next(&a, &b); exact where the scales of each operand
// do not change within the sum.
class Sum {
 public:
  Sum(const Value& a, const Value& b) : x_(a), y_(b), a_(OperandOf(a)), b_(OperandOf(b)) {}

  void Begin() {
    exact_ = a_.exact && b_.exact;
    integer_ = real_ = 0;
    a_scale_ = b_scale_ = std::nullopt;
  }
  void Add(size_t a, size_t b) {
    real_ += x_.values[a] * y_.values[b];
    if (!exact_) return;
    integer_ += (*a_.numbers)[a] * (*b_.numbers)[b];
    exact_ = SameScale(a_, a, &a_scale_) && SameScale(b_, b, &b_scale_);
  }
  double Result() const {
    return exact_ ? integer_ * (a_scale_.value_or(1) * b_scale_.value_or(1)) : real_;
  }

 private:
  static bool SameScale(const Operand& operand, size_t i, std::optional<double>* scale) {
    const double own = operand.scales == nullptr ? 1 : (*operand.scales)[i];
    if (!*scale) *scale = own;
    return **scale == own;
  }

  const Value &x_, &y_;
  const Operand a_, b_;
  bool exact_ = false;
  double integer_ = 0, real_ = 0;
  std::optional<double> a_scale_, b_scale_;
};

Value Conv(const Call& call) {
  const Value &x = call.in(0), &w = call.in(1);
  const Images images = ImagesOf(call, x);
  if (w.shape.size() != x.shape.size()) call.Refuse("its weights are " + ShapeText(w.shape));
  const int64_t groups = call.node.Int("group", 1), outputs = w.shape[0], inputs = w.shape[1];
  if (groups < 1 || outputs % groups != 0 || inputs * groups != images.c)
    call.Refuse("its weights are " + ShapeText(w.shape) + " in " + std::to_string(groups) +
                " groups for " + std::to_string(images.c) + " channels");
  const Slide s = SlideOf(call, Shape(w.shape.begin() + 2, w.shape.end()), images.h, images.w);
  Value y;
  y.shape = ImageShape(x, outputs, s);
  Sum sum(x, w);
  for (int64_t n = 0; n < images.n; ++n)
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t oy = 0; oy < s.out[0]; ++oy)
        for (int64_t ox = 0; ox < s.out[1]; ++ox) {
          const int64_t first = o / (outputs / groups) * inputs;
          sum.Begin();
          ForEachTap(s, images, oy, ox, [&](int64_t ky, int64_t kx, int64_t row, int64_t column) {
            for (int64_t c = 0; c < inputs; ++c)
              sum.Add(
                  static_cast<size_t>(((n * images.c + first + c) * images.h + row) * images.w +
                                      column),
                  static_cast<size_t>(((o * inputs + c) * s.kernel[0] + ky) * s.kernel[1] + kx));
          });
          const double bias = call.has(2) ? call.in(2).values.at(static_cast<size_t>(o)) : 0;
          y.values.push_back(ToFloat(sum.Result() + bias));
        }
  return y;
}

// [m, k] times [k, n], with the strides given; then + beta * c[m, n].
struct Product {
  size_t m, k, n;
  size_t a_row, a_column, b_row, b_column;
};
template <typename Finish>
Value Multiply(const Value& a, const Value& b, const Product& p, Shape shape, Finish finish) {
  Value y;
  y.shape = std::move(shape);
  Sum sum(a, b);
  for (size_t i = 0; i < p.m; ++i)
    for (size_t j = 0; j < p.n; ++j) {
      sum.Begin();
      for (size_t k = 0; k < p.k; ++k)
        sum.Add(i * p.a_row + k * p.a_column, k * p.b_row + j * p.b_column);
      y.values.push_back(ToFloat(finish(sum.Result(), i * p.n + j)));
    }
  return y;
}

Value MatMul(const Call& call) {
  const Value &a = call.in(0), &b = call.in(1);
  if (a.shape.size() < 2 || b.shape.size() != 2 || a.shape.back() != b.shape[0])
    call.Refuse("multiplies " + ShapeText(a.shape) + " by " + ShapeText(b.shape) +
                ", expected rows by a matrix");
  const size_t rows = Sides(a.shape, 0, a.shape.size() - 1);
  const auto k = static_cast<size_t>(b.shape[0]), n = static_cast<size_t>(b.shape[1]);
  Shape shape = a.shape;
  shape.back() = b.shape[1];
  return Multiply(a, b, {rows, k, n, k, 1, n, 1}, shape, [](double sum, size_t) { return sum; });
}

Value Gemm(const Call& call) {
  const Value &a = call.in(0), &b = call.in(1);
  if (a.shape.size() != 2 || b.shape.size() != 2) call.Refuse("expected two matrices");
  const bool ta = call.node.Int("transA", 0) != 0, tb = call.node.Int("transB", 0) != 0;
  const double alpha = static_cast<double>(call.node.Float("alpha", 1));
  const double beta = static_cast<double>(call.node.Float("beta", 1));
  const auto m = static_cast<size_t>(a.shape[ta ? 1 : 0]),
             k = static_cast<size_t>(a.shape[ta ? 0 : 1]);
  const auto n = static_cast<size_t>(b.shape[tb ? 0 : 1]);
  if (static_cast<size_t>(b.shape[tb ? 1 : 0]) != k)
    call.Refuse("multiplies " + ShapeText(a.shape) + " by " + ShapeText(b.shape));
  const Product p = {m, k, n, ta ? 1 : k, ta ? m : 1, tb ? 1 : n, tb ? k : 1};
  const Shape shape = {static_cast<int64_t>(m), static_cast<int64_t>(n)};
  std::vector<size_t> indices;
  if (call.has(2)) indices = BroadcastIndices(call, call.in(2).shape, shape);
  return Multiply(a, b, p, shape, [&](double sum, size_t i) {
    return alpha * sum + (indices.empty() ? 0 : beta * call.in(2).values[indices[i]]);
  });
}

constexpr Operator kOperators[] = {
    {"Conv", Conv},
    {"Gemm", Gemm},
    {"MatMul", MatMul},
};

}  // namespace

std::span<const Operator> Products() { return kOperators; }

}  // namespace lbrt::onnx::operators
