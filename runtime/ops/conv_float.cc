// Weights of any kind x f32 activations, in rows order: acc = +0, then one fma a tap and channel,
// ky, kx, c ascending, over the valid taps only.
//
// Zeros in a ring give the same bits where weights are integers (such a sum is never -0: no product
// is too small for a float), so whole rows of pixels go to the kernel at once. Without a ring, and
// for f32 weights, a row falls into segments of equal taps.
#include "runtime/ops/border.h"
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

struct FloatConv : ConvState {
  void (*tile)(const Windows<float>& in, const Weights& weights, WeightSpan span, float* acc,
               size_t acc_stride);
  TapSegments segments;
  size_t height;  // of x; `ringed`: with what of the ring counts as input
  bool ringed;
  size_t channels;
};

void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const FloatConv*>(state);
  auto* acc = reinterpret_cast<float*>(arguments.scratch);
  const size_t weight_run = s.kernel_w * s.channels;
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out_h);
    TapRange rows = {0, static_cast<int>(s.kernel_h)};
    if (!s.ringed)
      rows = ValidTaps(static_cast<int>(s.height), static_cast<int>(s.kernel_h),
                       static_cast<int>(s.stride_h), static_cast<int>(s.pad_top),
                       static_cast<int>(at.y));
    const auto first_row = static_cast<size_t>(rows.begin);
    for (size_t x = 0; x < s.out_w; x += s.block) {
      const size_t x_end = s.out_w - x < s.block ? s.out_w : x + s.block;
      for (size_t i = 0; i < s.segments.count; ++i) {
        const TapSegment& segment = s.segments.list[i];
        const size_t from = x > segment.begin ? x : segment.begin;
        const size_t to = x_end < segment.end ? x_end : segment.end;
        if (from >= to) continue;
        const size_t origin =
            s.x.AtTap(at.image, at.y * s.stride_h, from * s.stride_w, s.pad_top, s.pad_left);
        Windows<float> in;
        in.first = reinterpret_cast<const float*>(arguments.arena + origin + first_row * s.x.row +
                                                  segment.first * s.x.pixel);
        in.rows = to - from;
        in.step = s.stride_w * s.channels;
        in.runs = static_cast<size_t>(rows.size());
        in.run = segment.taps * s.channels;
        in.run_stride = s.x.row / sizeof(float);
        s.tile(in, s.weights, {first_row * weight_run + segment.first * s.channels, weight_run},
               acc + (from - x) * s.acc_stride, s.acc_stride);
      }
      s.stages.RunRows(arguments.arena, at.image, at.y, x, x_end - x, nullptr, acc, s.acc_stride,
                       s.between(arguments.scratch));
    }
    s.stages.FinishRow(arguments.arena, at.image, at.y);
  }
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const ConvView c(view);
  const bool signs = c.conv.kind() == lbm::WeightKind::Sign;
  PreparedOp prepared;
  FloatConv state = {};
  static_cast<ConvState&>(state) = PrepareConvState(view, c, kernels, false, memory, &prepared);
  state.weights =
      PackWeights(c, c.Rows(view.file), signs ? kernels.pack_sign_sum_tile : kernels.pack_fma_tile,
                  memory);
  state.tile = signs ? kernels.sign_sum_tile : kernels.fma_tile;
  state.channels = c.in_channels();
  state.height = static_cast<size_t>(c.x.shape.h);
  const int most_padding = MostPadding(c.window);
  const bool integers = c.conv.kind() != lbm::WeightKind::Float;
  state.ringed = integers && most_padding > 0 && c.x.ring >= most_padding;
  if (state.ringed) {
    auto* all = memory.allocator.Take<TapSegment>(1);
    if (all != nullptr) *all = {0, c.out_w(), 0, c.kernel_w()};
    state.segments = {all, 1};
  } else {
    state.segments = SegmentsOf(c, memory.allocator);
  }

  prepared.run = Run;
  prepared.kernel = signs ? "sign_sum_tile" : "fma_tile";
  prepared.why = state.ringed
                     ? "panels of output channels, one fma a tap in order; padding in memory"
                     : "panels of output channels, one fma a tap in order; valid taps only";
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 20'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

const ConvSum kFloatSum = {kMaxElements, LanesGain, Prepare};

}  // namespace lbrt
