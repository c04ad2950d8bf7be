// Every weight quantizer with every activation quantizer, on one small network, and the recipe keys
// that go with any of them: it trains, is imported, and what is deployed means what was trained.
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

Network Small(const std::string& name, Arguments arguments) {
  arguments.insert({{"blocks", "1,1,1"}, {"channels", "8,16,32"}, {"size", "8"}});
  Network network = BuildNetwork(name, arguments);
  network.input_std = kPreprocessing.std;
  return network;
}

Network Pair(WeightQuantizer::Kind weights, ActivationQuantizer::Kind activations) {
  Arguments arguments = {{"weights", EntryOf(weights).name},
                         {"activations", EntryOf(activations).name}};
  if (EntryOf(weights).most_bits > 0 || EntryOf(activations).most_bits > 0)
    arguments["bits"] = "2/2";
  return Small("recu/resnet20", arguments);
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

// Finite ones of all parameters, none zero but of `dust` that only feed a batch norm.
void ExpectGradients(const TrainerModel& model, int dust) {
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
  EXPECT_EQ(without, dust);
}

void ExpectTrains(const TrainerModel& model, int dust) {
  SetTau(model, 0.9);
  Optimizers optimizers(model, {}, {});
  for (uint32_t step = 0; step < 4; ++step) {
    const StepResult result = TrainStep(model, optimizers, BatchOf(16, step + 1), {});
    EXPECT_TRUE(std::isfinite(result.total.item<double>()));
    ExpectGradients(model, dust);
  }
}

// A rounding error moves a code now and then, and with it an image's logits a little.
void ExpectDeploysAsItEvaluates(const TrainerModel& model, int width) {
  const Images images(8, 99);
  at::NoGradGuard no_grad;
  const at::Tensor plain = Execute(model, images.normalised, {Mode::kEval, width});
  const Graph graph =
      Import(model.network(), model.ToStateDict(),
             {Stem::kAuto, kPreprocessing.mean, kPreprocessing.std, width}, nullptr);
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
  ExpectTrains(model, 6);  // a learned factor of each of the six convolutions
  ExpectDeploysAsItEvaluates(model, 0);
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

// --- The keys beside them ------------------------------------------------------------------------

struct Keys {
  const char *name, *network, *arguments;
  int factors;  // learned, one each of six convolutions, or none
  int dust;     // those of them that only feed a batch norm
  int norms;    // batch norms, and the sets of tensors that each has
  int sets;
};
const Keys kKeys[] = {
    {"recu_without_scale", "recu/resnet20", "channel_scale=false", 0, 0, 8, 1},
    {"ternary_with_scale", "ternary/resnet20", "channel_scale=true", 6, 6, 7, 1},
    // The second convolution of a block ends in an addition.
    {"any_precision_with_scale", "any-precision/resnet20", "channel_scale=true widths=2,4", 6, 3, 7,
     2},
    {"norms_of_each_width", "recu/resnet20",
     "weights=any-precision activations=any-precision widths=2,4 bn_per_width=true", 6, 6, 8, 2},
    {"norms_of_all_widths", "recu/resnet20",
     "weights=any-precision activations=any-precision widths=2,4 bn_per_width=false", 6, 6, 8, 1},
    {"activations_switch", "recu/resnet20", "activations=any-precision widths=1,2", 6, 6, 8, 2},
    {"activations_switch_without_scale", "recu/resnet20",
     "activations=any-precision widths=1,2 channel_scale=false bn_per_width=false", 0, 0, 8, 1},
    {"weights_switch", "recu/resnet20",
     "weights=truncating activations=hwgq bits=2/2 widths=1,3 bn_per_width=true", 6, 6, 8, 2},
};

class KeysTest : public testing::TestWithParam<Keys> {
 protected:
  KeysTest() { at::set_num_threads(1); }
};

TEST_P(KeysTest, ChangeTheNetworkWhichTrainsAndDeploysAtEveryWidth) {
  const Keys& keys = GetParam();
  const TrainerModel model =
      ModelOf(Small(keys.network, ParseArguments(keys.arguments)), at::kFloat);
  const Network& network = model.network();
  int factors = 0, variances = 0, norms = 0;
  for (const TensorSpec& spec : network.tensors) {
    factors += spec.name.ends_with(".alpha");
    // The norm of a skip is one in the published network too (methods.md 1.4).
    variances += spec.name.ends_with(".running_var") && !spec.name.ends_with("skip_bn.running_var");
  }
  for (const Node& node : network.nodes)
    norms += node.kind == NodeKind::kBatchNorm && !node.name.ends_with("skip_bn");
  EXPECT_EQ(factors, keys.factors);
  EXPECT_EQ(norms, keys.norms);
  EXPECT_EQ(variances, keys.norms * keys.sets);
  ExpectTrains(model, keys.dust);
  for (const int width : network.widths.empty() ? std::vector<int>{0} : network.widths) {
    SCOPED_TRACE(width);
    ExpectDeploysAsItEvaluates(model, width);
  }
}

INSTANTIATE_TEST_SUITE_P(Keys, KeysTest, testing::ValuesIn(kKeys),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace lbrt
