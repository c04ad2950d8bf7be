// Shape arithmetic of windows (convolution, pooling): output sizes, valid taps, border classes.
// It exists once: every op's check, the import, the interpreter and the trainer call it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lbrt {

// A window that slides over the two spatial axes. Padding is in input pixels and means "value 0
// after the activation quantizer" (design.md section 2).
struct Window {
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;

  constexpr int taps() const { return kernel_h * kernel_w; }
  friend constexpr bool operator==(const Window&, const Window&) = default;
};

constexpr Window SquareWindow(int kernel, int stride, int pad) {
  return {kernel, kernel, stride, stride, pad, pad, pad, pad};
}

// Output positions along one axis (floor mode), or 0 where the padded input is shorter than the
// kernel.
constexpr int WindowOutput(int input, int kernel, int stride, int pad_before, int pad_after) {
  const int padded = input + pad_before + pad_after;
  return padded < kernel ? 0 : (padded - kernel) / stride + 1;
}
constexpr int OutputHeight(const Window& w, int height) {
  return WindowOutput(height, w.kernel_h, w.stride_h, w.pad_top, w.pad_bottom);
}
constexpr int OutputWidth(const Window& w, int width) {
  return WindowOutput(width, w.kernel_w, w.stride_w, w.pad_left, w.pad_right);
}

// The taps [begin, end) of one axis that read a real input element at output position `out`.
struct TapRange {
  int begin, end;
  constexpr int size() const { return end - begin; }
  friend constexpr bool operator==(const TapRange&, const TapRange&) = default;
};
constexpr TapRange ValidTaps(int input, int kernel, int stride, int pad_before, int out) {
  const int first = out * stride - pad_before;  // input position of tap 0
  int begin = first < 0 ? -first : 0;
  int end = first + kernel > input ? input - first : kernel;
  if (begin > kernel) begin = kernel;
  if (end < begin) end = begin;
  return {begin, end};
}
constexpr TapRange ValidRows(const Window& w, int height, int out_y) {
  return ValidTaps(height, w.kernel_h, w.stride_h, w.pad_top, out_y);
}
constexpr TapRange ValidColumns(const Window& w, int width, int out_x) {
  return ValidTaps(width, w.kernel_w, w.stride_w, w.pad_left, out_x);
}

// Border classes of one axis: output positions with the same valid taps share a class. Classes are
// numbered in the order in which they first occur, along the axis; a 3-tap axis with stride 1 and
// padding 1 has three (first, middle, last), one without padding has one. A position's class in
// two dimensions is row_class * column_classes + column_class.
class BorderAxis {
 public:
  constexpr BorderAxis(int input, int kernel, int stride, int pad_before, int pad_after)
      : input_(input), kernel_(kernel), stride_(stride), pad_(pad_before),
        outputs_(WindowOutput(input, kernel, stride, pad_before, pad_after)) {}

  constexpr int outputs() const { return outputs_; }
  constexpr TapRange taps(int out) const {
    return ValidTaps(input_, kernel_, stride_, pad_, out);
  }
  // The class of output position `out`: how many distinct tap ranges occur before it, unless its
  // own is one of them. Ranges along an axis never return once left, so only neighbours differ.
  constexpr int Class(int out) const {
    int result = 0;
    for (int i = 1; i <= out; ++i) result += taps(i) == taps(i - 1) ? 0 : 1;
    return result;
  }
  constexpr int classes() const { return outputs_ == 0 ? 0 : Class(outputs_ - 1) + 1; }
  // The first output position of a class.
  constexpr int First(int cls) const {
    int out = 0;
    while (Class(out) != cls) ++out;
    return out;
  }

 private:
  int input_, kernel_, stride_, pad_, outputs_;
};
constexpr BorderAxis BorderRows(const Window& w, int height) {
  return {height, w.kernel_h, w.stride_h, w.pad_top, w.pad_bottom};
}
constexpr BorderAxis BorderColumns(const Window& w, int width) {
  return {width, w.kernel_w, w.stride_w, w.pad_left, w.pad_right};
}

}  // namespace lbrt
