// The list of ops.
#include "runtime/op.h"
#include "runtime/ops/stages.h"

namespace lbrt {

const OpDef* FindOp(lbm::OpBody body) {
  switch (body) {
    case lbm::OpBody::Conv: return &kConv;
    case lbm::OpBody::Eltwise: return &kEltwise;
    case lbm::OpBody::AvgPool: return &kAvgPool;
    case lbm::OpBody::NONE: break;
  }
  return nullptr;
}

OpTensors TensorsOf(const lbm::Op& op) {
  OpTensors tensors;
  switch (op.body_type()) {
    case lbm::OpBody::Conv:
      tensors.reads[tensors.read_count++] = op.body_as_Conv()->input();
      AddTensors(*op.body_as_Conv()->stages(), &tensors);
      break;
    case lbm::OpBody::Eltwise:
      tensors.reads[tensors.read_count++] = op.body_as_Eltwise()->input();
      AddTensors(*op.body_as_Eltwise()->stages(), &tensors);
      break;
    case lbm::OpBody::AvgPool:
      tensors.reads[tensors.read_count++] = op.body_as_AvgPool()->input();
      tensors.makes[tensors.make_count++] = op.body_as_AvgPool()->output();
      break;
    case lbm::OpBody::NONE: break;
  }
  return tensors;
}

}  // namespace lbrt
