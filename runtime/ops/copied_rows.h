// Input rows copied into the scratch with zeros around them, a block of rows at a time, where the
// tensor itself has no ring or is no bytes. An image is small beside what is computed from it.
#pragma once

#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {

struct CopiedRows {
  size_t height, stride_h, kernel_h, pad_top;
  size_t row_bytes;                  // of the copy, in the image: one byte an element
  size_t margin_left, margin_right;  // bytes before and behind them
  size_t pixel, window_step;         // bytes of a pixel, and from one output's window to the next
  size_t window_run;                 // bytes of a window's row
  size_t block;                      // output rows per copy
  size_t offset;                     // in the scratch

  size_t stride() const { return margin_left + row_bytes + margin_right; }
  uint64_t bytes() const { return uint64_t{(block - 1) * stride_h + kernel_h} * stride(); }

  // The input rows of `rows` output rows from y, padding included; copy_row(row, to) writes those
  // of the image.
  template <typename CopyRow>
  void Copy(size_t y, size_t rows, uint8_t* copy, CopyRow copy_row) const {
    const size_t count = (rows - 1) * stride_h + kernel_h;
    for (size_t i = 0; i < count; ++i, copy += stride()) {
      const size_t padded = y * stride_h + i;  // counted from the first padding row
      if (padded < pad_top || padded - pad_top >= height) {
        std::memset(copy, 0, stride());
        continue;
      }
      std::memset(copy, 0, margin_left);
      copy_row(padded - pad_top, copy + margin_left);
      std::memset(copy + margin_left + row_bytes, 0, margin_right);
    }
  }

  // Pixels [x, x + pixels) of output row `row` of the copied block.
  Windows<uint8_t> At(const uint8_t* copy, size_t row, size_t x, size_t pixels) const {
    Windows<uint8_t> in;
    in.first = copy + row * stride_h * stride() + x * window_step;
    in.rows = pixels;
    in.step = window_step;
    in.runs = kernel_h;
    in.run = window_run;
    in.run_stride = stride();
    return in;
  }
};

// A row of a bits tensor as bytes: each bit 0 or 2. Eight at a time: byte i of the product keeps
// bit i, and 0x7F carries it to the top bit.
inline void UnpackRow(const Place& x, size_t channels, const uint8_t* row, uint8_t* to) {
  for (size_t i = 0; i < x.width; ++i, row += x.pixel) {
    for (size_t c = 0; c < channels; c += 8) {
      const size_t count = channels - c < 8 ? channels - c : 8;
      uint64_t bytes = (row[c / 8] * 0x0101010101010101u) & 0x8040201008040201u;
      bytes = ((bytes + 0x7F7F7F7F7F7F7F7Fu) >> 6) & 0x0202020202020202u;
      std::memcpy(to, &bytes, count);
      to += count;
    }
  }
}

// Several rows a copy, since neighbours share most of their input; not more than helps.
inline constexpr size_t kRowsPerCopy = 8;

// Takes its part of the scratch behind what `prepared` has; null: the caller does.
inline CopiedRows PrepareCopiedRows(const ConvView& c, size_t block, PreparedOp* prepared) {
  CopiedRows rows;
  rows.height = static_cast<size_t>(c.x.shape.h);
  rows.stride_h = static_cast<size_t>(c.window.stride_h);
  rows.kernel_h = c.kernel_h();
  rows.pad_top = static_cast<size_t>(c.window.pad_top);
  rows.pixel = c.in_channels();
  rows.row_bytes = static_cast<size_t>(c.x.shape.w) * rows.pixel;
  rows.margin_left = static_cast<size_t>(c.window.pad_left) * rows.pixel;
  rows.margin_right = static_cast<size_t>(c.window.pad_right) * rows.pixel;
  rows.window_step = static_cast<size_t>(c.window.stride_w) * rows.pixel;
  rows.window_run = c.kernel_w() * rows.pixel;
  rows.block = block < c.out_h() ? block : c.out_h();
  rows.offset = 0;
  if (prepared == nullptr) return rows;
  rows.offset = static_cast<size_t>(prepared->scratch_bytes);
  prepared->scratch_bytes += rows.bytes();
  return rows;
}

}  // namespace lbrt
