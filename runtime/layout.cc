// The layout pass: lanes or rows for every f32 tensor, rings for what convolutions read.
//
// An op's f32 tensors of more than one pixel have one order, the op's. Starting from "all in
// lanes", every op that cannot (or would rather not) takes its tensors with it to rows, until
// nothing changes: so a chain of ops ends up in one order and nothing is ever converted.
#include "runtime/op.h"
#include "runtime/ops/checks.h"

namespace lbrt {
namespace {

const lbm::Conv* AsConv(const OpView& view) {
  return view.op().body_as_Conv();
}

// Calls visit(tensor) for the f32 tensors whose order is the op's. The input of a convolution is
// none of them: bits have no order, and sums over f32 want rows.
template <typename Visit>
void ForEachOrdered(const OpView& view, Visit visit) {
  const OpTensors used = TensorsOf(view.op());
  const auto ordered = [&](uint32_t index) {
    ArenaTensor& t = view.tensors[index];
    if (t.type == lbm::TensorType::F32 && !t.one_pixel()) visit(t);
  };
  for (size_t k = AsConv(view) != nullptr ? 1 : 0; k < used.read_count; ++k)
    ordered(used.reads[k]);
  for (size_t k = 0; k < used.make_count; ++k) ordered(used.makes[k]);
}

}  // namespace

bool RunsInLanes(const OpView& view, const Kernels& kernels) {
  bool lanes = FindOp(view.op().body_type())->lanes(view, kernels);
  ForEachOrdered(view, [&](const ArenaTensor& t) { lanes = lanes && t.lanes; });
  return lanes;
}

void ChooseLayouts(const FileView& file, const Kernels& kernels, ArenaTensor* tensors) {
  const size_t tensor_count = file.table->tensors()->size();
  const auto ops = static_cast<int32_t>(file.table->ops()->size());
  const auto view = [&](int32_t i) { return OpView{file, tensors, tensor_count, i}; };

  for (size_t i = 0; i < tensor_count; ++i) {
    ArenaTensor& t = tensors[i];
    t.lanes = t.type == lbm::TensorType::F32 && !t.one_pixel() && !t.dense_rows;
  }
  for (int32_t i = 0; i < ops; ++i) {
    if (const lbm::Conv* conv = AsConv(view(i))) {
      tensors[conv->input()].lanes = false;
    } else if (const lbm::AvgPool* pool = view(i).op().body_as_AvgPool()) {
      tensors[pool->input()].dense_rows = true;  // in rows; in lanes there is no ring anyway
      tensors[pool->output()].dense_rows = true;
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (int32_t i = 0; i < ops; ++i) {
      if (RunsInLanes(view(i), kernels)) continue;
      ForEachOrdered(view(i), [&](ArenaTensor& t) {
        changed = changed || t.lanes;
        t.lanes = false;
      });
    }
  }

  for (int32_t i = 0; i < ops; ++i) {
    const lbm::Conv* conv = AsConv(view(i));
    if (conv == nullptr || conv->kind() != lbm::WeightKind::Sign) continue;
    ArenaTensor& x = tensors[conv->input()];
    const int padding = MostPadding(ToWindow(*conv->window()));
    if (!x.dense_rows && padding > x.ring) x.ring = padding;
  }
}

}  // namespace lbrt
