// Largest values and averages of windows.
#include <algorithm>

#include "converter/onnx/operators/shapes.h"
#include "converter/onnx/operators/slide.h"

namespace lbrt::onnx::operators {
namespace {

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

constexpr Operator kOperators[] = {
    {"AveragePool", AveragePool},
    {"GlobalAveragePool", GlobalAveragePool},
    {"MaxPool", MaxPool},
    {"ReduceMean", ReduceMean},
};

}  // namespace

std::span<const Operator> Poolings() { return kOperators; }

}  // namespace lbrt::onnx::operators
