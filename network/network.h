// What a network is: one list of named nodes. A builder makes it from a name and arguments; the
// trainer executes it with LibTorch, import (network/import.h) turns it and its tensors into the
// graph that the converter lowers. Node names equal the parameter names of the published PyTorch
// code, so that a published checkpoint loads by name (methods.md section 7).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernels/shapes.h"
#include "network/quantizers.h"
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
  kClip,        // clip to [0, 1]; ReLU at width 32 (methods.md 1.4)
  kPRelu,       // slope "<name>.weight" a channel
  kBias,        // adds "<name>.bias" [1, channels, 1, 1]
  kAdd,         // inputs[0] + inputs[1]
  kConcat,      // channels of all inputs, in order
  kMaxPool,     // over `window`; padding never wins. Padding at bottom and right may stand for
                // PyTorch's ceil mode
  kAvgPool,     // over `window`; padding counts as zeros, the divisor is always window.taps()
  kGlobalAvgPool,  // mean over all positions, [n, c, h, w] -> [n, c]
  kPadChannels,    // zero channels before and after
  kFlatten,        // [n, c, h, w] -> [n, c h w]
  kDropout,        // `probability` of a zero in training; nothing in evaluation
};

using Value = int;  // index of the node that makes it

struct Node {
  NodeKind kind = NodeKind::kInput;
  std::string name;           // prefix of its parameters; unique; also in messages and tables
  std::vector<Value> inputs;  // earlier nodes
  // Shape of the result without the batch: channels, and size in pixels (0 x 0 for a vector).
  int channels = 0, height = 0, width = 0;

  Window window;            // kConv, kMaxPool, kAvgPool
  WeightQuantizer weights;  // kConv, kLinear
  std::string weight;       // full name of the weight tensor
  std::string alpha;        // of the learned factor a channel [channels, 1, 1]; empty: none
  bool bias = false;        // "<name>.bias" exists
  ActivationQuantizer activations;  // kQuantize
  double eps = 1e-5;                // kBatchNorm
  bool affine = true;               // kBatchNorm: has weight and bias
  bool per_width = false;           // kBatchNorm: one set a width, "<name>.bn_dict.<width>"
  int pad_before = 0, pad_after = 0;  // kPadChannels
  double probability = 0;             // kDropout
};
// Where a batch norm's tensors are, "<prefix>.running_mean" and so on, at a width of the network.
std::string BatchNormPrefix(const Node& node, int width);

// How a tensor starts. Each system has rules of its own (methods.md 1.5, 2.5, 3.4, 4.4, 5.4).
struct Init {
  enum Kind : uint8_t {
    kConstant,            // value
    kUniform01,           // from 0 to 1
    kNormal,              // mean 0, deviation value
    kTruncatedNormal,     // the same, within two deviations
    kKaimingNormalFanIn,  // deviation sqrt(2 / fan in)
    kKaimingNormalFanOut,
    kTorchDefault,  // uniform within 1 / sqrt(fan in), a bias by the fan in of its weight
  };
  Kind kind = kConstant;
  double value = 0;
  friend bool operator==(const Init&, const Init&) = default;
};
constexpr Init Constant(double value) { return {Init::kConstant, value}; }

enum class Role : uint8_t {
  kParameter,     // trains
  kArchitecture,  // trains too, with an optimizer of its own (EdMIPS's alphas)
  kBuffer,        // running statistics, tau: no gradient
  kConstant,      // follows from the network; what a checkpoint says of it is ignored
};

// A parameter or buffer the network has.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  DType type = DType::kF32;
  Role role = Role::kParameter;
  Init init;
  bool decay = true;  // takes part in weight decay

  bool trains() const { return role == Role::kParameter || role == Role::kArchitecture; }
};

// Builder arguments as text, e.g. {"classes", "10"}; the canonical form is "classes=10 widths=1,2".
using Arguments = std::map<std::string, std::string>;
std::string ArgumentsText(const Arguments& arguments);
Arguments ParseArguments(const std::string& text);  // the inverse; throws InputError

struct Network {
  std::string name;         // "recu/resnet20"
  // Those that were given, bits as lists, and always the classes, the widths and the bits it has:
  // it can be built from them again.
  Arguments arguments;
  std::vector<Node> nodes;
  std::vector<TensorSpec> tensors;  // in the published registration order where it is known
  Value output = -1;                // logits [n, classes]
  std::vector<int> widths;  // ascending, those it can be switched to (methods.md 1); or none
  // Standard deviations of the input's channels: what a fixed-point stem needs to know of the
  // preprocessing (methods.md 8a). Empty: 1.
  std::vector<double> input_std;

  const Node& node(Value v) const { return nodes[static_cast<size_t>(v)]; }
  int classes() const { return node(output).channels; }
  // The widest of `widths`; 0 where there are none.
  int widest() const { return widths.empty() ? 0 : widths.back(); }
};

// Throws InputError for tensors of the network that are missing, of another shape or type or not
// finite, and for other tensors: how many of each, and the first few by name. Counters of batches
// (PyTorch before 0.4.1) and constants may be missing, and a scalar may have the shape [1] (tau
// after training).
void CheckTensors(const Network& network, const StateDict& tensors);
// Whether a tensor counts batches: files older than PyTorch 0.4.1 have none (methods.md 7).
bool IsCounter(const std::string& tensor);

struct NetworkCounts {
  int64_t parameters = 0;         // trainable elements
  // Elements of kConv / kLinear weights with a quantizer other than fixed point.
  int64_t quantized_weights = 0;
  int64_t quantized_layers = 0;
  int64_t float_weights = 0;      // elements of the other kConv / kLinear weights
  // Multiply-adds per image; a ternary layer has them once for each of its t_ex planes.
  int64_t quantized_macs = 0, float_macs = 0;
};
NetworkCounts Count(const Network& network);

// Builds by name, e.g. "recu/resnet20" or "mcdonnell/wrn-20-4". Throws InputError for an unknown
// name (listing the known ones), an unknown argument or an unusable value.
Network BuildNetwork(const std::string& name, const Arguments& arguments);
std::vector<std::string> NetworkNames();  // for help and messages, e.g. "mcdonnell/wrn-D-W"
// Every argument that some network takes, for recipes and help.
const std::vector<std::string>& ArgumentNames();
// Adds networks to the list, for tests; `entry` lives as long as the program.
struct NetworkEntry;
void RegisterNetwork(const NetworkEntry* entry);

// What the list entry of a network says of its published input: preprocessing and labels that a
// foreign checkpoint gets unless overridden (images/preprocess.h text form; one label a line).
struct NetworkDefaults {
  std::string preprocessing;
  std::string labels;
};
NetworkDefaults DefaultsOf(const Network& network);

}  // namespace lbrt
