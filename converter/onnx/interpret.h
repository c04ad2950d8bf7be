// What an ONNX graph means, node by node, on plain values: the reference that the lowering
// (converter/onnx/lower.h) is tested against, and shares nothing with but constants' shapes.
//
// - Numbers are float32; each operation of one or two values rounds once, as IEEE 754 has it: Quant
//   and its kin do what the definition of qonnx.custom_op.general does in float32, step by step.
// - ONNX does not say in which order a convolution or matrix product adds. Here such a sum is that
//   of the real numbers: where both operands are integers times scales (what quantizers make, or
//   integers as they are), the exact integer times the scales, in double, plus the bias; else the
//   sum in double. It is rounded to float32 once. Averages likewise; a batch normalisation is
//   computed in double and rounded once.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "converter/onnx/model.h"

namespace lbrt::onnx {

struct Value : Array {
  // Of quantized values, an element each: value = code * scale, zero points taken off. Else empty.
  std::vector<double> codes, scales;

  Value() = default;
  explicit Value(Array array) : Array(std::move(array)) {}
};

// The inputs of a node; null = not given.
using Inputs = std::vector<const Value*>;

// What a node makes (its first output). Throws InputError for an operator that is not known, or
// operands that it cannot have.
Value Evaluate(const Node& node, const Inputs& inputs, int64_t opset);

// Every value of the graph by name; `input` is the first input's.
std::map<std::string, Value> Interpret(const Model& model, const Array& input);

// The domains whose quantizers are known.
bool IsQuantizerDomain(const std::string& domain);

}  // namespace lbrt::onnx
