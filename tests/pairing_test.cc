// Every weight quantizer with every activation quantizer, on one small network: it trains, is
// imported, and what is deployed means what was trained.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "images/preprocess.h"
#include "network/import.h"
#include "tests/image_files.h"
#include "tests/tensors.h"
#include "trainer/deploy_eval.h"
#include "trainer/execute.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

constexpr int kSize = 8;
const Preprocessing kPreprocessing = {
    .channels = 3, .mean = {.485, .456, .406}, .std = {.229, .224, .225}};

Network Pair(WeightQuantizer::Kind weights, ActivationQuantizer::Kind activations) {
  Arguments arguments = {{"blocks", "1,1,1"}, {"channels", "8,16,32"}, {"size", "8"},
                         {"weights", EntryOf(weights).name},
                         {"activations", EntryOf(activations).name}};
  if (EntryOf(weights).most_bits > 0 || EntryOf(activations).most_bits > 0)
    arguments["bits"] = "2/2";
  Network network = BuildNetwork("recu/resnet20", arguments);
  network.input_std = kPreprocessing.std;
  return network;
}

// Images [n h w c] as bytes, each of a colour of its own, and normalised [n c h w].
struct Images {
  explicit Images(int64_t n, uint32_t seed) {
    std::vector<uint8_t> noise = Noise(static_cast<size_t>(n * kSize * kSize * 3), seed);
    for (size_t i = 0; i < noise.size(); ++i)
      noise[i] = static_cast<uint8_t>(noise[i] / 2 + i / (kSize * kSize * 3) * 37 % 128);
    bytes = at::tensor(at::ArrayRef<uint8_t>(noise)).view({n, kSize, kSize, 3});
    const at::Tensor units = bytes.to(at::kDouble) / 255;
    normalised = ((units - Doubles(kPreprocessing.mean)) / Doubles(kPreprocessing.std))
                     .permute({0, 3, 1, 2})
                     .to(at::kFloat)
                     .contiguous(at::MemoryFormat::ChannelsLast);
  }
  at::Tensor bytes, normalised;
};

Batch BatchOf(int64_t n, uint32_t seed) {
  Batch batch;
  batch.input = Images(n, seed).normalised;
  batch.labels = at::arange(n, at::kLong).remainder(10);
  return batch;
}

// Parameters whose factor or summand a batch norm takes away again: their gradients are dust.
bool OnlyFeedsABatchNorm(const Network& network, const std::string& parameter) {
  for (size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    if (parameter != node.alpha && !(node.bias && parameter == node.name + ".bias")) continue;
    if (static_cast<Value>(i) == network.output) return false;
    return std::all_of(network.nodes.begin(), network.nodes.end(), [&](const Node& user) {
      return std::count(user.inputs.begin(), user.inputs.end(), static_cast<Value>(i)) == 0 ||
             user.kind == NodeKind::kBatchNorm;
    });
  }
  return false;
}

void ExpectGradients(const TrainerModel& model) {
  int without = 0;
  for (const std::string& name : model.parameters()) {
    const at::Tensor gradient = model.at(name).grad();
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_TRUE(at::isfinite(gradient).all().item<bool>()) << name;
    if (OnlyFeedsABatchNorm(model.network(), name))
      ++without;
    else
      EXPECT_GT(gradient.abs().max().item<double>(), 0) << name;
  }
  EXPECT_EQ(without, 6);  // a learned factor of each of the six convolutions
}

// A rounding error moves a code now and then, and with it an image's logits a little.
void ExpectDeploysAsItEvaluates(const TrainerModel& model) {
  const Images images(8, 99);
  at::NoGradGuard no_grad;
  const at::Tensor plain = Execute(model, images.normalised, {});
  const Graph graph = Import(model.network(), model.ToStateDict(),
                             {Stem::kAuto, kPreprocessing.mean, kPreprocessing.std, 0}, nullptr);
  const at::Tensor deployed = DeployedGraph(graph).Run(images.bytes);
  const double largest = plain.abs().max().item<double>();
  ASSERT_GT(largest, 1e-2);
  EXPECT_LE((deployed - plain).abs().max().item<double>(), 0.1 * largest);
  const at::Tensor worst = (deployed - plain).abs().amax(1) / largest;
  EXPECT_GE(worst.lt(1e-4).sum().item<int64_t>(), 7) << worst;
  EXPECT_GE(deployed.argmax(1).eq(plain.argmax(1)).sum().item<int64_t>(), 7);
}

using Kinds = std::tuple<std::string, std::string>;
class PairingTest : public testing::TestWithParam<Kinds> {
 protected:
  PairingTest() { at::set_num_threads(1); }  // tests share the machine
};

TEST_P(PairingTest, TrainsAndDeploys) {
  const auto& [weights, activations] = GetParam();
  const TrainerModel model =
      ModelOf(Pair(ParseWeightQuantizer(weights), ParseActivationQuantizer(activations)),
              at::kFloat);
  SetTau(model, 0.9);
  Optimizers optimizers(model, {}, {});
  for (uint32_t step = 0; step < 4; ++step) {
    const StepResult result = TrainStep(model, optimizers, BatchOf(16, step + 1), {});
    EXPECT_TRUE(std::isfinite(result.total.item<double>()));
    ExpectGradients(model);
  }
  ExpectDeploysAsItEvaluates(model);
}

std::vector<std::string> BodyQuantizers() {
  std::vector<std::string> names = WeightQuantizerNames();
  std::erase(names, EntryOf(WeightQuantizer::kFixedPoint).name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Quantizers, PairingTest,
                         testing::Combine(testing::ValuesIn(BodyQuantizers()),
                                          testing::ValuesIn(ActivationQuantizerNames())),
                         [](const testing::TestParamInfo<Kinds>& info) {
                           std::string name =
                               std::get<0>(info.param) + "_with_" + std::get<1>(info.param);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace lbrt
