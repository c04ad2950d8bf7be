// conv: y = stages(sum over the window's valid taps of weight * x); the sum by kind of weights and
// type of x, as schema/lbm.fbs says.
//
//   in   x     u8, f32 or bits [n h w c]
//   in   adds  f32, of the result's shape (stages)
//   out  y     f32 and bits [n oh ow channels] (stages)
#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

Refusal CheckPlanes(const FileView& file, const lbm::Conv& conv, int64_t elements) {
  const auto& planes = *conv.planes();
  const bool fixed = conv.kind() == lbm::WeightKind::Fixed;
  if (planes.size() < 1 || planes.size() > (fixed ? 3u : 1u))
    return {"weights have too few or too many planes", fixed ? 3 : 1, planes.size()};
  const int64_t row_bytes = WeightRowBytes(conv.kind(), elements);
  for (uint32_t plane : planes)
    if (Refusal r = CheckSegment(file, plane, row_bytes * conv.channels())) return r;

  if (conv.kind() == lbm::WeightKind::Float)
    return CheckFiniteFloats(file, planes.Get(0), 0, elements * conv.channels());
  if (conv.kind() == lbm::WeightKind::Sign && elements % 32 != 0) {
    const auto* words = reinterpret_cast<const Word*>(file.data(planes.Get(0)));
    const size_t row_words = static_cast<size_t>(row_bytes / 4);
    for (size_t o = 1; o <= conv.channels(); ++o)
      if (words[o * row_words - 1] >> (elements % 32) != 0)
        return {"the padding bits of a weight row are not zero"};
  }
  return {};
}

Refusal Check(const OpView& view) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, conv.input(), &x)) return r;
  switch (conv.kind()) {
    case lbm::WeightKind::Sign:
      if (x->type == lbm::TensorType::U8) return {"signs as weights want f32 or bits, not u8"};
      break;
    case lbm::WeightKind::Float:
      if (x->type != lbm::TensorType::F32) return {"f32 weights want an f32 input"};
      break;
    case lbm::WeightKind::Fixed:
      if (x->type != lbm::TensorType::U8) return {"fixed-point weights want a u8 input"};
      break;
    default: return {"unknown kind of weights", -1, static_cast<int64_t>(conv.kind())};
  }
  Shape result;
  if (Refusal r = CheckWindow(*conv.window(), kMaxKernel, x->shape, conv.channels(), &result))
    return r;
  const int64_t elements =
      int64_t{conv.window()->kernel_h()} * conv.window()->kernel_w() * x->shape.c;
  if (elements * conv.channels() > kMaxElements)
    return {"too many weights", kMaxElements, elements * conv.channels()};
  const bool fixed = conv.kind() == lbm::WeightKind::Fixed;
  if (fixed && elements > static_cast<int64_t>(kMaxFixedPointElements))
    return {"too many fixed-point weights per output", kMaxFixedPointElements, elements};
  if (Refusal r = CheckPlanes(view.file, conv, elements)) return r;
  const Window window = ToWindow(*conv.window());
  const int64_t classes = BorderRows(window, x->shape.h).classes() *
                          int64_t{BorderColumns(window, x->shape.w).classes()};
  return CheckStages(view, *conv.stages(), result, fixed ? classes : 0);
}

int64_t LanesGain(const OpView& view, const Kernels& kernels) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  if (conv.channels() > kMostLanesChannels) return kNoLanes;
  if (conv.kind() == lbm::WeightKind::Fixed) return 0;
  return view.tensors[conv.input()].type == lbm::TensorType::Bits ? BitsConvLanesGain(view, kernels)
                                                                  : kNoLanes;
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  if (conv.kind() == lbm::WeightKind::Fixed) return PrepareFixedConv(view, kernels, memory);
  return view.tensors[conv.input()].type == lbm::TensorType::Bits
             ? PrepareBitsConv(view, kernels, memory)
             : PrepareFloatConv(view, kernels, memory);
}

}  // namespace

const OpDef kConv = {"conv", Check, LanesGain, Prepare};

int64_t WeightRowBytes(lbm::WeightKind kind, int64_t elements) {
  switch (kind) {
    case lbm::WeightKind::Sign: return (elements + 31) / 32 * 4;
    case lbm::WeightKind::Float: return elements * 4;
    case lbm::WeightKind::Fixed: break;
  }
  return elements;
}

WeightRows ConvView::Rows(const FileView& file) const {
  WeightRows rows = {};
  rows.form = conv.kind() == lbm::WeightKind::Sign    ? WeightForm::kSigns
              : conv.kind() == lbm::WeightKind::Float ? WeightForm::kFloats
                                                      : WeightForm::kLimbs;
  rows.planes = conv.planes()->size();
  for (uint32_t i = 0; i < rows.planes; ++i)  // kernels want the least significant limb first
    rows.plane[rows.planes - 1 - i] = file.data(conv.planes()->Get(i));
  rows.row_bytes =
      static_cast<size_t>(WeightRowBytes(conv.kind(), static_cast<int64_t>(elements())));
  rows.outputs = outputs();
  rows.runs = kernel_h();
  rows.run = kernel_w() * in_channels();
  return rows;
}

uint64_t ConvView::WeightBytes(const FileView& file) const {
  uint64_t bytes = 0;
  for (uint32_t plane : *conv.planes()) bytes += file.segment(plane).size();
  return bytes;
}

ConvState PrepareConvState(const OpView& view, const ConvView& c, const Kernels& kernels,
                           const Packing& packing, bool lanes, ModelMemory& memory,
                           PreparedOp* prepared) {
  ConvState state;
  state.kernels = &kernels;
  state.weights.rows = c.Rows(view.file);
  state.weights.packed = nullptr;
  if (const size_t bytes = packing.bytes(state.weights.rows); bytes != 0) {
    auto* packed = memory.allocator.Take<uint8_t>(bytes, kPackedAlignment);
    if (packed != nullptr) packing.pack(state.weights.rows, packed);
    state.weights.packed = packed;
    memory.repacked_bytes += bytes;
  }
  state.x = PlaceOf(c.x);
  state.stages =
      PrepareStages(view, *c.conv.stages(), c.result, lanes, c.ys, c.xs, kernels, memory.allocator);
  state.out_h = c.out_h();
  state.out_w = c.out_w();
  state.kernel_h = c.kernel_h();
  state.kernel_w = c.kernel_w();
  state.stride_h = static_cast<size_t>(c.window.stride_h);
  state.stride_w = static_cast<size_t>(c.window.stride_w);
  state.pad_top = static_cast<size_t>(c.window.pad_top);
  state.pad_left = static_cast<size_t>(c.window.pad_left);

  // As many pixels, or rows, as fit the scratch; whole tiles where it is less than a row.
  if (lanes) {
    const size_t row_bytes = c.outputs() * c.out_w() * sizeof(float);
    state.block = kScratchTarget / row_bytes;
    if (state.block < 1) state.block = 1;
    if (state.block > c.out_h()) state.block = c.out_h();
    state.acc_stride = state.block * c.out_w();
    state.acc_bytes = state.block * row_bytes;
  } else {
    state.acc_stride = RoundUp(c.outputs(), kernels.panel);
    const size_t pixel_bytes = state.acc_stride * sizeof(float);
    const size_t tiles = kScratchTarget / (pixel_bytes * kernels.tile_rows);
    state.block = (tiles < 1 ? 1 : tiles) * kernels.tile_rows;
    if (state.block > c.out_w()) state.block = c.out_w();
    state.acc_bytes = state.block * pixel_bytes;
  }
  state.acc_bytes = RoundUp(state.acc_bytes, kMemoryAlignment);
  prepared->scratch_bytes = state.acc_bytes * (state.stages.needs_between() ? 2 : 1);
  prepared->units = static_cast<size_t>(c.result.n) * c.out_h();
  prepared->macs = c.macs();
  prepared->weight_bytes = c.WeightBytes(view.file);
  return state;
}

}  // namespace lbrt
