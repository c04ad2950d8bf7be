// The table that lbbench writes is one that the search reads, with every layer in it.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "tests/image_files.h"
#include "tests/run_program.h"
#include "trainer/search.h"

namespace lbrt {
namespace {

TEST(LatencyTable, WhatLbbenchMeasuredGivesASearchItsCosts) {
  TemporaryFolder folder;
  const std::string path = folder / "table.json";
  const Arguments arguments = {{"blocks", "1,1"}, {"channels", "4,8"}, {"size", "8"}};
  const ProgramResult result =
      RunProgram({std::string(LBRT_BIN_DIR) + "/lbbench", "--latency-table", path, "--set",
                  "blocks=1,1", "--set", "channels=4,8", "--set", "size=8", "--rounds", "1"});
  ASSERT_EQ(result.status, 0) << result.error;
  const LatencyTable table = LatencyTable::Read(path);
  Arguments search = arguments;
  search["mode"] = "search";
  const TrainerModel model(BuildNetwork("edmips/cifar-resnet20", search), at::kDouble, at::kCPU);
  const double cost = SearchCost(model, &table).Complexity(model).item<double>();
  EXPECT_TRUE(cost > 0 && std::isfinite(cost)) << cost;
}

TEST(LatencyTable, TwoEntriesForOneLayerAreRefused) {
  TemporaryFolder folder;
  const std::string path = folder / "table.json";
  const auto entry = [](int weight_bits, double microseconds) {
    return R"({"inputs": 4, "outputs": 8, "kernel": [1, 1], "stride": [2, 2], "size": [8, 8],)"
           R"( "activation_bits": 2, "weight_bits": )" +
           std::to_string(weight_bits) + R"(, "microseconds": )" + std::to_string(microseconds) +
           "}";
  };
  const auto read = [&](const std::string& entries) {
    std::ofstream(path) << R"({"entries": [)" << entries << "]}";
    LatencyTable::Read(path);
  };
  EXPECT_NO_THROW(read(entry(2, 5) + "," + entry(3, 5)));
  ExpectRefusal([&] { read(entry(3, 5) + "," + entry(2, 5) + "," + entry(3, 6)); },
                "table.json: has two latencies of 4 to 8 channels, 1x1, stride 2, at 8x8, with "
                "3-bit weights and 2-bit activations, expected one");
}

}  // namespace
}  // namespace lbrt
