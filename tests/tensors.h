// What the trainer's tests share: random tensors, comparisons, slopes, networks of a few nodes.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "network/network.h"
#include "trainer/model.h"
#include "trainer/random.h"

namespace lbrt {

inline at::Tensor RandomTensor(at::IntArrayRef shape, uint64_t seed,
                               at::ScalarType type = at::kDouble) {
  Random random(seed);
  at::Tensor t = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<double>()[i] = random.Normal();
  return t.to(type);
}

inline at::Tensor Doubles(const std::vector<double>& values) {
  return at::tensor(values, at::kDouble);
}

inline void ExpectClose(const at::Tensor& got, const at::Tensor& want, double tolerance,
                        const std::string& what = "") {
  ASSERT_TRUE(got.defined()) << what;
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  EXPECT_LE((got.detach() - want.detach()).abs().max().item<double>(), tolerance) << what;
}

// d f / d x by central differences, x double.
inline at::Tensor Slopes(const at::Tensor& x, const std::function<double(const at::Tensor&)>& f) {
  constexpr double kStep = 1e-6;
  at::Tensor moved = x.detach().clone().contiguous(), slopes = at::empty_like(moved);
  for (int64_t i = 0; i < x.numel(); ++i) {
    double& value = moved.data_ptr<double>()[i];
    const double saved = value;
    value = saved + kStep;
    const double up = f(moved);
    value = saved - kStep;
    slopes.data_ptr<double>()[i] = (up - f(moved)) / (2 * kStep);
    value = saved;
  }
  return slopes;
}

// Builds networks by hand: each call appends a node behind the last one, or behind those it names.
class NodeList {
 public:
  NodeList(int channels, int size) {
    network.name = "test/nodes";
    Node input;
    input.name = "input";
    input.channels = channels;
    input.height = input.width = size;
    network.nodes = {input};
    network.output = 0;
  }

  NodeList& Append(Node node, std::vector<Value> inputs = {}) {
    if (node.name.empty()) node.name = "node" + std::to_string(network.nodes.size());
    node.inputs = inputs.empty() ? std::vector<Value>{network.output} : std::move(inputs);
    network.nodes.push_back(std::move(node));
    network.output = static_cast<Value>(network.nodes.size()) - 1;
    return *this;
  }
  NodeList& Tensor(const std::string& name, std::vector<int64_t> shape, Init init = Constant(0),
                   Role role = Role::kParameter) {
    network.tensors.push_back({name, std::move(shape), DType::kF32, role, init});
    return *this;
  }

  Network network;
};

// With the initial tensors of a seed.
inline TrainerModel ModelOf(Network network, at::ScalarType type = at::kDouble, uint64_t seed = 1) {
  TrainerModel model(std::move(network), type, at::kCPU);
  Random random(seed);
  model.Initialise(random);
  return model;
}

}  // namespace lbrt
