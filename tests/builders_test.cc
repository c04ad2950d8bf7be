#include <gtest/gtest.h>

#include <algorithm>

#include "images/preprocess.h"
#include "network/bits.h"
#include "network/builder.h"
#include "tests/networks.h"

namespace lbrt {
namespace {

// --- Quantizers by argument ----------------------------------------------------------------------

TEST(BuildersTest, EveryNetworkTakesEveryPairOfQuantizers) {
  for (const std::string& name : SampleNames())
    for (const std::string& weights : WeightQuantizerNames())
      for (const std::string& activations : ActivationQuantizerNames()) {
        if (weights == "fixed-point") continue;
        SCOPED_TRACE(name + " " + weights + " " + activations);
        Arguments arguments = {{"weights", weights}, {"activations", activations}};
        const bool any = weights == "any-precision" || weights == "truncating" ||
                         activations == "any-precision";
        if (weights == "edmips" || activations == "hwgq" ||
            (any && !name.starts_with("any-precision/")))
          arguments["bits"] = "2/2";
        const Network network = BuildNetwork(name, arguments);
        ExpectSound(network);
        for (const QuantizedLayer& layer : QuantizedLayers(network)) {
          const Node& conv = network.node(layer.conv);
          EXPECT_EQ(ParseWeightQuantizer(weights), conv.weights.kind);
        }
        const auto kind = ParseActivationQuantizer(activations);
        EXPECT_EQ(kind != ActivationQuantizer::kNone,
                  std::any_of(network.nodes.begin(), network.nodes.end(), [&](const Node& node) {
                    return node.kind == NodeKind::kQuantize && node.activations.kind == kind;
                  }));
      }
}

TEST(BuildersTest, AFullPrecisionFormHasNoQuantizers) {
  for (const std::string& name : SampleNames()) {
    SCOPED_TRACE(name);
    const Network network = BuildNetwork(name, {{"form", "full-precision"}});
    ExpectSound(network);
    if (name.starts_with("any-precision/")) {  // its own is width 32
      EXPECT_EQ(std::vector<int>{32}, network.widths);
      continue;
    }
    for (const Node& node : network.nodes) {
      EXPECT_FALSE(node.weights.quantizes()) << node.name;
      EXPECT_NE(NodeKind::kQuantize, node.kind) << node.name;
    }
  }
  // Smaller ones need no bits then.
  EXPECT_EQ("no error", ErrorOf("edmips/resnet18", {{"form", "full-precision"},
                                                    {"blocks", "1,1"},
                                                    {"channels", "16,32"}}));
}

// ... whatever the quantized form's would be.
TEST(BuildersTest, OtherFormsOfEveryPairHaveTheirQuantizersOnly) {
  for (const std::string& name : SampleNames())
    for (const std::string& weights : WeightQuantizerNames())
      for (const std::string& activations : ActivationQuantizerNames()) {
        if (weights == "fixed-point") continue;
        SCOPED_TRACE(name + " " + weights + " " + activations);
        const Network full = BuildNetwork(
            name, {{"form", "full-precision"}, {"weights", weights}, {"activations", activations}});
        ExpectSound(full);
        const bool at_32 = name.starts_with("any-precision/") &&
                           (weights == "any-precision" || weights == "truncating") &&
                           activations == "any-precision";
        EXPECT_EQ(at_32 ? std::vector<int>{32} : std::vector<int>{}, full.widths);
        for (const Node& node : full.nodes) {
          EXPECT_NE(NodeKind::kClip, node.kind) << node.name;
          EXPECT_TRUE(!node.weights.quantizes() ||
                      (at_32 && AtWidth(node.weights, full.widest()).bits == 32))
              << node.name;
          EXPECT_TRUE(node.kind != NodeKind::kQuantize ||
                      (at_32 && AtWidth(node.activations, full.widest()).bits == 32))
              << node.name;
        }
        const Network binary = BuildNetwork(
            name,
            {{"form", "binary-activations"}, {"weights", weights}, {"activations", activations}});
        ExpectSound(binary);
        EXPECT_EQ(std::vector<int>{}, binary.widths);
        for (const Node& node : binary.nodes) {
          EXPECT_FALSE(node.weights.quantizes()) << node.name;
          EXPECT_TRUE(
              node.kind != NodeKind::kQuantize ||
              (node.activations.kind == ActivationQuantizer::kSign && node.activations.bits == 0))
              << node.name;
        }
      }
}

TEST(BuildersTest, OtherFormsAreBuiltAgainFromTheirArguments) {
  for (const char* form : {"full-precision", "binary-activations"})
    for (const char* name : {"recu/resnet20", "any-precision/svhn"}) {
      SCOPED_TRACE(std::string(form) + " " + name);
      const Network network = BuildNetwork(name, {{"form", form},
                                                  {"weights", "any-precision"},
                                                  {"activations", "any-precision"},
                                                  {"widths", "2,4"},
                                                  {"bn_per_width", "true"}});
      const Network again = BuildNetwork(name, network.arguments);
      EXPECT_EQ(network.arguments, again.arguments);
      EXPECT_EQ(network.widths, again.widths);
      EXPECT_EQ(network.tensors.size(), again.tensors.size());
    }
}

TEST(BuildersTest, FullPrecisionOfEdmipsHasReluForItsQuantizers) {
  const Network network = BuildNetwork("edmips/resnet18", {{"form", "full-precision"}});
  EXPECT_EQ(NodeKind::kRelu, NodeNamed(network, "layer1.0.conv1.activ").kind);
}

TEST(BuildersTest, BinaryActivationsHaveRealWeightsWithoutScale) {
  const Network network =
      BuildNetwork("recu/two-stage-resnet18", {{"form", "binary-activations"}});
  EXPECT_EQ(ActivationQuantizer::kSign, NodeNamed(network, "layer1.0.sign").activations.kind);
  const Node& conv = NodeNamed(network, "layer1.0.conv");
  EXPECT_FALSE(conv.weights.quantizes());
  EXPECT_EQ("", conv.alpha);
}

TEST(BuildersTest, ReluBecomesHardtanhWhereSignsAreTaken) {
  for (const char* name : {"mcdonnell/wrn-8-1", "ternary/resnet20", "ternary/alexnet"}) {
    const Network network = BuildNetwork(name, {{"activations", "sign"}});
    for (const Node& node : network.nodes)
      if (node.kind == NodeKind::kQuantize) {
        EXPECT_NE(NodeKind::kRelu, network.node(node.inputs[0]).kind) << name << " " << node.name;
      }
  }
}

TEST(BuildersTest, StemSkipsAndHeadMayBeInFixedPoint) {
  const Network network = BuildNetwork(
      "any-precision/resnet20", {{"stem", "i8"}, {"skips", "i16"}, {"head", "i8"}});
  const auto of = [&](const char* name) { return NodeNamed(network, name).weights; };
  for (const char* name : {"conv0", "layers.3.skip_conv", "fc"})
    EXPECT_EQ(WeightQuantizer::kFixedPoint, of(name).kind) << name;
  EXPECT_EQ(1, of("conv0").limbs);
  EXPECT_EQ(2, of("layers.3.skip_conv").limbs);
  for (const auto& [name, node] : std::vector<std::pair<std::string, std::string>>{
           {"any-precision/resnet50", "layer1.0.downsample.0"},
           {"recu/imagenet-resnet18", "layer2.0.downsample.0"},
           {"recu/two-stage-resnet18", "layer2.0.downsample.1"}})
    EXPECT_EQ(WeightQuantizer::kFixedPoint,
              NodeNamed(BuildNetwork(name, {{"skips", "i8"}}), node).weights.kind);
  for (const std::string& name : SampleNames()) {
    if (name.starts_with("ternary/resnet") && BuildNetwork(name, {}).classes() == 10) continue;
    const Network both = BuildNetwork(name, {{"stem", "i8"}, {"head", "i8"}});
    EXPECT_EQ(2, std::count_if(both.nodes.begin(), both.nodes.end(), [](const Node& node) {
                return node.weights.kind == WeightQuantizer::kFixedPoint;
              })) << name;
  }
}

TEST(BuildersTest, SkipNormOfTheAnyPrecisionResNet20IsSharedByTheWidths) {
  const Network resnet20 = BuildNetwork("any-precision/resnet20", {});
  EXPECT_FALSE(NodeNamed(resnet20, "layers.3.skip_bn").per_width);
  EXPECT_TRUE(NodeNamed(resnet20, "layers.3.bn1").per_width);
  // Its skip reads codes, the one of resnet50 the raw stream; resnet50 quantizes before pooling.
  EXPECT_EQ(NodeKind::kQuantize,
            resnet20.node(NodeNamed(resnet20, "layers.3.skip_conv").inputs[0]).kind);
  EXPECT_EQ(NodeKind::kBatchNorm,
            resnet20.node(NodeNamed(resnet20, "pool").inputs[0]).kind);
  const Network resnet50 = BuildNetwork("any-precision/resnet50", {});
  EXPECT_TRUE(NodeNamed(resnet50, "layer1.0.downsample.1").per_width);
  EXPECT_EQ("maxpool",
            resnet50.node(NodeNamed(resnet50, "layer1.0.downsample.0").inputs[0]).name);
  EXPECT_EQ(NodeKind::kQuantize, resnet50.node(NodeNamed(resnet50, "avgpool").inputs[0]).kind);
}

TEST(BuildersTest, DropoutOfSvhnIsAnArgument) {
  EXPECT_EQ(0.5, NodeNamed(BuildNetwork("any-precision/svhn", {}), "layers.19").probability);
  EXPECT_EQ(0.25,
            NodeNamed(BuildNetwork("any-precision/svhn", {{"dropout", "0.25"}}), "layers.19")
                .probability);
  const Network none = BuildNetwork("any-precision/svhn", {{"dropout", "0"}});
  EXPECT_THROW(NodeNamed(none, "layers.19"), InputError);
}

TEST(BuildersTest, TheShortcutsOfTheReluNetworksAreTheirOwn) {
  // ReCU pads zero channels on both sides, the others at the end (methods.md 5.6).
  const Network recu = BuildNetwork("recu/resnet20", {});
  EXPECT_EQ(8, NodeNamed(recu, "layer2.0.shortcut.pad").pad_before);
  EXPECT_EQ(8, NodeNamed(recu, "layer2.0.shortcut.pad").pad_after);
  EXPECT_EQ(SquareWindow(2, 2, 0), NodeNamed(recu, "layer2.0.shortcut.pool").window);
  const Network wide = BuildNetwork("mcdonnell/wrn-20-1", {});
  EXPECT_EQ(0, NodeNamed(wide, "group1.block0.shortcut.pad").pad_before);
  EXPECT_EQ(16, NodeNamed(wide, "group1.block0.shortcut.pad").pad_after);
  EXPECT_EQ(SquareWindow(3, 2, 1), NodeNamed(wide, "group1.block0.shortcut.pool").window);
  const Network ternary = BuildNetwork("ternary/resnet20", {});
  EXPECT_EQ(0, NodeNamed(ternary, "stage_2.0.downsample.pad").pad_before);
  EXPECT_EQ(SquareWindow(1, 2, 0), NodeNamed(ternary, "stage_2.0.downsample.pool").window);
}

TEST(BuildersTest, ReCuResNet18HasOneShortcutABlockAndNoStemActivation) {
  const Network network = BuildNetwork("recu/resnet18", {});
  EXPECT_EQ("bn1", network.node(NodeNamed(network, "layer1.0.sign1").inputs[0]).name);
  EXPECT_EQ("layer1.0.bn1",
            network.node(NodeNamed(network, "layer1.0.hardtanh1").inputs[0]).name);
}

// --- How tensors start, which decay --------------------------------------------------------------

TEST(BuildersTest, ATensorStartsAsItsSystemSaysItDoes) {
  struct Start {
    const char *network, *tensor;
    Init init;
  };
  const Start starts[] = {
      {"recu/resnet20", "layer1.0.conv1.weight", {Init::kKaimingNormalFanIn}},
      {"recu/resnet20", "layer1.0.conv1.alpha", {Init::kUniform01}},
      {"recu/resnet20", "layer1.0.bn1.weight", Constant(1)},
      {"recu/resnet20", "layer1.0.bn1.bias", Constant(0)},
      {"recu/resnet20", "layer1.0.bn1.running_mean", Constant(0)},
      {"recu/resnet20", "layer1.0.bn1.running_var", Constant(1)},
      {"recu/resnet20", "linear.weight", {Init::kTorchDefault}},
      {"recu/resnet20", "linear.bias", {Init::kTorchDefault}},
      {"recu/vgg-small", "conv0.weight", {Init::kKaimingNormalFanOut}},
      {"recu/vgg-small", "fc.weight", {Init::kNormal, 0.01}},
      {"recu/vgg-small", "fc.bias", Constant(0)},
      {"recu/imagenet-resnet18", "layer2.0.downsample.0.weight", {Init::kKaimingNormalFanIn}},
      {"recu/imagenet-resnet18", "bn1.weight", Constant(1e-8)},
      {"recu/imagenet-resnet18", "layer2.0.bn2.weight", Constant(1e-8)},
      {"recu/imagenet-resnet18", "layer2.0.downsample.1.weight", Constant(1e-8)},
      {"recu/imagenet-resnet18", "bn2.weight", Constant(1)},
      {"recu/two-stage-resnet18", "layer1.0.conv.weight", {Init::kTorchDefault}},
      {"recu/two-stage-resnet18", "layer1.0.nonlinear.weight", Constant(0.25)},
      {"recu/two-stage-resnet18", "layer1.0.move0.bias", Constant(0)},
      {"mcdonnell/wrn-20-1", "group1.block0.conv0", {Init::kKaimingNormalFanOut}},
      {"mcdonnell/wrn-20-1", "conv_last", {Init::kKaimingNormalFanOut}},
      {"mcdonnell/wrn-20-1", "bn_last.weight", Constant(1)},
      {"any-precision/resnet20", "layers.0.conv0.weight", {Init::kTorchDefault}},
      {"any-precision/svhn", "layers.0.bias", {Init::kTorchDefault}},
      {"any-precision/resnet50", "layer1.0.conv1.weight", {Init::kKaimingNormalFanOut}},
      {"any-precision/resnet50", "fc.weight", {Init::kTorchDefault}},
      {"edmips/resnet18", "layer1.0.conv1.conv.weight", {Init::kKaimingNormalFanOut}},
      {"edmips/googlenet", "inception3a.branch1.conv.weight", {Init::kTruncatedNormal, 0.01}},
      {"edmips/googlenet", "fc.weight", {Init::kTruncatedNormal, 0.01}},
      {"edmips/inception-v3", "Conv2d_1a_3x3.weight", {Init::kTruncatedNormal, 0.1}},
      {"ternary/resnet20", "stage_1.0.conv_a.weight", {Init::kKaimingNormalFanOut}},
      {"ternary/resnet20", "classifier.weight", {Init::kKaimingNormalFanIn}},
      {"ternary/resnet20", "classifier.bias", Constant(0)},
      {"ternary/alexnet", "classifier.0.weight", {Init::kKaimingNormalFanIn}},
  };
  for (const Start& want : starts)
    EXPECT_EQ(want.init, TensorNamed(BuildNetwork(want.network, {}), want.tensor).init)
        << want.network << " " << want.tensor;
  const Network recu = BuildNetwork("recu/resnet20", {});
  EXPECT_EQ(Role::kParameter, TensorNamed(recu, "layer1.0.conv1.alpha").role);
  EXPECT_EQ(Role::kBuffer, TensorNamed(recu, "layer1.0.conv1.tau").role);
  EXPECT_EQ(Role::kBuffer, TensorNamed(recu, "layer1.0.bn1.running_var").role);
  EXPECT_EQ(Role::kConstant, TensorNamed(BuildNetwork("edmips/resnet18", {}),
                                         "layer1.0.conv1.size_product").role);
}

TEST(BuildersTest, EpsilonIsTheSystems) {
  EXPECT_EQ(1e-3, NodeNamed(BuildNetwork("edmips/googlenet", {}), "inception3a.bn").eps);
  EXPECT_EQ(1e-3, NodeNamed(BuildNetwork("edmips/inception-v3", {}), "Mixed_7c_bn").eps);
  EXPECT_EQ(1e-5, NodeNamed(BuildNetwork("edmips/resnet18", {}), "bn1").eps);
}

TEST(BuildersTest, WeightDecayFollowsTheNamesInReCuForImageNetOnly) {
  for (const std::string& name : SampleNames()) {
    if (name.starts_with("recu/imagenet") || name.starts_with("recu/two-stage")) continue;
    for (const TensorSpec& spec : BuildNetwork(name, {}).tensors)
      EXPECT_TRUE(spec.decay) << name << " " << spec.name;
  }
  const Network imagenet = BuildNetwork("recu/imagenet-resnet18", {});
  for (const char* name : {"conv1.weight", "layer1.0.conv1.alpha", "fc.weight", "fc.bias"})
    EXPECT_TRUE(TensorNamed(imagenet, name).decay) << name;
  for (const char* name : {"bn1.weight", "layer2.0.downsample.0.weight", "bn2.bias"})
    EXPECT_FALSE(TensorNamed(imagenet, name).decay) << name;
  const Network stage2 = BuildNetwork("recu/two-stage-resnet18", {});
  EXPECT_FALSE(TensorNamed(stage2, "layer1.0.move0.bias").decay);
  EXPECT_TRUE(TensorNamed(stage2, "fc.bias").decay);
  const Network stage1 = BuildNetwork("recu/two-stage-resnet18", {{"form", "binary-activations"}});
  for (const char* name :
       {"conv.weight", "layer1.0.move0.bias", "layer2.0.downsample.1.weight"})
    EXPECT_TRUE(TensorNamed(stage1, name).decay) << name;
  for (const char* name : {"fc.weight", "layer1.0.nonlinear.weight", "layer1.0.bn.weight"})
    EXPECT_FALSE(TensorNamed(stage1, name).decay) << name;
}

TEST(BuildersTest, PreprocessingIsThePublishedOne) {
  const auto of = [](const char* name, const char* classes) {
    return FromText(DefaultsOf(BuildNetwork(name, {{"classes", classes}})).preprocessing, name);
  };
  EXPECT_EQ((Preprocessing{3, 256, 224, 224, 0, {.485, .456, .406}, {.229, .224, .225}}),
            of("edmips/resnet18", "1000"));
  EXPECT_EQ((Preprocessing{3, 342, 299, 299, 0, {.485, .456, .406}, {.229, .224, .225}}),
            of("edmips/inception-v3", "1000"));
  EXPECT_EQ((Preprocessing{3, 40, 40, 40, 0, {.5, .5, .5}, {.5, .5, .5}}),
            of("any-precision/svhn", "10"));
  EXPECT_EQ((Preprocessing{3, 32, 32, 32, 0, {.485, .456, .406}, {.229, .224, .225}}),
            of("recu/vgg-small", "10"));
  EXPECT_EQ((Preprocessing{3, 32, 32, 32, 0, {.507, .487, .441}, {.267, .256, .276}}),
            of("recu/resnet18", "100"));
  EXPECT_EQ((Preprocessing{3, 224, 224, 224, 0, {.4802, .4481, .3975}, {.2302, .2265, .2262}}),
            of("recu/imagenet-resnet18", "200"));
  const std::vector<double> mean = {125.3 / 255, 123.0 / 255, 113.9 / 255};
  const std::vector<double> mean100 = {129.3 / 255, 124.1 / 255, 112.4 / 255};
  const std::vector<double> std100 = {68.2 / 255, 65.4 / 255, 70.4 / 255};
  EXPECT_EQ(mean, of("mcdonnell/wrn-20-1", "100").mean);
  EXPECT_EQ(mean, of("any-precision/resnet20", "10").mean);
  EXPECT_EQ(mean, of("ternary/resnet20", "10").mean);
  EXPECT_EQ((std::vector<double>{63.0 / 255, 62.1 / 255, 66.7 / 255}),
            of("ternary/resnet20", "10").std);
  EXPECT_EQ(mean100, of("ternary/resnet20", "100").mean);
  EXPECT_EQ(std100, of("ternary/resnet20", "100").std);
}

// --- Arguments -----------------------------------------------------------------------------------

TEST(BuildersTest, SmallerFormsHaveFewerStages) {
  for (const char* name :
       {"any-precision/resnet20", "any-precision/resnet50", "recu/resnet20", "recu/resnet18",
        "recu/vgg-small", "recu/imagenet-resnet34", "recu/two-stage-resnet18",
        "ternary/resnet56", "ternary/resnet18", "ternary/resnet101"}) {
    SCOPED_TRACE(name);
    const Network network =
        BuildNetwork(name, {{"blocks", "[1, 2]"}, {"channels", "[16, 32]"}, {"size", "64"}});
    ExpectSound(network);
    EXPECT_EQ(16, network.node(1).channels);
    EXPECT_EQ(64, network.nodes[0].height);
    EXPECT_EQ("1,2", network.arguments.at("blocks"));
  }
  const Network two_stage =
      BuildNetwork("recu/two-stage-resnet18", {{"blocks", "2,2"}, {"channels", "16,32"}});
  EXPECT_EQ(4u, QuantizedLayers(two_stage).size());
  EXPECT_EQ(32 * 9 * 9, NodeNamed(BuildNetwork("ternary/alexnet",
                                                 {{"channels", "8,16,16,16,32,64,64"},
                                                  {"size", "350"}}),
                                    "flatten").channels);
}

TEST(BuildersTest, ExpansionMultipliesTheChannels) {
  EXPECT_EQ(16, BuildNetwork("any-precision/resnet20", {{"expansion", "1"}}).node(1).channels);
  EXPECT_EQ(80, BuildNetwork("any-precision/resnet20", {}).node(1).channels);
  EXPECT_EQ(48, BuildNetwork("any-precision/svhn", {{"expansion", "8"}}).node(1).channels);
  EXPECT_EQ(44, BuildNetwork("mcdonnell/wrn-8-2.75", {}).node(1).channels);  // int(16 * 2.75)
}

TEST(BuildersTest, ANameOrArgumentThatCannotBeBuiltIsRefusedInOneLine) {
  std::string known;
  for (const std::string& name : NetworkNames()) known += (known.empty() ? "" : ", ") + name;
  EXPECT_NE(std::string::npos, known.find("mcdonnell/wrn-D-W, recu/resnet20, recu/resnet18, "));
  for (const char* name : {"recu/resnet21", "mcdonnell/wrn-20", ""})
    EXPECT_EQ("unknown network \"" + std::string(name) + "\", expected one of: " + known,
              ErrorOf(name, {}));
  EXPECT_EQ(
      "network recu/resnet20: unknown argument width; it takes: activations, blocks, "
      "channel_scale, channels, classes, form, head, size, skips, stem, weights",
      ErrorOf("recu/resnet20", {{"width", "4"}}));
  EXPECT_EQ("network recu/resnet20: classes=ten: expected an integer from 2 to 100000",
            ErrorOf("recu/resnet20", {{"classes", "ten"}}));
  EXPECT_EQ("network recu/resnet20: classes=99999999999999: expected an integer from 2 to 100000",
            ErrorOf("recu/resnet20", {{"classes", "99999999999999"}}));
  EXPECT_EQ("network mcdonnell/wrn-21-1: depth 21: expected 8, 14, 20, ... (6 n + 2, below 1000)",
            ErrorOf("mcdonnell/wrn-21-1", {}));
  EXPECT_EQ("network mcdonnell/wrn-20-0: width 0: expected from 1/16 to 100",
            ErrorOf("mcdonnell/wrn-20-0", {}));
  EXPECT_EQ(
      "network mcdonnell/wrn-20-1.05: width 1.05: expected channels that double from group "
      "to group",
      ErrorOf("mcdonnell/wrn-20-1.05", {}));
  EXPECT_EQ("network mcdonnell/wrn-20-1.2.3: 1.2.3 is not a number",
            ErrorOf("mcdonnell/wrn-20-1.2.3", {}));
}

TEST(BuildersTest, AShapeThatDoesNotFitIsRefusedInOneLine) {
  EXPECT_EQ("network recu/resnet20: blocks=3,3,3 and channels=16,32: expected as many of one as of "
            "the other",
            ErrorOf("recu/resnet20", {{"channels", "16,32"}}));
  EXPECT_EQ("network recu/resnet20: blocks=0,1: expected integers from 1 to 1000, separated by "
            "commas",
            ErrorOf("recu/resnet20", {{"blocks", "0,1"}}));
  EXPECT_EQ("network recu/resnet20: channels shrink at node layer2.0.shortcut.pad, expected growth",
            ErrorOf("recu/resnet20", {{"blocks", "1,1"}, {"channels", "32,16"}}));
  EXPECT_EQ("network recu/resnet20: size=30 does not fit: sizes at node layer3.0.add1 differ",
            ErrorOf("recu/resnet20", {{"size", "30"}}));
  EXPECT_EQ("network any-precision/svhn: size=10 is too small for node layers.10",
            ErrorOf("any-precision/svhn", {{"size", "10"}}));
  EXPECT_EQ("network ternary/alexnet: channels: expected 7 numbers",
            ErrorOf("ternary/alexnet", {{"channels", "8,16"}}));
  EXPECT_EQ("network any-precision/svhn: dropout=1: expected a number from 0 to 0.99",
            ErrorOf("any-precision/svhn", {{"dropout", "1"}}));
  EXPECT_EQ("network ternary/resnet18: t_ex=3: expected 1, 2 or 4",
            ErrorOf("ternary/resnet18", {{"t_ex", "3"}}));
}

TEST(BuildersTest, ArgumentsSurviveTheirTextForm) {
  const Arguments arguments = {{"classes", "10"}, {"width", "4"}};
  EXPECT_EQ("classes=10 width=4", ArgumentsText(arguments));
  EXPECT_EQ(arguments, ParseArguments("classes=10 width=4"));
  EXPECT_EQ(Arguments{}, ParseArguments(""));
  EXPECT_THROW(ParseArguments("classes"), InputError);
  EXPECT_THROW(ParseArguments("=10"), InputError);
  EXPECT_THROW(ParseArguments("a=1 a=2"), InputError);
}

TEST(BuildersTest, ANetworkCanBeRegistered) {
  static const NetworkEntry entry = {
      "test/dense-N",
      [](const std::string& name, const std::vector<std::string>& numbers, const Arguments& given) {
        NetworkBuilder b(name, given, {}, std::stoi(numbers[0]), 3);
        return b.Finish(b.Head("fc", b.Flatten("flatten", b.Input(3))));
      },
      ImageNetDefaults};
  RegisterNetwork(&entry);
  const Network network = BuildNetwork("test/dense-4", {});
  EXPECT_EQ(48, NodeNamed(network, "flatten").channels);
  EXPECT_EQ("test/dense-N", NetworkNames().back());
  EXPECT_EQ("0\n1\n2\n", DefaultsOf(network).labels);
}

}  // namespace
}  // namespace lbrt
