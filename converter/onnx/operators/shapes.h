// Shapes under ONNX's rules, and values whose elements go to other places.
#pragma once

#include "converter/onnx/operators/operator.h"

namespace lbrt::onnx::operators {

// Of each element of `to`, the one of `from` that stands for it under ONNX's broadcasting.
std::vector<size_t> BroadcastIndices(const Call& call, const Shape& from, const Shape& to);
Shape BroadcastShape(const Call& call, const Shape& a, const Shape& b);

inline constexpr size_t kZero = SIZE_MAX;  // in Select: a new element, 0

// Elements of x in other places; quantized ones stay so.
Value Select(const Value& x, Shape shape, const std::vector<size_t>& indices);
Value Reshaped(const Value& x, Shape shape);

// The product of the sides [begin, end).
size_t Sides(const Shape& shape, size_t begin, size_t end);

}  // namespace lbrt::onnx::operators
