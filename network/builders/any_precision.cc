// any-precision/{resnet20, svhn, resnet50}: 1 to 8 bits and float by a switch, from one set of
// weights and a batch norm a width (methods.md 1.4).
#include "network/builder.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr QuantizationDefaults kAnyPrecision = {.weights = WeightQuantizer::kAnyPrecision,
                                                .activations = ActivationQuantizer::kAnyPrecision,
                                                .widths = "1,2,4,8,32"};
constexpr Init kTorch = {Init::kTorchDefault};

// --- resnet20 ------------------------------------------------------------------------------------

// layers.N of bn0, conv0, bn1, conv1. The skip convolution reads the codes that conv0 reads, and
// its batch norm is one for all widths.
Value Block20(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const Value codes = b.Activate(name + ".act0", b.BatchNorm(name + ".bn0", x));
  Value y = b.Conv(name + ".conv0", codes, channels, SquareWindow(3, stride, 1), {.init = kTorch});
  y = b.Activate(name + ".act1", b.BatchNorm(name + ".bn1", y));
  y = b.Conv(name + ".conv1", y, channels, SquareWindow(3, 1, 1), {.init = kTorch});
  Value shortcut = x;
  if (stride != 1) {
    shortcut = b.Conv(name + ".skip_conv", codes, channels, SquareWindow(1, stride, 0),
                      {.part = Part::kSkip, .init = kTorch});
    shortcut = b.BatchNorm(name + ".skip_bn", shortcut, {.per_width = false});
  }
  return b.Add(name + ".add", y, shortcut);
}

Network ResNet20(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kAnyPrecision, 32, 10);
  const int expansion = b.IntegerArgument("expansion", 5, 1, 100);
  const auto stages =
      b.StageArguments({{3, 16 * expansion}, {3, 32 * expansion}, {3, 64 * expansion}});
  Value x = b.Conv("conv0", b.Input(3), stages[0].channels, SquareWindow(3, 1, 1),
                   {.part = Part::kStem, .init = kTorch});
  int index = 0;
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = Block20(b, "layers." + std::to_string(index++), x, stages[stage].channels,
                  stage != 0 && i == 0 ? 2 : 1);
  return b.Finish(b.Head("fc", b.GlobalAvgPool("pool", b.BatchNorm("bn", x))));
}

// --- svhn ----------------------------------------------------------------------------------------

// One line a convolution: its index in `layers`, channels a unit of expansion, kernel, padding, and
// whether its batch norm's results are pooled. The first one is the stem, which has no batch norm.
struct SvhnConv {
  int index, channels, kernel, pad;
  bool pooled;
};
constexpr SvhnConv kSvhn[] = {
    {0, 6, 5, 0, true},   {3, 8, 3, 1, false},   {6, 8, 3, 1, true},
    {10, 16, 3, 0, false}, {13, 16, 3, 1, false}, {16, 16, 3, 0, false},
};

Network Svhn(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kAnyPrecision, 40, 10);
  const int expansion = b.IntegerArgument("expansion", 2, 1, 100);
  const double dropout = b.NumberArgument("dropout", 0.5, 0, 0.99);
  const auto layer = [](int index) { return "layers." + std::to_string(index); };
  Value x = b.Input(3);
  for (const auto& [index, channels, kernel, pad, pooled] : kSvhn) {
    const bool stem = index == 0;
    x = b.Conv(layer(index), x, channels * expansion, SquareWindow(kernel, 1, pad),
               {.part = stem ? Part::kStem : Part::kBody, .init = kTorch, .bias = stem});
    int next = index + 1;
    if (!stem) x = b.BatchNorm(layer(next++), x);
    if (pooled) x = b.MaxPool(layer(next++), x, 2, 2, 0);
    x = b.Activate(layer(next), x);
  }
  x = b.Dropout(layer(19), x, dropout);
  x = b.Conv(layer(20), x, 64 * expansion, SquareWindow(5, 1, 0), {.init = kTorch});
  x = b.Clip(layer(21), x);
  return b.Finish(b.Head("fc", b.Flatten("flatten", x)));
}

// --- resnet50 ------------------------------------------------------------------------------------

constexpr Init kFanOut = {Init::kKaimingNormalFanOut};

// Pre-activation bottleneck; the downsample convolution reads the raw stream.
Value Bottleneck(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const auto conv = [&](const char* index, Value y, int outputs, Window window) {
    y = b.Activate(name + ".act" + index, b.BatchNorm(name + ".bn" + index, y));
    return b.Conv(name + ".conv" + index, y, outputs, window, {.init = kFanOut});
  };
  Value y = conv("0", x, channels, SquareWindow(1, 1, 0));
  y = conv("1", y, channels, SquareWindow(3, stride, 1));
  y = conv("2", y, 4 * channels, SquareWindow(1, 1, 0));
  Value shortcut = x;
  if (stride != 1 || b.channels(x) != 4 * channels) {
    shortcut = b.Conv(name + ".downsample.0", x, 4 * channels, SquareWindow(1, stride, 0),
                      {.part = Part::kSkip, .init = kFanOut});
    shortcut = b.BatchNorm(name + ".downsample.1", shortcut);
  }
  return b.Add(name + ".add", y, shortcut);
}

Network ResNet50(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kAnyPrecision, 224, 1000);
  const auto stages = b.StageArguments({{3, 64}, {4, 128}, {6, 256}, {3, 512}});
  Value x = b.Conv("conv1", b.Input(3), stages[0].channels, SquareWindow(7, 2, 3),
                   {.part = Part::kStem, .init = kFanOut});
  x = b.MaxPool("maxpool", x, 3, 2, 1);
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = Bottleneck(b, "layer" + std::to_string(stage + 1) + "." + std::to_string(i), x,
                     stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
  x = b.Activate("act", b.BatchNorm("bn", x));
  return b.Finish(b.Head("fc", b.GlobalAvgPool("avgpool", x)));
}

// -------------------------------------------------------------------------------------------------

NetworkDefaults CifarDefaults(const Network& network) {
  const int size = network.nodes[0].height;
  return {PreprocessingText(size, size, kCifarMean, kCifarStd), CifarLabels(network.classes())};
}

NetworkDefaults SvhnDefaults(const Network& network) {
  const int size = network.nodes[0].height;
  return {PreprocessingText(size, size, "0.5 0.5 0.5", "0.5 0.5 0.5"),
          NumberLabels(network.classes())};
}

constexpr NetworkEntry kNetworks[] = {
    {"any-precision/resnet20", ResNet20, CifarDefaults},
    {"any-precision/svhn", Svhn, SvhnDefaults},
    {"any-precision/resnet50", ResNet50, ImageNetDefaults},
};

}  // namespace

NetworkEntries AnyPrecisionNetworks() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
