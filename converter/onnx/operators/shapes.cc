#include "converter/onnx/operators/shapes.h"

#include <algorithm>

namespace lbrt::onnx::operators {

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

size_t Sides(const Shape& shape, size_t begin, size_t end) {
  size_t product = 1;
  for (size_t i = begin; i < end; ++i) product *= static_cast<size_t>(shape[i]);
  return product;
}

}  // namespace lbrt::onnx::operators
