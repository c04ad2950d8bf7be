// What a builder function is written with: each call appends one node, computes its shape and
// registers the tensors it has. Private to network/.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "network/network.h"

namespace lbrt {

class NetworkBuilder {
 public:
  // `name` is what messages call the network; see Network for `system`.
  NetworkBuilder(std::string name, std::string system, const Arguments& given);

  // The value of an argument, or `fallback` when it was not given; recorded as taken. Throws
  // InputError for a value that is no integer of [low, high].
  int IntegerArgument(const std::string& name, int fallback, int low, int high);

  // Registers a tensor. The order of registration is the order in checkpoints; nodes register what
  // they need when they are appended, unless it was declared before.
  void Declare(const TensorSpec& spec);

  Value Input(int channels, int height, int width);

  struct Weights {
    WeightQuantizer quantizer = WeightQuantizer::kFloat;
    std::string tensor;  // its full name
    Init init = Init::kKaimingNormalFanIn;
  };
  Value Conv(const std::string& name, Value x, int channels, Window window, const Weights& weights);
  // A dense layer with bias on a vector.
  Value Linear(const std::string& name, Value x, int channels);
  Value BatchNorm(const std::string& name, Value x, bool affine = true);
  Value Quantize(const std::string& name, Value x, ActivationQuantizer quantizer);
  Value Relu(const std::string& name, Value x);
  Value Hardtanh(const std::string& name, Value x);
  Value Add(const std::string& name, Value x, Value y);
  Value AvgPool(const std::string& name, Value x, Window window);
  Value GlobalAvgPool(const std::string& name, Value x);
  Value PadChannels(const std::string& name, Value x, int before, int after);

  int channels(Value v) const { return network_.node(v).channels; }

  // Throws InputError for an argument that no call took.
  Network Finish(Value output);

 private:
  // A node of `kind` with the shape of its first input.
  Node& Append(NodeKind kind, const std::string& name, const std::vector<Value>& inputs);

  Network network_;
  Arguments given_;
  std::set<std::string> declared_;
};

// The list of networks (network.cc) has one of these a builder.
struct NetworkEntry {
  // As help lists it. A capital letter stands for a decimal number, which the builder receives.
  const char* pattern;
  Network (*build)(const std::string& name, const std::vector<std::string>& numbers,
                   const Arguments& arguments);
  NetworkDefaults (*defaults)(const Network& network);
};

extern const NetworkEntry kRecuResNet20;
extern const NetworkEntry kMcDonnellWideResNet;

// CIFAR-10's or CIFAR-100's class names, one a line; numbers for another count of classes.
std::string CifarLabels(int classes);

}  // namespace lbrt
