// Weights in panels of kPanel output channels (kernels/pack.h), packed in Highway, compiled once
// per target: planes of bits become bytes, and rows of a panel become its columns.

#include <cstring>

#include "hwy/highway.h"
#include "kernels/pack.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr size_t kPackedAtATime = 64;  // elements of a panel's row

// out[i][c] = rows[c][i], i below `count`, of elements T of 2 or 4 bytes; where out ends.
template <typename T>
HWY_INLINE uint8_t* Interleave(const uint8_t* const (&rows)[kPanel], size_t count, uint8_t* out) {
  // 16 bytes of four rows at a time.
  const hn::CappedTag<T, 16 / sizeof(T)> d;
  const hn::Repartition<uint8_t, decltype(d)> d8;
  const hn::Repartition<hwy::MakeWide<T>, decltype(d)> d_wide;
  constexpr size_t kStep = 16 / sizeof(T), kColumn = kPanel * sizeof(T);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep, out += kStep * kColumn) {
    for (size_t c = 0; c < kPanel; c += 4) {
      const auto row = [&](size_t r) HWY_ATTR {
        return hn::BitCast(d, hn::LoadU(d8, rows[c + r] + i * sizeof(T)));
      };
      const auto wide = [&](auto v) HWY_ATTR { return hn::BitCast(d_wide, v); };
      const auto row0 = row(0), row1 = row(1), row2 = row(2), row3 = row(3);
      const auto lower01 = wide(hn::InterleaveLower(d, row0, row1));
      const auto lower23 = wide(hn::InterleaveLower(d, row2, row3));
      const auto upper01 = wide(hn::InterleaveUpper(d, row0, row1));
      const auto upper23 = wide(hn::InterleaveUpper(d, row2, row3));
      const auto store = [&](size_t quarter, auto v) HWY_ATTR {
        uint8_t* to = out + c * sizeof(T) + quarter * (kStep / 4) * kColumn;
        const auto bytes = hn::BitCast(d8, v);
        if constexpr (sizeof(T) == 4) {
          hn::StoreU(bytes, d8, to);
        } else {
          const hn::Half<decltype(d8)> d_half;
          hn::StoreU(hn::LowerHalf(d_half, bytes), d_half, to);
          hn::StoreU(hn::UpperHalf(d_half, bytes), d_half, to + kColumn);
        }
      };
      store(0, hn::InterleaveLower(d_wide, lower01, lower23));
      store(1, hn::InterleaveUpper(d_wide, lower01, lower23));
      store(2, hn::InterleaveLower(d_wide, upper01, upper23));
      store(3, hn::InterleaveUpper(d_wide, upper01, upper23));
    }
  }
  for (; i < count; ++i) {
    for (size_t c = 0; c < kPanel; ++c, out += sizeof(T)) {
      std::memcpy(out, rows[c] + i * sizeof(T), sizeof(T));
    }
  }
  return out;
}

// One panel, [run][element][kPanel] of T, of `channels` channels; where it ends.
// row_at(c, y, begin, count) is where elements [begin, begin + count) of run y of channel c lie.
template <typename T, class RowAt>
HWY_INLINE uint8_t* PackPanel(size_t channels, size_t runs, size_t run, uint8_t* out,
                              RowAt row_at) {
  const uint8_t zeros[kPackedAtATime * sizeof(T)] = {};
  const uint8_t* rows[kPanel];
  for (size_t y = 0; y < runs; ++y) {
    for (size_t begin = 0; begin < run; begin += kPackedAtATime) {
      const size_t count = HWY_MIN(kPackedAtATime, run - begin);
      for (size_t c = 0; c < kPanel; ++c) {
        rows[c] = c < channels ? row_at(c, y, begin, count) : zeros;
      }
      out = Interleave<T>(rows, count, out);
    }
  }
  return out;
}

// All panels. row_at(c, o, y, begin, count): channel c of its panel is output o.
template <typename T, class RowAt>
HWY_INLINE void PackPanels(size_t outputs, size_t runs, size_t run, void* packed, RowAt row_at) {
  auto* out = static_cast<uint8_t*>(packed);
  for (size_t first = 0; first < outputs; first += kPanel) {
    out = PackPanel<T>(HWY_MIN(kPanel, outputs - first), runs, run, out,
                       [&](size_t c, size_t y, size_t begin, size_t count) HWY_ATTR {
                         return row_at(c, first + c, y, begin, count);
                       });
  }
}

HWY_INLINE const uint8_t* RowOf(const WeightRows& rows, size_t plane, size_t output) {
  return static_cast<const uint8_t*>(rows.plane[plane]) + output * rows.row_bytes;
}

// Room behind decoded weights: for the first byte's bits before them, and the last vector's rest.
inline constexpr size_t kDecodeSlack = 8 + 64;

// Elements [k, k + count) of a row of planes of bits as bytes, which lie where the result points,
// in `buffer` of count + kDecodeSlack. Nothing is read beyond the row's bytes.
HWY_INLINE uint8_t* DecodePlanes(const WeightRows& rows, const ByteSum& sum, size_t output,
                                 size_t k, size_t count, uint8_t* HWY_RESTRICT buffer) {
  const hn::CappedTag<uint8_t, 64> d;
  constexpr size_t kReadable = 8;  // LoadMaskBits wants so many bytes
  const auto offset = hn::Set(d, sum.offset), mask = hn::Set(d, sum.mask);
  const auto least = hn::Set(d, sum.least);
  const size_t end = (k + count + 7) / 8;
  uint8_t* out = buffer;
  for (size_t at = k / 8; at < end; at += hn::Lanes(d) / 8, out += hn::Lanes(d)) {
    const bool whole = at + kReadable <= rows.row_bytes;
    uint8_t last[kReadable] = {};
    auto total = offset;
    for (size_t i = 0; i < rows.planes; ++i) {
      const uint8_t* bits = RowOf(rows, i, output) + at;
      if (!whole) {
        std::memcpy(last, bits, rows.row_bytes - at);
        bits = last;
      }
      total = hn::Add(total, hn::IfThenElseZero(hn::LoadMaskBits(d, bits),
                                                hn::Set(d, sum.weight[i])));
    }
    hn::StoreU(hn::Add(hn::And(total, mask), least), d, out);
  }
  return buffer + k % 8;
}

// ------------------------------------------------------------------------------------- packings

// Words of bits: [panel][word][kPanel].
inline constexpr Packing kWordPanels = {
    [](const WeightRows& rows) {
      return pack::PanelBytes<kPanel, Word>(rows, pack::WordsOf(rows));
    },
    [](const WeightRows& rows, void* packed) HWY_ATTR {
      PackPanels<Word>(rows.outputs, 1, pack::WordsOf(rows), packed,
                       [&](size_t, size_t o, size_t, size_t begin, size_t) HWY_ATTR {
                         return RowOf(rows, 0, o) + begin * sizeof(Word);
                       });
    }};

// Weights of any form as floats: [panel][k][kPanel].
HWY_NOINLINE void PackFloats(const WeightRows& rows, void* packed) {
  if (rows.form == WeightForm::kFloats) {
    return PackPanels<uint32_t>(rows.outputs, 1, rows.elements(), packed,
                                [&](size_t, size_t o, size_t, size_t begin, size_t) HWY_ATTR {
                                  return RowOf(rows, 0, o) + begin * sizeof(float);
                                });
  }
  const bool limbs = rows.form == WeightForm::kLimbs;
  const ByteSum sum = limbs ? ByteSum{} : ByteSumOf(rows);
  float panel[kPanel][kPackedAtATime];
  uint8_t bytes[kPackedAtATime + kDecodeSlack];
  PackPanels<uint32_t>(
      rows.outputs, 1, rows.elements(), packed,
      [&](size_t c, size_t o, size_t, size_t begin, size_t count) HWY_ATTR {
        if (limbs) {
          for (size_t i = 0; i < count; ++i) panel[c][i] = WeightFloat(rows, o, begin + i);
        } else {
          const uint8_t* w = DecodePlanes(rows, sum, o, begin, count, bytes);
          const int factor = rows.halved() ? 2 : 1, more = rows.halved() ? 1 : 0;
          for (size_t i = 0; i < count; ++i) {
            panel[c][i] = static_cast<float>(factor * static_cast<int8_t>(w[i]) + more);
          }
        }
        return reinterpret_cast<const uint8_t*>(panel[c]);
      });
}
inline constexpr Packing kFloatPanels = {
    [](const WeightRows& rows) { return pack::PanelBytes<kPanel, float>(rows, rows.elements()); },
    PackFloats};

// Weights of dot_tile as bytes: [panel][run][group][kPanel][kGroup], a group being kGroup
// neighbours of a run, whose last one is filled up with zeros.
template <size_t kGroup>
HWY_NOINLINE void PackDot(const WeightRows& rows, void* packed) {
  using Group = hwy::UnsignedFromSize<kGroup>;
  constexpr size_t kWeights = kPackedAtATime * kGroup;
  const bool limbs = rows.form == WeightForm::kLimbs;
  const ByteSum sum = limbs ? ByteSum{} : ByteSumOf(rows);
  uint8_t panel[kPanel][kWeights + kDecodeSlack];
  PackPanels<Group>(
      rows.outputs, rows.runs, (rows.run + kGroup - 1) / kGroup, packed,
      [&](size_t c, size_t o, size_t y, size_t begin, size_t count) HWY_ATTR {
        const size_t k = y * rows.run + begin * kGroup, filled = count * kGroup;
        const size_t weights = HWY_MIN(filled, rows.run - begin * kGroup);
        uint8_t* own = panel[c];
        if (!limbs) {
          own = DecodePlanes(rows, sum, o, k, weights, own);
        } else if (weights == filled) {
          return RowOf(rows, 0, o) + k;
        } else {
          std::memcpy(own, RowOf(rows, 0, o) + k, weights);
        }
        std::memset(own + weights, 0, filled - weights);
        return static_cast<const uint8_t*>(own);
      });
}
template <size_t kGroup>
inline constexpr Packing kDotPanels = {
    [](const WeightRows& rows) {
      return pack::Padded(RoundUp(rows.outputs, kPanel) * pack::GroupsOf<kGroup>(rows) * kGroup);
    },
    PackDot<kGroup>};

// The bits of odd numbers of one or two bits: [panel] of [kPanel] (sum over i of 2^i * ones of
// bit i) and then [run][word][bit][kPanel], each run filled up to whole words.
HWY_NOINLINE void PackPlanes(const WeightRows& rows, void* packed) {
  const hn::CappedTag<uint8_t, 32> d;
  const size_t bits = rows.number_bits();
  const auto levels = static_cast<uint8_t>((1 << bits) - 1);
  const ByteSum sum = ByteSumOf(rows);
  // Runs of whole words follow each other without a gap, as in the file.
  const size_t runs = rows.run % 32 == 0 ? 1 : rows.runs;
  const size_t run = rows.elements() / runs;
  uint8_t decoded[kPackedAtATime * 32 + kDecodeSlack];
  Word panel[kPanel][kPackedAtATime];
  auto* out = static_cast<uint8_t*>(packed);
  for (size_t first = 0; first < rows.outputs; first += kPanel) {
    Word ones[kPanel] = {};
    const auto row_at = [&](size_t c, size_t y, size_t begin, size_t count) HWY_ATTR {
      const size_t begin_in_run = begin / bits * 32, filled = count / bits * 32;
      const size_t weights = HWY_MIN(filled, run - begin_in_run);
      uint8_t* w = DecodePlanes(rows, sum, first + c, y * run + begin_in_run, weights, decoded);
      std::memset(w + weights, 256 - levels, filled - weights);  // no bit
      for (size_t i = 0; i < filled; i += hn::Lanes(d)) {
        const auto q = hn::ShiftRight<1>(hn::Add(hn::LoadU(d, w + i), hn::Set(d, levels)));
        for (size_t bit = 0; bit < bits; ++bit) {
          uint8_t mask[8];
          const size_t bytes = hn::StoreMaskBits(
              d, hn::TestBit(q, hn::Set(d, static_cast<uint8_t>(1u << bit))), mask);
          auto* word = reinterpret_cast<uint8_t*>(&panel[c][i / 32 * bits + bit]);
          std::memcpy(word + i % 32 / 8, mask, bytes);
        }
      }
      for (size_t i = 0; i < count; ++i) {
        ones[c] += static_cast<Word>(__builtin_popcount(panel[c][i])) << i % bits;
      }
      return reinterpret_cast<const uint8_t*>(panel[c]);
    };
    uint8_t* end = PackPanel<Word>(HWY_MIN(kPanel, rows.outputs - first), runs,
                                   (run + 31) / 32 * bits, out + sizeof(ones), row_at);
    std::memcpy(out, ones, sizeof(ones));
    out = end;
  }
}
inline constexpr Packing kPlanePanels = {
    [](const WeightRows& rows) {
      return pack::PanelBytes<kPanel, Word>(rows, pack::PlaneWordsOf(rows));
    },
    PackPlanes};

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
