// lbbench as a user meets it: tables of latencies, which say nothing of a time but that it is one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "network/bits.h"
#include "tests/run_program.h"

namespace lbrt {
namespace {

using nlohmann::json;

class LbbenchTest : public testing::Test {
 protected:
  LbbenchTest() { unsetenv("LBRT_ISA"); }

  ProgramResult Run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(LBRT_BIN_DIR) + "/lbbench");
    return RunProgram(arguments);
  }
  ProgramResult Table(std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"--latency-table", table_, "--rounds", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
  void ExpectRefused(const std::vector<std::string>& arguments, int status,
                     const std::string& part) const {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.status, status) << part;
    EXPECT_NE(result.error_line().find(part), std::string::npos) << result.error;
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(std::filesystem::exists(table_));
  }

  TemporaryFolder folder_;
  const std::string table_ = folder_ / "table.json";
};

std::vector<int> Shape(const Network& network, const QuantizedLayer& layer) {
  const Node& conv = network.node(layer.conv);
  const Node& x = network.node(conv.inputs[0]);
  const Window& w = conv.window;
  return {x.channels, conv.channels, w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, x.height,
          x.width};
}

TEST_F(LbbenchTest, ALatencyTableHasEveryShapeOfTheNetworkOnceAtEveryPairOfBits) {
  const std::vector<std::pair<std::string, Arguments>> networks = {
      {"edmips/cifar-resnet20", {{"blocks", "2,1"}, {"channels", "4,8"}, {"size", "8"}}},
      {"recu/resnet20",
       {{"blocks", "1,1"}, {"channels", "8,16"}, {"size", "8"}, {"weights", "edmips"},
        {"activations", "hwgq"}}}};
  for (const auto& [name, arguments] : networks) {
    std::vector<std::string> flags = {"--network", name, "--isa", "scalar"};
    for (const auto& [key, value] : arguments)
      flags.insert(flags.end(), {"--set", key + "=" + value});
    const ProgramResult result = Table(flags);
    ASSERT_EQ(result.status, 0) << result.error;
    const json table = json::parse(TextOfFile(table_));
    EXPECT_EQ(table["isa"], "scalar");
    EXPECT_EQ(table["threads"], 1);
    EXPECT_EQ(table["rounds"], 2);
    EXPECT_EQ(table["network"], name);
    EXPECT_EQ(table["arguments"], ArgumentsText(arguments));
    EXPECT_FALSE(table["device"].get<std::string>().empty());

    Arguments any_bits = arguments;
    any_bits["bits"] = "3/4";
    const Network network = BuildNetwork(name, any_bits);
    std::map<std::vector<int>, int> layers;
    for (const QuantizedLayer& layer : QuantizedLayers(network)) ++layers[Shape(network, layer)];
    std::set<std::vector<int>> seen;
    for (const json& e : table["entries"]) {
      std::vector<int> key = {e["inputs"],    e["outputs"],   e["kernel"][0], e["kernel"][1],
                              e["stride"][0], e["stride"][1], e["size"][0],   e["size"][1]};
      ASSERT_EQ(layers.count(key), 1u) << e;
      EXPECT_EQ(e["layers"], layers[key]);
      const double us = e["microseconds"];
      EXPECT_TRUE(us > 0 && std::isfinite(us)) << e;
      const int weights = e["weight_bits"], activations = e["activation_bits"];
      EXPECT_TRUE(1 <= weights && weights <= 4 && 2 <= activations && activations <= 4) << e;
      key.insert(key.end(), {weights, activations});
      EXPECT_TRUE(seen.insert(key).second) << e;
    }
    EXPECT_EQ(seen.size(), layers.size() * 4 * 3);
    EXPECT_NE(result.out.find(name), std::string::npos) << result.out;
    EXPECT_NE(result.out.find("times those at 2/2"), std::string::npos) << result.out;
  }
}

TEST_F(LbbenchTest, WhatCannotBeMeasuredIsRefusedInOneLine) {
  ExpectRefused({"--latency-table", table_, "--network", "edmips/nothing"}, 1, "edmips/nothing");
  ExpectRefused({"--latency-table", table_, "--network", "recu/resnet20"}, 1,
                "network recu/resnet20: has no layer of EdMIPS's quantizers");
  ExpectRefused({"--latency-table", table_, "--set", "colour=red"}, 1, "colour");
  ExpectRefused({"--latency-table", table_, "--set", "blocks"}, 2,
                "--set blocks: expected KEY=VALUE");
  ExpectRefused({"--latency-table", table_, "--set", "size=8", "--set", "size=16"}, 2,
                "--set: size is given twice");
  for (const char* key : {"bits", "weight_bits", "activation_bits", "mode"})
    ExpectRefused({"--latency-table", table_, "--set", std::string(key) + "=2"}, 2,
                  std::string("--set ") + key + ": every pair of bits is measured");
  ExpectRefused({"--latency-table", table_, "--isa", "abacus"}, 2, "--isa abacus");
  ExpectRefused({"--latency-table", table_, "--rounds", "0"}, 2, "--rounds");
  ExpectRefused({"--latency-table", table_, "--filter", "x"}, 2, "--filter");
  ExpectRefused({"--network", "edmips/cifar-resnet20"}, 2, "--latency-table");
  ExpectRefused({"--latency-table", "/nowhere/table.json"}, 1, "/nowhere/table.json");
}

// Benchmarks compare what they compute with the reference before they time it.
TEST_F(LbbenchTest, RowsOfEachKindAreTimedAndNoneIsWrong) {
  const std::string figures = folder_ / "figures.json";
  const ProgramResult result =
      Run({"--filter",
           "dot_tile/(16@32|32@16)|codes/64x64|max_pool_codes|threshold|signs|precision.*w1$",
           "--rounds", "1", "--json", figures});
  ASSERT_EQ(result.status, 0) << result.error;
  const json table = json::parse(TextOfFile(figures));
  std::set<std::string> names;
  for (const json& row : table["kernels"]["rows"]) {
    names.insert(row["name"]);
    EXPECT_GT(row["us"].get<double>(), 0) << row;
  }
  for (const json& row : table["networks"]) names.insert(row["name"]);
  for (const char* name :
       {"kernel/dot_tile/16@32/w2", "kernel/dot_tile/32@16/w2", "kernel/epilogue_rows/codes/64x64/4",
        "kernel/max_pool_codes/64@56", "kernel/epilogue_rows/signs/64x64",
        "kernel/threshold_sums/signs/64x64", "kernel/threshold_sums/codes/64x64/16", "kernel/threshold/64@56/16",
        "kernel/threshold/64@56/256",
        "network/any-precision/resnet20/i24/w1"})
    EXPECT_EQ(names.count(name), 1u) << name;
}

}  // namespace
}  // namespace lbrt
