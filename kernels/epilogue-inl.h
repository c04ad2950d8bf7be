// epilogue_rows and epilogue_lanes in Highway, compiled once per target.

#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/scalar.h"

HWY_BEFORE_NAMESPACE();
namespace lbrt {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// All activations are one Clip: relu(x) = Clip(x, +0, inf), NaN and -0.0 included.
struct Bounds {
  float low, high;
};
constexpr Bounds BoundsOf(Activation activation) {
  return activation == Activation::kRelu ? Bounds{0.0f, std::numeric_limits<float>::infinity()}
         : activation == Activation::kClipUnit ? Bounds{0.0f, 1.0f}
                                               : Bounds{-1.0f, 1.0f};
}

// What is decided once per call, not once per vector: known to the compiler for what networks do
// all the time, in variables for the rest.
template <bool kSums, bool kPixelBias, bool kResidual, bool kClip, bool kCodes = false>
struct KnownSteps {
  static constexpr bool sums = kSums, affine = true, pixel_bias = kPixelBias;
  static constexpr bool residual = kResidual, clip = kClip, prelu = false, codes = kCodes;
  static constexpr size_t kVectors = kPixelBias ? 2 : 4;  // lanes order: at a time
};
struct AnySteps {
  bool sums, affine, pixel_bias, residual, clip;
  static constexpr bool prelu = false, codes = false;
  static constexpr size_t kVectors = 1;
};
struct AnyRowSteps {  // what lanes order does not know included
  bool sums, affine, pixel_bias, residual, clip, prelu, codes;
};

// body(steps) for what `e` asks, without slopes and codes.
template <class E, class Body>
HWY_INLINE void WithSteps(const E& e, Body body) {
  const AnySteps any = {e.sums != nullptr, e.a != nullptr, e.b_rows != nullptr,
                        e.residual != nullptr, e.activation != Activation::kNone};
  if (!any.affine) return body(any);
  if (any.pixel_bias) {
    if (any.sums || any.residual || !any.clip) return body(any);
    return body(KnownSteps<false, true, false, true>());
  }
  if (any.sums) {
    if (any.residual) {
      if (any.clip) return body(KnownSteps<true, false, true, true>());
      return body(KnownSteps<true, false, true, false>());
    }
    if (any.clip) return body(KnownSteps<true, false, false, true>());
    return body(KnownSteps<true, false, false, false>());
  }
  if (any.residual) {
    if (any.clip) return body(KnownSteps<false, false, true, true>());
    return body(KnownSteps<false, false, true, false>());
  }
  if (any.clip) return body(KnownSteps<false, false, false, true>());
  return body(KnownSteps<false, false, false, false>());
}

struct Input {
  const int32_t* sums;
  const float* values;
};

// Element i of the input and those behind it, one vector, with element r of the residual, which is
// null where there is none; a and b are its channels' (any, where there is no affine).
template <class S, class D, class V = hn::Vec<D>>
HWY_INLINE V Finish(D d, S steps, Input in, size_t i, V a, V b, const float* residual, size_t r,
                    V low, V high) {
  V z = steps.sums ? ToFloat(d, hn::LoadU(hn::RebindToSigned<D>(), in.sums + i))
                   : hn::LoadU(d, in.values + i);
  if (steps.affine) z = Fma(d, z, a, b);
  if (steps.residual) z = Sum(z, hn::LoadU(d, residual + r));
  if (steps.clip) z = Clip(z, low, high);
  return z;
}

// ---------------------------------------------------------------------------------------- rows

// The bits of one vector of channels from c on, c a multiple of its lanes.
template <class D>
HWY_INLINE void StoreMask(D d, hn::Mask<D> mask, uint8_t* bits, size_t c) {
  const size_t lanes = hn::Lanes(d);
  uint8_t signs[8];
  hn::StoreMaskBits(d, mask, signs);
  if (lanes >= 8) {
    for (size_t i = 0; i < lanes / 8; ++i) bits[c / 8 + i] = signs[i];
  } else if (c % 8 == 0) {
    bits[c / 8] = signs[0];
  } else {
    bits[c / 8] |= static_cast<uint8_t>(signs[0] << (c % 8));
  }
}

// Pixels [begin, end): channels from c on, a multiple of the vector's, in whole vectors; returns the
// first that is left.
template <class D, class S>
HWY_INLINE size_t EpilogueVectors(D d, S steps, const lbrt::EpilogueRows& e, size_t begin,
                                  size_t end, size_t c) {
  const size_t lanes = hn::Lanes(d);
  const Bounds bounds = BoundsOf(e.activation);
  const auto low = hn::Set(d, bounds.low), high = hn::Set(d, bounds.high);
  const auto inverse_step = hn::Set(d, e.inverse_step);
  const auto levels = hn::Set(d, static_cast<float>(e.levels));
  // Copies, for bytes that are stored could be these.
  const size_t channels = e.channels, in_stride = e.in_stride, out_stride = e.out_stride;
  const size_t residual_stride = e.residual_stride, bits_stride = e.bits_stride;
  const size_t codes_stride = e.codes_stride;
  const Input input = {e.sums, e.values};
  const float* const a = e.a;
  const float* const b = e.b;
  const float* const slopes = e.slopes;
  const float* const* const b_rows = e.b_rows;
  for (; c + lanes <= channels; c += lanes) {
    const auto a_lanes = steps.affine ? hn::LoadU(d, a + c) : low;
    const auto b_channels = steps.affine && !steps.pixel_bias ? hn::LoadU(d, b + c) : low;
    const auto slope = steps.prelu ? hn::LoadU(d, slopes + c) : low;
    const float* residual = steps.residual ? e.residual + begin * residual_stride : nullptr;
    float* out = e.out != nullptr ? e.out + begin * out_stride : nullptr;
    uint8_t* bits = e.bits != nullptr ? e.bits + begin * bits_stride : nullptr;
    uint8_t* codes = steps.codes ? e.codes + begin * codes_stride : nullptr;
    for (size_t p = begin; p < end; ++p) {
      const auto b_lanes = steps.pixel_bias ? hn::LoadU(d, b_rows[p] + c) : b_channels;
      auto z = Finish(d, steps, input, p * in_stride + c, a_lanes, b_lanes, residual, c, low, high);
      if (steps.prelu) z = PRelu(z, slope);
      if (steps.residual) residual += residual_stride;
      if (out != nullptr) {
        hn::StoreU(z, d, out + c);
        out += out_stride;
      }
      if (bits != nullptr) {
        StoreMask(d, SignMask(d, z), bits, c);
        bits += bits_stride;
      }
      if (steps.codes) {
        hn::StoreU(ActivationCodes(d, z, inverse_step, levels), hn::Rebind<uint8_t, D>(),
                   codes + c);
        codes += codes_stride;
      }
    }
  }
  return c;
}

template <class S>
HWY_INLINE void EpilogueRowsWith(S steps, const lbrt::EpilogueRows& e) {
  // Few channels are a short loop, so several pixels share it; many lie too far apart for that.
  const size_t together = e.channels <= 64 ? 8 : 4;
  for (size_t p = 0; p < e.pixels; p += together) {
    const size_t end = HWY_MIN(p + together, e.pixels);
    size_t c = EpilogueVectors(hn::ScalableTag<float>(), steps, e, p, end, 0);
    if (c < e.channels) c = EpilogueVectors(hn::CappedTag<float, 4>(), steps, e, p, end, c);
    const size_t filled = (c + 7) / 8, bytes = PixelBytes(e.channels);
    if (c == e.channels && (e.bits == nullptr || filled == bytes)) continue;
    for (size_t pixel = p; pixel < end; ++pixel) {
      uint8_t* bits = e.bits != nullptr ? e.bits + pixel * e.bits_stride : nullptr;
      // The bytes that whole vectors did not fill.
      if (bits != nullptr) std::memset(bits + filled, 0, bytes - filled);
      scalar::EpilogueRowsRange(e, pixel, c, e.channels, bits);
    }
  }
}

// With codes or PRelu.
HWY_NOINLINE void EpilogueCodedRows(const lbrt::EpilogueRows& e) {
  const bool prelu = e.activation == Activation::kPRelu;
  const AnyRowSteps any = {e.sums != nullptr,
                           e.a != nullptr,
                           e.b_rows != nullptr,
                           e.residual != nullptr,
                           e.activation != Activation::kNone && !prelu,
                           prelu,
                           e.codes != nullptr};
  if (!any.affine || any.pixel_bias || prelu || (!any.sums && any.residual))
    return EpilogueRowsWith(any, e);
  if (!any.sums) {
    if (any.clip) return EpilogueRowsWith(KnownSteps<false, false, false, true, true>(), e);
    return EpilogueRowsWith(KnownSteps<false, false, false, false, true>(), e);
  }
  if (any.residual) {
    if (any.clip) return EpilogueRowsWith(KnownSteps<true, false, true, true, true>(), e);
    return EpilogueRowsWith(KnownSteps<true, false, true, false, true>(), e);
  }
  if (any.clip) return EpilogueRowsWith(KnownSteps<true, false, false, true, true>(), e);
  EpilogueRowsWith(KnownSteps<true, false, false, false, true>(), e);
}

void EpilogueRows(const lbrt::EpilogueRows& e) {
  if (e.codes != nullptr || e.activation == Activation::kPRelu) return EpilogueCodedRows(e);
  WithSteps(e, [&](auto steps) HWY_ATTR { EpilogueRowsWith(steps, e); });
}

// --------------------------------------------------------------------------------------- lanes

// n neighbouring groups of 2, 4 or 8 bytes: word0 holds the channels below 32, word1 the others.
template <size_t kPixelBytes>
HWY_INLINE void StoreRowGroups(const uint32_t* HWY_RESTRICT word0,
                               const uint32_t* HWY_RESTRICT word1, size_t n, uint8_t* to) {
  const hn::CappedTag<uint32_t, 8> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const size_t lanes = hn::Lanes(d);
  size_t k = 0;
  for (; k + lanes <= n; k += lanes) {
    uint8_t* at = to + kPixelBytes * k;
    const auto low = hn::LoadU(d, word0 + k);
    if constexpr (kPixelBytes == 2) {
      // Not TruncateTo: Highway 1.0.3's is wrong from half vectors of AVX3_DL.
      const auto word = hn::BitCast(hn::RebindToSigned<decltype(d)>(), low);
      hn::StoreU(hn::DemoteTo(d16, word), d16, reinterpret_cast<uint16_t*>(at));
    } else if constexpr (kPixelBytes == 4) {
      hn::StoreU(low, d, reinterpret_cast<uint32_t*>(at));
    } else {
      hn::StoreInterleaved2(low, hn::LoadU(d, word1 + k), d, reinterpret_cast<uint32_t*>(at));
    }
  }
  for (; k < n; ++k) {
    uint64_t group = word0[k];
    if constexpr (kPixelBytes == 8) group |= uint64_t{word1[k]} << 32;
    std::memcpy(to + kPixelBytes * k, &group, kPixelBytes);
  }
}

// The groups of pixels [i, i + pixels), counted over all rows.
HWY_INLINE void StoreGroups(const lbrt::EpilogueLanes& e, size_t i, size_t pixels,
                            const uint32_t* HWY_RESTRICT word0,
                            const uint32_t* HWY_RESTRICT word1) {
  const size_t pixel_bytes = PixelBytes(e.channels);
  const auto store = pixel_bytes == 2   ? StoreRowGroups<2>
                     : pixel_bytes == 4 ? StoreRowGroups<4>
                                        : StoreRowGroups<8>;
  size_t y = i / e.width, x = i % e.width;
  for (size_t done = 0; done < pixels; ++y, x = 0) {
    const size_t n = HWY_MIN(e.width - x, pixels - done);
    store(word0 + done, word1 + done, n, e.bits + y * e.bits_row_bytes + x * pixel_bytes);
    done += n;
  }
}

// `bit` added to the words where the mask is set: one instruction where masks are registers.
template <class M, class V>
HWY_INLINE V OrWhere(M mask, V words, V bit) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  return hn::IfThenElse(mask, hn::Or(words, bit), words);
#else
  return hn::Or(words, hn::IfThenElseZero(mask, bit));
#endif
}

// kVectors (1, 2 or 4) vectors of pixels from pixel i on, channels [begin, end): the words of
// signs, channel `begin` at bit 0, go to `words`. b_row is where the pixels' biases of channel 0
// lie.
//
// Four at a time, because the planes of a power-of-two image lie 4 KiB apart, in one set of the L1
// cache: each visit of a plane should be worth it.
template <size_t kVectors, class S, class D>
HWY_INLINE void FinishChannels(D d, S steps, const lbrt::EpilogueLanes& e, size_t i,
                               const float* b_row, size_t begin, size_t end, hn::Vec<D> low,
                               hn::Vec<D> high, uint32_t* HWY_RESTRICT words) {
  const hn::RebindToUnsigned<D> du;
  const size_t lanes = hn::Lanes(d), in_plane = e.in_plane, residual_plane = e.residual_plane;
  const size_t width = e.width, out_plane = e.out_plane;
  size_t in = begin * in_plane + i;
  const float* residual = steps.residual ? e.residual + begin * residual_plane + i : nullptr;
  float* out = e.out != nullptr ? e.out + begin * out_plane + i : nullptr;
  const Input input = {e.sums, e.values};
  const float* a = e.a;
  const float* b = steps.pixel_bias ? b_row + begin * width : e.b;
  auto bit = hn::Set(du, 1);
  auto word0 = hn::Zero(du), word1 = word0, word2 = word0, word3 = word0;
  for (size_t c = begin; c < end; ++c) {
    const auto a_lanes = steps.affine ? hn::Set(d, a[c]) : low;
    const auto b_channel = steps.affine && !steps.pixel_bias ? hn::Set(d, b[c]) : low;
    const auto finish = [&](size_t vector, auto word) HWY_ATTR {
      const size_t at = vector * lanes;
      const auto b_lanes = steps.pixel_bias ? hn::LoadU(d, b + at) : b_channel;
      const auto z = Finish(d, steps, input, in + at, a_lanes, b_lanes, residual, at, low, high);
      if (out != nullptr) hn::StoreU(z, d, out + at);
      return OrWhere(hn::RebindMask(du, SignMask(d, z)), word, bit);
    };
    word0 = finish(0, word0);
    if constexpr (kVectors > 1) word1 = finish(1, word1);
    if constexpr (kVectors > 2) {
      word2 = finish(2, word2);
      word3 = finish(3, word3);
    }
    bit = hn::Add(bit, bit);
    in += in_plane;
    if (out != nullptr) out += out_plane;
    if (steps.residual) residual += residual_plane;
    if (steps.pixel_bias) b += width;
  }
  hn::Store(word0, du, words);
  if constexpr (kVectors > 1) hn::Store(word1, du, words + lanes);
  if constexpr (kVectors > 2) {
    hn::Store(word2, du, words + 2 * lanes);
    hn::Store(word3, du, words + 3 * lanes);
  }
}

// The pixels [i, end), kVectors vectors at a time; returns the first that is left.
template <size_t kVectors, class D, class S>
HWY_INLINE size_t EpilogueLanesVectors(D d, S steps, const lbrt::EpilogueLanes& e, size_t i,
                                       size_t end, const float* b_row) {
  const size_t pixels = kVectors * hn::Lanes(d), half = HWY_MIN(e.channels, size_t{32});
  const Bounds bounds = BoundsOf(e.activation);
  const auto low = hn::Set(d, bounds.low), high = hn::Set(d, bounds.high);
  HWY_ALIGN uint32_t words[2][kVectors * hn::MaxLanes(d)];
  for (; i + pixels <= end; i += pixels, b_row += steps.pixel_bias ? pixels : 0) {
    for (size_t c = 0; c < e.channels; c += half) {
      FinishChannels<kVectors>(d, steps, e, i, b_row, c, HWY_MIN(c + half, e.channels), low, high,
                               words[c / 32]);
    }
    if (e.bits != nullptr) StoreGroups(e, i, pixels, words[0], words[1]);
  }
  return i;
}

// What is left of it: by vectors, then by four pixels, then one by one.
HWY_NOINLINE void EpilogueLanesTail(AnySteps steps, const lbrt::EpilogueLanes& e, size_t i,
                                    size_t end, const float* b_row) {
  const size_t begin = i;
  const auto bias = [&] { return steps.pixel_bias ? b_row + (i - begin) : nullptr; };
  i = EpilogueLanesVectors<2>(hn::ScalableTag<float>(), steps, e, i, end, bias());
  i = EpilogueLanesVectors<1>(hn::ScalableTag<float>(), steps, e, i, end, bias());
  i = EpilogueLanesVectors<1>(hn::CappedTag<float, 4>(), steps, e, i, end, bias());
  scalar::EpilogueLanesRange(e, i, end);
}

template <class S>
HWY_INLINE void EpilogueLanesWith(S steps, const lbrt::EpilogueLanes& e) {
  const AnySteps any = {steps.sums, steps.affine, steps.pixel_bias, steps.residual, steps.clip};
  // Vectors may go across image rows, but not where each row has its biases.
  const size_t spans = steps.pixel_bias ? e.rows : 1, span = e.rows * e.width / spans;
  for (size_t y = 0; y < spans; ++y) {
    const float* b_row = steps.pixel_bias ? e.b_rows[y] : nullptr;
    const size_t begin = y * span, end = begin + span;
    const size_t i = EpilogueLanesVectors<S::kVectors>(hn::ScalableTag<float>(), steps, e, begin,
                                                       end, b_row);
    if (i == end) continue;
    EpilogueLanesTail(any, e, i, end, steps.pixel_bias ? b_row + (i - begin) : nullptr);
  }
}

void EpilogueLanes(const lbrt::EpilogueLanes& e) {
  WithSteps(e, [&](auto steps) HWY_ATTR { EpilogueLanesWith(steps, e); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lbrt
HWY_AFTER_NAMESPACE();
