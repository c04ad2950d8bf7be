// Weight layouts of the vector columns, for panels of kPanel output channels: one channel is one
// lane, so that a kernel broadcasts an input and needs no horizontal sums. Channels from `outputs`
// to the end of the last panel are zero.
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

// Words: [panel][word][kPanel].
template <size_t kPanel>
inline constexpr Packing kWordPanels = {
    [](const WeightRows& rows) { return PanelBytes<kPanel, Word>(rows, WordsOf(rows)); },
    [](const WeightRows& rows, void* packed) {
      Panels<kPanel, Word>(rows, WordsOf(rows), packed,
                           [&](size_t o, size_t i) { return RowElement<Word>(rows, 0, o, i); });
    }};

inline constexpr size_t kPackedAtATime = 64;  // elements of a row

// Weights of any form as floats: [panel][k][kPanel].
template <size_t kPanel>
void PackFloats(const WeightRows& rows, void* packed) {
  float panel[kPanel][kPackedAtATime] = {};
  int8_t buffer[kPackedAtATime + kDotSlack];
  float* out = static_cast<float*>(packed);
  const bool bytes = rows.form != WeightForm::kFloats && (rows.form != WeightForm::kLimbs ||
                                                          rows.planes == 1);
  for (size_t first = 0; first < rows.outputs; first += kPanel) {
    const size_t channels = rows.outputs - first < kPanel ? rows.outputs - first : kPanel;
    for (size_t c = channels; c < kPanel; ++c) std::memset(panel[c], 0, sizeof(panel[c]));
    for (size_t k = 0; k < rows.elements(); k += kPackedAtATime) {
      const size_t left = rows.elements() - k;
      const size_t count = left < kPackedAtATime ? left : kPackedAtATime;
      for (size_t c = 0; c < channels; ++c) {
        if (!bytes) {
          for (size_t i = 0; i < count; ++i) panel[c][i] = WeightFloat(rows, first + c, k + i);
          continue;
        }
        const int8_t* w = DotWeights(rows, first + c, k, count, buffer);
        for (size_t i = 0; i < count; ++i) {
          panel[c][i] = static_cast<float>(rows.halved() ? 2 * w[i] + 1 : w[i]);
        }
      }
      for (size_t i = 0; i < count; ++i) {
        for (size_t c = 0; c < kPanel; ++c) *out++ = panel[c][i];
      }
    }
  }
}
template <size_t kPanel>
inline constexpr Packing kFloatPanels = {
    [](const WeightRows& rows) { return PanelBytes<kPanel, float>(rows, rows.elements()); },
    PackFloats<kPanel>};

// Weights of dot_tile as bytes: [panel][run][group][kPanel][kGroup], a group being kGroup
// neighbours of a run, whose last one is filled up with zeros.
template <size_t kGroup>
size_t GroupsOf(const WeightRows& rows) {
  return rows.runs * ((rows.run + kGroup - 1) / kGroup);
}
template <size_t kPanel, size_t kGroup>
void PackDot(const WeightRows& rows, void* packed) {
  static_assert(kPackedAtATime % kGroup == 0);
  int8_t panel[kPanel][kPackedAtATime] = {}, buffer[kPackedAtATime + kDotSlack];
  int8_t* out = static_cast<int8_t*>(packed);
  for (size_t first = 0; first < rows.outputs; first += kPanel) {
    const size_t channels = rows.outputs - first < kPanel ? rows.outputs - first : kPanel;
    for (size_t c = channels; c < kPanel; ++c) std::memset(panel[c], 0, sizeof(panel[c]));
    for (size_t y = 0; y < rows.runs; ++y) {
      for (size_t begin = 0; begin < rows.run; begin += kPackedAtATime) {
        const size_t left = rows.run - begin;
        const size_t count = left < kPackedAtATime ? left : kPackedAtATime;
        const size_t filled = RoundUp(count, kGroup);
        for (size_t c = 0; c < channels; ++c) {
          const int8_t* w = DotWeights(rows, first + c, y * rows.run + begin, count, buffer);
          std::memcpy(panel[c], w, count);
          std::memset(panel[c] + count, 0, filled - count);
        }
        for (size_t i = 0; i < filled; i += kGroup) {
          for (size_t c = 0; c < kPanel; ++c, out += kGroup) std::memcpy(out, &panel[c][i], kGroup);
        }
      }
    }
  }
}
template <size_t kPanel, size_t kGroup>
inline constexpr Packing kDotPanels = {
    [](const WeightRows& rows) {
      return Padded(RoundUp(rows.outputs, kPanel) * GroupsOf<kGroup>(rows) * kGroup);
    },
    PackDot<kPanel, kGroup>};

// The bits of odd numbers: [panel] of [kPanel] (sum over i of 2^i * ones of bit i) and then
// [run][word][bit][kPanel], each run filled up to whole words.
inline size_t PlaneWordsOf(const WeightRows& rows) {
  return 1 + rows.runs * ((rows.run + 31) / 32) * rows.number_bits();
}
template <size_t kPanel>
void PackPlanes(const WeightRows& rows, void* packed) {
  const size_t bits = rows.number_bits(), panel = PlaneWordsOf(rows) * kPanel;
  const int32_t levels = (1 << bits) - 1;
  Word* out = static_cast<Word*>(packed);
  std::memset(out, 0, RoundUp(rows.outputs, kPanel) / kPanel * panel * sizeof(Word));
  int8_t buffer[32 + kDotSlack];
  for (size_t o = 0; o < rows.outputs; ++o) {
    Word* ones = out + o / kPanel * panel + o % kPanel;
    Word* to = ones + kPanel;
    for (size_t y = 0; y < rows.runs; ++y) {
      for (size_t k = 0; k < rows.run; k += 32, to += bits * kPanel) {
        const size_t count = rows.run - k < 32 ? rows.run - k : 32;
        const int8_t* w = DotWeights(rows, o, y * rows.run + k, count, buffer);
        for (size_t i = 0; i < count; ++i) {
          const auto q = static_cast<Word>((w[i] + levels) / 2);
          *ones += q;
          for (size_t bit = 0; bit < bits; ++bit) to[bit * kPanel] |= (q >> bit & 1) << i;
        }
      }
    }
  }
}
template <size_t kPanel>
inline constexpr Packing kPlanePanels = {
    [](const WeightRows& rows) {
      return PanelBytes<kPanel, Word>(rows, PlaneWordsOf(rows));
    },
    PackPlanes<kPanel>};

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
