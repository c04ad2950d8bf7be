// recu/resnet20: 1-bit weights and activations (methods.md 4.3). Each 3x3 convolution has its own
// shortcut; where it strides, the shortcut is 2x2 pooling and zero channels on both sides.
#include "network/builder.h"

namespace lbrt {
namespace {

constexpr int kBlocks = 3;  // a stage
constexpr int kStageChannels[] = {16, 32, 64};

Value BinaryConv(NetworkBuilder& b, const std::string& block, const std::string& index, Value x,
                 int channels, int stride, Value shortcut) {
  const std::string conv = block + ".conv" + index;
  const Value codes = b.Quantize(block + ".sign" + index, x, ActivationQuantizer::kSign);
  const Value sums = b.Conv(conv, codes, channels, SquareWindow(3, stride, 1),
                            {WeightQuantizer::kRecu, conv + ".weight"});
  const Value normal = b.BatchNorm(block + ".bn" + index, sums);
  return b.Hardtanh(block + ".hardtanh" + index, b.Add(block + ".add" + index, normal, shortcut));
}

Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  Value shortcut = x;
  if (stride != 1) {
    const Value pooled = b.AvgPool(name + ".shortcut.pool", x, SquareWindow(2, stride, 0));
    shortcut = b.PadChannels(name + ".shortcut.pad", pooled, channels / 4, channels / 4);
  }
  const Value middle = BinaryConv(b, name, "1", x, channels, stride, shortcut);
  return BinaryConv(b, name, "2", middle, channels, 1, middle);
}

Network Build(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, "recu", given);
  const int classes = b.IntegerArgument("classes", 10, 2, 100000);
  Value x = b.Conv("conv1", b.Input(3, 32, 32), kStageChannels[0], SquareWindow(3, 1, 1),
                   {WeightQuantizer::kFloat, "conv1.weight"});
  x = b.Hardtanh("hardtanh1", b.BatchNorm("bn1", x));
  for (int stage = 0; stage < 3; ++stage)
    for (int block = 0; block < kBlocks; ++block)
      x = Block(b, "layer" + std::to_string(stage + 1) + "." + std::to_string(block), x,
                kStageChannels[stage], stage != 0 && block == 0 ? 2 : 1);
  x = b.BatchNorm("bn2", b.GlobalAvgPool("pool", x));
  return b.Finish(b.Linear("linear", x, classes));
}

// CIFAR-10 is published with ImageNet's mean and deviation (methods.md 4.4).
NetworkDefaults Defaults(const Network& network) {
  const int classes = network.node(network.output).channels;
  return {classes == 100 ? "channels = 3\n"
                           "resize = 32\n"
                           "crop = 32\n"
                           "mean = 0.507 0.487 0.441\n"
                           "std = 0.267 0.256 0.276\n"
                         : "channels = 3\n"
                           "resize = 32\n"
                           "crop = 32\n"
                           "mean = 0.485 0.456 0.406\n"
                           "std = 0.229 0.224 0.225\n",
          CifarLabels(classes)};
}

}  // namespace

const NetworkEntry kRecuResNet20 = {"recu/resnet20", Build, Defaults};

}  // namespace lbrt
