// Elements in other places: shapes, slices, joins, zeros around, and constants.
#include <algorithm>
#include <cmath>

#include "converter/onnx/operators/shapes.h"
#include "converter/onnx/operators/slide.h"

namespace lbrt::onnx::operators {
namespace {

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
  const std::vector<int64_t> wanted = call.integers(1);
  const size_t axis = call.axis(call.node.Int("axis", 0), x.shape.size());
  const auto side = x.shape[axis];
  const size_t outer = Sides(x.shape, 0, axis), inner = Sides(x.shape, axis + 1, x.shape.size());
  std::vector<size_t> indices;
  for (size_t o = 0; o < outer; ++o)
    for (int64_t i : wanted) {
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

constexpr Operator kOperators[] = {
    {"Cast", Cast},
    {"Concat", Concat},
    {"Constant", Constant},
    {"ConstantOfShape", ConstantOfShape},
    {"DepthToSpace", DepthToSpace},
    {"Flatten", Flatten},
    {"Gather", Gather},
    {"Pad", Pad},
    {"Reshape", Reshape},
    {"Resize", Resize},
    {"Shape", ShapeOf},
    {"Slice", Slice},
    {"Squeeze", Squeeze},
    {"Transpose", Transpose},
    {"Unsqueeze", Unsqueeze},
    {"Upsample", Resize},
};

}  // namespace

std::span<const Operator> Places() { return kOperators; }

}  // namespace lbrt::onnx::operators
