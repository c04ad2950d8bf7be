// Weight layouts of the vector columns, for panels of kPanel output channels: one channel is one
// lane, so that a kernel broadcasts an input and needs no horizontal sums. Channels from `outputs`
// to the end of the last panel are zero.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"

namespace lbrt::pack {

template <typename T>
T RowElement(const WeightRows& rows, size_t plane, size_t output, size_t index) {
  T value;
  std::memcpy(&value,
              static_cast<const uint8_t*>(rows.plane[plane]) + output * rows.row_bytes +
                  index * sizeof(T),
              sizeof(T));
  return value;
}

inline int32_t FixedPoint(const WeightRows& rows, size_t output, size_t k) {
  int32_t w = 0;
  for (size_t limb = rows.planes; limb-- > 0;) {
    w = w * 256 + RowElement<int8_t>(rows, limb, output, k);
  }
  return w;
}

inline bool Sign(const WeightRows& rows, size_t output, size_t k) {
  return (RowElement<uint8_t>(rows, 0, output, k / 8) >> (k % 8)) & 1;
}

constexpr size_t Padded(size_t bytes) { return RoundUp(bytes, kPackedAlignment); }

// [panel][k][kPanel] of T, element(output, k).
template <size_t kPanel, typename T, typename Element>
void Panels(const WeightRows& rows, size_t elements, void* packed, Element element) {
  T* out = static_cast<T*>(packed);
  for (size_t first = 0; first < rows.outputs; first += kPanel) {
    for (size_t k = 0; k < elements; ++k) {
      for (size_t o = first; o < first + kPanel; ++o) {
        *out++ = o < rows.outputs ? element(o, k) : T{0};
      }
    }
  }
}
template <size_t kPanel, typename T>
size_t PanelBytes(const WeightRows& rows, size_t elements) {
  return Padded(RoundUp(rows.outputs, kPanel) * elements * sizeof(T));
}

inline size_t WordsOf(const WeightRows& rows) { return (rows.elements() + 31) / 32; }

// Words: [panel][word][kPanel].
template <size_t kPanel>
inline constexpr Packing kWordPanels = {
    [](const WeightRows& rows) { return PanelBytes<kPanel, Word>(rows, WordsOf(rows)); },
    [](const WeightRows& rows, void* packed) {
      Panels<kPanel, Word>(rows, WordsOf(rows), packed,
                           [&](size_t o, size_t i) { return RowElement<Word>(rows, 0, o, i); });
    }};

// Floats: [panel][k][kPanel].
template <size_t kPanel>
inline constexpr Packing kFloatPanels = {
    [](const WeightRows& rows) { return PanelBytes<kPanel, float>(rows, rows.elements()); },
    [](const WeightRows& rows, void* packed) {
      Panels<kPanel, float>(rows, rows.elements(), packed,
                            [&](size_t o, size_t k) { return RowElement<float>(rows, 0, o, k); });
    }};

// Fixed-point weights as floats, which hold their 24 bits exactly: [panel][k][kPanel].
template <size_t kPanel>
inline constexpr Packing kFixedPointPanels = {
    [](const WeightRows& rows) { return PanelBytes<kPanel, float>(rows, rows.elements()); },
    [](const WeightRows& rows, void* packed) {
      Panels<kPanel, float>(rows, rows.elements(), packed, [&](size_t o, size_t k) {
        return static_cast<float>(FixedPoint(rows, o, k));
      });
    }};

// Fixed-point weights as doubles, one output channel after the other: [output][k].
inline constexpr Packing kFixedPointRows = {
    [](const WeightRows& rows) {
      return Padded(rows.outputs * rows.elements() * sizeof(double));
    },
    [](const WeightRows& rows, void* packed) {
      double* out = static_cast<double*>(packed);
      for (size_t o = 0; o < rows.outputs; ++o) {
        for (size_t k = 0; k < rows.elements(); ++k) *out++ = FixedPoint(rows, o, k);
      }
    }};

// Signs: [panel][k] of one bit per channel, channel c of the panel at bit c.
template <size_t kPanel>
inline constexpr Packing kSignPanels = {
    [](const WeightRows& rows) {
      return Padded(RoundUp(rows.outputs, kPanel) * rows.elements() / 8);
    },
    [](const WeightRows& rows, void* packed) {
      static_assert(kPanel == 8 || kPanel == 16);
      uint8_t* out = static_cast<uint8_t*>(packed);
      for (size_t first = 0; first < rows.outputs; first += kPanel) {
        for (size_t k = 0; k < rows.elements(); ++k) {
          for (size_t byte = first; byte < first + kPanel; byte += 8) {
            unsigned bits = 0;
            for (size_t c = 0; c < 8; ++c) {
              if (byte + c < rows.outputs && Sign(rows, byte + c, k)) bits |= 1u << c;
            }
            *out++ = static_cast<uint8_t>(bits);
          }
        }
      }
    }};

}  // namespace lbrt::pack
