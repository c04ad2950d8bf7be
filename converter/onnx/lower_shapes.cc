// Shapes, transpositions and zeros around images.
#include "converter/onnx/lowering.h"

namespace lbrt::onnx {

void Lowering::ShapeNode(const Node& node) {
  const Traced& x = In(node, 0);
  Value shape;
  shape.integers = true;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    const bool height = x.shape.size() == 4 && i == (x.channels_last ? 1u : 2u);
    const bool width = x.shape.size() == 4 && i == (x.channels_last ? 2u : 3u);
    shape.values.push_back(static_cast<double>(x.shape[i] +
                                               (height ? x.pad_top + x.pad_bottom : 0) +
                                               (width ? x.pad_left + x.pad_right : 0)));
  }
  shape.shape = {static_cast<int64_t>(shape.values.size())};
  Set(node, Constant(std::move(shape)));
}

// The shape that an operator which moves elements makes of a value of `shape`.
Shape Lowering::ShapeMade(const Node& node, const Shape& shape) const {
  Value empty;
  empty.shape = shape;
  empty.values.resize(Count(shape));
  std::vector<const Value*> inputs = {&empty};
  for (size_t i = 1; i < node.inputs.size(); ++i)
    inputs.push_back(node.has(i) ? &ConstantIn(node, i) : nullptr);
  return Evaluate(node, inputs, model_.opset).shape;
}

// Reshape, Flatten, Squeeze and Unsqueeze: between an image and its flattened form, or adding and
// dropping sides of 1.
void Lowering::Reshape(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  const Shape shape = ShapeMade(node, x.shape);

  const GraphNode& from = GraphNodeOf(x);
  const Shape image = x.channels_last ? Shape{1, from.height, from.width, from.channels}
                                      : Shape{1, from.channels, from.height, from.width};
  const bool flat = shape.size() == 2 && shape[0] == 1;
  const bool row = shape.size() == 3 && !x.channels_last && from.height == 1 &&
                   shape == Shape{1, from.channels, from.width};
  const bool vector = from.height == 1 && from.width == 1 && shape.size() > 2 && shape[0] == 1 &&
                      shape[1] == from.channels &&
                      Count(shape) == static_cast<size_t>(from.channels);
  if (!flat && !row && !vector && shape != image)
    Refuse(node, "reshapes " + ShapeText(x.shape) + " to " + ShapeText(shape) +
                     ", expected a flattened image, or sides of 1 to come or go");
  if (vector) x.channels_last = false;
  x.shape = shape;
  Set(node, std::move(x));
}

void Lowering::Transpose(const Node& node) {
  Traced x = In(node, 0);
  CheckUnpadded(node, x);
  const std::vector<int64_t> order = node.Ints("perm", {});
  const bool to_last = order == std::vector<int64_t>{0, 2, 3, 1};
  const bool to_first = order == std::vector<int64_t>{0, 3, 1, 2};
  if (x.shape.size() != 4 || !(x.channels_last ? to_first : to_last))
    Refuse(node, "transposes " + ShapeText(x.shape) +
                     ", expected channels to go behind the pixels, or back");
  x.channels_last = to_last;
  Shape shape;
  for (const int64_t axis : order) shape.push_back(x.shape[static_cast<size_t>(axis)]);
  x.shape = shape;
  Set(node, std::move(x));
}

void Lowering::Pad(const Node& node) {
  Traced x = In(node, 0);
  const std::vector<int64_t> pads =
      node.has(1) ? node.Integers(ConstantIn(node, 1).values) : node.Ints("pads", {});
  double fill = static_cast<double>(node.Float("value", 0));
  if (node.has(2) && !ConstantIn(node, 2).values.empty()) fill = ConstantIn(node, 2).values[0];
  if (node.Text("mode", "constant") != "constant" || fill != 0 || x.shape.size() != 4 ||
      pads.size() != 8 || node.has(3))
    Refuse(node, "expected zeros around the pixels of an image, 1xCxHxW");
  const size_t h = x.channels_last ? 1 : 2;
  for (size_t i = 0; i < 8; ++i)
    if (pads[i] < 0 || pads[i] > 255 || (pads[i] != 0 && i % 4 != h && i % 4 != h + 1))
      Refuse(node, "expected zeros around the pixels of an image, at most 255");
  x.pad_top += Int(pads[h]);
  x.pad_left += Int(pads[h + 1]);
  x.pad_bottom += Int(pads[h + 4]);
  x.pad_right += Int(pads[h + 5]);
  Set(node, std::move(x));
}

}  // namespace lbrt::onnx
