// What the tests of networks and builders share.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "images/error.h"
#include "network/network.h"

namespace lbrt {

inline std::string ErrorOf(const std::string& name, const Arguments& arguments) {
  try {
    BuildNetwork(name, arguments);
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

// A name of each network of the list, without those that tests register.
inline std::vector<std::string> SampleNames() {
  std::vector<std::string> names;
  for (const std::string& pattern : NetworkNames()) {
    if (pattern.starts_with("test/")) continue;
    std::string name;
    for (const char c : pattern) name += c == 'D' ? "14" : c == 'W' ? "0.5" : std::string(1, c);
    names.push_back(name);
  }
  return names;
}

inline const Node& NodeNamed(const Network& network, const std::string& name) {
  for (const Node& node : network.nodes)
    if (node.name == name) return node;
  throw InputError("no node " + name);
}

inline const TensorSpec& TensorNamed(const Network& network, const std::string& name) {
  for (const TensorSpec& spec : network.tensors)
    if (spec.name == name) return spec;
  throw InputError("no tensor " + name);
}

// The published tensor lists lie in a folder beside the repository; LBRT_SHARED names another one.
inline std::filesystem::path SharedFile(const std::string& path) {
  const char* shared = std::getenv("LBRT_SHARED");
  const std::filesystem::path folder =
      shared != nullptr ? shared : std::filesystem::path(LBRT_SOURCE_DIR) / ".." / "shared";
  return folder / path;
}

inline void ExpectOneSize(const Network& network, const Node& node) {
  for (const Value input : node.inputs) {
    EXPECT_EQ(node.height, network.node(input).height) << node.name;
    EXPECT_EQ(node.width, network.node(input).width) << node.name;
  }
}

// Nodes come after their inputs; they have names of their own, users and all their tensors; what
// they add or concatenate has one shape.
inline void ExpectSound(const Network& network) {
  std::set<std::string> names, tensors;
  std::set<Value> used = {network.output};
  for (const TensorSpec& spec : network.tensors) EXPECT_TRUE(tensors.insert(spec.name).second);
  const auto has = [&](const std::string& name) { EXPECT_EQ(1u, tensors.count(name)) << name; };
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    EXPECT_TRUE(names.insert(node.name).second) << node.name;
    for (const Value input : node.inputs) {
      EXPECT_LT(input, static_cast<Value>(i));
      used.insert(input);
    }
    if (node.kind == NodeKind::kAdd) {
      ExpectOneSize(network, node);
      EXPECT_EQ(network.node(node.inputs[0]).channels, network.node(node.inputs[1]).channels);
    }
    if (node.kind == NodeKind::kConcat) ExpectOneSize(network, node);
    if (!node.weight.empty()) has(node.weight);
    if (!node.alpha.empty()) has(node.alpha);
    if (node.bias) has(node.name + ".bias");
    if (node.kind == NodeKind::kBatchNorm)
      for (const int width : node.per_width ? network.widths : std::vector<int>{0})
        has(BatchNormPrefix(node, width) + ".running_var");
  }
  EXPECT_EQ(network.nodes.size(), used.size()) << "a node that nothing reads";
}

}  // namespace lbrt
