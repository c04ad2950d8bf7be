// +-1 weights x +-1 activations: exact integers by xor and popcount.
//
// Padding means 0, but a zero bit means -1: sums over windows that reach into the ring are put
// right by `base`, one row of it per border class:
//   sum = base[class][o] - 2 * popcount(x ^ w)
//   base = valid taps * C + 2 * popcount(w over the padded taps)
//
// Three ways: lanes (16, 32 or 64 channels are one word a pixel), direct (rows of taps are whole
// words), gathered (any number of channels: each window is copied into a dense row first).
#include <cstring>

#include "runtime/ops/border.h"
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

struct BitsConv : ConvState {
  const int32_t* const* const* base_pixels;  // rows order: [y][x] -> [acc_stride]
  const int32_t* const* base_lanes;          // lanes order: [y] -> [channels][width]
  size_t channels;                           // of x
  size_t row_words;                          // of a weight row, in the file
  size_t gather_offset;                      // in the scratch
};

// In pairs, fours, bytes, then added up: without an instruction for it, the compiler's own function
// is a call.
int32_t CountBits(uint64_t bits) {
  bits -= bits >> 1 & 0x5555555555555555u;
  bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
  bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<int32_t>(bits * 0x0101010101010101u >> 56);
}

// Bits [begin, begin + count) of a row, counted.
int32_t CountBits(const uint8_t* row, size_t begin, size_t count) {
  int32_t ones = 0;
  for (size_t k = begin; k < begin + count;) {
    const size_t left = count - (k - begin), shift = k % 8;
    if (shift == 0 && left >= 64) {
      uint64_t word;
      std::memcpy(&word, row + k / 8, sizeof word);
      ones += CountBits(word);
      k += 64;
      continue;
    }
    const size_t here = left < 8 - shift ? left : 8 - shift;
    ones += CountBits(uint64_t{row[k / 8]} >> shift & ((1u << here) - 1));
    k += here;
  }
  return ones;
}

const int32_t* BaseTable(const ConvView& c, const WeightRows& rows, size_t stride,
                         Allocator& allocator) {
  const size_t channels = c.in_channels();
  return BorderTable(
      c.ys, c.xs, c.kernel_h(), c.kernel_w(), rows.outputs, stride, allocator,
      [&](size_t o, size_t y, size_t x) {
        const auto* row = static_cast<const uint8_t*>(rows.plane[0]) + o * rows.row_bytes;
        return CountBits(row, (y * c.kernel_w() + x) * channels, channels);
      },
      [&](int32_t valid, int32_t all, int taps) {
        return taps * static_cast<int32_t>(channels) + 2 * (all - valid);
      });
}

void RunLanes(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const BitsConv*>(state);
  auto* acc = reinterpret_cast<int32_t*>(arguments.scratch);
  PixelLanes in;
  in.row_bytes = s.x.row;
  in.pixel_bytes = s.x.pixel;
  in.kernel_h = s.kernel_h;
  in.kernel_w = s.kernel_w;
  in.stride_h = s.stride_h;
  in.stride_w = s.stride_w;
  in.width = s.out_w;
  for (size_t unit = begin; unit < end; unit += in.rows) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    in.rows = at.rows < s.block ? at.rows : s.block;
    in.first = arguments.arena + s.x.AtTap(at.image, at.y * s.stride_h, 0, s.pad_top, s.pad_left);
    s.kernels->xor_popcount_lanes(in, s.weights, s.base_lanes + at.y, acc);
    s.stages.RunLanes(arguments.arena, at.image, at.y, in.rows, acc, nullptr, in.rows * s.out_w,
                      s.between(arguments.scratch));
    for (size_t y = at.y; y < at.y + in.rows; ++y) s.stages.FinishRow(arguments.arena, at.image, y);
  }
}

// The frame of both ways in rows order: make_windows(image, y, x, pixels) says where the inputs of
// `pixels` outputs lie.
template <typename MakeWindows>
void RunTiles(const BitsConv& s, const RunArguments& arguments, size_t begin, size_t end,
              MakeWindows make_windows) {
  auto* acc = reinterpret_cast<int32_t*>(arguments.scratch);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    for (size_t x = 0; x < s.out_w; x += s.block) {
      const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
      s.kernels->xor_popcount_tile(make_windows(at.image, at.y, x, pixels), s.weights,
                                   s.base_pixels[at.y] + x, acc, s.acc_stride);
      s.stages.RunRows(arguments.arena, at.image, at.y, x, pixels, acc, nullptr, s.acc_stride,
                       s.between(arguments.scratch));
    }
    s.stages.FinishRow(arguments.arena, at.image, at.y);
  }
}

void RunDirect(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const BitsConv*>(state);
  RunTiles(s, arguments, begin, end, [&](size_t n, size_t y, size_t x, size_t pixels) {
    const size_t at = s.x.AtTap(n, y * s.stride_h, x * s.stride_w, s.pad_top, s.pad_left);
    Windows<Word> in;
    in.first = reinterpret_cast<const Word*>(arguments.arena + at);
    in.rows = pixels;
    in.step = s.stride_w * s.x.pixel / sizeof(Word);
    in.runs = s.kernel_h;
    in.run = s.kernel_w * s.x.pixel / sizeof(Word);
    in.run_stride = s.x.row / sizeof(Word);
    return in;
  });
}

// Appends the `channels` bits of each pixel of a window, kernel row by kernel row, to a dense row.
void Gather(const BitsConv& s, const uint8_t* window, uint8_t* row) {
  uint64_t pending = 0;
  size_t bits = 0, written = 0;
  for (size_t ky = 0; ky < s.kernel_h; ++ky)
    for (size_t kx = 0; kx < s.kernel_w; ++kx) {
      const uint8_t* pixel = window + ky * s.x.row + kx * s.x.pixel;
      for (size_t c = 0; c < s.channels; c += 16) {
        uint16_t part;
        std::memcpy(&part, pixel + c / 8, 2);
        pending |= uint64_t{part} << bits;
        bits += s.channels - c < 16 ? s.channels - c : 16;
        if (bits >= 32) {
          std::memcpy(row + written, &pending, 4);
          written += 4;
          pending >>= 32;
          bits -= 32;
        }
      }
    }
  if (bits > 0) std::memcpy(row + written, &pending, 4);
}

void RunGathered(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const BitsConv*>(state);
  uint8_t* gathered = arguments.scratch + s.gather_offset;
  RunTiles(s, arguments, begin, end, [&](size_t n, size_t y, size_t x, size_t pixels) {
    const size_t at = s.x.AtTap(n, y * s.stride_h, x * s.stride_w, s.pad_top, s.pad_left);
    for (size_t i = 0; i < pixels; ++i)
      Gather(s, arguments.arena + at + i * s.stride_w * s.x.pixel,
             gathered + i * s.row_words * sizeof(Word));
    Windows<Word> in;
    in.first = reinterpret_cast<const Word*>(gathered);
    in.rows = pixels;
    in.step = s.row_words;
    in.runs = 1;
    in.run = s.row_words;
    in.run_stride = 0;
    return in;
  });
}

// Measured on AMD Zen 4, epilogue included, lanes against tile in microseconds:
//                 sse4         avx2         avx512       avx512-popcnt
//   16->16@32     51 : 71      18 : 34      11 : 33      7.2 : 27.8     (tile: gathered)
//   16->16@8      3.2 : 4.6    1.7 : 2.3    2.2 : 2.1    1.8 : 1.8
//   32->32@16     32 : 32      9.3 : 9.0    6.9 : 8.2    3.1 : 4.1
//   32->32@7      7.4 : 6.9    2.9 : 2.1    3.9 : 1.7    2.4 : 1.0
//   64->64@8      23 : 22      8.1 : 7.1    6.1 : 6.9    2.8 : 2.7
//   64->64@28     276 : 272    99 : 86      110 : 83     63 : 32
// A column without vectors has nothing to win: 299 : 168 at 16->16@32, and lanes want tables.
int64_t LanesGain(const OpView& view, const Kernels& kernels) {
  const ConvView c(view);
  const size_t channels = c.in_channels();
  if ((channels != 16 && channels != 32 && channels != 64) || c.window.stride_h > 2 ||
      c.window.stride_w > 2)
    return kNoLanes;
  const bool scalar = kernels.panel == 1;
  if (scalar) return -c.macs();
  if (channels == 16) return 2 * c.macs();
  const bool full_vectors = c.out_w() * channels / 8 % 64 == 0;
  return full_vectors ? c.macs() / 4 : -c.macs() / 2;
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool lanes = RunsInLanes(view, kernels);
  const size_t channels = c.in_channels();
  PreparedOp prepared;
  BitsConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(view, c, kernels, lanes, memory, &prepared);
  state.weights = PackWeights(
      c, c.Rows(view.file), lanes ? kernels.pack_xor_popcount_lanes : kernels.pack_xor_popcount_tile,
      memory);
  state.channels = channels;
  state.row_words = state.weights.rows.row_bytes / sizeof(Word);
  if (lanes) {
    const int32_t* base = BaseTable(c, state.weights.rows, c.outputs(), memory.allocator);
    state.base_lanes = LaneTable(c.ys, c.xs, base, c.outputs(), c.outputs(), memory.allocator);
    prepared.run = RunLanes;
    prepared.kernel = "xor_popcount_lanes";
    prepared.why = "a pixel's channels are one word: vectors of pixels";
  } else {
    const int32_t* base = BaseTable(c, state.weights.rows, state.acc_stride, memory.allocator);
    state.base_pixels = PixelTable(c.ys, c.xs, base, state.acc_stride, memory.allocator);
    prepared.kernel = "xor_popcount_tile";
    if (channels % 32 == 0) {
      prepared.run = RunDirect;
      prepared.why = "a row of taps is whole words: panels of output channels, read in place";
    } else {
      prepared.run = RunGathered;
      prepared.why = "channels are no whole words: panels of output channels, windows gathered";
      state.gather_offset = static_cast<size_t>(prepared.scratch_bytes);
      prepared.scratch_bytes += state.block * state.row_words * sizeof(Word);
    }
  }
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 500'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const ConvSum kBitsSum = {kMaxElements, LanesGain, Prepare};

}  // namespace lbrt
