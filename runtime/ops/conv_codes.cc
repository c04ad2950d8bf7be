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
//   8-bit odd   w = 2 v + 1: I = 2 part[0] + the sum of the window's inputs, v in part[0]; that sum
//               is made of the sums of the window's columns, which neighbours share
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
  size_t part_count;  // limbs where there are several: they are combined to floats
  bool halved;        // 8-bit odd weights: parts[0], without a base, and `columns`
  Part columns;       // ones of a window's column, and the base of the whole weights
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

// Twice the sums, and the sums of the windows' inputs.
void AddColumns(const CodesConv& s, Windows<uint8_t> in, size_t y, size_t x, uint8_t* scratch) {
  const size_t pixels = in.rows, outputs = s.weights.rows.outputs;
  const size_t step = s.kernel_w == 1 ? s.stride_w : 1;  // columns between windows of one are none's
  const size_t window_step = s.stride_w / step * s.columns.acc_stride;
  in.rows = (pixels - 1) * (s.stride_w / step) + s.kernel_w;
  in.step = step * s.channels;
  in.run = s.channels;
  int32_t* columns = Sums(s.columns, scratch);
  s.kernels->dot_tile(in, s.columns.weights, nullptr, columns, s.columns.acc_stride);
  auto* row = reinterpret_cast<uint32_t*>(Sums(s.parts[0], scratch));
  for (size_t r = 0; r < pixels; ++r, row += s.acc_stride) {
    const int32_t* column = columns + r * window_step;
    int32_t all = 0;
    for (size_t i = 0; i < s.kernel_w; ++i) all += column[i * s.columns.acc_stride];
    // Twice a sum may not fit 32 bits where the result does: modulo 2^32 it is right all the same.
    for (size_t o = 0; o < outputs; ++o) row[o] = 2 * row[o] + static_cast<uint32_t>(all);
    if (s.columns.base == nullptr) continue;
    const int32_t* base = s.columns.base[y][x + r];
    for (size_t o = 0; o < outputs; ++o) row[o] += static_cast<uint32_t>(base[o]);
  }
}

// One output row; make_windows(x, pixels) says where the inputs lie.
template <typename MakeWindows>
void RunRow(const CodesConv& s, const RunArguments& arguments, size_t n, size_t y,
            MakeWindows make_windows) {
  uint8_t* scratch = arguments.scratch;
  const bool limbs = s.part_count > 1;
  const auto* sums = limbs ? nullptr : reinterpret_cast<const int32_t*>(scratch);
  const auto* values = limbs ? reinterpret_cast<const float*>(scratch) : nullptr;
  for (size_t x = 0; x < s.out_w; x += s.block) {
    const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
    const Windows<uint8_t> in = make_windows(x, pixels);
    for (size_t i = 0; i < s.part_count; ++i) {
      const Part& part = s.parts[i];
      s.kernels->dot_tile(in, part.weights, part.base != nullptr ? part.base[y] + x : nullptr,
                          Sums(part, scratch), part.acc_stride);
    }
    if (limbs) CombineLimbs(s, pixels, scratch);
    if (s.halved) AddColumns(s, in, y, x, scratch);
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

// Of one output, all +1: the signs of a window's column.
WeightRows OnesOfColumn(const ConvView& c, const WeightRows& like, ModelMemory& memory) {
  WeightRows rows = like;
  rows.form = WeightForm::kSigns;
  rows.planes = 1;
  rows.outputs = 1;
  rows.runs = c.kernel_h();
  rows.run = c.in_channels();
  rows.row_bytes = (rows.elements() + 31) / 32 * sizeof(Word);
  uint8_t* bits = memory.TakeRepacked(rows.row_bytes);
  rows.plane[0] = bits;
  if (bits == nullptr) return rows;
  std::memset(bits, 0, rows.row_bytes);
  for (size_t k = 0; k < rows.elements(); ++k) bits[k / 8] |= static_cast<uint8_t>(1u << (k % 8));
  return rows;
}

// The parts of a convolution; all but those of one call have sums of their own behind the scratch
// so far.
void PrepareParts(const ConvView& c, const Kernels& kernels, ModelMemory& memory, CodesConv* state,
                  PreparedOp* prepared) {
  const WeightRows& rows = state->weights.rows;
  const auto pack = [&](const WeightRows& part_rows, int index) {
    Part part = {};
    part.weights = PackWeights(c, part_rows, kernels.pack_dot_tile, memory, index);
    part.acc_stride = RoundUp(part_rows.outputs, kernels.panel);
    return part;
  };
  const auto base = [&](const WeightRows& part_rows) {
    const int32_t zero = c.x.type == lbm::TensorType::Bits ? 1 : c.conv.zero();
    return zero != 0 ? ZeroBase(c, part_rows, zero, state->acc_stride, memory.allocator) : nullptr;
  };
  const auto take_sums = [&](Part& part, size_t pixels) {
    part.acc_offset = static_cast<size_t>(prepared->scratch_bytes);
    prepared->scratch_bytes +=
        RoundUp(pixels * part.acc_stride * sizeof(int32_t), kMemoryAlignment);
  };
  if (rows.form == WeightForm::kLimbs && rows.planes > 1) {
    for (size_t limb = 0; limb < rows.planes; ++limb) {
      WeightRows one = rows;
      one.planes = 1;
      one.plane[0] = rows.plane[limb];
      Part& part = state->parts[limb] = pack(one, static_cast<int>(limb));
      part.base = base(one);
      take_sums(part, state->block);
    }
    state->part_count = rows.planes;
    return;
  }
  state->parts[0] = pack(rows, 0);
  state->part_count = 1;
  state->halved = rows.halved();
  if (!state->halved) {
    state->parts[0].base = base(rows);
    return;
  }
  state->columns = pack(OnesOfColumn(c, rows, memory), 1);
  state->columns.base = base(rows);
  take_sums(state->columns, (state->block - 1) * state->stride_w + state->kernel_w);
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
