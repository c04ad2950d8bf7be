// What the forms of WeightRows mean as numbers, one at a time (WeightCode), eight at a time
// (DotWeights), and as sums of bytes for vectors (ByteSum).
#pragma once

#include <cstring>

#include "kernels/kernels.h"

namespace lbrt {

// Element `index` of one row of a plane of T.
template <typename T>
T RowElement(const WeightRows& rows, size_t plane, size_t output, size_t index) {
  T value;
  std::memcpy(&value,
              static_cast<const uint8_t*>(rows.plane[plane]) + output * rows.row_bytes +
                  index * sizeof(T),
              sizeof(T));
  return value;
}

inline int32_t RowBit(const WeightRows& rows, size_t plane, size_t output, size_t k) {
  return (RowElement<uint8_t>(rows, plane, output, k / 8) >> (k % 8)) & 1;
}

inline int32_t FixedPoint(const WeightRows& rows, size_t output, size_t k) {
  int32_t w = 0;
  for (size_t limb = rows.planes; limb-- > 0;) {
    w = w * 256 + RowElement<int8_t>(rows, limb, output, k);
  }
  return w;
}

// Element k of a row, of any form but kFloats.
inline int32_t WeightCode(const WeightRows& rows, size_t output, size_t k) {
  int32_t w = 0;
  switch (rows.form) {
    case WeightForm::kFloats: break;
    case WeightForm::kSigns: return 2 * RowBit(rows, 0, output, k) - 1;
    case WeightForm::kLimbs: return FixedPoint(rows, output, k);
    case WeightForm::kTernary:
      return 2 * RowBit(rows, 0, output, k) - RowBit(rows, 1, output, k);
    case WeightForm::kOdd:
      for (size_t i = 0; i < rows.planes; ++i) w += (2 * RowBit(rows, i, output, k) - 1) * (1 << i);
      break;
    case WeightForm::kWeighted: {
      const int32_t levels = (1 << rows.bits) - 1;
      int32_t q = rows.offset;
      for (size_t i = 0; i < rows.planes; ++i) q += rows.weight[i] * RowBit(rows, i, output, k);
      return 2 * (q & levels) - levels;
    }
    case WeightForm::kIntegers:
      for (size_t i = 0; i < rows.planes; ++i) {
        w += RowBit(rows, i, output, k) * (i + 1 == rows.planes ? -(1 << i) : 1 << i);
      }
      break;
  }
  return w;
}

// Element k of a row, of any form: exact, for codes have at most 24 bits.
inline float WeightFloat(const WeightRows& rows, size_t output, size_t k) {
  return rows.form == WeightForm::kFloats ? RowElement<float>(rows, 0, output, k)
                                          : static_cast<float>(WeightCode(rows, output, k));
}

// What a weight of planes of bits is as the byte that dot_tile multiplies by ((w - 1) / 2 where the
// rows are halved): ((offset + sum of weight[i] * bit[i]) & mask) + least, modulo 256.
struct ByteSum {
  uint8_t offset, mask, least;
  uint8_t weight[kMostPlanes];
};
constexpr ByteSum ByteSumOf(const WeightRows& rows) {
  ByteSum sum = {0, 255, 0, {}};
  const size_t planes = rows.planes;
  const int factor = rows.halved() ? 1 : 2;
  switch (rows.form) {
    case WeightForm::kFloats:
    case WeightForm::kLimbs: break;
    case WeightForm::kTernary:
      sum.weight[0] = 2;
      sum.weight[1] = 255;
      break;
    case WeightForm::kSigns:
    case WeightForm::kOdd:
      sum.offset = static_cast<uint8_t>(rows.halved() ? 128 : 257 - (1 << planes));
      for (size_t i = 0; i < planes; ++i) sum.weight[i] = static_cast<uint8_t>(factor << i);
      break;
    case WeightForm::kWeighted: {
      const int levels = (1 << rows.bits) - 1;
      sum.offset = static_cast<uint8_t>(factor * rows.offset);
      sum.mask = static_cast<uint8_t>(factor * levels);
      sum.least = static_cast<uint8_t>(rows.halved() ? 128 : 256 - levels);
      for (size_t i = 0; i < planes; ++i) {
        sum.weight[i] = static_cast<uint8_t>(factor * rows.weight[i]);
      }
      break;
    }
    case WeightForm::kIntegers:
      for (size_t i = 0; i < planes; ++i) {
        sum.weight[i] = static_cast<uint8_t>(i + 1 < planes ? 1 << i : 256 - (1 << i));
      }
      break;
  }
  return sum;
}

// Bit j of byte i to bit i of byte j.
constexpr uint64_t TransposeBits(uint64_t x) {
  uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aau;
  x ^= t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000cccc0000ccccu;
  x ^= t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0u;
  return x ^ t ^ (t << 28);
}

// Eight weights of kWeighted as the bytes of a word, as DotWeights wants them, of the byte that
// byte_of(plane) each plane has. Sums take 16 bits, four to a word: at most 10 * 255 + 255.
template <typename ByteOf>
uint64_t WeightedBytes(const WeightRows& rows, ByteOf byte_of) {
  constexpr uint64_t kEveryByte = 0x0101010101010101u, kEverySum = 0x0001000100010001u;
  uint64_t even = rows.offset * kEverySum, odd = even;
  for (size_t i = 0; i < rows.planes; ++i) {
    uint64_t bits = (uint64_t{byte_of(i)} * kEveryByte) & 0x8040201008040201u;
    bits = ((bits + 0x7F * kEveryByte) >> 7) & kEveryByte;
    even += rows.weight[i] * (bits & kEverySum);
    odd += rows.weight[i] * (bits >> 8 & kEverySum);
  }
  const uint64_t levels = (uint64_t{1} << rows.bits) - 1;
  const uint64_t factor = rows.halved() ? 1 : 2, least = rows.halved() ? 128 : 256 - levels;
  const auto finished = [&](uint64_t q) {
    return ((q & levels * kEverySum) * factor + least * kEverySum) & 0xFF * kEverySum;
  };
  return finished(even) | finished(odd) << 8;
}

inline constexpr size_t kDotSlack = 16;  // of DotWeights's buffer

// Elements [k, k + count) of a row as the bytes that dot_tile multiplies by ((w - 1) / 2 where the
// rows are halved). They lie where the result points: in the file's plane, or in `buffer`,
// which has room for count + kDotSlack. Nothing is read beyond the row's bytes.
//
// Byte i of a word holds bit i of eight weights; transposed, each byte is a weight. Two's
// complement needs no addition: a weight w = 2u + 1 - 2^p of p bits is a 1, the lower p - 1 bits of
// u, and from bit p on the inverse of its highest.
inline const int8_t* DotWeights(const WeightRows& rows, size_t output, size_t k, size_t count,
                                int8_t* buffer) {
  const auto row = [&](size_t plane) {
    return static_cast<const uint8_t*>(rows.plane[plane]) + output * rows.row_bytes;
  };
  if (rows.form == WeightForm::kLimbs) return reinterpret_cast<const int8_t*>(row(0)) + k;
  const size_t first = k / 8, bytes = (k + count + 7) / 8 - first;
  const auto decode = [&](auto word_of) {
    for (size_t i = 0; i < bytes; ++i) {
      const uint64_t weights = TransposeBits(word_of(first + i));
      std::memcpy(buffer + 8 * i, &weights, 8);
    }
  };
  constexpr uint64_t kEveryByte = 0x0101010101010101u;
  const size_t top = rows.planes - 1;
  if (rows.form == WeightForm::kWeighted) {
    for (size_t i = 0; i < bytes; ++i) {
      const uint64_t weights =
          WeightedBytes(rows, [&](size_t plane) { return row(plane)[first + i]; });
      std::memcpy(buffer + 8 * i, &weights, 8);
    }
  } else if (rows.form == WeightForm::kIntegers) {
    decode([&](size_t i) {  // the sign, in every bit from its own on
      uint64_t word = row(top)[i] * (kEveryByte << (8 * top));
      for (size_t plane = 0; plane < top; ++plane) word |= uint64_t{row(plane)[i]} << (8 * plane);
      return word;
    });
  } else if (rows.form == WeightForm::kTernary) {
    const uint8_t *positive = row(0), *nonzero = row(1);
    decode([=](size_t i) {
      const unsigned negative = nonzero[i] & ~unsigned{positive[i]};
      return nonzero[i] | negative * (kEveryByte << 8);
    });
  } else if (top == 0) {
    const uint8_t* positive = row(0);
    decode([=](size_t i) { return 0xff | (positive[i] ^ 0xffu) * (kEveryByte << 8); });
  } else if (top == 7) {  // (w - 1) / 2 = u - 128
    decode([&](size_t i) {
      uint64_t word = uint64_t{0xff} << 56;
      for (size_t plane = 0; plane < 8; ++plane) word ^= uint64_t{row(plane)[i]} << (8 * plane);
      return word;
    });
  } else {
    decode([&](size_t i) {
      uint64_t word = 0xff | (row(top)[i] ^ 0xffu) * (kEveryByte << (8 * (top + 1)));
      for (size_t plane = 0; plane < top; ++plane) {
        word |= uint64_t{row(plane)[i]} << (8 * (plane + 1));
      }
      return word;
    });
  }
  return buffer + k % 8;
}

}  // namespace lbrt
