// What a network is: one list of named nodes. A builder makes it from a name and arguments; the
// trainer executes it with LibTorch, import (network/import.h) turns it and its tensors into the
// graph that the converter lowers. Node names equal the parameter names of the published PyTorch
// code, so that a published checkpoint loads by name (methods.md section 7).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernels/shapes.h"
#include "network/tensor.h"

namespace lbrt {

enum class NodeKind : uint8_t {
  kInput,       // the normalised image, NCHW in the trainer
  kConv,        // 2-d convolution; weights by `weights`
  kLinear,      // a dense layer on [n, features]; weights by `weights`
  kBatchNorm,   // per channel, over 4-d or (after pooling) 2-d values
  kQuantize,    // an activation quantizer, by `activations`
  kRelu,
  kHardtanh,    // clip to [-1, 1]
  kAdd,         // inputs[0] + inputs[1]
  kAvgPool,     // over `window`; padding counts as zeros, the divisor is always window.taps()
  kGlobalAvgPool,  // mean over all positions, [n, c, h, w] -> [n, c]
  kPadChannels  // zero channels before and after
};

// How the latent weights of a kConv or kLinear become the weights used (network/quantizers.h).
enum class WeightQuantizer : uint8_t {
  kFloat,      // as they are
  kRecu,       // sign(W - mean_o), scale alpha_o (methods.md 4.1)
  kMcDonnell,  // sqrt(2/K) * sign(W) (methods.md 3.1)
};

enum class ActivationQuantizer : uint8_t {
  kNone,
  kSign,  // +-1 with ReCU's training rule (methods.md 4.1)
};

using Value = int;  // index of the node that makes it

struct Node {
  NodeKind kind = NodeKind::kInput;
  std::string name;           // prefix of its parameters; unique; also in messages and tables
  std::vector<Value> inputs;  // earlier nodes
  // Shape of the result without the batch: channels, and size in pixels (0 x 0 after the global
  // pooling: a vector of channels).
  int channels = 0, height = 0, width = 0;

  Window window;                                      // kConv, kAvgPool
  WeightQuantizer weights = WeightQuantizer::kFloat;  // kConv, kLinear
  std::string weight;                                 // full name of the weight tensor
  bool bias = false;                                  // "<name>.bias" exists
  ActivationQuantizer activations = ActivationQuantizer::kNone;  // kQuantize
  double eps = 1e-5;                                  // kBatchNorm
  bool affine = true;                                 // kBatchNorm: has weight and bias
  int pad_before = 0, pad_after = 0;                  // kPadChannels
};

// A parameter or buffer the network has. Initialisation is the system's own (methods.md 3.4, 4.4).
enum class Init : uint8_t { kZeros, kOnes, kUniform01, kKaimingNormalFanIn, kKaimingNormalFanOut,
                            kTorchLinear };
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  DType type = DType::kF32;
  bool buffer = false;  // running statistics, tau: no gradient
  Init init = Init::kZeros;
};

// Builder arguments as text, e.g. {"classes", "10"}; the canonical form is "classes=10 width=4".
using Arguments = std::map<std::string, std::string>;
std::string ArgumentsText(const Arguments& arguments);
Arguments ParseArguments(const std::string& text);  // the inverse; throws InputError

struct Network {
  std::string name;      // "recu/resnet20"
  Arguments arguments;   // every argument the builder took, defaults included
  std::string system;    // "recu", "mcdonnell": which training rules apply
  std::vector<Node> nodes;
  std::vector<TensorSpec> tensors;  // in the published registration order where it is known
  Value output = -1;                // logits [n, classes]

  const Node& node(Value v) const { return nodes[static_cast<size_t>(v)]; }
};

// Throws InputError naming the first tensor of the network that is missing, of another shape or
// type or not finite, or the first other tensor. Counters of batches may be missing (PyTorch before
// 0.4.1), and a scalar may have the shape [1] (tau after training).
void CheckTensors(const Network& network, const StateDict& tensors);

struct NetworkCounts {
  int64_t parameters = 0;         // trainable elements
  int64_t quantized_weights = 0;  // elements of kConv / kLinear weights with a quantizer
  int64_t quantized_layers = 0;
  int64_t float_weights = 0;      // elements of the other kConv / kLinear weights
  int64_t quantized_macs = 0, float_macs = 0;  // per image
};
NetworkCounts Count(const Network& network);

// Builds by name, e.g. "recu/resnet20" or "mcdonnell/wrn-20-4". Throws InputError for an unknown
// name (listing the known ones), an unknown argument or an unusable value.
Network BuildNetwork(const std::string& name, const Arguments& arguments);
std::vector<std::string> NetworkNames();  // for help and messages, e.g. "mcdonnell/wrn-D-W"

// What the list entry of a network says of its published input: preprocessing and labels that a
// foreign checkpoint gets unless overridden (images/preprocess.h text form; one label a line).
struct NetworkDefaults {
  std::string preprocessing;
  std::string labels;
};
NetworkDefaults DefaultsOf(const Network& network);

}  // namespace lbrt
