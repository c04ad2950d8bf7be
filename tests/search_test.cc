// EdMIPS's search: what mixtures cost, by multiply-adds and by measured latencies, and what they
// chose (methods.md 2.3).
#include "trainer/search.h"

#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "network/bits.h"
#include "network/checkpoint.h"
#include "tests/image_files.h"
#include "tests/tensors.h"

namespace lbrt {
namespace {

using nlohmann::json;

TrainerModel Search(const std::string& name, Arguments arguments, at::ScalarType type) {
  arguments["mode"] = "search";
  return TrainerModel(BuildNetwork(name, arguments), type, at::kCPU);  // all alphas 0: uniform
}

TrainerModel SmallSearch() {
  return Search("edmips/cifar-resnet20",
                {{"blocks", "1,1"}, {"channels", "4,8"}, {"size", "8"}}, at::kDouble);
}

// Makes every layer certain of some bits.
void Choose(const TrainerModel& model, int weight_bits, int activation_bits) {
  for (const TensorSpec& spec : model.network().tensors) {
    if (spec.role != Role::kArchitecture) continue;
    const bool weights = spec.name.ends_with("alpha_weight");
    at::NoGradGuard no_grad;
    model.at(spec.name).fill_(0);
    model.at(spec.name)[weights ? weight_bits - 1 : activation_bits - 2].fill_(1000);
  }
}

double Complexity(const TrainerModel& model, const LatencyTable* latencies = nullptr) {
  return SearchCost(model, latencies).Complexity(model).item<double>();
}

TEST(SearchCost, UniformSharesAndUniformBitsCostThePublished) {
  const struct {
    const char* name;
    double start, uniform;
  } published[] = {{"edmips/resnet18", 110.0, 58.67},
                   {"edmips/resnet50", 2317.5, 1236},
                   {"edmips/googlenet", 854.6, 455.8},
                   {"edmips/inception-v3", 211.3, 112.7}};
  for (const auto& want : published) {
    const TrainerModel model = Search(want.name, {}, at::kFloat);
    EXPECT_NEAR(Complexity(model), want.start, want.start * 5e-4) << want.name;
    Choose(model, 2, 2);
    EXPECT_NEAR(Complexity(model), want.uniform, want.uniform * 5e-4) << want.name;
    EXPECT_NEAR(Complexity(model),
                CostsOf(BuildNetwork(want.name, {{"bits", "2/2"}})).bitops_m /
                    QuantizedLayers(model.network())[0].size_product,
                want.uniform * 1e-5)
        << want.name;
  }
}

TEST(SearchCost, IsTheProductOfExpectedBitsAndItsSlopeReachesTheAlphas) {
  const TrainerModel model = SmallSearch();
  uint64_t seed = 1;
  for (const std::string& name : model.parameters())
    if (name.find("alpha_") != std::string::npos) {
      at::NoGradGuard no_grad;
      model.at(name).copy_(RandomTensor(model.at(name).sizes(), seed++));
    }
  const SearchCost cost(model, nullptr);
  double want = 0;
  const std::vector<QuantizedLayer> layers = QuantizedLayers(model.network());
  for (const QuantizedLayer& layer : layers) {
    const auto expected = [&](const std::string& name, const std::vector<double>& bits) {
      return model.at(name).softmax(0).dot(Doubles(bits)).item<double>();
    };
    want += layer.size_product *
            expected(model.network().node(layer.conv).name + ".mix_weight.alpha_weight",
                     {1, 2, 3, 4}) *
            expected(model.network().node(layer.quantize).name + ".alpha_activ", {2, 3, 4});
  }
  EXPECT_NEAR(cost.Complexity(model).item<double>(), want / layers[0].size_product, 1e-5 * want);
  cost.Complexity(model).backward();
  for (const char* name :
       {"layers.1.skip_conv.mix_weight.alpha_weight", "layers.0.conv1.mix_activ.alpha_activ"}) {
    const at::Tensor alphas = model.at(name), values = alphas.detach().clone();
    const at::Tensor slopes = Slopes(values, [&](const at::Tensor& moved) {
      at::NoGradGuard no_grad;
      alphas.copy_(moved);
      return cost.Complexity(model).item<double>();
    });
    EXPECT_GT(slopes.abs().max().item<double>(), 1e-3);
    ExpectClose(alphas.grad(), slopes, 1e-7, name);
    at::NoGradGuard no_grad;
    alphas.copy_(values);
  }
}

// --- Measured latencies --------------------------------------------------------------------------

// Microseconds that have nothing to do with multiply-adds.
double Microseconds(const Node& x, const Node& conv, int weight_bits, int activation_bits) {
  return 5 + x.channels * 0.5 + conv.window.kernel_h * 3 + x.height * 0.25 + weight_bits * 7 +
         std::sqrt(activation_bits);
}

json TableOf(const Network& network) {
  json table = {{"device", "by hand"}, {"entries", json::array()}};
  std::set<std::array<int, 5>> shapes;
  for (const QuantizedLayer& layer : QuantizedLayers(network)) {
    const Node& conv = network.node(layer.conv);
    const Node& x = network.node(conv.inputs[0]);
    const Window& w = conv.window;
    if (!shapes.insert({x.channels, conv.channels, w.kernel_h, w.stride_h, x.height}).second)
      continue;
    for (int weight_bits = 1; weight_bits <= 4; ++weight_bits)
      for (int activation_bits = 2; activation_bits <= 4; ++activation_bits)
        table["entries"].push_back(
            {{"inputs", x.channels},
             {"outputs", conv.channels},
             {"kernel", {w.kernel_h, w.kernel_w}},
             {"stride", {w.stride_h, w.stride_w}},
             {"size", {x.height, x.width}},
             {"weight_bits", weight_bits},
             {"activation_bits", activation_bits},
             {"microseconds", Microseconds(x, conv, weight_bits, activation_bits)}});
  }
  return table;
}

class LatencyTableTest : public testing::Test {
 protected:
  LatencyTable Read(const std::string& text) {
    std::ofstream(path_) << text;
    return LatencyTable::Read(path_);
  }
  LatencyTable Read(const json& table) { return Read(table.dump()); }

  TemporaryFolder folder_;
  const std::string path_ = folder_ / "table.json";
};

TEST_F(LatencyTableTest, CostsAreMicrosecondsNormalisedToUniformTwoBits) {
  const TrainerModel model = SmallSearch();
  const Network& network = model.network();
  const LatencyTable table = Read(TableOf(network));
  const auto time = [&](int weight_bits, int activation_bits) {
    double sum = 0;
    for (const QuantizedLayer& layer : QuantizedLayers(network)) {
      const Node& conv = network.node(layer.conv);
      sum += Microseconds(network.node(conv.inputs[0]), conv, weight_bits, activation_bits);
    }
    return sum;
  };
  Choose(model, 2, 2);
  const double uniform = Complexity(model);
  EXPECT_NEAR(Complexity(model, &table), uniform, 1e-12 * uniform);
  for (const auto& [w, a] : std::vector<std::pair<int, int>>{{1, 2}, {4, 4}, {3, 2}}) {
    Choose(model, w, a);
    EXPECT_NEAR(Complexity(model, &table), uniform * time(w, a) / time(2, 2), 1e-12 * uniform);
    EXPECT_GT(std::abs(Complexity(model, &table) - Complexity(model)), 0.05 * uniform);
  }
}

TEST_F(LatencyTableTest, AShapeThatIsMissingIsNamed) {
  const TrainerModel model = SmallSearch();
  json table = TableOf(model.network());
  json kept = json::array();
  for (const json& entry : table["entries"])
    if (entry["kernel"][0] != 1 || entry["weight_bits"] != 3) kept.push_back(entry);
  table["entries"] = kept;
  const LatencyTable read = Read(table);
  ExpectRefusal([&] { SearchCost(model, &read); },
                "table.json: has no latency of layers.1.skip_conv (4 to 8 channels, 1x1, stride 2, "
                "at 8x8) with 3-bit weights and 2-bit activations");
}

TEST_F(LatencyTableTest, WhatIsNoTableIsRefused) {
  ExpectRefusal([] { LatencyTable::Read("/nowhere/table.json"); }, "/nowhere/table.json");
  ExpectRefusal([&] { Read(std::string("entries")); }, "table.json: is no latency table");
  ExpectRefusal([&] { Read(json{{"device", "x"}}); }, "entries");
  json table = TableOf(SmallSearch().network());
  table["entries"][3].erase("stride");
  ExpectRefusal([&] { Read(table); }, "stride");
  for (const double bad : {0.0, -1.0}) {
    table = TableOf(SmallSearch().network());
    table["entries"][3]["microseconds"] = bad;
    ExpectRefusal([&] { Read(table); }, "latency that is not above 0");
  }
}

// --- What was chosen -----------------------------------------------------------------------------

HostTensor Alphas(const std::vector<float>& values) {
  HostTensor tensor = HostTensor::Zeros(DType::kF32, {std::ssize(values)});
  std::copy(values.begin(), values.end(), tensor.f32());
  return tensor;
}

// Names as the published search has them, in registration order.
StateDict TwoLayers(const std::string& prefix = "") {
  StateDict tensors;
  tensors[prefix + "layer1.0.conv1.mix_activ.alpha_activ"] = Alphas({0.1f, 0.3f, 0.2f});
  tensors[prefix + "layer1.0.conv1.mix_weight.alpha_weight"] = Alphas({-1, -2, -3, -0.5f});
  tensors[prefix + "layer1.0.conv2.mix_activ.alpha_activ"] = Alphas({0.3f, 0.3f, 0.2f});  // a tie
  tensors[prefix + "layer1.0.conv2.mix_weight.alpha_weight"] = Alphas({0, 2, 1, 2});
  return tensors;
}

TEST(Architecture, TheLargestAlphaOfEachLayerIsChosenAndTheFirstOfEquals) {
  const Architecture chosen = ArchitectureOf(TwoLayers());
  EXPECT_EQ(chosen.weight_bits, (std::vector<int>{4, 2}));
  EXPECT_EQ(chosen.activation_bits, (std::vector<int>{3, 2}));
  EXPECT_EQ(ArchitectureText(chosen), "weight_bits=4,2\nactivation_bits=3,2\n");
  StateDict tensors = TwoLayers();
  tensors.erase("layer1.0.conv2.mix_weight.alpha_weight");
  ExpectRefusal([&] { ArchitectureOf(tensors); }, "2 alpha_activ and 1 alpha_weight");
  tensors["layer1.0.conv2.mix_weight.alpha_weight"] = Alphas({1, 2, 3});
  ExpectRefusal([&] { ArchitectureOf(tensors); }, "layer1.0.conv2.mix_weight.alpha_weight");
  ExpectRefusal([&] { ArchitectureOf(StateDict()); }, "expected those of a search");
}

TEST(Architecture, IsReadFromTextFromOurCheckpointAndFromAPublishedOne) {
  TemporaryFolder folder;
  const std::string text = folder / "architecture.txt", ckpt = folder / "ckpt.pt";
  std::ofstream(text) << "weight_bits=4,2\nactivation_bits=3,2\n";
  Checkpoint ours, published;
  ours.state = TwoLayers();
  published.state = TwoLayers("module.");  // as DataParallel names them
  published.integers["epoch"] = 25;
  WriteCheckpoint(ckpt, ours);
  WriteCheckpoint(folder / "arch_checkpoint.pth.tar", published);
  for (const std::string& path : {text, ckpt, folder / "arch_checkpoint.pth.tar"}) {
    const Architecture architecture = ReadArchitecture(path);
    EXPECT_EQ(architecture.weight_bits, (std::vector<int>{4, 2})) << path;
    EXPECT_EQ(architecture.activation_bits, (std::vector<int>{3, 2})) << path;
  }
  // As an argument, a file means what it says.
  const Arguments read = WithBitsRead({{"bits", text}, {"classes", "10"}});
  EXPECT_EQ(ArgumentsText(read), "activation_bits=3,2 classes=10 weight_bits=4,2");
  for (const char* plain : {"2/2", "1,2/3,4", "[1, 2]/[3, 4]"})
    EXPECT_EQ(WithBitsRead({{"bits", plain}}).at("bits"), plain);
}

TEST(Architecture, FilesThatHoldNoneAreRefused) {
  TemporaryFolder folder;
  const std::string path = folder / "architecture.txt";
  const auto refuses = [&](const std::string& text, const std::string& part) {
    std::ofstream(path) << text;
    ExpectRefusal([&] { ReadArchitecture(path); }, "architecture.txt: " + part);
  };
  refuses("weight_bits=4,2\n", "has no activation_bits");
  refuses("weight_bits=4,9\nactivation_bits=3,2\n", "weight_bits=4,9");
  refuses("weight_bits=4,\nactivation_bits=3,x\n", "activation_bits=3,x");
  refuses("bits\n", "");
  Checkpoint other;
  other.state["w"] = Alphas({1});
  WriteCheckpoint(folder / "other.pt", other);
  ExpectRefusal([&] { ReadArchitecture(folder / "other.pt"); }, "other.pt: ");
}

TEST(Architecture, ATableSaysBitsEntropiesAndTheCost) {
  const TrainerModel model = Search("edmips/cifar-resnet20",
                                    {{"blocks", "1,1"}, {"channels", "4,8"}, {"size", "8"}},
                                    at::kFloat);
  EXPECT_TRUE(IsSearch(model.network()));
  {
    at::NoGradGuard no_grad;
    model.at("layers.1.conv1.mix_weight.alpha_weight")[3].fill_(1000);
  }
  // All others are uniform: the first bits, 1 and 2, with the entropy of four and of three.
  const std::string table = ArchitectureTable(model.network(), model.ToStateDict());
  const auto has = [&](const std::string& line) {
    EXPECT_NE(table.find(line + "\n"), std::string::npos) << line << "\n" << table;
  };
  has("layers.0.conv0                            1    2.000            2    1.585");
  has("layers.1.conv1                            4    0.000            2    1.585");
  // Multiply-adds: twice 9 * 4 * 4 * 64, 9 * 4 * 8 * 16, 9 * 8 * 8 * 16, 4 * 8 * 16.
  const double last = 9 * 8 * 8 * 16e-6;
  const double macs = 2 * 9 * 4 * 4 * 64e-6 + 9 * 4 * 8 * 16e-6 + last + 4 * 8 * 16e-6;
  const double bitops = 2 * (macs + 3 * last);
  char total[100];
  std::snprintf(total, sizeof total, "%.1f M BitOps, %.3f bits in the mean (uniform 2/2: %.1f M)",
                bitops, std::sqrt(bitops / macs), 4 * macs);
  has(total);
  EXPECT_FALSE(IsSearch(BuildNetwork("edmips/cifar-resnet20", {})));
}

// Alphas that are certain of the bits of `chosen`, the final form of `search`.
StateDict Certain(const Network& search, const Network& chosen) {
  StateDict alphas;
  for (const TensorSpec& spec : search.tensors)
    if (spec.role == Role::kArchitecture)
      alphas[spec.name] = HostTensor::Zeros(DType::kF32, spec.shape);
  const auto layers = QuantizedLayers(search), bits = QuantizedLayers(chosen);
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string conv = search.node(layers[i].conv).name;
    const std::string quantize = search.node(layers[i].quantize).name;
    alphas[conv + ".mix_weight.alpha_weight"].f32()[chosen.node(bits[i].conv).weights.bits - 1] = 1;
    alphas[quantize + ".alpha_activ"].f32()[chosen.node(bits[i].quantize).activations.bits - 2] = 1;
  }
  return alphas;
}

TEST(Architecture, ATableOfTheShippedBitsEndsInThePublishedCosts) {  // methods.md 2.3, 2.4
  const struct {
    const char *name, *last;
  } published[] = {
      {"edmips/resnet18", "6730.8 M BitOps, 1.992 bits in the mean (uniform 2/2: 6782.2 M)"},
      {"edmips/resnet50", "15992.1 M BitOps, 2.007 bits in the mean (uniform 2/2: 15876.5 M)"},
      {"edmips/googlenet", "5820.6 M BitOps, 1.994 bits in the mean (uniform 2/2: 5854.5 M)"},
      {"edmips/inception-v3", "22633.1 M BitOps, 1.982 bits in the mean (uniform 2/2: 23052.6 M)"},
  };
  for (const auto& want : published) {
    const Network search = BuildNetwork(want.name, {{"mode", "search"}});
    const std::string table =
        ArchitectureTable(search, Certain(search, BuildNetwork(want.name, {})));
    ASSERT_TRUE(table.ends_with("\n")) << table;
    const size_t before = table.rfind('\n', table.size() - 2);
    EXPECT_EQ(want.last, table.substr(before + 1, table.size() - before - 2)) << want.name;
  }
}

TEST(Architecture, ATableOfAnotherNetworksChoiceIsRefused) {
  const Network search = BuildNetwork("edmips/cifar-resnet20", {{"mode", "search"}});
  ExpectRefusal([&] { ArchitectureTable(search, TwoLayers()); },
                "2 weight bits are given for 20 quantized layers");
}

}  // namespace
}  // namespace lbrt
