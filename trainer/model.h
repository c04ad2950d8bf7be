// The parameters and buffers of a network as LibTorch tensors, by name.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "network/network.h"
#include "trainer/random.h"

namespace lbrt {

class TrainerModel {
 public:
  // All tensors zero. type is float32 or float64: of every floating-point tensor.
  TrainerModel(Network network, at::ScalarType type, at::Device device);

  void Initialise(Random& random);  // by each tensor's Init, in the order of network().tensors
  // Takes every tensor of the network from `state`, converted to this model's type; a scalar may
  // have shape [1] and the other way round. Counters of batches may be missing (IsCounter) and stay
  // as they are, 0 in a new model. Throws InputError naming the first tensor otherwise that is
  // missing or has another shape.
  void Load(const StateDict& state);
  // The same for the tensors that `state` has; returns the names of the others. A tensor that is
  // there must fit. `taken`: how many were there, counters left out.
  std::vector<std::string> LoadMatching(const StateDict& state, size_t* taken = nullptr);
  StateDict ToStateDict() const;  // in the order of network().tensors; float64 stays float64

  const Network& network() const { return network_; }
  at::ScalarType type() const { return type_; }
  at::Device device() const { return device_; }
  const at::Tensor& at(const std::string& name) const;
  bool contains(const std::string& name) const { return tensors_.count(name) != 0; }
  const std::vector<std::string>& parameters() const { return parameters_; }  // those that train

 private:
  Network network_;
  at::ScalarType type_;
  at::Device device_;
  std::map<std::string, at::Tensor> tensors_;
  std::vector<std::string> parameters_;
};

// Between LibTorch's tensors and those of checkpoints; copies.
HostTensor ToHost(const at::Tensor& tensor);
at::Tensor FromHost(const HostTensor& tensor);

}  // namespace lbrt
