// What a graph means, on plain values and one image at a time: exact integers, fma in the order of
// the valid taps, affine and activation as they stand (design.md section 2). It walks taps and
// border classes itself and shares no kernel with the runtime, which `lbconvert --verify` compares
// with it, bit by bit.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "converter/lowered.h"
#include "network/graph.h"

namespace lbrt {

// One value of a graph, NHWC; the alternative is the ValueType: kU8 and kCode, kF32, kSign (+-1),
// kI32, kI64.
using PlainValue = std::variant<std::vector<uint8_t>, std::vector<float>, std::vector<int8_t>,
                                std::vector<int32_t>, std::vector<int64_t>>;

// Elements as floats: integers rounded once, half to even.
std::vector<float> AsFloats(const PlainValue& value);
// Equality of bits: -0 differs from +0, a NaN is equal to itself.
bool SameBits(const std::vector<float>& a, const std::vector<float>& b);

// The value of every node; `input` is the first one's.
std::vector<PlainValue> Interpret(const Graph& graph, const PlainValue& input);

// The same from the lowered graph, packed weights where it has them. Values that it does not store
// stay empty; a convolution's exact sum is stored as f32.
std::vector<PlainValue> Interpret(const LoweredGraph& lowered, const PlainValue& input);

}  // namespace lbrt
