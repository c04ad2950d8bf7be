// Integer weights x codes or +-1 activations: exact integers by dot products of bytes.
//
// Codes are bytes as they lie, ring included: code 0 is the value 0. Where their tensor has none,
// and for +-1 activations, blocks of input rows are copied into the scratch, zeros around them.
// There -1 becomes 0 and +1 becomes 2, x = u - 1, and `base`, of which each border class has a row,
// puts it right:
//   sum of w * x = sum of w * u + base,  base = -(sum of w over the valid taps)
// Likewise where a code u means u - zero, base is -zero times that.
//
// Weights that fit a signed byte are one call of dot_tile. Others are several parts, each a call on
// weights that do, put together afterwards:
//   limbs       I = sum of part[i] * 256^i, in 64 bits, rounded to float once
//   8-bit odd   w = 2 v + 1: I = 2 part[0] + part[1], v in part[0], and part[1] one output of ones
#include "kernels/weights.h"
#include "runtime/ops/copied_rows.h"

namespace lbrt {
namespace {

constexpr size_t kMostParts = ModelMemory::kMostParts;

struct Part {
  Weights weights;
  const int32_t* const* const* base;  // [y][x] -> [acc_stride], or null
  size_t acc_offset, acc_stride;      // in the scratch
};

struct CodesConv : ConvState {
  Part parts[kMostParts];
  size_t part_count;
  void (*combine)(const CodesConv& s, size_t pixels, uint8_t* scratch);  // null: nothing to do
  bool combines_to_floats;
  CopiedRows copied;
  size_t channels;
};

int32_t* Sums(const Part& part, uint8_t* scratch) {
  return reinterpret_cast<int32_t*>(scratch + part.acc_offset);
}

void CombineLimbs(const CodesConv& s, size_t pixels, uint8_t* scratch) {
  const int32_t* sums[kMostParts];
  for (size_t limb = 0; limb < s.part_count; ++limb) sums[limb] = Sums(s.parts[limb], scratch);
  s.kernels->combine_limbs(sums, s.part_count, pixels * s.acc_stride,
                           reinterpret_cast<float*>(scratch));
}

void CombineOdd(const CodesConv& s, size_t pixels, uint8_t* scratch) {
  int32_t* sums = Sums(s.parts[0], scratch);
  const int32_t* ones = Sums(s.parts[1], scratch);
  const size_t outputs = s.weights.rows.outputs;
  for (size_t r = 0; r < pixels; ++r) {
    const int32_t all = ones[r * s.parts[1].acc_stride];
    int32_t* row = sums + r * s.acc_stride;
    // Twice a sum may not fit 32 bits where the result does: modulo 2^32 it is right all the same.
    for (size_t o = 0; o < outputs; ++o)
      row[o] = static_cast<int32_t>(2 * static_cast<uint32_t>(row[o]) + static_cast<uint32_t>(all));
  }
}

// One output row; make_windows(x, pixels) says where the inputs lie.
template <typename MakeWindows>
void RunRow(const CodesConv& s, const RunArguments& arguments, size_t n, size_t y,
            MakeWindows make_windows) {
  uint8_t* scratch = arguments.scratch;
  const auto* sums = s.combines_to_floats ? nullptr : reinterpret_cast<const int32_t*>(scratch);
  const auto* values = s.combines_to_floats ? reinterpret_cast<const float*>(scratch) : nullptr;
  for (size_t x = 0; x < s.out_w; x += s.block) {
    const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
    const Windows<uint8_t> in = make_windows(x, pixels);
    for (size_t i = 0; i < s.part_count; ++i) {
      const Part& part = s.parts[i];
      s.kernels->dot_tile(in, part.weights, part.base != nullptr ? part.base[y] + x : nullptr,
                          Sums(part, scratch), part.acc_stride);
    }
    if (s.combine != nullptr) s.combine(s, pixels, scratch);
    s.stages.RunRows(arguments.arena, n, y, x, pixels, sums, values, s.acc_stride,
                     s.between(scratch));
  }
  s.stages.FinishRow(arguments.arena, n, y);
}

void RunDirect(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const CodesConv*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    RunRow(s, arguments, at.image, at.y, [&](size_t x, size_t pixels) {
      Windows<uint8_t> in;
      in.first = arguments.arena + s.x.AtTap(at.image, at.y * s.stride_h, x * s.stride_w, s.pad_top,
                                             s.pad_left);
      in.rows = pixels;
      in.step = s.stride_w * s.channels;
      in.runs = s.kernel_h;
      in.run = s.kernel_w * s.channels;
      in.run_stride = s.x.row;
      return in;
    });
  }
}

void CopyCodes(const CodesConv& s, const uint8_t* row, uint8_t* to) {
  std::memcpy(to, row, s.copied.row_bytes);
}

void UnpackBits(const CodesConv& s, const uint8_t* row, uint8_t* to) {
  UnpackRow(s.x, s.channels, row, to);
}

template <void (*kCopyRow)(const CodesConv& s, const uint8_t* row, uint8_t* to)>
void RunCopied(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const CodesConv*>(state);
  uint8_t* copy = arguments.scratch + s.copied.offset;
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    const size_t rows = at.rows < s.copied.block ? at.rows : s.copied.block;
    s.copied.Copy(at.y, rows, copy, [&](size_t y, uint8_t* to) {
      kCopyRow(s, arguments.arena + s.x.At(at.image, y, 0), to);
    });
    for (size_t row = 0; row < rows; ++row)
      RunRow(s, arguments, at.image, at.y + row,
             [&](size_t x, size_t pixels) { return s.copied.At(copy, row, x, pixels); });
    unit += rows;
  }
}

// ------------------------------------------------------------------------------------- prepare

// The weight of a part as dot_tile takes it.
int32_t PartWeight(const WeightRows& rows, size_t output, size_t k) {
  const int32_t w = WeightCode(rows, output, k);
  return rows.halved() ? (w - 1) / 2 : w;
}

// Signs of one output that are all +1.
WeightRows Ones(const WeightRows& like, ModelMemory& memory) {
  WeightRows rows = like;
  rows.form = WeightForm::kSigns;
  rows.planes = 1;
  rows.outputs = 1;
  rows.row_bytes = (like.elements() + 31) / 32 * sizeof(Word);
  uint8_t* bits = memory.TakeRepacked(rows.row_bytes);
  rows.plane[0] = bits;
  if (bits == nullptr) return rows;
  std::memset(bits, 0, rows.row_bytes);
  for (size_t k = 0; k < like.elements(); ++k) bits[k / 8] |= static_cast<uint8_t>(1u << (k % 8));
  return rows;
}

// Fills what a part needs but for its place in the scratch.
Part PreparePart(const ConvView& c, const WeightRows& rows, int index, const Kernels& kernels,
                 ModelMemory& memory) {
  Part part = {};
  part.weights = PackWeights(c, rows, kernels.pack_dot_tile, memory, index);
  part.acc_stride = RoundUp(rows.outputs, kernels.panel);
  const int32_t zero = c.x.type == lbm::TensorType::Bits ? 1 : c.conv.zero();
  if (zero == 0) return part;
  const auto tap = [&](size_t o, size_t y, size_t x) {
    int32_t sum = 0;
    const size_t first = (y * c.kernel_w() + x) * c.in_channels();
    for (size_t k = first; k < first + c.in_channels(); ++k) sum += PartWeight(rows, o, k);
    return sum;
  };
  const int32_t* base =
      BorderTable(c.ys, c.xs, c.kernel_h(), c.kernel_w(), rows.outputs, part.acc_stride,
                  memory.allocator, tap,
                  [zero](int32_t valid, int32_t, int) { return -zero * valid; });
  part.base = PixelTable(c.ys, c.xs, base, part.acc_stride, memory.allocator);
  return part;
}

// The parts of a convolution; all but those of one call have sums of their own behind the scratch
// so far.
void PrepareParts(const ConvView& c, const Kernels& kernels, ModelMemory& memory, CodesConv* state,
                  PreparedOp* prepared) {
  const WeightRows& rows = state->weights.rows;
  const auto add = [&](const WeightRows& part_rows, bool apart) {
    const auto index = static_cast<int>(state->part_count++);
    Part& part = state->parts[index];
    part = PreparePart(c, part_rows, index, kernels, memory);
    if (!apart) return;
    part.acc_offset = static_cast<size_t>(prepared->scratch_bytes);
    prepared->scratch_bytes +=
        RoundUp(state->block * part.acc_stride * sizeof(int32_t), kMemoryAlignment);
  };
  if (rows.form == WeightForm::kLimbs && rows.planes > 1) {
    for (size_t limb = 0; limb < rows.planes; ++limb) {
      WeightRows one = rows;
      one.planes = 1;
      one.plane[0] = rows.plane[limb];
      add(one, true);
    }
    state->combine = CombineLimbs;
    state->combines_to_floats = true;
    return;
  }
  add(rows, false);
  if (!rows.halved()) return;
  add(Ones(rows, memory), true);
  state->combine = CombineOdd;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const WeightRows rows = c.Rows(view.file);
  if (PlanesAreFaster(c, rows, kernels)) return PreparePlanes(view, kernels, memory);
  const size_t arrays = rows.form == WeightForm::kLimbs && rows.planes > 1 ? rows.planes + 1 : 1;
  PreparedOp prepared;
  CodesConv state = {};
  static_cast<ConvState&>(state) =
      PrepareConvState(view, c, kernels, false, memory, &prepared, arrays);
  state.weights.rows = rows;
  state.channels = c.in_channels();
  PrepareParts(c, kernels, memory, &state, &prepared);

  const bool codes = c.x.type == lbm::TensorType::Codes;
  if (codes && c.x.ring >= MostPadding(c.window)) {
    prepared.run = RunDirect;
    prepared.why = "dot products of bytes, panels of output channels; codes read in place";
  } else {
    prepared.run = codes ? RunCopied<CopyCodes> : RunCopied<UnpackBits>;
    prepared.why = codes ? "dot products of bytes, panels of output channels; codes copied"
                         : "dot products of bytes, panels of output channels; bits unpacked";
    state.copied = PrepareCopiedRows(c, kRowsPerCopy, &prepared);
  }
  prepared.kernel = "dot_tile";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 100'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const ConvSum kCodesSum = {kMaxFixedPointElements, LanesGain, Prepare};

}  // namespace lbrt
