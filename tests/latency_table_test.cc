// The table that lbbench writes is one that the search reads, with every layer in it.
#include <gtest/gtest.h>

#include <cmath>

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

}  // namespace
}  // namespace lbrt
