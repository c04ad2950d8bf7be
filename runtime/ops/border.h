// Tables over the border classes of a window (kernels/shapes.h): what a kernel adds depends on
// which taps of an output position read the input.
#pragma once

#include <cstring>

#include "kernels/shapes.h"
#include "runtime/memory.h"

namespace lbrt {

// Of convolutions, either side; bounds the number of border classes.
inline constexpr int kMaxKernel = 16;

// The classes of one axis in order: visit(class, first position, end, taps). A class is a run of
// neighbours. Linear in the outputs, where asking BorderAxis for each would be quadratic.
template <typename Visit>
void ForEachClass(const BorderAxis& axis, Visit visit) {
  size_t cls = 0;
  for (int first = 0; first < axis.outputs();) {
    const TapRange taps = axis.taps(first);
    int end = first + 1;
    while (end < axis.outputs() && axis.taps(end) == taps) ++end;
    visit(cls++, static_cast<size_t>(first), static_cast<size_t>(end), taps);
    first = end;
  }
}
inline size_t CountClasses(const BorderAxis& axis) {
  size_t count = 0;
  ForEachClass(axis, [&](size_t, size_t, size_t, TapRange) { ++count; });
  return count;
}

// A table [class][stride] of integers: of output o, value(valid, all, taps), where `valid` is the
// sum of tap(o, ky, kx) over the `taps` taps that are valid in the class, `all` that over all taps.
// Columns behind the outputs are 0. Null where `allocator` measures.
template <typename Tap, typename Value>
const int32_t* BorderTable(const BorderAxis& ys, const BorderAxis& xs, size_t kernel_h,
                           size_t kernel_w, size_t outputs, size_t stride, Allocator& allocator,
                           Tap tap, Value value) {
  const size_t columns = CountClasses(xs);
  const uint64_t count = uint64_t{CountClasses(ys)} * columns * stride;
  int32_t* table = allocator.Take<int32_t>(count, kMemoryAlignment);
  if (table == nullptr) return nullptr;
  std::memset(table, 0, static_cast<size_t>(count) * sizeof(int32_t));
  for (size_t o = 0; o < outputs; ++o) {
    // sums[y][x]: of all taps above and left of (y, x).
    int32_t sums[kMaxKernel + 1][kMaxKernel + 1] = {};
    for (size_t y = 0; y < kernel_h; ++y)
      for (size_t x = 0; x < kernel_w; ++x)
        sums[y + 1][x + 1] = sums[y][x + 1] + sums[y + 1][x] - sums[y][x] + tap(o, y, x);
    ForEachClass(ys, [&](size_t row_class, size_t, size_t, TapRange y) {
      ForEachClass(xs, [&](size_t column_class, size_t, size_t, TapRange x) {
        const int32_t valid = sums[y.end][x.end] - sums[y.begin][x.end] - sums[y.end][x.begin] +
                              sums[y.begin][x.begin];
        table[(row_class * columns + column_class) * stride + o] =
            value(valid, sums[kernel_h][kernel_w], y.size() * x.size());
      });
    });
  }
  return table;
}

// For kernels in rows order: result[y][x] points to the row of `table` [class][stride] that
// position (y, x) has.
template <typename T>
const T* const* const* PixelTable(const BorderAxis& ys, const BorderAxis& xs, const T* table,
                                  size_t stride, Allocator& allocator) {
  const size_t columns = CountClasses(xs), width = static_cast<size_t>(xs.outputs());
  auto** rows = allocator.Take<const T* const*>(static_cast<size_t>(ys.outputs()));
  auto** pixels = allocator.Take<const T*>(uint64_t{CountClasses(ys)} * width);
  if (allocator.measuring()) return nullptr;
  ForEachClass(ys, [&](size_t row_class, size_t y_first, size_t y_end, TapRange) {
    const T** row = pixels + row_class * width;
    for (size_t y = y_first; y < y_end; ++y) rows[y] = row;
    ForEachClass(xs, [&](size_t column_class, size_t x_first, size_t x_end, TapRange) {
      for (size_t x = x_first; x < x_end; ++x)
        row[x] = table + (row_class * columns + column_class) * stride;
    });
  });
  return rows;
}

// For kernels in lanes order: result[y] points to [channels][width] values, of the same `table`.
template <typename T>
const T* const* LaneTable(const BorderAxis& ys, const BorderAxis& xs, const T* table, size_t stride,
                          size_t channels, Allocator& allocator) {
  const size_t columns = CountClasses(xs), width = static_cast<size_t>(xs.outputs());
  auto** rows = allocator.Take<const T*>(static_cast<size_t>(ys.outputs()));
  T* values = allocator.Take<T>(uint64_t{CountClasses(ys)} * channels * width, kMemoryAlignment);
  if (allocator.measuring()) return nullptr;
  ForEachClass(ys, [&](size_t row_class, size_t y_first, size_t y_end, TapRange) {
    T* row = values + row_class * channels * width;
    for (size_t y = y_first; y < y_end; ++y) rows[y] = row;
    ForEachClass(xs, [&](size_t column_class, size_t x_first, size_t x_end, TapRange) {
      const T* from = table + (row_class * columns + column_class) * stride;
      for (size_t c = 0; c < channels; ++c)
        for (size_t x = x_first; x < x_end; ++x) row[c * width + x] = from[c];
    });
  });
  return rows;
}

}  // namespace lbrt
