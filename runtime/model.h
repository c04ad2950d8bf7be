// A verified file with what this CPU makes of it: choices, tables, repacked weights. Read-only.
#pragma once

#include "runtime/op.h"

// What it is at one width. Those of a file's widths lie side by side, in one piece of memory, and
// serve one session: its arena and scratch are the largest of them, its inputs and outputs lie at
// the same places whatever the width.
struct lbrt_model {
  lbrt::FileView file;
  const lbrt::Kernels* kernels;
  const lbrt::ArenaTensor* tensors;
  const lbrt::PreparedOp* ops;
  size_t tensor_count, op_count;
  uint64_t features;
  uint64_t scratch_bytes;        // of one task
  uint64_t repacked_bytes;       // what this width uses
  uint64_t file_bytes;           // this width needs no more of the file's first bytes
  // Of all widths.
  const lbrt_model* widths;      // [width_count], the narrowest first
  const uint8_t* width_bits;     // [width_count]
  size_t width_count;
  uint64_t arena_bytes, arena_lower_bound;
  uint64_t all_scratch_bytes, all_repacked_bytes;

  uint8_t bits() const { return width_bits[this - widths]; }
};

namespace lbrt {

// A tensor of a model as lbrt.h shows it; `arena` may be null, and `port` where it is neither a
// graph input nor output.
lbrt_tensor DescribeTensor(const lbrt_model& model, uint32_t index, const lbm::Port* port,
                           uint8_t* arena);

// Fills the error an option names, if any, and returns the status.
lbrt_status Refuse(const Refusal& refusal, const char* op_name, lbrt_error* error);

}  // namespace lbrt
