// ternary/resnet{20, 32, 44, 56} for CIFAR, ternary/resnet{18, 34, 50, 101} and ternary/alexnet for
// ImageNet: ternary weights and float activations (methods.md 5.3). All parameters decay.
#include "network/builder.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr Init kConvInit = {Init::kKaimingNormalFanOut}, kLinearInit = {Init::kKaimingNormalFanIn};
constexpr QuantizationDefaults kAllTernary = {.weights = WeightQuantizer::kTernary,
                                              .first_last_quantized = true};
constexpr QuantizationDefaults kFloatEnds = {.weights = WeightQuantizer::kTernary};

// A convolution of the body and its batch norm.
Value ConvNorm(NetworkBuilder& b, const std::string& conv, const std::string& norm, Value x,
               int channels, Window window) {
  x = b.Quantize(conv + ".activ", x);
  return b.BatchNorm(norm, b.Conv(conv, x, channels, window, {.init = kConvInit}));
}

Value Stem(NetworkBuilder& b, const std::string& conv, const std::string& norm, int channels,
           Window window) {
  const Value x =
      b.Conv(conv, b.Input(3), channels, window, {.part = Part::kStem, .init = kConvInit});
  return b.Rectify(norm + ".relu", b.BatchNorm(norm, x));
}

Value Classifier(NetworkBuilder& b, const std::string& name, Value x) {
  return b.Linear(
      name, x, b.classes(),
      {.part = Part::kHead, .init = kLinearInit, .bias = true, .bias_init = Constant(0)});
}

// --- CIFAR ---------------------------------------------------------------------------------------

// Where the block strides, every second pixel and zero channels at the end.
Value CifarBlock(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  Value y = ConvNorm(b, name + ".conv_a", name + ".bn_a", x, channels, SquareWindow(3, stride, 1));
  y = b.Rectify(name + ".relu_a", y);
  y = ConvNorm(b, name + ".conv_b", name + ".bn_b", y, channels, SquareWindow(3, 1, 1));
  Value shortcut = x;
  if (stride != 1) {
    shortcut = b.AvgPool(name + ".downsample.pool", x, SquareWindow(1, stride, 0));
    shortcut = b.PadChannels(name + ".downsample.pad", shortcut, 0, channels - b.channels(x));
  }
  return b.Rectify(name + ".relu", b.Add(name + ".add", shortcut, y));
}

template <int blocks>
Network CifarResNet(const std::string& name, const std::vector<std::string>&,
                    const Arguments& given) {
  NetworkBuilder b(name, given, kAllTernary, 32, 10);
  const auto stages = b.StageArguments({{blocks, 16}, {blocks, 32}, {blocks, 64}});
  Value x = Stem(b, "conv_1_3x3", "bn_1", stages[0].channels, SquareWindow(3, 1, 1));
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = CifarBlock(b, "stage_" + std::to_string(stage + 1) + "." + std::to_string(i), x,
                     stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
  return b.Finish(Classifier(b, "classifier", b.GlobalAvgPool("avgpool", x)));
}

// --- ImageNet: torchvision's ResNets -------------------------------------------------------------

template <bool bottleneck>
Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const int outputs = bottleneck ? 4 * channels : channels;
  const auto conv = [&](const std::string& index, Value y, int width, Window window) {
    return ConvNorm(b, name + ".conv" + index, name + ".bn" + index, y, width, window);
  };
  Value y;
  if (bottleneck) {
    y = b.Rectify(name + ".relu1", conv("1", x, channels, SquareWindow(1, 1, 0)));
    y = b.Rectify(name + ".relu2", conv("2", y, channels, SquareWindow(3, stride, 1)));
    y = conv("3", y, outputs, SquareWindow(1, 1, 0));
  } else {
    y = b.Rectify(name + ".relu1", conv("1", x, channels, SquareWindow(3, stride, 1)));
    y = conv("2", y, outputs, SquareWindow(3, 1, 1));
  }
  Value shortcut = x;
  if (stride != 1 || b.channels(x) != outputs)
    shortcut = ConvNorm(b, name + ".downsample.0", name + ".downsample.1", x, outputs,
                        SquareWindow(1, stride, 0));
  return b.Rectify(name + ".relu", b.Add(name + ".add", y, shortcut));
}

template <bool bottleneck, int n1, int n2, int n3, int n4>
Network ResNet(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kFloatEnds, 224, 1000);
  const auto stages = b.StageArguments({{n1, 64}, {n2, 128}, {n3, 256}, {n4, 512}});
  Value x = Stem(b, "conv1", "bn1", stages[0].channels, SquareWindow(7, 2, 3));
  x = b.MaxPool("maxpool", x, 3, 2, 1);
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = Block<bottleneck>(b, "layer" + std::to_string(stage + 1) + "." + std::to_string(i), x,
                            stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
  return b.Finish(Classifier(b, "fc", b.GlobalAvgPool("avgpool", x)));
}

// --- ImageNet: AlexNet with batch norms ----------------------------------------------------------

// Convolutions by their index in `features`; the batch norm and ReLU follow, then perhaps pooling.
struct AlexNetConv {
  int index;
  Window window;
  bool pooled;
};
constexpr AlexNetConv kAlexNet[] = {
    {0, SquareWindow(11, 4, 2), true},  {4, SquareWindow(5, 1, 2), true},
    {8, SquareWindow(3, 1, 1), false},  {11, SquareWindow(3, 1, 1), false},
    {14, SquareWindow(3, 1, 1), true},
};

Network AlexNet(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kFloatEnds, 224, 1000);
  // Five convolutions and two dense layers.
  const std::vector<int> channels =
      b.ListArgument("channels", {96, 256, 384, 384, 256, 4096, 4096}, 1, 65536);
  if (channels.size() != 7) b.Refuse("channels: expected 7 numbers");
  const auto feature = [](int index) { return "features." + std::to_string(index); };
  Value x = -1;
  for (size_t i = 0; i < std::size(kAlexNet); ++i) {
    const auto& [index, window, pooled] = kAlexNet[i];
    x = i == 0 ? Stem(b, feature(0), feature(1), channels[0], window)
               : b.Rectify(feature(index + 2), ConvNorm(b, feature(index), feature(index + 1), x,
                                                        channels[i], window));
    if (pooled) x = b.MaxPool(feature(index + 3), x, 3, 2, 0);
  }
  x = b.Flatten("flatten", x);
  for (const int index : {0, 3}) {
    const std::string dense = "classifier." + std::to_string(index);
    x = b.Quantize(dense + ".activ", x);
    x = b.Linear(dense, x, channels[index == 0 ? 5 : 6], {.init = kLinearInit});
    x = b.BatchNorm("classifier." + std::to_string(index + 1), x);
    x = b.Rectify("classifier." + std::to_string(index + 2), x);
  }
  return b.Finish(Classifier(b, "classifier.6", x));
}

// -------------------------------------------------------------------------------------------------

// CIFAR-100 has (129.3, 124.1, 112.4) / 255 and (68.2, 65.4, 70.4) / 255 (methods.md 5.4).
NetworkDefaults CifarDefaults(const Network& network) {
  const int size = network.nodes[0].height, classes = network.classes();
  return {classes == 100
              ? PreprocessingText(size, size,
                                  "0.5070588235294118 0.48666666666666664 0.4407843137254902",
                                  "0.26745098039215687 0.2564705882352941 0.27607843137254906")
              : PreprocessingText(size, size, kCifarMean, kCifarStd),
          CifarLabels(classes)};
}

constexpr NetworkEntry kNetworks[] = {
    {"ternary/resnet20", CifarResNet<3>, CifarDefaults},
    {"ternary/resnet32", CifarResNet<5>, CifarDefaults},
    {"ternary/resnet44", CifarResNet<7>, CifarDefaults},
    {"ternary/resnet56", CifarResNet<9>, CifarDefaults},
    {"ternary/resnet18", ResNet<false, 2, 2, 2, 2>, ImageNetDefaults},
    {"ternary/resnet34", ResNet<false, 3, 4, 6, 3>, ImageNetDefaults},
    {"ternary/resnet50", ResNet<true, 3, 4, 6, 3>, ImageNetDefaults},
    {"ternary/resnet101", ResNet<true, 3, 4, 23, 3>, ImageNetDefaults},
    {"ternary/alexnet", AlexNet, ImageNetDefaults},
};

}  // namespace

NetworkEntries TernaryNetworks() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
