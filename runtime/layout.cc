// The layout pass: lanes or rows for every f32 tensor, rings for what convolutions read.
//
// An op's f32 tensors of more than one pixel have one order, the op's; so tensors fall into groups
// that share an order (a residual stream with its pools, say), and nothing is ever converted. A
// group is in lanes order where its ops gain by that in all, and each of them can.
#include "runtime/op.h"

namespace lbrt {
namespace {

// Calls visit(index) for the f32 tensors whose order is the op's.
template <typename Visit>
void ForEachOrdered(const OpView& view, Visit visit) {
  const OpTensors used = TensorsOf(view.op(), view.tensors);
  const auto ordered = [&](uint32_t index) {
    const ArenaTensor& t = view.tensors[index];
    if (t.type == lbm::TensorType::F32 && !t.one_pixel()) visit(static_cast<int32_t>(index));
  };
  for (size_t k = 0; k < used.read_count; ++k)
    if (used.reads[k].ordered) ordered(used.reads[k].tensor);
  for (size_t k = 0; k < used.make_count; ++k) ordered(used.makes[k].tensor);
}

// The tensor that stands for a group. Paths are halved on the way, so they stay short.
int32_t GroupOf(ArenaTensor* tensors, int32_t index) {
  while (tensors[index].group != index) {
    tensors[index].group = tensors[tensors[index].group].group;
    index = tensors[index].group;
  }
  return index;
}

void AddGain(ArenaTensor* group, int64_t gain) {
  const bool never = group->lanes_gain == kNoLanes || gain == kNoLanes;
  group->lanes_gain = never ? kNoLanes : group->lanes_gain + gain;
}

}  // namespace

bool RunsInLanes(const OpView& view, const Kernels& kernels) {
  bool lanes = FindOp(view.op().body_type())->lanes(view, kernels) > 0;
  ForEachOrdered(view, [&](int32_t t) { lanes = view.tensors[t].lanes; });
  return lanes;
}

void ChooseLayouts(const FileView& file, const Kernels& kernels, ArenaTensor* tensors) {
  const auto tensor_count = static_cast<int32_t>(file.tensors().size());
  const auto ops = static_cast<int32_t>(file.ops().size());
  const auto view = [&](int32_t i) {
    return OpView{file, tensors, static_cast<size_t>(tensor_count), i};
  };
  const auto group = [&](int32_t t) { return &tensors[GroupOf(tensors, t)]; };

  for (int32_t t = 0; t < tensor_count; ++t) tensors[t].group = t;
  for (int32_t i = 0; i < ops; ++i) {
    int32_t first = -1;
    ForEachOrdered(view(i), [&](int32_t t) {
      if (first >= 0) tensors[GroupOf(tensors, t)].group = GroupOf(tensors, first);
      first = t;
    });
  }
  for (int32_t t = 0; t < tensor_count; ++t)
    if (tensors[t].dense_rows) AddGain(group(t), kNoLanes);
  for (int32_t i = 0; i < ops; ++i) {
    const OpTensors used = TensorsOf(view(i).op(), tensors);
    for (size_t k = 0; k < used.read_count; ++k)
      if (!used.reads[k].ordered)
        AddGain(group(static_cast<int32_t>(used.reads[k].tensor)), kNoLanes);
    int32_t any = -1;
    ForEachOrdered(view(i), [&](int32_t t) { any = t; });
    if (any >= 0) AddGain(group(any), FindOp(view(i).op().body_type())->lanes(view(i), kernels));
  }
  for (int32_t t = 0; t < tensor_count; ++t)
    tensors[t].lanes = tensors[t].type == lbm::TensorType::F32 && !tensors[t].one_pixel() &&
                       group(t)->lanes_gain > 0;

  for (int32_t i = 0; i < ops; ++i) {
    const OpTensors used = TensorsOf(view(i).op(), tensors);
    for (size_t k = 0; k < used.read_count; ++k)
      if (used.reads[k].dense) tensors[used.reads[k].tensor].dense_rows = true;
    for (size_t k = 0; k < used.make_count; ++k)
      if (used.makes[k].dense) tensors[used.makes[k].tensor].dense_rows = true;
  }
  for (int32_t i = 0; i < ops; ++i) {
    const OpTensors used = TensorsOf(view(i).op(), tensors);
    for (size_t k = 0; k < used.read_count; ++k) {
      ArenaTensor& t = tensors[used.reads[k].tensor];
      if (!t.dense_rows && used.reads[k].ring > t.ring) t.ring = used.reads[k].ring;
    }
  }
}

}  // namespace lbrt
