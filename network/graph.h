// The graph: a network's inference with the meaning of design.md section 2, i.e. integer codes,
// affines A and B, quantizers, and a fixed order of every float operation. Made by import; from
// there on nothing changes a bit. The trainer's deploy-eval executes it with LibTorch, the
// converter's interpreter with kernels/reference, and passes rewrite it without changing a value.
//
// Values are NHWC. Types: kU8 an image, kF32, kSign (+-1), kI32 (exact integer sums) and kI64
// (exact sums of fixed-point weights).
#pragma once

#include <string>
#include <vector>

#include "kernels/numerics.h"  // Activation
#include "kernels/shapes.h"

namespace lbrt {

enum class ValueType : uint8_t { kU8, kF32, kSign, kI32, kI64 };

enum class GraphOp : uint8_t {
  kInput,        // u8 image (integer stems) or f32 network input (float stem)
  kConv,         // see Weights; a linear layer is a 1x1 convolution on a 1x1 image
  kAffine,       // z = fma(float(x), A[c], B[class][c]); float(x) rounds half to even
  kAdd,          // inputs[0] + inputs[1], one rounding
  kActivation,   // relu or hardtanh
  kSign,         // bit 1 (+1) when x >= 0
  kAvgPool,      // +0, then the valid taps added in order ky, kx; then * fl32(1 / window.taps())
  kPadChannels,  // zero channels before and after (f32)
};

// What the integers or floats of a kConv's weights are; with the input's type it fixes the sum:
//   kSign  x kSign input: kI32, exact, over the valid taps
//   kSign  x kF32  input: kF32; acc = +0, then fma(w, a, acc) for ky, kx, c ascending, valid taps
//   kFloat x kF32  input: kF32; the same order
//   kFixed x kU8   input: kI64, exact; |w| fits `limbs` signed 8-bit limbs (127, 32639, 8355711)
enum class WeightKind : uint8_t { kSign, kFloat, kFixed };

struct GraphNode {
  GraphOp op = GraphOp::kInput;
  std::string name;         // the network node it comes from
  std::vector<int> inputs;  // earlier nodes
  ValueType type = ValueType::kF32;
  int height = 1, width = 1, channels = 0;  // of the result

  Window window;                                // kConv, kAvgPool
  WeightKind weight_kind = WeightKind::kFloat;  // kConv
  int limbs = 0;                                // kConv with kFixed: 1 (i8), 2 (i16), 3 (i24)
  std::vector<int32_t> codes;                   // kConv kSign, kFixed: [o][ky][kx][c]
  std::vector<float> weights;                   // kConv kFloat: [o][ky][kx][c]

  // kAffine: a [channels]; b [classes][channels], where classes > 1 only right after a kFixed
  // convolution: the border classes (kernels/shapes.h) of that convolution's window, row-major.
  std::vector<float> a, b;
  int border_rows = 1, border_columns = 1;  // classes = border_rows * border_columns

  Activation activation = Activation::kNone;  // kActivation
  int pad_before = 0, pad_after = 0;          // kPadChannels
};

struct Graph {
  std::vector<GraphNode> nodes;  // nodes[0] is the input
  int output = -1;               // f32, 1 x 1 x classes

  const GraphNode& node(int i) const { return nodes[static_cast<size_t>(i)]; }
};

}  // namespace lbrt
