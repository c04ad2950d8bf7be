// The graph: a network's inference with the meaning of design.md section 2, i.e. integer codes,
// affines A and B, quantizers, and a fixed order of every float operation. Made by import; from
// there on nothing changes a bit. The trainer's deploy-eval executes it with LibTorch, the
// converter's interpreter with kernels/reference, and passes rewrite it without changing a value.
//
// Values are NHWC. Types: kU8 an image, kF32, kSign (+-1), kCode (activation codes 0 .. levels),
// kI32 (exact integer sums) and kI64 (exact sums of fixed-point weights).
#pragma once

#include <string>
#include <vector>

#include "kernels/numerics.h"  // Activation
#include "kernels/shapes.h"

namespace lbrt {

enum class ValueType : uint8_t { kU8, kF32, kSign, kI32, kI64, kCode };

enum class GraphOp : uint8_t {
  kInput,        // u8 image (integer stems) or f32 network input (float stem)
  kConv,         // see Weights; a linear layer's window is its whole input
  kAffine,       // z = fma(float(x), A[c], B[class][c]); float(x) rounds half to even. With a
                 // second input, the base: z = fma(float(x), A[c], base)
  kAdd,          // inputs[0] + inputs[1], one rounding
  kActivation,   // relu, hardtanh or clip to [0, 1]
  kSign,         // bit 1 (+1) when x >= 0
  kAvgPool,      // +0, then the valid taps added in order ky, kx; then * fl32(1 / window.taps()).
                 // Of kI32: their sum, kI32, below 2^24 in magnitude; the divisor is the affine's
  kPadChannels,  // zero channels before and after (f32)
  kQuantize,     // code = RoundHalfEven(Clip(x * inverse_step, 0, levels))
  kDecode,       // kSign or kCode to f32: float(code) * step
  kMaxPool,      // the first valid tap y, then y = x > y ? x : y for the others in order ky, kx;
                 // the smallest, x < y, where A[c] < 0. f32, kI32, kSign or kCode; of valid taps,
                 // never none
  kConcat,       // channels of all inputs, in order; f32, kI32, or codes of one type and levels
  kPRelu,        // x > 0 ? x : x * A[c]
  kThreshold,    // code = how many of the channel's thresholds [level][c] are <= x; they ascend
  kUpsample,     // y[i][j] = x[i / factor_h][j / factor_w]; f32, kSign or kCode
  kDepthToSpace,  // y[i * block + by][j * block + bx][c] = x[i][j] of channel
                  // (by * block + bx) * channels + c, or (c * block + by) * block + bx where
                  // channel_first; f32, kSign or kCode
};

// What the integers or floats of a kConv's weights are; with the input's type it fixes the sum:
//   kSign, kTernary, kOdd, kInteger x kSign, kCode input: kI32, exact, over the valid taps
//   those and kFixed      x kF32 input: kF32; acc = +0, then fma(w, a, acc) for ky, kx, c
//                           ascending over the valid taps
//   kFloat                x kF32 input: the same
//   kFixed                x kU8, kSign, kCode input: kI64, exact
// A kCode input counts as code - zero at the valid taps.
enum class WeightKind : uint8_t {
  kSign,     // +-1
  kFloat,
  kFixed,    // |w| fits `limbs` signed 8-bit limbs (127, 32639, 8355711)
  kTernary,  // -1, 0, 1
  kOdd,      // odd numbers up to +-(2^bits - 1), 2 to 8 bits
  kInteger,  // -2^(bits - 1) to 2^(bits - 1) - 1, 2 to 8 bits
};

struct GraphNode {
  GraphOp op = GraphOp::kInput;
  std::string name;         // the network node it comes from
  std::vector<int> inputs;  // earlier nodes
  ValueType type = ValueType::kF32;
  int height = 1, width = 1, channels = 0;  // of the result
  int levels = 0;                           // kCode: the largest code

  Window window;                                // kConv, kAvgPool, kMaxPool
  WeightKind weight_kind = WeightKind::kFloat;  // kConv
  int limbs = 0;                                // kConv with kFixed: 1 (i8), 2 (i16), 3 (i24)
  int bits = 0;                                 // kConv with kOdd, kInteger
  int zero = 0;  // kConv of kCode: a code of the input means code - zero; 0 to 255
  // kConv: equal runs of the input's channels, each of which an equal run of outputs reads. Weights
  // are [o][ky][kx][c], c of the channels of one group.
  int groups = 1;
  std::vector<int32_t> codes;                   // kConv, all but kFloat
  std::vector<float> weights;                   // kConv kFloat

  // kAffine: a [channels]; b [classes][channels], where classes > 1 only right after a convolution
  // of an image: the border classes (kernels/shapes.h) of that convolution's window, row-major.
  // No b where there is a base. kPRelu: a [channels]. kMaxPool of kSign, kCode: the same or none.
  std::vector<float> a, b;
  int border_rows = 1, border_columns = 1;  // classes = border_rows * border_columns

  Activation activation = Activation::kNone;  // kActivation
  int pad_before = 0, pad_after = 0;          // kPadChannels
  float inverse_step = 1;                     // kQuantize
  float step = 1;                             // kDecode
  std::vector<float> thresholds;              // kThreshold: [levels][channels]
  int factor_h = 1, factor_w = 1;             // kUpsample: 1 to 64
  int block = 1;                              // kDepthToSpace: 1 to 64
  bool channel_first = false;                 // kDepthToSpace
};

struct Graph {
  std::vector<GraphNode> nodes;  // nodes[0] is the input
  int output = -1;               // f32, 1 x 1 x classes
  std::vector<int> more_outputs;  // f32, of any shape; all different, none the input

  const GraphNode& node(int i) const { return nodes[static_cast<size_t>(i)]; }
  // A node that makes floats of the first input's shape.
  GraphNode& Append(GraphOp op, const std::string& name, std::vector<int> inputs);
  int last() const { return static_cast<int>(nodes.size()) - 1; }
};

// The largest magnitude that a sum of a convolution of integers can have, its input being `from`.
double LargestSum(const GraphNode& conv, const GraphNode& from);
// The same of a kI32 or kI64 value, also behind poolings and concatenations.
double LargestSum(const Graph& graph, int value);

}  // namespace lbrt
