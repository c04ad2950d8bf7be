// Tensors as the runtime sees them: shape, layout and place in the arena.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "schema/lbm_generated.h"

namespace lbrt {

// Limits that keep every product of sizes within 64 bits, and a tensor within 32-bit machines.
inline constexpr int64_t kMaxElements = int64_t{1} << 28;  // of one tensor
inline constexpr size_t kMaxTensors = 1024;  // of one width
inline constexpr size_t kMaxOps = 1024;
inline constexpr size_t kMaxOfAllWidths = 2048;  // tensors, and ops

struct Shape {
  int32_t n = 0, h = 0, w = 0, c = 0;
  int64_t pixels() const { return int64_t{n} * h * w; }
  int64_t elements() const { return pixels() * c; }
  friend bool operator==(const Shape&, const Shape&) = default;
};

// Layouts (batch outermost; kernels/kernels.h says what kernels make of them):
//   u8    NHWC
//   f32   rows: NHWC; lanes: planar, [n][c][h][w]. Where h = w = 1 both are the same bytes.
//   bits  one group of PixelBytes(c) bytes a pixel
//   codes NHWC, a byte each
// Bits, codes, and f32 in rows, may have a ring: that many zero pixels around each image, so that a
// convolution reads a row of taps as one run. Rows share them: the ring behind a row is the one
// before the next. Who makes a row zeroes the ring behind it (ring.h has the addresses).
struct ArenaTensor {
  const char* name = nullptr;  // in the file, as untrusted as the file; may be null
  lbm::TensorType type = lbm::TensorType::U8;
  Shape shape;
  int32_t levels = 0;  // of codes: the largest there can be
  bool lanes = false;
  bool dense_rows = false;  // a graph input or output, or read by an op that knows no ring
  int32_t ring = 0;
  int32_t maker = kUnmade;  // op, or kGraphInput
  int32_t last_use = 0;     // op; behind the last one for graph inputs and outputs
  uint64_t offset = 0;      // in the arena
  int32_t group = 0;        // layout.cc: a tensor of those that share an order, and there
  int64_t lanes_gain = 0;   // what lanes would save, in all
  int32_t buffer = 0;       // the tensor whose memory it has: itself, or what it overwrites

  static constexpr int32_t kGraphInput = -1;
  static constexpr int32_t kUnmade = -2;

  bool one_pixel() const { return shape.h == 1 && shape.w == 1; }
  uint64_t pixel_bytes() const {
    if (type == lbm::TensorType::Bits) return PixelBytes(static_cast<size_t>(shape.c));
    return static_cast<uint64_t>(shape.c) * (type == lbm::TensorType::F32 ? 4 : 1);
  }
  uint64_t row_pixels() const { return static_cast<uint64_t>(shape.w + ring); }
  uint64_t image_bytes() const {
    const auto rings = static_cast<uint64_t>(ring);
    return ((static_cast<uint64_t>(shape.h) + 2 * rings) * row_pixels() + rings) * pixel_bytes();
  }
  uint64_t bytes() const { return static_cast<uint64_t>(shape.n) * image_bytes(); }
};

// What a run needs to know of where a tensor lies, in bytes. In lanes order a row is one of one
// channel, a pixel one float, and `plane` leads to the next channel.
struct Place {
  static constexpr size_t kNowhere = SIZE_MAX;

  size_t offset = kNowhere;  // in the arena, of pixel (0, 0) of image 0
  size_t image = 0, row = 0, pixel = 0, plane = 0;
  size_t width = 0, height = 0, ring = 0;  // in pixels

  bool used() const { return offset != kNowhere; }
  size_t At(size_t n, size_t y, size_t x) const { return offset + n * image + y * row + x * pixel; }
  // The pixel under tap (0, 0) of a window whose first tap lies `top` and `left` outside of (y, x);
  // inside the ring.
  size_t AtTap(size_t n, size_t y, size_t x, size_t top, size_t left) const {
    return At(n, y, x) - top * row - left * pixel;
  }
};

inline Place PlaceOf(const ArenaTensor& t) {
  Place place;
  const bool planar = t.type == lbm::TensorType::F32 && t.lanes;
  place.width = static_cast<size_t>(t.shape.w);
  place.height = static_cast<size_t>(t.shape.h);
  place.ring = static_cast<size_t>(t.ring);
  place.pixel = planar ? 4 : static_cast<size_t>(t.pixel_bytes());
  place.row = static_cast<size_t>(t.row_pixels()) * place.pixel;
  place.plane = planar ? place.height * place.row : 4;
  place.image = static_cast<size_t>(t.image_bytes());
  place.offset = static_cast<size_t>(t.offset) + place.ring * (place.row + place.pixel);
  return place;
}

// Zeroes what of the ring belongs to row y of image n: the pixels behind it, and at the first and
// last row what lies above and below. To be called by whoever makes that row.
inline void ZeroRing(uint8_t* arena, const Place& place, size_t n, size_t y) {
  if (place.ring == 0) return;
  const auto zero = [](uint8_t* first, size_t bytes) {  // mostly one pixel; odd only for codes
    if (bytes % 2 != 0) *first++ = 0;
    for (size_t i = 0; i + 1 < bytes; i += 2) first[i] = first[i + 1] = 0;
  };
  uint8_t* row = arena + place.At(n, y, 0);
  const size_t side = place.ring * place.pixel;
  if (y == 0) zero(row - place.ring * place.row - side, place.ring * place.row + side);
  uint8_t* behind = row + place.width * place.pixel;
  zero(behind, y + 1 == place.height ? side + place.ring * place.row : side);
}

}  // namespace lbrt
