// The epilogue of an op: stages of affine (onto numbers or onto a tensor, `base`),
// addition, activation and stores (schema/lbm.fbs, table Stage), on a tile in the scratch or on a
// tensor.
#pragma once

#include "runtime/op.h"
#include "runtime/ops/thresholds.h"

namespace lbrt {

using StageList = flatbuffers::Vector<flatbuffers::Offset<lbm::Stage>>;
inline constexpr size_t kMaxStages = 8;

// `border_classes` is how many rows a border-dependent b has; 0 where none is allowed. Only where
// the stages' input outlives them may they restart. Makes the tensors the stages store.
Refusal CheckStages(const OpView& view, const StageList& stages, const Shape& result,
                    int64_t border_classes, bool may_restart);

// In lanes order the signs of a pixel's channels are collected in one 64-bit word.
inline constexpr int64_t kMostLanesChannels = 64;

// False where a stage has what the kernels in lanes order lack: base, slopes, codes.
bool StagesKnowLanes(const StageList& stages);

void AddTensors(const StageList& stages, OpTensors* tensors);

struct Stages {
  struct Stage {
    const float* a = nullptr;  // [channels], or null: no affine
    const float* b = nullptr;
    const float* const* const* b_pixels = nullptr;  // rows order: [y][x] -> [channels]
    const float* const* b_lanes = nullptr;          // lanes order: [y] -> [channels][width]
    bool restart = false;    // takes the input, not the z of the stage before
    bool hands_on = false;   // the next stage takes its z
    Activation activation = Activation::kNone;
    const float* slopes = nullptr;  // [channels], of a PReLU
    float inverse_step = 1;         // of codes
    int levels = 0;
    Thresholds counted;  // of codes, in place of inverse_step
    // Where the codes or signs of an exact sum are all there is: they are counted from it.
    const int32_t* sum_thresholds = nullptr;  // [sum_levels][channels]
    const int32_t* sum_flip = nullptr;        // [channels]
    size_t sum_levels = 0;
    Place add, base, out, bits, codes;
  };
  size_t channels = 0, width = 0, count = 0;
  const Stage* stage = nullptr;  // [count]
  // Whether a stage hands on values that no tensor receives: then the runs need `between`, a
  // scratch of the input's strides.
  bool needs_between = false;
  const Kernels* kernels = nullptr;

  // `pixels` pixels from (y, x) of image n. Exactly one of sums and values is the input.
  void RunRows(uint8_t* arena, size_t n, size_t y, size_t x, size_t pixels, const int32_t* sums,
               const float* values, size_t in_stride, float* between) const;
  // `rows` whole rows from y.
  void RunLanes(uint8_t* arena, size_t n, size_t y, size_t rows, const int32_t* sums,
                const float* values, size_t in_plane, float* between) const;
  // Closes row y of every tensor stored: to be called when all of its pixels are written.
  void FinishRow(uint8_t* arena, size_t n, size_t y) const {
    for (size_t i = 0; i < count; ++i) {
      if (stage[i].out.used()) ZeroRing(arena, stage[i].out, n, y);
      if (stage[i].bits.used()) ZeroRing(arena, stage[i].bits, n, y);
      if (stage[i].codes.used()) ZeroRing(arena, stage[i].codes, n, y);
    }
  }
};

// `ys`, `xs`: the border axes of the convolution a border-dependent b belongs to. `sums`: the input
// is exact sums, in 32 bits.
Stages PrepareStages(const OpView& view, const StageList& stages, const Shape& result, bool lanes,
                     bool sums, const BorderAxis& ys, const BorderAxis& xs, const Kernels& kernels,
                     Allocator& allocator);

}  // namespace lbrt
