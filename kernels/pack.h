// Weight layouts of the vector columns, for panels of kPanel output channels: one channel is one
// lane, so that a kernel broadcasts an input and needs no horizontal sums. Channels from `outputs`
// to the end of the last panel are zero. Those of large weights are packed in pack-inl.h.
#pragma once

#include <cstdint>

#include "kernels/weights.h"

namespace lbrt::pack {

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

// Groups of kGroup neighbours of a run, the last one filled up.
template <size_t kGroup>
size_t GroupsOf(const WeightRows& rows) {
  return rows.runs * ((rows.run + kGroup - 1) / kGroup);
}

// The bits of odd numbers: [panel] of [kPanel] (sum over i of 2^i * ones of bit i) and then
// [run][word][bit][kPanel], each run filled up to whole words.
inline size_t PlaneWordsOf(const WeightRows& rows) {
  return 1 + rows.runs * ((rows.run + 31) / 32) * rows.number_bits();
}

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
      constexpr size_t kBytes = kPanel / 8;  // of one element
      uint8_t* out = static_cast<uint8_t*>(packed);
      for (size_t first = 0; first < rows.outputs; first += kPanel) {
        for (size_t k = 0; k < rows.elements(); k += 8) {
          const size_t count = rows.elements() - k < 8 ? rows.elements() - k : 8;
          for (size_t byte = 0; byte < kBytes; ++byte) {
            uint64_t channels = 0;
            for (size_t c = 0, o = first + 8 * byte; c < 8 && o < rows.outputs; ++c, ++o) {
              channels |= uint64_t{RowElement<uint8_t>(rows, 0, o, k / 8)} << (8 * c);
            }
            channels = TransposeBits(channels);
            for (size_t i = 0; i < count; ++i) {
              out[kBytes * i + byte] = static_cast<uint8_t>(channels >> (8 * i));
            }
          }
          out += kBytes * count;
        }
      }
    }};

}  // namespace lbrt::pack
