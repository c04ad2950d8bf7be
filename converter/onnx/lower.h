// An ONNX graph becomes a graph of ours (network/graph.h), whose output are the logits.
#pragma once

#include <string>
#include <vector>

#include "converter/onnx/model.h"
#include "network/graph.h"

namespace lbrt::onnx {

// Quantized layers become exact integers, quantizers after them codes that are those of the ONNX
// semantics (converter/onnx/interpret.h) for every sum there can be. `lines` gets a sentence for
// each quantizer (what it became, and why) and each layer that stays in float32.
// Throws InputError that names the node for what cannot be expressed.
Graph Lower(const Model& model, std::vector<std::string>* lines);

// The value whose numbers are the graph's logits: the output, or what a Softmax, a TopK or the like
// at the end, which are left out, reads.
std::string LogitsOf(const Model& model);

}  // namespace lbrt::onnx
