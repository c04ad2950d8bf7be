// What a builder function is written with: each call appends one node, computes its shape and
// registers the tensors it has. Which quantizers the network's layers use is the builder's default
// or what the arguments say (methods.md; every builder takes those arguments). Private to network/.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "network/network.h"

namespace lbrt {

// What a system's networks use unless an argument says otherwise.
struct QuantizationDefaults {
  WeightQuantizer::Kind weights = WeightQuantizer::kFloat;
  ActivationQuantizer::Kind activations = ActivationQuantizer::kNone;
  bool channel_scale = false;    // a learned alpha an output channel (ReCU)
  const char* bits = "";         // "w/a" of the quantizers that have bits
  const char* widths = "";       // those of a network that switches
  bool first_last_quantized = false;  // stem and head are quantized like the rest
};

std::string ListText(const std::vector<int>& list);  // "1,2,4"

class NetworkBuilder {
 public:
  // Takes the arguments every network has: classes, size (of the image, in pixels), form, weights,
  // activations, channel_scale, bits, weight_bits, activation_bits, widths, bn_per_width, t_ex,
  // first_last, mode, stem, skips, head, those of them that make sense with the others.
  // `name` is what messages call the network.
  NetworkBuilder(std::string name, const Arguments& given, const QuantizationDefaults& defaults,
                 int size, int classes);

  // The value of a further argument, or `fallback` when it was not given. Throws InputError for a
  // value that does not fit.
  int IntegerArgument(const std::string& name, int fallback, int low, int high);
  double NumberArgument(const std::string& name, double fallback, double low, double high);
  // Integers separated by commas, perhaps in square brackets.
  std::vector<int> ListArgument(const std::string& name, const std::vector<int>& fallback, int low,
                                int high);
  std::string ChoiceArgument(const std::string& name, const std::string& fallback,
                             const std::vector<std::string>& choices);
  // The arguments "blocks" and "channels" of a network of stages, one number a stage each.
  struct Stage {
    int blocks, channels;
  };
  std::vector<Stage> StageArguments(const std::vector<Stage>& fallback);
  [[noreturn]] void Refuse(const std::string& what) const;  // "network <name>: what"

  bool given(const std::string& argument) const { return given_.count(argument) != 0; }
  int classes() const { return classes_; }
  bool binary_activations() const { return form_ == Form::kBinaryActivations; }
  bool search() const { return search_; }

  // Registers a tensor. The order of registration is the order in checkpoints; nodes register what
  // they need when they are appended, unless it was declared before.
  void Declare(const TensorSpec& spec);
  // Moves the tensors whose names begin so behind all that are registered until now.
  void RegisterLast(const std::string& prefix);

  Value Input(int channels);  // size_ x size_

  // Which of a network's convolutions and dense layers it is: kBody is quantized; a stem reads the
  // image and a head makes the logits, quantized only by "first_last"; skips are not. Those that
  // are not quantized may be in fixed point (arguments stem, skips, head; methods.md 8a).
  enum class Part : uint8_t { kBody, kStem, kSkip, kHead };
  struct Layer {
    Part part = Part::kBody;
    std::string weight = {};  // full name of the tensor; empty: "<name>.weight"
    Init init = {Init::kKaimingNormalFanIn};
    bool bias = false;
    Init bias_init = {Init::kTorchDefault};
  };
  Value Conv(const std::string& name, Value x, int channels, Window window, const Layer& layer);
  Value Linear(const std::string& name, Value x, int channels, const Layer& layer);
  // The logits: a dense layer with a bias, both from PyTorch's initial values.
  Value Head(const std::string& name, Value x);
  struct Norm {
    bool affine = true;
    double eps = 1e-5;
    double weight = 1;        // at the start
    bool per_width = true;    // where the network has widths and bn_per_width
  };
  Value BatchNorm(const std::string& name, Value x, const Norm& norm);
  Value BatchNorm(const std::string& name, Value x) { return BatchNorm(name, x, Norm()); }

  // The activation quantizer of the kBody layer that is appended next; x where there is none.
  Value Quantize(const std::string& name, Value x);
  // The quantizer of a pre-activation network, which is its nonlinearity too: ReLU where there is
  // none.
  Value Activate(const std::string& name, Value x);
  // A ReLU of a network whose published form quantizes no activations; a hardtanh where signs are
  // taken of them, since a ReLU's results have one sign.
  Value Rectify(const std::string& name, Value x);

  Value Relu(const std::string& name, Value x);
  Value Hardtanh(const std::string& name, Value x);
  Value Clip(const std::string& name, Value x);  // a ReLU in full precision, as at 32 bits
  Value PRelu(const std::string& name, Value x);
  Value Bias(const std::string& name, Value x);
  // Add, Concat and PadChannels throw InputError for values that do not fit: a size or channels
  // that the network cannot have.
  Value Add(const std::string& name, Value x, Value y);
  Value Concat(const std::string& name, const std::vector<Value>& inputs);
  Value MaxPool(const std::string& name, Value x, int kernel, int stride, int pad,
                bool ceil_mode = false);
  Value AvgPool(const std::string& name, Value x, Window window);
  Value GlobalAvgPool(const std::string& name, Value x);
  Value PadChannels(const std::string& name, Value x, int before, int after);
  Value Flatten(const std::string& name, Value x);
  Value Dropout(const std::string& name, Value x, double probability);

  const Node& node(Value v) const { return network_.node(v); }
  int channels(Value v) const { return node(v).channels; }

  // Which parameters take part in weight decay; all without this.
  void DecayOnly(const std::function<bool(const TensorSpec&)>& decays) { decays_ = decays; }

  // Throws InputError for an argument that no call took, and for lists of bits of another length.
  Network Finish(Value output);

 private:
  enum class Form : uint8_t { kQuantized, kFullPrecision, kBinaryActivations };

  void TakeQuantization(const QuantizationDefaults& defaults);
  void TakeBits(const QuantizationDefaults& defaults);
  void TakeForm(bool switches);
  void SetWidths(const std::vector<int>& widths);
  WeightQuantizer FixedPointArgument(const std::string& name);
  bool BoolArgument(const std::string& name, bool fallback);
  WeightQuantizer WeightsOf(Part part) const;
  int BitsAt(const std::vector<int>& bits) const;  // of the next kBody layer

  // Records the value of an argument, if it was given, and returns it.
  template <typename T>
  T Take(const std::string& name, T value, const std::string& text) {
    if (given(name) || name == "classes") network_.arguments[name] = text;
    return value;
  }

  // A node of `kind` with the shape of its first input.
  Node& Append(NodeKind kind, const std::string& name, const std::vector<Value>& inputs);
  void DeclareWeights(const std::string& name, Node& node, std::vector<int64_t> shape,
                      const Layer& layer);
  void ApplyWindow(Node& node);

  Network network_;
  Arguments given_;
  std::set<std::string> known_;     // arguments that it takes
  std::set<std::string> declared_;
  std::function<bool(const TensorSpec&)> decays_;
  int classes_, size_;

  Form form_ = Form::kQuantized;
  bool search_ = false;  // layers are mixtures
  WeightQuantizer weights_;
  ActivationQuantizer activations_;
  bool channel_scale_ = false, bn_per_width_ = true, first_last_ = false;
  WeightQuantizer stem_, skips_, head_;
  std::vector<int> weight_bits_, activation_bits_;  // of kBody layers; one number for all of them
  int next_layer_ = 0;
};

// The list of networks (network.cc) has one of these a builder.
struct NetworkEntry {
  // As help lists it. A capital letter stands for a decimal number, which the builder receives.
  const char* pattern;
  Network (*build)(const std::string& name, const std::vector<std::string>& numbers,
                   const Arguments& arguments);
  NetworkDefaults (*defaults)(const Network& network);
};

// One array a file of network/builders/.
struct NetworkEntries {
  const NetworkEntry* begin;
  size_t size;
};
NetworkEntries AnyPrecisionNetworks();
NetworkEntries EdmipsResNets();
NetworkEntries EdmipsInceptions();
NetworkEntries McDonnellNetworks();
NetworkEntries RecuCifarNetworks();
NetworkEntries RecuImageNetNetworks();
NetworkEntries TernaryNetworks();

// Class names, one a line. CifarLabels: CIFAR's for 10 and 100 classes, else numbers.
std::string CifarLabels(int classes);
std::string NumberLabels(int classes);  // from 0: SVHN's digits, ImageNet's classes

// Preprocessing of colour images in images/preprocess.h's text form; `mean` and `std` as there.
std::string PreprocessingText(int resize, int crop, const char* mean, const char* std);
inline constexpr char kImageNetMean[] = "0.485 0.456 0.406";
inline constexpr char kImageNetStd[] = "0.229 0.224 0.225";
// (125.3, 123.0, 113.9) / 255 and (63.0, 62.1, 66.7) / 255 (methods.md 1.5).
inline constexpr char kCifarMean[] = "0.49137254901960782 0.4823529411764706 0.44666666666666671";
inline constexpr char kCifarStd[] = "0.24705882352941178 0.24352941176470588 0.2615686274509804";

// ImageNet's validation images: 224 pixels of 256, 299 of 342 (methods.md 1.5, 2.5).
NetworkDefaults ImageNetDefaults(const Network& network);

}  // namespace lbrt
