// A verified file with what this CPU makes of it: choices, tables, repacked weights. Read-only.
#pragma once

#include "runtime/op.h"

struct lbrt_model {
  lbrt::FileView file;
  const lbrt::Kernels* kernels;
  const lbrt::ArenaTensor* tensors;
  const lbrt::PreparedOp* ops;
  size_t tensor_count, op_count;
  uint64_t features;
  uint64_t arena_bytes, arena_lower_bound;
  uint64_t scratch_bytes;  // of one task
  uint64_t repacked_bytes;
};

namespace lbrt {

// A tensor of a model as lbrt.h shows it; `arena` may be null, and `port` where it is neither a
// graph input nor output.
lbrt_tensor DescribeTensor(const lbrt_model& model, uint32_t index, const lbm::Port* port,
                           uint8_t* arena);

// Fills the error an option names, if any, and returns the status.
lbrt_status Refuse(const Refusal& refusal, const char* op_name, lbrt_error* error);

}  // namespace lbrt
