// Weights of one or two bits x codes of few bits: exact integers by xor and popcount, a plane of
// weight bits and one of code bits at a time.
//
// Input rows are copied into the scratch as planes of bits, zeros around them, which is what
// padding means. A pixel's channels are whole words there, and a tap's in the packed weights. Codes
// that mean code - zero (of -1, 0 and 1 two planes, say) are put right as in conv_codes.cc.
#include <bit>

#include "runtime/ops/copied_rows.h"

namespace lbrt {
namespace {

struct PlanesConv : ConvState {
  CopiedRows copied;  // of one plane
  size_t planes, plane_bytes;
  size_t width, channels;  // of x
  const int32_t* const* const* base;  // [y][x] -> [acc_stride] to be added, or null
};

size_t PlanesOf(const ArenaTensor& codes) {
  return static_cast<size_t>(std::bit_width(static_cast<unsigned>(codes.levels)));
}

void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const PlanesConv*>(state);
  auto* acc = reinterpret_cast<int32_t*>(arguments.scratch);
  uint8_t* copy = arguments.scratch + s.copied.offset;
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    const size_t rows = at.rows < s.copied.block ? at.rows : s.copied.block;
    for (size_t plane = 0; plane < s.planes; ++plane)
      s.copied.Copy(at.y, rows, copy + plane * s.plane_bytes, [&](size_t y, uint8_t* to) {
        s.kernels->code_plane(arguments.arena + s.x.At(at.image, y, 0), s.width, s.channels, plane,
                              reinterpret_cast<Word*>(to));
      });
    for (size_t row = 0; row < rows; ++row) {
      for (size_t x = 0; x < s.out_w; x += s.block) {
        const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
        const Windows<uint8_t> bytes = s.copied.At(copy, row, x, pixels);
        PlaneWindows in;
        in.first = reinterpret_cast<const Word*>(bytes.first);
        in.rows = pixels;
        in.step = bytes.step / sizeof(Word);
        in.runs = bytes.runs;
        in.run = bytes.run / sizeof(Word);
        in.run_stride = bytes.run_stride / sizeof(Word);
        in.planes = s.planes;
        in.plane_stride = s.plane_bytes / sizeof(Word);
        s.kernels->plane_popcount_tile(in, s.weights, acc, s.acc_stride);
        for (size_t r = 0; s.base != nullptr && r < pixels; ++r) {
          const int32_t* base = s.base[at.y + row][x + r];
          for (size_t o = 0; o < s.weights.rows.outputs; ++o) acc[r * s.acc_stride + o] += base[o];
        }
        s.stages.RunRows(arguments.arena, at.image, at.y + row, x, pixels, acc, nullptr,
                         s.acc_stride, s.between(arguments.scratch));
      }
      s.stages.FinishRow(arguments.arena, at.image, at.y + row);
    }
    unit += rows;
  }
}

}  // namespace

// What copying and the end of a sum cost wants words to be won back on. Measured on AMD Zen 4
// (avx512-popcnt), dot_tile's time over this one's by words of a window, for 64 outputs:
//   words    1x1   1x2   1x3   2x2   1x4
//     1      1.4   1.0   0.5   0.6   0.3
//     2      1.8   1.4   0.8   0.7   0.4
//     4      3.1   1.7   1.0   1.0   0.6
//     8      3.3   1.9   1.2   1.1   0.8
//     9      3.9   2.1   1.3   1.1   0.9
//    18      4.2   2.4   1.5   1.2   1.0
// With fewer channels than a word copying costs more: edmips/cifar-resnet20 of 1x2 bits took 368 us
// where its 16-channel layers ran so too, 237 as it is.
bool PlanesAreFaster(const ConvView& c, const WeightRows& rows, const Kernels& kernels) {
  constexpr size_t kLeastWords[] = {0, 2, 2, 8, 16};  // by pairs of planes
  const bool number = rows.form == WeightForm::kSigns || rows.form == WeightForm::kOdd ||
                      rows.form == WeightForm::kWeighted;
  if (!number || rows.number_bits() > 2 || c.x.type != lbm::TensorType::Codes ||
      c.in_channels() < 32)
    return false;
  const size_t pairs = rows.number_bits() * PlanesOf(c.x);
  const size_t words = c.kernel_h() * c.kernel_w() * ((c.in_channels() + 31) / 32);
  return pairs <= kernels.plane_pairs && words >= kLeastWords[pairs] &&
         pairs * 32 * words <= kernels.plane_pairs * c.elements();
}

PreparedOp PreparePlanes(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  PreparedOp prepared;
  PlanesConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(view, c, kernels, false, memory, &prepared);
  WeightRows taps = c.Rows(view.file);
  taps.runs = c.kernel_h() * c.kernel_w();
  taps.run = c.in_channels();
  state.weights = PackWeights(c, taps, kernels.pack_plane_popcount_tile, memory);
  if (c.conv.zero() != 0)
    state.base = ZeroBase(c, c.Rows(view.file), c.conv.zero(), state.acc_stride, memory.allocator);
  state.planes = PlanesOf(c.x);
  state.width = static_cast<size_t>(c.x.shape.w);
  state.channels = c.in_channels();
  CopiedRows& rows = state.copied;
  rows = PrepareCopiedRows(c, kRowsPerCopy, nullptr);
  for (size_t* bytes : {&rows.row_bytes, &rows.margin_left, &rows.margin_right, &rows.pixel,
                        &rows.window_step, &rows.window_run})
    *bytes = *bytes / c.in_channels() * (RoundUp(c.in_channels(), 32) / 8);
  state.plane_bytes = static_cast<size_t>(rows.bytes());
  rows.offset = static_cast<size_t>(prepared.scratch_bytes);
  prepared.scratch_bytes += state.planes * state.plane_bytes;
  prepared.run = Run;
  prepared.kernel = "plane_popcount_tile";
  prepared.why = "few bits: xor and popcount of planes of bits, panels of output channels";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 200'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace lbrt
