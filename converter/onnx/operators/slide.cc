#include "converter/onnx/operators/slide.h"

#include <algorithm>

namespace lbrt::onnx::operators {

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

}  // namespace lbrt::onnx::operators
