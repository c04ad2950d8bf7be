#include "converter/onnx/interpret.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "images/error.h"

namespace lbrt::onnx {
namespace {

double ToFloat(double x) { return static_cast<double>(static_cast<float>(x)); }

struct Call {
  const Node& node;
  const Inputs& inputs;
  int64_t opset;

  [[noreturn]] void Refuse(const std::string& what) const { throw InputError(node.title(), what); }
  const Value& in(size_t i) const {
    if (i >= inputs.size() || inputs[i] == nullptr)
      Refuse("has no input " + std::to_string(i) + ", expected one");
    return *inputs[i];
  }
  bool has(size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  double number(size_t i) const {
    if (in(i).values.size() != 1)
      Refuse("input " + std::to_string(i) + " is " + ShapeText(in(i).shape) +
             ", expected one number");
    return in(i).values[0];
  }
  std::vector<int64_t> integers(size_t i) const {
    std::vector<int64_t> result;
    for (const double x : in(i).values)
      result.push_back(x >= 9.2e18    ? INT64_MAX
                       : x <= -9.2e18 ? INT64_MIN
                                      : static_cast<int64_t>(x));
    return result;
  }
  size_t axis(int64_t axis, size_t rank) const {
    if (axis < 0) axis += static_cast<int64_t>(rank);
    if (axis < 0 || axis >= static_cast<int64_t>(rank))
      Refuse("has no axis " + std::to_string(axis) + " of " + std::to_string(rank));
    return static_cast<size_t>(axis);
  }
};

// ---------------------------------------------------------------------------- shapes and indices

// Of each element of `to`, the one of `from` that stands for it under ONNX's broadcasting.
std::vector<size_t> BroadcastIndices(const Call& call, const Shape& from, const Shape& to) {
  std::vector<size_t> steps(to.size(), 0);
  size_t step = 1;
  for (size_t back = 0; back < from.size(); ++back) {
    const int64_t side = from[from.size() - 1 - back];
    if (back >= to.size() || (side != 1 && side != to[to.size() - 1 - back]))
      call.Refuse(ShapeText(from) + " cannot be broadcast to " + ShapeText(to));
    steps[to.size() - 1 - back] = side == 1 ? 0 : step;
    step *= static_cast<size_t>(side);
  }
  std::vector<size_t> indices(Count(to));
  for (size_t i = 0; i < indices.size(); ++i) {
    size_t rest = i, index = 0;
    for (size_t axis = to.size(); axis-- > 0;) {
      const auto side = static_cast<size_t>(to[axis]);
      index += rest % side * steps[axis];
      rest /= side;
    }
    indices[i] = index;
  }
  return indices;
}

Shape BroadcastShape(const Call& call, const Shape& a, const Shape& b) {
  Shape result(std::max(a.size(), b.size()), 1);
  for (const Shape* shape : {&a, &b})
    for (size_t back = 0; back < shape->size(); ++back) {
      const int64_t side = (*shape)[shape->size() - 1 - back];
      int64_t& place = result[result.size() - 1 - back];
      if (side != 1 && place != 1 && side != place)
        call.Refuse("its operands are " + ShapeText(a) + " and " + ShapeText(b));
      if (side != 1) place = side;
    }
  return result;
}

constexpr size_t kZero = SIZE_MAX;  // in Select: a new element, 0

// Elements of x in other places; quantized ones stay so.
Value Select(const Value& x, Shape shape, const std::vector<size_t>& indices) {
  Value y;
  y.shape = std::move(shape);
  y.integers = x.integers;
  const bool quantized = !x.codes.empty();
  for (const size_t i : indices) {
    y.values.push_back(i == kZero ? 0 : x.values[i]);
    if (!quantized) continue;
    y.codes.push_back(i == kZero ? 0 : x.codes[i]);
    y.scales.push_back(x.scales[i == kZero ? 0 : i]);
  }
  return y;
}

Value Reshaped(const Value& x, Shape shape) {
  Value y = x;
  y.shape = std::move(shape);
  return y;
}

// The product of the sides [begin, end).
size_t Sides(const Shape& shape, size_t begin, size_t end) {
  size_t product = 1;
  for (size_t i = begin; i < end; ++i) product *= static_cast<size_t>(shape[i]);
  return product;
}

// ----------------------------------------------------------------------------------- quantizers

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

// -------------------------------------------------------------------------------- sums of products

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

struct Slide {
  int64_t kernel[2], stride[2], dilation[2], before[2], after[2];
  int64_t out[2];
};

// Kernel, strides and padding of a node over images of height[0] and width[1]; one spatial axis is
// a width.
Slide SlideOf(const Call& call, std::vector<int64_t> kernel, int64_t height, int64_t width) {
  const size_t axes = kernel.size();
  std::vector<int64_t> strides = call.node.Ints("strides", std::vector<int64_t>(axes, 1));
  std::vector<int64_t> dilations = call.node.Ints("dilations", std::vector<int64_t>(axes, 1));
  std::vector<int64_t> pads = call.node.Ints("pads", std::vector<int64_t>(2 * axes, 0));
  if (axes < 1 || axes > 2 || strides.size() != axes || dilations.size() != axes ||
      pads.size() != 2 * axes)
    call.Refuse("its window has " + std::to_string(axes) + " axes, expected 1 or 2, all alike");
  Slide s = {{1, 1}, {1, 1}, {1, 1}, {0, 0}, {0, 0}, {1, 1}};
  const int64_t sides[2] = {height, width};
  const std::string automatic = call.node.Text("auto_pad", "NOTSET");
  for (size_t i = 0; i < axes; ++i) {
    const size_t to = i + 2 - axes;
    s.kernel[to] = kernel[i];
    s.stride[to] = strides[i];
    s.dilation[to] = dilations[i];
    s.before[to] = pads[i];
    s.after[to] = pads[i + axes];
    if (s.kernel[to] < 1 || s.stride[to] < 1 || s.dilation[to] < 1)
      call.Refuse("has a kernel, stride or dilation below 1");
  }
  for (size_t i = 0; i < 2; ++i) {
    const int64_t span = (s.kernel[i] - 1) * s.dilation[i] + 1;
    if (automatic.starts_with("SAME")) {
      const int64_t outputs = (sides[i] + s.stride[i] - 1) / s.stride[i];
      const int64_t pad = std::max<int64_t>(0, (outputs - 1) * s.stride[i] + span - sides[i]);
      s.before[i] = automatic == "SAME_UPPER" ? pad / 2 : pad - pad / 2;
      s.after[i] = pad - s.before[i];
    } else if (automatic == "VALID") {
      s.before[i] = s.after[i] = 0;
    }
    const int64_t room = sides[i] + s.before[i] + s.after[i] - span;
    if (room < 0) call.Refuse("its window is larger than the padded input");
    s.out[i] = room / s.stride[i] + 1;
    if (call.node.Int("ceil_mode", 0) != 0 && room % s.stride[i] != 0 &&
        s.out[i] * s.stride[i] < sides[i] + s.before[i])
      ++s.out[i];
  }
  return s;
}

// N, C, H, W of [N, C, W] or [N, C, H, W].
struct Images {
  int64_t n, c, h, w;
};
Images ImagesOf(const Call& call, const Value& x) {
  const Shape& s = x.shape;
  if (s.size() == 3) return {s[0], s[1], 1, s[2]};
  if (s.size() == 4) return {s[0], s[1], s[2], s[3]};
  call.Refuse("its input is " + ShapeText(s) + ", expected an image, 1xCxHxW");
}
Shape ImageShape(const Value& x, int64_t channels, const Slide& s) {
  if (x.shape.size() == 3) return {x.shape[0], channels, s.out[1]};
  return {x.shape[0], channels, s.out[0], s.out[1]};
}

// visit(y, x) for each tap (ky, kx) of output (oy, ox) that lies inside of the image.
template <typename Visit>
void ForEachTap(const Slide& s, const Images& x, int64_t oy, int64_t ox, Visit visit) {
  for (int64_t ky = 0; ky < s.kernel[0]; ++ky)
    for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
      const int64_t y = oy * s.stride[0] - s.before[0] + ky * s.dilation[0];
      const int64_t column = ox * s.stride[1] - s.before[1] + kx * s.dilation[1];
      if (y >= 0 && y < x.h && column >= 0 && column < x.w) visit(ky, kx, y, column);
    }
}

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

// ---------------------------------------------------------------------------------- element-wise

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

// -------------------------------------------------------------------------------------- pooling

Value MaxPool(const Call& call) {
  const Value& x = call.in(0);
  const Images images = ImagesOf(call, x);
  const Slide s = SlideOf(call, call.node.Ints("kernel_shape", {}), images.h, images.w);
  std::vector<size_t> indices;
  for (int64_t plane = 0; plane < images.n * images.c; ++plane)
    for (int64_t oy = 0; oy < s.out[0]; ++oy)
      for (int64_t ox = 0; ox < s.out[1]; ++ox) {
        size_t largest = kZero;
        ForEachTap(s, images, oy, ox, [&](int64_t, int64_t, int64_t row, int64_t column) {
          const auto i = static_cast<size_t>((plane * images.h + row) * images.w + column);
          if (largest == kZero || x.values[i] > x.values[largest]) largest = i;
        });
        if (largest == kZero) call.Refuse("one of its windows lies in the padding");
        indices.push_back(largest);
      }
  return Select(x, ImageShape(x, images.c, s), indices);
}

// The sum of elements / `divisor`, of quantized ones with one scale by their codes.
double Average(const Value& x, const std::vector<size_t>& elements, double divisor) {
  double codes = 0, values = 0;
  bool same = !x.codes.empty();
  for (const size_t i : elements) {
    values += x.values[i];
    if (same) codes += x.codes[i];
    same = same && x.scales[i] == x.scales[elements[0]];
  }
  return ToFloat(same && !elements.empty() ? codes * (x.scales[elements[0]] / divisor)
                                           : values / divisor);
}

Value AveragePool(const Call& call) {
  const Value& x = call.in(0);
  const Images images = ImagesOf(call, x);
  const Slide s = SlideOf(call, call.node.Ints("kernel_shape", {}), images.h, images.w);
  const bool padding = call.node.Int("count_include_pad", 0) != 0;
  Value y;
  y.shape = ImageShape(x, images.c, s);
  for (int64_t plane = 0; plane < images.n * images.c; ++plane)
    for (int64_t oy = 0; oy < s.out[0]; ++oy)
      for (int64_t ox = 0; ox < s.out[1]; ++ox) {
        std::vector<size_t> taps;
        ForEachTap(s, images, oy, ox, [&](int64_t, int64_t, int64_t row, int64_t column) {
          taps.push_back(static_cast<size_t>((plane * images.h + row) * images.w + column));
        });
        const double all = static_cast<double>(s.kernel[0] * s.kernel[1]);
        y.values.push_back(Average(x, taps, padding ? all : static_cast<double>(taps.size())));
      }
  return y;
}

Value MeanOverPixels(const Call& call, Shape shape) {
  const Value& x = call.in(0);
  const size_t inner = Sides(x.shape, 2, x.shape.size());
  if (inner == 0) call.Refuse("averages no values");
  Value y;
  y.shape = std::move(shape);
  for (size_t plane = 0; plane < x.values.size() / inner; ++plane) {
    std::vector<size_t> elements(inner);
    for (size_t i = 0; i < inner; ++i) elements[i] = plane * inner + i;
    y.values.push_back(Average(x, elements, static_cast<double>(inner)));
  }
  return y;
}
Value GlobalAveragePool(const Call& call) {
  Shape shape = call.in(0).shape;
  if (shape.size() < 3) call.Refuse("its input is " + ShapeText(shape) + ", expected an image");
  std::fill(shape.begin() + 2, shape.end(), 1);
  return MeanOverPixels(call, shape);
}
// Over all axes behind the channels.
Value ReduceMean(const Call& call) {
  const Shape& shape = call.in(0).shape;
  std::vector<int64_t> axes = call.has(1) ? call.integers(1) : call.node.Ints("axes", {});
  std::vector<size_t> sorted;
  for (const int64_t axis : axes) sorted.push_back(call.axis(axis, shape.size()));
  std::sort(sorted.begin(), sorted.end());
  bool pixels = shape.size() > 2 && sorted.size() == shape.size() - 2;
  for (size_t i = 0; pixels && i < sorted.size(); ++i) pixels = sorted[i] == i + 2;
  if (!pixels) call.Refuse("averages other axes than the pixels, expected those behind axis 1");
  Shape result(shape.begin(), shape.begin() + 2);
  if (call.node.Int("keepdims", 1) != 0) result.resize(shape.size(), 1);
  return MeanOverPixels(call, result);
}

// ------------------------------------------------------------------------------- other places

Value Transpose(const Call& call) {
  const Value& x = call.in(0);
  const size_t rank = x.shape.size();
  std::vector<int64_t> back(rank);
  for (size_t i = 0; i < rank; ++i) back[i] = static_cast<int64_t>(rank - 1 - i);
  const std::vector<int64_t> order = call.node.Ints("perm", back);
  if (order.size() != rank) call.Refuse("has a perm of " + std::to_string(order.size()) + " axes");
  Shape shape;
  std::vector<size_t> steps;
  for (const int64_t axis : order) {
    const size_t from = call.axis(axis, rank);
    shape.push_back(x.shape[from]);
    steps.push_back(Sides(x.shape, from + 1, rank));
  }
  std::vector<size_t> indices(Count(shape));
  for (size_t i = 0; i < indices.size(); ++i) {
    size_t rest = i, index = 0;
    for (size_t axis = rank; axis-- > 0;) {
      index += rest % static_cast<size_t>(shape[axis]) * steps[axis];
      rest /= static_cast<size_t>(shape[axis]);
    }
    indices[i] = index;
    if (index >= x.values.size()) call.Refuse("its perm is no order of the axes");
  }
  return Select(x, shape, indices);
}

Value Reshape(const Call& call) {
  const Value& x = call.in(0);
  Shape shape = call.has(1) ? call.integers(1) : call.node.Ints("shape", {});
  const bool zero_is_zero = call.node.Int("allowzero", 0) != 0;
  int64_t known = 1;
  size_t open = shape.size();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !zero_is_zero && i < x.shape.size()) shape[i] = x.shape[i];
    if (shape[i] == -1 && open == shape.size()) {
      open = i;
    } else if (shape[i] < 0 || shape[i] > int64_t{1} << 28) {
      call.Refuse("reshapes to " + ShapeText(shape));
    } else {
      known *= std::max<int64_t>(shape[i], 1);
      if (known > int64_t{1} << 28) call.Refuse("reshapes to " + ShapeText(shape));
    }
  }
  const auto count = static_cast<int64_t>(x.values.size());
  if (open < shape.size()) shape[open] = count / known;
  if (static_cast<int64_t>(Count(shape)) != count)
    call.Refuse("reshapes " + ShapeText(x.shape) + " to " + ShapeText(shape));
  return Reshaped(x, shape);
}

Value Flatten(const Call& call) {
  const Value& x = call.in(0);
  const int64_t axis = call.node.Int("axis", 1);
  const size_t rank = x.shape.size();
  const size_t at = axis == static_cast<int64_t>(rank) ? rank : call.axis(axis, rank);
  return Reshaped(x, {static_cast<int64_t>(Sides(x.shape, 0, at)),
                      static_cast<int64_t>(Sides(x.shape, at, rank))});
}

Value Squeeze(const Call& call) {
  const Value& x = call.in(0);
  const std::vector<int64_t> axes = call.has(1) ? call.integers(1) : call.node.Ints("axes", {});
  std::vector<bool> dropped(x.shape.size());
  for (size_t i = 0; axes.empty() && i < x.shape.size(); ++i) dropped[i] = x.shape[i] == 1;
  for (const int64_t axis : axes) {
    const size_t at = call.axis(axis, x.shape.size());
    if (x.shape[at] != 1) call.Refuse("squeezes a side of " + std::to_string(x.shape[at]));
    dropped[at] = true;
  }
  Shape shape;
  for (size_t i = 0; i < x.shape.size(); ++i)
    if (!dropped[i]) shape.push_back(x.shape[i]);
  return Reshaped(x, shape);
}

Value Unsqueeze(const Call& call) {
  const Value& x = call.in(0);
  const std::vector<int64_t> axes = call.has(1) ? call.integers(1) : call.node.Ints("axes", {});
  const size_t rank = x.shape.size() + axes.size();
  std::vector<bool> added(rank);
  for (const int64_t axis : axes) added[call.axis(axis, rank)] = true;
  Shape shape;
  size_t from = 0;
  for (size_t i = 0; i < rank; ++i) {
    if (!added[i] && from >= x.shape.size()) call.Refuse("names an axis twice");
    shape.push_back(added[i] ? 1 : x.shape[from++]);
  }
  return Reshaped(x, shape);
}

Value ShapeOf(const Call& call) {
  Value y;
  y.integers = true;
  for (const int64_t side : call.in(0).shape) y.values.push_back(static_cast<double>(side));
  y.shape = {static_cast<int64_t>(y.values.size())};
  return y;
}

Value Gather(const Call& call) {
  const Value &x = call.in(0), &which = call.in(1);
  const size_t axis = call.axis(call.node.Int("axis", 0), x.shape.size());
  const auto side = x.shape[axis];
  const size_t outer = Sides(x.shape, 0, axis), inner = Sides(x.shape, axis + 1, x.shape.size());
  std::vector<size_t> indices;
  for (size_t o = 0; o < outer; ++o)
    for (const double wanted : which.values) {
      int64_t i = static_cast<int64_t>(wanted);
      if (i < 0) i += side;
      if (i < 0 || i >= side)
        call.Refuse("gathers element " + std::to_string(i) + " of " + std::to_string(side));
      for (size_t k = 0; k < inner; ++k)
        indices.push_back((o * static_cast<size_t>(side) + static_cast<size_t>(i)) * inner + k);
    }
  Shape shape(x.shape.begin(), x.shape.begin() + static_cast<ptrdiff_t>(axis));
  shape.insert(shape.end(), which.shape.begin(), which.shape.end());
  shape.insert(shape.end(), x.shape.begin() + static_cast<ptrdiff_t>(axis) + 1, x.shape.end());
  return Select(x, shape, indices);
}

Value Slice(const Call& call) {
  const Value& x = call.in(0);
  const std::vector<int64_t> starts = call.has(1) ? call.integers(1) : call.node.Ints("starts", {});
  const std::vector<int64_t> ends = call.has(2) ? call.integers(2) : call.node.Ints("ends", {});
  std::vector<int64_t> axes = call.has(3) ? call.integers(3) : call.node.Ints("axes", {});
  for (size_t i = axes.size(); i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  const std::vector<int64_t> steps =
      call.has(4) ? call.integers(4) : std::vector<int64_t>(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    call.Refuse("has not as many ends, axes and steps as starts");
  Value y = x;
  for (size_t i = 0; i < starts.size(); ++i) {
    const size_t axis = call.axis(axes[i], y.shape.size());
    const int64_t side = y.shape[axis];
    if (steps[i] < 1)
      call.Refuse("has a step of " + std::to_string(steps[i]) + ", expected 1 or more");
    const auto place = [&](int64_t at) {
      return std::clamp<int64_t>(at < 0 ? at + side : at, 0, side);
    };
    std::vector<int64_t> kept;
    for (int64_t at = place(starts[i]); at < place(ends[i]); at += steps[i]) {
      kept.push_back(at);
      if (steps[i] > side) break;
    }
    const size_t outer = Sides(y.shape, 0, axis), inner = Sides(y.shape, axis + 1, y.shape.size());
    std::vector<size_t> indices;
    for (size_t o = 0; o < outer; ++o)
      for (const int64_t at : kept)
        for (size_t k = 0; k < inner; ++k)
          indices.push_back((o * static_cast<size_t>(side) + static_cast<size_t>(at)) * inner + k);
    Shape shape = y.shape;
    shape[axis] = static_cast<int64_t>(kept.size());
    y = Select(y, shape, indices);
  }
  return y;
}

Value Concat(const Call& call) {
  const size_t rank = call.in(0).shape.size();
  const size_t axis = call.axis(call.node.Int("axis", 1), rank);
  Value y;
  y.shape = call.in(0).shape;
  y.shape[axis] = 0;
  bool quantized = true;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    Shape sides = call.in(i).shape;
    if (sides.size() != rank) call.Refuse("joins values of different ranks");
    y.shape[axis] += sides[axis];
    sides[axis] = y.shape[axis];
    if (sides != y.shape)
      call.Refuse("joins " + ShapeText(call.in(i).shape) + " to " + ShapeText(y.shape));
    quantized = quantized && !call.in(i).codes.empty();
  }
  y.integers = call.in(0).integers;
  const size_t outer = Sides(y.shape, 0, axis);
  for (size_t o = 0; o < outer; ++o)
    for (size_t i = 0; i < call.inputs.size(); ++i) {
      const Value& x = call.in(i);
      const size_t size = x.values.size() / outer;
      const auto append = [&](const std::vector<double>& from, std::vector<double>* to) {
        to->insert(to->end(), from.begin() + static_cast<ptrdiff_t>(o * size),
                   from.begin() + static_cast<ptrdiff_t>((o + 1) * size));
      };
      append(x.values, &y.values);
      if (!quantized) continue;
      append(x.codes, &y.codes);
      append(x.scales, &y.scales);
    }
  return y;
}

Value Pad(const Call& call) {
  const Value& x = call.in(0);
  const std::vector<int64_t> pads = call.has(1) ? call.integers(1) : call.node.Ints("pads", {});
  const double fill =
      call.has(2) ? call.number(2) : static_cast<double>(call.node.Float("value", 0));
  const size_t rank = x.shape.size();
  if (call.node.Text("mode", "constant") != "constant" || fill != 0 || pads.size() != 2 * rank)
    call.Refuse("expected a padding of zeros of every axis");
  Shape shape;
  for (size_t i = 0; i < rank; ++i) {
    if (pads[i] < 0 || pads[i + rank] < 0 || pads[i] > 65535 || pads[i + rank] > 65535)
      call.Refuse("expected paddings of 0 to 65535");
    shape.push_back(x.shape[i] + pads[i] + pads[i + rank]);
  }
  std::vector<size_t> indices(Count(shape));
  for (size_t i = 0; i < indices.size(); ++i) {
    size_t rest = i, index = 0, step = 1;
    bool inside = true;
    for (size_t axis = rank; axis-- > 0;) {
      const int64_t at = static_cast<int64_t>(rest % static_cast<size_t>(shape[axis])) - pads[axis];
      inside = inside && at >= 0 && at < x.shape[axis];
      if (inside) index += static_cast<size_t>(at) * step;
      step *= static_cast<size_t>(x.shape[axis]);
      rest /= static_cast<size_t>(shape[axis]);
    }
    indices[i] = inside ? index : kZero;
  }
  return Select(x, shape, indices);
}

// Nearest neighbours at whole factors: y[i] = x[i / factor].
Value Resize(const Call& call) {
  const Value& x = call.in(0);
  const size_t rank = x.shape.size();
  const bool upsample = call.node.op == "Upsample";
  const size_t scales_at = upsample || call.opset < 11 ? 1 : 2;
  Shape shape = x.shape;
  if (call.node.Text("mode", "nearest") != "nearest")
    call.Refuse("interpolates, expected the mode nearest");
  std::vector<double> scales;
  if (call.has(scales_at)) scales = call.in(scales_at).values;
  if (scales.empty() && call.has(3))
    for (size_t i = 0; i < std::min(rank, call.in(3).values.size()); ++i)
      scales.push_back(call.in(3).values[i] / static_cast<double>(x.shape[i]));
  const auto found = call.node.attributes.find("scales");
  if (scales.empty() && found != call.node.attributes.end()) scales = found->second.floats;
  if (scales.size() != rank) call.Refuse("expected a factor an axis");
  for (size_t i = 0; i < rank; ++i) {
    if (scales[i] != std::floor(scales[i]) || scales[i] < 1 || scales[i] > 64)
      call.Refuse("expected whole factors of 1 to 64");
    shape[i] *= static_cast<int64_t>(scales[i]);
  }
  std::vector<size_t> indices(Count(shape));
  for (size_t i = 0; i < indices.size(); ++i) {
    size_t rest = i, index = 0, step = 1;
    for (size_t axis = rank; axis-- > 0;) {
      index += rest % static_cast<size_t>(shape[axis]) / static_cast<size_t>(scales[axis]) * step;
      step *= static_cast<size_t>(x.shape[axis]);
      rest /= static_cast<size_t>(shape[axis]);
    }
    indices[i] = index;
  }
  return Select(x, shape, indices);
}

Value DepthToSpace(const Call& call) {
  const Value& x = call.in(0);
  const Images in = ImagesOf(call, x);
  const int64_t block = call.node.Int("blocksize", 0);
  const bool crd = call.node.Text("mode", "DCR") == "CRD";
  if (block < 1 || x.shape.size() != 4 || in.c % (block * block) != 0)
    call.Refuse("its block size does not divide the channels");
  const int64_t channels = in.c / block / block;
  std::vector<size_t> indices;
  for (int64_t n = 0; n < in.n; ++n)
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t y = 0; y < in.h * block; ++y)
        for (int64_t z = 0; z < in.w * block; ++z) {
          const int64_t by = y % block, bx = z % block;
          const int64_t from =
              crd ? (c * block + by) * block + bx : (by * block + bx) * channels + c;
          indices.push_back(
              static_cast<size_t>(((n * in.c + from) * in.h + y / block) * in.w + z / block));
        }
  return Select(x, {in.n, channels, in.h * block, in.w * block}, indices);
}

Value Cast(const Call& call) {
  Value y = call.in(0);
  const int64_t to = call.node.Int("to", 1);
  const bool real = to == 1 || to == 10 || to == 11 || to == 16;
  if (!real && !y.integers)
    for (double& v : y.values) v = std::trunc(v);
  y.integers = !real;
  return y;
}

Value Constant(const Call& call) {
  for (const auto& [name, attribute] : call.node.attributes) {
    if (name == "value" && attribute.tensors.size() == 1) return Value(attribute.tensors[0]);
    Value y;
    y.integers = name == "value_int" || name == "value_ints";
    if (y.integers)
      y.values.assign(attribute.ints.begin(), attribute.ints.end());
    else if (name == "value_float" || name == "value_floats")
      y.values = attribute.floats;
    else
      continue;
    if (name.back() == 's') y.shape = {static_cast<int64_t>(y.values.size())};
    if (Count(y.shape) == y.values.size()) return y;
  }
  call.Refuse("holds no value");
}

constexpr size_t kMostFilled = 1 << 20;

Value ConstantOfShape(const Call& call) {
  Value y;
  const auto found = call.node.attributes.find("value");
  const bool given = found != call.node.attributes.end() && !found->second.tensors.empty() &&
                     found->second.tensors[0].values.size() == 1;
  y.shape = call.integers(0);
  if (Count(y.shape) > kMostFilled) call.Refuse("makes " + ShapeText(y.shape) + " constants");
  y.integers = given && found->second.tensors[0].integers;
  y.values.assign(Count(y.shape), given ? found->second.tensors[0].values[0] : 0);
  return y;
}

struct Operator {
  const char* op;
  Value (*evaluate)(const Call& call);
  bool quantizer = false;
};
constexpr Operator kOperators[] = {
    {"Add", Add},
    {"AveragePool", AveragePool},
    {"BatchNormalization", BatchNormalization},
    {"Cast", Cast},
    {"Clip", Clip},
    {"Concat", Concat},
    {"Constant", Constant},
    {"ConstantOfShape", ConstantOfShape},
    {"Conv", Conv},
    {"DepthToSpace", DepthToSpace},
    {"Div", Divide},
    {"Dropout", Identity},
    {"Flatten", Flatten},
    {"Gather", Gather},
    {"Gemm", Gemm},
    {"GlobalAveragePool", GlobalAveragePool},
    {"Identity", Identity},
    {"LeakyRelu", LeakyRelu},
    {"MatMul", MatMul},
    {"MaxPool", MaxPool},
    {"Mul", Product2},
    {"Neg", Negate},
    {"PRelu", PRelu},
    {"Pad", Pad},
    {"ReduceMean", ReduceMean},
    {"Relu", Relu},
    {"Reshape", Reshape},
    {"Resize", Resize},
    {"Shape", ShapeOf},
    {"Sigmoid", Sigmoid},
    {"Slice", Slice},
    {"Softmax", Softmax},
    {"Squeeze", Squeeze},
    {"Sub", Subtract},
    {"Transpose", Transpose},
    {"Unsqueeze", Unsqueeze},
    {"Upsample", Resize},
    {"BipolarQuant", BipolarQuant, true},
    {"IntQuant", Quant, true},
    {"MultiThreshold", MultiThreshold, true},
    {"Quant", Quant, true},
    {"Trunc", Trunc, true},
};

}  // namespace

bool IsQuantizerDomain(const std::string& domain) {
  return domain.empty() || domain == "qonnx.custom_op.general" || domain == "onnx.brevitas" ||
         domain == "finn.custom_op.general";
}

Value Evaluate(const Node& node, const Inputs& inputs, int64_t opset) {
  for (const Operator& entry : kOperators) {
    const bool domain = entry.quantizer ? IsQuantizerDomain(node.domain)
                                        : node.domain.empty() || node.domain == "ai.onnx";
    if (node.op == entry.op && domain) return entry.evaluate({node, inputs, opset});
  }
  throw InputError(node.title(), "is an operator that is not supported" +
                                     (node.domain.empty() ? "" : ", of the domain " + node.domain));
}

std::map<std::string, Value> Interpret(const Model& model, const Array& input) {
  std::map<std::string, Value> values;
  for (const auto& [name, array] : model.constants) values[name] = Value(array);
  if (model.inputs.size() != 1)
    throw InputError("the graph",
                     "has " + std::to_string(model.inputs.size()) + " inputs, expected one");
  values[model.inputs[0].name] = Value(input);
  for (const Node& node : model.nodes) {
    Inputs inputs;
    for (const std::string& name : node.inputs) {
      if (!name.empty() && values.count(name) == 0)
        throw InputError(node.title(), "reads \"" + name + "\", expected a node's first output");
      inputs.push_back(name.empty() ? nullptr : &values.at(name));
    }
    if (!node.outputs.empty()) values[node.outputs[0]] = Evaluate(node, inputs, model.opset);
  }
  return values;
}

}  // namespace lbrt::onnx
