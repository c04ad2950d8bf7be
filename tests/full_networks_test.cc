// Networks of the five systems as published, in full size, from random tensors to the runtime's
// values on every column: what each op stores is the graph's, and activations take hardly more
// memory than is alive at once. Labelled slow: small forms of all of them are verify_test's.
#include "apps/lbconvert/verify.h"
#include "apps/model_runner.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "tests/fitted_network.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>

namespace lbrt {
namespace {

// For images of CIFAR's and SVHN's size.
constexpr const char* kCifar[] = {
    "recu/resnet20",
    "recu/resnet18",
    "recu/resnet18a",
    "recu/resnet18b",
    "recu/resnet18c",
    "recu/vgg-small",
    "any-precision/resnet20 expansion=1 widths=1,4,32",
    "any-precision/resnet20 widths=2",
    "any-precision/svhn widths=1,8",
    "edmips/cifar-resnet20 bits=2/2",
    "mcdonnell/wrn-20-1",
    "ternary/resnet20",
    "ternary/resnet32",
    "ternary/resnet44 t_ex=2",
    "ternary/resnet56",
};
constexpr const char* kLarge[] = {
    "any-precision/resnet50 widths=2",
    "edmips/resnet18 bits=2/2",
    "edmips/resnet50 bits=2/2",
    "edmips/googlenet bits=2/2",
    "edmips/inception-v3 bits=2/2",
    "mcdonnell/wrn-20-10 classes=100",
    "recu/imagenet-resnet18",
    "recu/imagenet-resnet34",
    "recu/two-stage-resnet18",
    "recu/two-stage-resnet34",
    "ternary/resnet18",
    "ternary/resnet34",
    "ternary/resnet50",
    "ternary/resnet101",
    "ternary/alexnet",
};

// What a file may take at most: its bits, and what stays float or 24-bit.
size_t MostBytes(const std::string& network) {
  if (network.starts_with("mcdonnell/wrn-20-10")) return 3'700'000;
  if (network == "recu/imagenet-resnet18") return 5'000'000;
  return SIZE_MAX;
}

class FullNetworks : public testing::TestWithParam<const char*> {};

TEST_P(FullNetworks, RunAsTheirGraphs) {
  const FittedNetwork fitted(GetParam());
  const Node& input = fitted.network.nodes[0];
  Dataset data;
  data.source = "noise";
  data.height = input.height;
  data.width = input.width;
  data.channels = input.channels;
  data.pixels = fitted.image;
  for (const int width : fitted.Widths()) {
    SCOPED_TRACE("width " + std::to_string(width));
    const Graph graph = fitted.Imported(fitted.Stems().front(), width);
    LoweredGraph lowered = Lower(graph);
    for (const Pass& pass : Passes()) pass.run(lowered);
    const std::vector<uint8_t> file = Emit(
        lowered, {"channels = 3\nmean = 0.49 0.48 0.45\nstd = 0.25 0.24 0.26\n", {}, {}, {}});
    EXPECT_LE(file.size(), MostBytes(GetParam()));
    const ModelRunner runner(file, GetParam(), {});
    EXPECT_LE(runner.info().arena_bytes,
              runner.info().arena_lower_bound + runner.info().arena_lower_bound / 20);
    const Verification result = Verify(lowered, file, data, 1);
    EXPECT_EQ(result.ops, lowered.ops.size());
    const auto [low, high] = std::minmax_element(result.logits.begin(), result.logits.end());
    EXPECT_LT(*low, *high);
  }
}

std::string NameOf(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Cifar, FullNetworks, testing::ValuesIn(kCifar), NameOf);
INSTANTIATE_TEST_SUITE_P(Large, FullNetworks, testing::ValuesIn(kLarge), NameOf);

}  // namespace
}  // namespace lbrt
