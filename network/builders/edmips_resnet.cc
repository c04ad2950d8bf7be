// edmips/{resnet18, resnet50} (methods.md 2.4) and edmips/cifar-resnet20, which is ours: the
// topology of any-precision/resnet20 at expansion 1 with EdMIPS's quantizers, its skip convolutions
// quantized too. Everything but stem and head is quantized; all parameters decay.
#include "network/builders/edmips.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr Init kInit = {Init::kKaimingNormalFanOut};

// Bits of the layers in registration order, as shipped (methods.md 2.3).
constexpr char kResNet18Bits[] = "1111324213242132422/2222224223332233322";
constexpr char kResNet50Bits[] =
    "4113111111113111111111132321121121111111113232123324/"
    "4334223222223332232332323333233233232222223333333333";

// Batch norms and convolutions 1, 2, (3) of a block. The downsample convolution reads bn0's result
// through a quantizer of its own, which may have other bits than conv1's.
template <bool bottleneck>
Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const int outputs = bottleneck ? 4 * channels : channels;
  const Value h = b.BatchNorm(name + ".bn0", x);
  const auto conv = [&](const std::string& index, Value y, int width, Window window) {
    y = EdmipsConv(b, name + ".conv" + index, y, width, window, kInit);
    return b.BatchNorm(name + ".bn" + index, y);
  };
  Value y;
  if (bottleneck) {
    y = conv("1", h, channels, SquareWindow(1, 1, 0));
    y = conv("2", y, channels, SquareWindow(3, stride, 1));
    y = conv("3", y, outputs, SquareWindow(1, 1, 0));
  } else {
    y = conv("1", h, channels, SquareWindow(3, stride, 1));
    y = conv("2", y, channels, SquareWindow(3, 1, 1));
  }
  Value shortcut = x;
  if (stride != 1 || b.channels(x) != outputs) {
    shortcut = EdmipsConv(b, name + ".downsample.0", h, outputs, SquareWindow(1, stride, 0), kInit);
    shortcut = b.BatchNorm(name + ".downsample.1", shortcut);
  }
  return b.Add(name + ".add", y, shortcut);
}

template <bool bottleneck, int n1, int n2, int n3, int n4>
Network ResNet(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  const char* bits = bottleneck ? kResNet50Bits : kResNet18Bits;
  NetworkBuilder b(name, given, EdmipsQuantization(bits, given), 224, 1000);
  const auto stages = b.StageArguments({{n1, 64}, {n2, 128}, {n3, 256}, {n4, 512}});
  Value x = b.Conv("conv1", b.Input(3), stages[0].channels, SquareWindow(7, 2, 3),
                   {.part = Part::kStem, .init = kInit});
  x = b.BatchNorm("bn1", b.MaxPool("maxpool", x, 3, 2, 1));
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = Block<bottleneck>(b, "layer" + std::to_string(stage + 1) + "." + std::to_string(i), x,
                            stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
  return b.Finish(b.Head("fc", b.GlobalAvgPool("avgpool", b.Relu("relu", x))));
}

Value CifarBlock(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const Value h = b.BatchNorm(name + ".bn0", x);
  Value y = EdmipsConv(b, name + ".conv0", h, channels, SquareWindow(3, stride, 1), kInit);
  y = b.BatchNorm(name + ".bn1", y);
  y = EdmipsConv(b, name + ".conv1", y, channels, SquareWindow(3, 1, 1), kInit);
  Value shortcut = x;
  if (stride != 1) {
    shortcut = EdmipsConv(b, name + ".skip_conv", h, channels, SquareWindow(1, stride, 0), kInit);
    shortcut = b.BatchNorm(name + ".skip_bn", shortcut);
  }
  return b.Add(name + ".add", y, shortcut);
}

Network CifarResNet20(const std::string& name, const std::vector<std::string>&,
                      const Arguments& given) {
  NetworkBuilder b(name, given, EdmipsQuantization("2/2", given), 32, 10);
  const auto stages = b.StageArguments({{3, 16}, {3, 32}, {3, 64}});
  Value x = b.Conv("conv0", b.Input(3), stages[0].channels, SquareWindow(3, 1, 1),
                   {.part = Part::kStem, .init = kInit});
  int index = 0;
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = CifarBlock(b, "layers." + std::to_string(index++), x, stages[stage].channels,
                     stage != 0 && i == 0 ? 2 : 1);
  return b.Finish(b.Head("fc", b.GlobalAvgPool("pool", b.BatchNorm("bn", x))));
}

NetworkDefaults CifarDefaults(const Network& network) {
  const int size = network.nodes[0].height;
  return {PreprocessingText(size, size, kCifarMean, kCifarStd), CifarLabels(network.classes())};
}

constexpr NetworkEntry kNetworks[] = {
    {"edmips/resnet18", ResNet<false, 2, 2, 2, 2>, ImageNetDefaults},
    {"edmips/resnet50", ResNet<true, 3, 4, 6, 3>, ImageNetDefaults},
    {"edmips/cifar-resnet20", CifarResNet20, CifarDefaults},
};

}  // namespace

NetworkEntries EdmipsResNets() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
