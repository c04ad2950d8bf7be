// Convolutions in groups: outputs read the channels of their own group only.
//
// Depthwise (a group is one input channel): weights are decoded to bytes or floats once, a vector
// holds channels. Codes, images and floats are read in place. Bits, and what several outputs a
// channel read, are copied first: bytes, one for each output.
//
// Other groups: input rows are copied into the scratch, zeros around them, each group's channels
// apart, and every group is a call of the tile that its convolution alone would be.
//
// Integers: codes that mean code - zero, and bits, copied as 0 and 2 with a zero of 1, are put
// right as in conv_codes.cc. Weights that do not fit a signed byte are limbs that do, each a part with
// sums of its own: I = sum of part[i] * 256^i, of fixed-point weights in 64 bits, rounded to float
// once.
#include "kernels/weights.h"
#include "runtime/ops/copied_rows.h"

namespace lbrt {
namespace {

constexpr size_t kMostLimbs = 3;

struct Part {
  const Weights* groups;              // of each group
  Weights depthwise;                  // or these
  const int32_t* const* const* base;  // [y][x] -> [acc_stride], or null
  size_t acc_offset;                  // in the scratch
};

struct GroupsConv : ConvState {
  Part parts[kMostLimbs];
  size_t part_count;
  bool combines_to_floats;  // for their sums need not fit 32 bits
  const Weights* float_groups;
  const float* float_depthwise;
  void (*float_tile)(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
                     size_t acc_stride);
  TapSegments segments;
  size_t height;  // of x
  int32_t zero;

  bool copies, unpacks;
  CopiedRows copied;
  size_t unpacked_offset;     // in the scratch: a row of bits as bytes
  size_t channels, outputs;
  size_t groups, group_bytes;  // bytes of a pixel of one group
  size_t slice_bytes;          // from one group's row to the next's, in a copied row
  size_t repeats;              // depthwise: outputs a channel
};

// Where the window of the first pixel of an output row begins, and the steps from there, in bytes.
// The address may lie outside of the tensor: only valid taps are read.
struct Origin {
  const uint8_t* memory;
  size_t offset, row, pixel;

  const uint8_t* At(size_t x, size_t ky, size_t kx) const {
    return memory + (offset + ky * row + (x + kx) * pixel);
  }
};

// ------------------------------------------------------------------------------------ copied rows

void CopySlices(const GroupsConv& s, const uint8_t* row, size_t pixel, uint8_t* to) {
  std::memset(to, 0, s.copied.row_bytes);
  to += s.pad_left * s.group_bytes;
  for (size_t x = 0; x < s.x.width; ++x, row += pixel, to += s.group_bytes)
    for (size_t g = 0; g < s.groups; ++g)
      std::memcpy(to + g * s.slice_bytes, row + g * s.group_bytes, s.group_bytes);
}

template <typename T>
void RepeatChannels(const GroupsConv& s, const uint8_t* row, size_t pixel, uint8_t* to) {
  std::memset(to, 0, s.copied.row_bytes);
  T* out = reinterpret_cast<T*>(to) + s.pad_left * s.outputs;
  for (size_t x = 0; x < s.x.width; ++x, row += pixel)
    for (size_t c = 0; c < s.channels; ++c)
      for (size_t i = 0; i < s.repeats; ++i) *out++ = reinterpret_cast<const T*>(row)[c];
}

// Calls visit(image, y, origin) for each output row of [begin, end), its input rows copied where
// that is needed.
template <typename T, bool kDepthwise, typename Visit>
void ForEachRow(const GroupsConv& s, const RunArguments& arguments, size_t begin, size_t end,
                Visit visit) {
  if (!s.copies) {
    for (size_t unit = begin; unit < end; ++unit) {
      const RowPosition at = RowAt(unit, end, s.out_h);
      visit(at.image, at.y,
            Origin{arguments.arena,
                   s.x.AtTap(at.image, at.y * s.stride_h, 0, s.pad_top, s.pad_left), s.x.row,
                   s.x.pixel});
    }
    return;
  }
  uint8_t* copy = arguments.scratch + s.copied.offset;
  uint8_t* unpacked = arguments.scratch + s.unpacked_offset;
  for (size_t unit = begin; unit < end;) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    const size_t rows = at.rows < s.copied.block ? at.rows : s.copied.block;
    s.copied.Copy(at.y, rows, copy, [&](size_t y, uint8_t* to) {
      const uint8_t* row = arguments.arena + s.x.At(at.image, y, 0);
      if (s.unpacks) {
        UnpackRow(s.x, s.channels, row, unpacked);
        row = unpacked;
      }
      const size_t pixel = s.unpacks ? s.channels : s.x.pixel;
      if constexpr (kDepthwise)
        RepeatChannels<T>(s, row, pixel, to);
      else
        CopySlices(s, row, pixel, to);
    });
    for (size_t row = 0; row < rows; ++row)
      visit(at.image, at.y + row,
            Origin{copy, row * s.stride_h * s.copied.stride(), s.copied.stride(), s.copied.pixel});
    unit += rows;
  }
}

// Calls visit(from, to, rows, segment) for the runs of output pixels [x, x + pixels) of row y that
// have the same valid taps.
template <typename Visit>
void ForEachSegment(const GroupsConv& s, size_t y, size_t x, size_t pixels, Visit visit) {
  const TapRange rows =
      ValidTaps(static_cast<int>(s.height), static_cast<int>(s.kernel_h),
                static_cast<int>(s.stride_h), static_cast<int>(s.pad_top), static_cast<int>(y));
  for (size_t i = 0; i < s.segments.count; ++i) {
    const TapSegment& segment = s.segments.list[i];
    const size_t from = x > segment.begin ? x : segment.begin;
    const size_t to = x + pixels < segment.end ? x + pixels : segment.end;
    if (from < to) visit(from, to, rows, segment);
  }
}

// --------------------------------------------------------------------------------------- one row

int32_t* Sums(const Part& part, uint8_t* scratch) {
  return reinterpret_cast<int32_t*>(scratch + part.acc_offset);
}

template <typename T>
DepthwiseWindows<T> DepthwiseAt(const GroupsConv& s, const Origin& origin, size_t from, size_t to,
                                TapRange rows, const TapSegment& segment) {
  DepthwiseWindows<T> in;
  in.first = reinterpret_cast<const T*>(
      origin.At(from * s.stride_w, static_cast<size_t>(rows.begin), segment.first));
  in.pixels = to - from;
  in.step = s.stride_w * s.outputs;
  in.rows = static_cast<size_t>(rows.size());
  in.columns = segment.taps;
  in.row_stride = origin.row / sizeof(T);
  in.column_stride = s.outputs;
  in.channels = s.outputs;
  return in;
}
DepthwiseWeights WeightsAt(const GroupsConv& s, TapRange rows, const TapSegment& segment) {
  const size_t row = s.kernel_w * s.outputs;
  return {s.float_depthwise + static_cast<size_t>(rows.begin) * row + segment.first * s.outputs,
          row};
}

void DepthwiseSums(const GroupsConv& s, const Origin& origin, size_t y, size_t x, size_t pixels,
                   uint8_t* scratch) {
  ForEachSegment(s, y, x, pixels,
                 [&](size_t from, size_t to, TapRange rows, const TapSegment& segment) {
                   const auto in = DepthwiseAt<uint8_t>(s, origin, from, to, rows, segment);
                   for (size_t i = 0; i < s.part_count; ++i)
                     s.kernels->depthwise_codes(
                         in, s.parts[i].depthwise, static_cast<size_t>(rows.begin), segment.first,
                         s.zero, Sums(s.parts[i], scratch) + (from - x) * s.acc_stride,
                         s.acc_stride);
                 });
}

void GroupSums(const GroupsConv& s, const Origin& origin, size_t y, size_t x, size_t pixels,
               uint8_t* scratch) {
  Windows<uint8_t> in;
  in.rows = pixels;
  in.step = s.stride_w * s.group_bytes;
  in.runs = s.kernel_h;
  in.run = s.kernel_w * s.group_bytes;
  in.run_stride = origin.row;
  const size_t each = s.outputs / s.groups;
  for (size_t i = 0; i < s.part_count; ++i) {
    const Part& part = s.parts[i];
    int32_t* sums = Sums(part, scratch);
    for (size_t g = 0; g < s.groups; ++g) {
      in.first = origin.At(x * s.stride_w, 0, 0) + g * s.slice_bytes;
      s.kernels->dot_tile(in, part.groups[g], nullptr, sums + g * each, s.acc_stride);
    }
    for (size_t r = 0; part.base != nullptr && r < pixels; ++r) {
      const int32_t* base = part.base[y][x + r];
      for (size_t o = 0; o < s.outputs; ++o) sums[r * s.acc_stride + o] += base[o];
    }
  }
}

void CombineLimbs(const GroupsConv& s, size_t pixels, uint8_t* scratch) {
  const size_t n = pixels * s.acc_stride;
  const int32_t* sums[ModelMemory::kMostParts];
  for (size_t limb = 0; limb < s.part_count; ++limb) sums[limb] = Sums(s.parts[limb], scratch);
  if (s.combines_to_floats)
    return s.kernels->combine_limbs(sums, s.part_count, n, reinterpret_cast<float*>(scratch));
  auto* values = reinterpret_cast<int32_t*>(scratch);
  for (size_t i = 0; i < n; ++i)  // of two limbs
    values[i] = static_cast<int32_t>(int64_t{sums[1][i]} * 256 + sums[0][i]);
}

template <bool kDepthwise>
void RunIntegers(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const GroupsConv*>(state);
  uint8_t* scratch = arguments.scratch;
  const auto* sums = s.combines_to_floats ? nullptr : reinterpret_cast<const int32_t*>(scratch);
  const auto* values = s.combines_to_floats ? reinterpret_cast<const float*>(scratch) : nullptr;
  ForEachRow<uint8_t, kDepthwise>(
      s, arguments, begin, end, [&](size_t n, size_t y, const Origin& origin) {
        for (size_t x = 0; x < s.out_w; x += s.block) {
          const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
          kDepthwise ? DepthwiseSums(s, origin, y, x, pixels, scratch)
                     : GroupSums(s, origin, y, x, pixels, scratch);
          if (s.part_count > 1) CombineLimbs(s, pixels, scratch);
          s.stages.RunRows(arguments.arena, n, y, x, pixels, sums, values, s.acc_stride,
                           s.between(scratch));
        }
        s.stages.FinishRow(arguments.arena, n, y);
      });
}

void FloatGroups(const GroupsConv& s, const Origin& origin, size_t from, size_t to, TapRange rows,
                 const TapSegment& segment, float* acc) {
  const size_t channels = s.group_bytes / sizeof(float), each = s.outputs / s.groups;
  const size_t weight_run = s.kernel_w * channels, first_row = static_cast<size_t>(rows.begin);
  Windows<float> in;
  in.rows = to - from;
  in.step = s.stride_w * channels;
  in.runs = static_cast<size_t>(rows.size());
  in.run = segment.taps * channels;
  in.run_stride = origin.row / sizeof(float);
  const WeightSpan span = {first_row * weight_run + segment.first * channels, weight_run};
  for (size_t g = 0; g < s.groups; ++g) {
    in.first = reinterpret_cast<const float*>(
        origin.At(from * s.stride_w, first_row, segment.first) + g * s.slice_bytes);
    s.float_tile(in, s.float_groups[g], span, acc + g * each, s.acc_stride);
  }
}

template <bool kDepthwise>
void RunFloats(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const GroupsConv*>(state);
  auto* acc = reinterpret_cast<float*>(arguments.scratch);
  ForEachRow<float, kDepthwise>(
      s, arguments, begin, end, [&](size_t n, size_t y, const Origin& origin) {
        for (size_t x = 0; x < s.out_w; x += s.block) {
          const size_t pixels = s.out_w - x < s.block ? s.out_w - x : s.block;
          ForEachSegment(s, y, x, pixels,
                         [&](size_t from, size_t to, TapRange rows, const TapSegment& segment) {
                           float* sums = acc + (from - x) * s.acc_stride;
                           if constexpr (kDepthwise)
                             s.kernels->depthwise_f32(
                                 DepthwiseAt<float>(s, origin, from, to, rows, segment),
                                 WeightsAt(s, rows, segment), sums, s.acc_stride);
                           else
                             FloatGroups(s, origin, from, to, rows, segment, sums);
                         });
          s.stages.RunRows(arguments.arena, n, y, x, pixels, nullptr, acc, s.acc_stride,
                           s.between(arguments.scratch));
        }
        s.stages.FinishRow(arguments.arena, n, y);
      });
}

// --------------------------------------------------------------------------------------- prepare

// Weights of depthwise convolutions of floats, decoded: [ky][kx][o].
constexpr Packing kDepthwiseFloats = {
    [](const WeightRows& rows) {
      return RoundUp(rows.outputs * rows.elements() * sizeof(float), kPackedAlignment);
    },
    [](const WeightRows& rows, void* packed) {
      auto* out = static_cast<float*>(packed);
      for (size_t k = 0; k < rows.elements(); ++k)
        for (size_t o = 0; o < rows.outputs; ++o) *out++ = WeightFloat(rows, o, k);
    }};

// Limb 0 or 1 of weights that need two, as rows of bytes.
template <int kLimb>
constexpr Packing kLimbRows = {
    [](const WeightRows& rows) {
      return RoundUp(rows.outputs * rows.elements(), kPackedAlignment);
    },
    [](const WeightRows& rows, void* packed) {
      auto* out = static_cast<int8_t*>(packed);
      for (size_t o = 0; o < rows.outputs; ++o)
        for (size_t k = 0; k < rows.elements(); ++k) {
          const int32_t w = WeightCode(rows, o, k);
          const auto low = static_cast<int8_t>(w & 255);
          *out++ = kLimb == 0 ? low : static_cast<int8_t>((w - low) / 256);
        }
    }};

// How the input is read: in place, or copied `block` rows at a time; an element has so many bytes.
void PrepareInput(const ConvView& c, bool depthwise, size_t element, ModelMemory& memory,
                  GroupsConv* s, PreparedOp* prepared) {
  s->channels = c.in_channels();
  s->outputs = c.outputs();
  s->groups = c.groups();
  s->height = static_cast<size_t>(c.x.shape.h);
  s->segments = SegmentsOf(c, memory.allocator);
  s->repeats = c.outputs() / c.groups();
  s->group_bytes = c.group_channels() * element;
  s->unpacks = c.x.type == lbm::TensorType::Bits;
  s->copies = !depthwise || s->unpacks || s->repeats > 1;
  if (!s->copies) return;
  const size_t padded_width = static_cast<size_t>(c.window.pad_left + c.x.shape.w +
                                                  c.window.pad_right);
  CopiedRows& rows = s->copied;
  rows = PrepareCopiedRows(c, kRowsPerCopy / element, nullptr);
  s->slice_bytes = depthwise ? 0 : padded_width * s->group_bytes;
  rows.pixel = depthwise ? c.outputs() * element : s->group_bytes;
  rows.row_bytes = RoundUp(depthwise ? padded_width * rows.pixel : s->groups * s->slice_bytes, 4);
  rows.margin_left = rows.margin_right = 0;
  rows.offset = static_cast<size_t>(prepared->scratch_bytes);
  prepared->scratch_bytes += rows.bytes();
  s->unpacked_offset = static_cast<size_t>(prepared->scratch_bytes);
  if (s->unpacks)
    prepared->scratch_bytes += static_cast<size_t>(c.x.shape.w) * RoundUp(s->channels, 8);
}

// `packed`, what a packing made of all groups one after the other, as the weights of each.
const Weights* EachGroup(const Weights& all, const Packing& packing, size_t groups,
                         Allocator& allocator) {
  Weights* list = allocator.Take<Weights>(groups);
  const size_t bytes = packing.bytes(GroupOf(all.rows, 0, groups));
  for (size_t g = 0; list != nullptr && g < groups; ++g)
    list[g] = {GroupOf(all.rows, g, groups),
               all.packed != nullptr ? static_cast<const uint8_t*>(all.packed) + g * bytes
                                     : nullptr};
  return list;
}

// The limbs of integer weights; those that fit a byte are one as they are.
size_t LimbsOf(const ConvView& c, const WeightRows& rows, ModelMemory& memory, WeightRows* limbs) {
  if (rows.halved()) {
    constexpr int kFirstPart = static_cast<int>(kMostLimbs);
    for (int limb = 0; limb < 2; ++limb) {
      const Packing& packing = limb == 0 ? kLimbRows<0> : kLimbRows<1>;
      WeightRows& own = limbs[limb] = rows;
      own.form = WeightForm::kLimbs;
      own.planes = 1;
      own.bits = own.offset = 0;
      own.row_bytes = rows.elements();
      own.plane[0] = PackWeights(c, rows, packing, memory, kFirstPart + limb).packed;
    }
    return 2;
  }
  if (rows.form != WeightForm::kLimbs) {
    limbs[0] = rows;
    return 1;
  }
  if (rows.planes > kMostLimbs) __builtin_unreachable();  // as checked
  for (size_t limb = 0; limb < rows.planes; ++limb) {
    limbs[limb] = rows;
    limbs[limb].planes = 1;
    limbs[limb].plane[0] = rows.plane[limb];
  }
  return rows.planes;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

const char* DepthwiseWhy(bool copies) {
  return copies ? "depthwise: vectors of channels; rows copied"
                : "depthwise: vectors of channels, read in place";
}

PreparedOp PrepareIntegers(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool depthwise = c.group_channels() == 1;
  WeightRows limbs[kMostLimbs];
  PreparedOp prepared;
  GroupsConv state = {};
  state.part_count = LimbsOf(c, c.Rows(view.file), memory, limbs);
  static_cast<ConvState&>(state) =
      PrepareConvState(view, c, kernels, false, memory, &prepared,
                       state.part_count > 1 ? state.part_count + 1 : 1);
  state.combines_to_floats =
      state.part_count > 1 && c.conv.kind() == lbm::WeightKind::Fixed;
  state.zero = c.x.type == lbm::TensorType::Bits ? 1 : c.conv.zero();
  PrepareInput(c, depthwise, 1, memory, &state, &prepared);
  prepared.scratch_bytes = RoundUp(static_cast<size_t>(prepared.scratch_bytes), kMemoryAlignment);
  for (size_t i = 0; i < state.part_count; ++i) {
    Part& part = state.parts[i];
    const int index = static_cast<int>(i);
    if (depthwise) {
      part.depthwise = PackWeights(c, limbs[i], kernels.pack_depthwise_codes, memory, index);
    } else {
      const Packing& packing = kernels.pack_dot_tile;
      const Weights all = PackWeights(c, limbs[i], packing, memory, index, c.groups());
      part.groups = EachGroup(all, packing, c.groups(), memory.allocator);
      if (state.zero != 0)
        part.base = ZeroBase(c, limbs[i], state.zero, state.acc_stride, memory.allocator);
    }
    if (state.part_count == 1) break;
    part.acc_offset = static_cast<size_t>(prepared.scratch_bytes);
    prepared.scratch_bytes += state.acc_bytes;
  }
  prepared.run = depthwise ? RunIntegers<true> : RunIntegers<false>;
  prepared.kernel = depthwise ? "depthwise_codes" : "dot_tile";
  prepared.why = depthwise ? DepthwiseWhy(state.copies)
                           : "groups: dot products of bytes, each group's channels copied apart";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, depthwise ? 10'000 : 50'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

PreparedOp PrepareFloats(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool depthwise = c.group_channels() == 1;
  const bool signs = c.conv.kind() == lbm::WeightKind::Sign;
  const WeightRows rows = c.Rows(view.file);
  PreparedOp prepared;
  GroupsConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(view, c, kernels, false, memory, &prepared);
  PrepareInput(c, depthwise, sizeof(float), memory, &state, &prepared);
  if (depthwise) {
    state.float_depthwise = static_cast<const float*>(
        PackWeights(c, rows, kDepthwiseFloats, memory).packed);
  } else {
    const Packing& packing = signs ? kernels.pack_sign_sum_tile : kernels.pack_fma_tile;
    state.float_groups = EachGroup(PackWeights(c, rows, packing, memory, 0, c.groups()), packing,
                                   c.groups(), memory.allocator);
  }
  state.float_tile = signs ? kernels.sign_sum_tile : kernels.fma_tile;
  prepared.run = depthwise ? RunFloats<true> : RunFloats<false>;
  prepared.kernel = depthwise ? "depthwise_f32" : signs ? "sign_sum_tile" : "fma_tile";
  prepared.why = depthwise ? DepthwiseWhy(state.copies)
                           : "groups: one fma a tap in order, each group's channels copied apart";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, depthwise ? 5'000 : 10'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const ConvSum kGroupsSum = {kMaxFixedPointElements, LanesGain, PrepareIntegers};
const ConvSum kFloatGroupsSum = {kMaxElements, LanesGain, PrepareFloats};

}  // namespace lbrt
