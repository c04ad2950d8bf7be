#include "runtime/ops/checks.h"

#include <cstring>

namespace lbrt {

Refusal CheckRead(const OpView& view, int64_t index, const ArenaTensor** tensor) {
  if (index < 0 || index >= static_cast<int64_t>(view.tensor_count))
    return {"reads a tensor that does not exist", -1, index};
  const ArenaTensor& t = view.tensors[index];
  if (t.maker == ArenaTensor::kUnmade)
    return {"reads a tensor that no earlier op makes", -1, index};
  *tensor = &t;
  return {};
}

Refusal MakeTensor(const OpView& view, int64_t index, lbm::TensorType type, const Shape& shape,
                   int32_t levels) {
  if (index < 0 || index >= static_cast<int64_t>(view.tensor_count))
    return {"makes a tensor that does not exist", -1, index};
  ArenaTensor& t = view.tensors[index];
  if (t.maker != ArenaTensor::kUnmade) return {"makes a tensor that exists already", -1, index};
  if (t.type != type)
    return {"makes a tensor of another type", static_cast<int64_t>(type),
            static_cast<int64_t>(t.type)};
  if (shape.elements() > kMaxElements)
    return {"makes a tensor that is too large", kMaxElements, shape.elements()};
  t.shape = shape;
  t.levels = levels;
  t.maker = view.index;
  return {};
}

namespace {

Refusal CheckExists(const FileView& file, uint32_t segment) {
  const size_t all = file.table->segments() ? file.table->segments()->size() : 0;
  if (segment >= all) return {"names a segment that does not exist", -1, segment};
  if (file.segments_needed != nullptr && *file.segments_needed <= segment)
    *file.segments_needed = segment + 1;
  if (segment < file.segment_count) return {};
  return {"the file ends before its weights", -1, -1, LBRT_TRUNCATED};
}

}  // namespace

Refusal CheckFiniteFloats(const FileView& file, uint32_t segment, uint32_t offset, int64_t count) {
  if (Refusal r = CheckExists(file, segment)) return r;
  if (offset % sizeof(float) != 0) return {"floats are not aligned", -1, offset};
  if (offset + count * int64_t{sizeof(float)} > file.segment(segment).size())
    return {"floats reach behind their segment", file.segment(segment).size(),
            offset + count * int64_t{sizeof(float)}};
  const uint8_t* data = file.data(segment) + offset;
  uint32_t infinite = 0;  // no early end: compilers make vectors of it
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, data + i * 4, 4);
    infinite |= (bits & 0x7F800000u) == 0x7F800000u ? 1 : 0;
  }
  if (infinite != 0) return {"a constant is infinite or not a number"};
  return {};
}

Refusal CheckSegment(const FileView& file, uint32_t segment, int64_t bytes) {
  if (Refusal r = CheckExists(file, segment)) return r;
  if (file.segment(segment).size() != bytes)
    return {"a segment has another size than its weights", bytes, file.segment(segment).size()};
  return {};
}

Refusal CheckWindow(const lbm::Window& window, int max_kernel, const Shape& x, int64_t channels,
                    Shape* result) {
  const Window w = ToWindow(window);
  if (w.kernel_h < 1 || w.kernel_w < 1 || w.stride_h < 1 || w.stride_w < 1)
    return {"a window or stride of zero", 1, 0};
  if (w.kernel_h > max_kernel || w.kernel_w > max_kernel)
    return {"a window is too large", max_kernel, w.kernel_h > w.kernel_w ? w.kernel_h : w.kernel_w};
  if (w.pad_top >= w.kernel_h || w.pad_bottom >= w.kernel_h || w.pad_left >= w.kernel_w ||
      w.pad_right >= w.kernel_w)
    return {"padding is as large as the window"};
  if (channels < 1 || channels > kMaxElements)
    return {"a number of channels out of range", -1, channels};
  *result = {x.n, OutputHeight(w, x.h), OutputWidth(w, x.w), static_cast<int32_t>(channels)};
  if (result->h < 1 || result->w < 1) return {"a window is larger than its padded input"};
  // Before the product with the channels, which are below 2^29.
  if (result->pixels() > kMaxElements || result->elements() > kMaxElements)
    return {"the result is too large", kMaxElements, -1};
  return {};
}

Window ToWindow(const lbm::Window& window) {
  return {window.kernel_h(), window.kernel_w(), window.stride_h(),   window.stride_w(),
          window.pad_top(),  window.pad_left(), window.pad_bottom(), window.pad_right()};
}

int MostPadding(const Window& w) {
  const int vertical = w.pad_top > w.pad_bottom ? w.pad_top : w.pad_bottom;
  const int horizontal = w.pad_left > w.pad_right ? w.pad_left : w.pad_right;
  return vertical > horizontal ? vertical : horizontal;
}

const char* ActivationText(const ArenaTensor& x) {
  constexpr const char* kBits[] = {"1", "2", "3", "4", "5", "6", "7", "8"};
  size_t bits = 1;
  switch (x.type) {
    case lbm::TensorType::U8: return "u8";
    case lbm::TensorType::F32: return "f32";
    case lbm::TensorType::Bits: return "1";
    case lbm::TensorType::Codes:
      while (x.levels >> bits != 0) ++bits;
  }
  return kBits[bits - 1];
}

int64_t CountTaps(const BorderAxis& ys, const BorderAxis& xs) {
  int64_t rows = 0, columns = 0;
  for (int y = 0; y < ys.outputs(); ++y) rows += ys.taps(y).size();
  for (int x = 0; x < xs.outputs(); ++x) columns += xs.taps(x).size();
  return rows * columns;
}

}  // namespace lbrt
