// recu/{resnet20, resnet18, resnet18a, -b, -c, vgg-small}: 1-bit weights and activations for CIFAR
// (methods.md 4.3). All parameters take part in weight decay.
#include "network/builder.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr QuantizationDefaults kRecu = {.weights = WeightQuantizer::kRecu,
                                        .activations = ActivationQuantizer::kSign,
                                        .channel_scale = true};

// block.sign1, block.conv1, block.bn1 for index "1".
Value BinaryConv(NetworkBuilder& b, const std::string& block, const std::string& index, Value x,
                 int channels, int stride) {
  const Value codes = b.Quantize(block + ".sign" + index, x);
  const Value sums = b.Conv(block + ".conv" + index, codes, channels, SquareWindow(3, stride, 1),
                            {.init = {Init::kKaimingNormalFanIn}});
  return b.BatchNorm(block + ".bn" + index, sums);
}

// Where the block strides, 2x2 pooling and zero channels on both sides.
Value Shortcut(NetworkBuilder& b, const std::string& block, Value x, int channels, int stride) {
  if (stride == 1) return x;
  const int more = channels - b.channels(x);
  const Value pooled = b.AvgPool(block + ".shortcut.pool", x, SquareWindow(2, stride, 0));
  return more == 0 ? pooled
                   : b.PadChannels(block + ".shortcut.pad", pooled, more / 2, more - more / 2);
}

// resnet20: each convolution has its own shortcut.
Value Block20(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const Value shortcut = Shortcut(b, name, x, channels, stride);
  Value y = b.Add(name + ".add1", BinaryConv(b, name, "1", x, channels, stride), shortcut);
  y = b.Hardtanh(name + ".hardtanh1", y);
  return b.Hardtanh(name + ".hardtanh2",
                    b.Add(name + ".add2", BinaryConv(b, name, "2", y, channels, 1), y));
}

// resnet18: one shortcut for both.
Value Block18(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const Value shortcut = Shortcut(b, name, x, channels, stride);
  const Value y = b.Hardtanh(name + ".hardtanh1", BinaryConv(b, name, "1", x, channels, stride));
  return b.Hardtanh(name + ".hardtanh2",
                    b.Add(name + ".add", BinaryConv(b, name, "2", y, channels, 1), shortcut));
}

Value Stages(NetworkBuilder& b, const std::vector<NetworkBuilder::Stage>& stages, Value x,
             Value (*block)(NetworkBuilder&, const std::string&, Value, int, int)) {
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i)
      x = block(b, "layer" + std::to_string(stage + 1) + "." + std::to_string(i), x,
                stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
  return x;
}

Value Stem(NetworkBuilder& b, int channels) {
  const Value x = b.Conv("conv1", b.Input(3), channels, SquareWindow(3, 1, 1),
                         {.part = Part::kStem, .init = {Init::kKaimingNormalFanIn}});
  return b.BatchNorm("bn1", x);
}

Network ResNet20(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kRecu, 32, 10);
  const auto stages = b.StageArguments({{3, 16}, {3, 32}, {3, 64}});
  Value x = b.Hardtanh("hardtanh1", Stem(b, stages[0].channels));
  x = b.GlobalAvgPool("pool", Stages(b, stages, x, Block20));
  return b.Finish(b.Head("linear", b.BatchNorm("bn2", x)));
}

template <int c1, int c2, int c3, int c4>
Network ResNet18(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kRecu, 32, 10);
  const auto stages = b.StageArguments({{2, c1}, {2, c2}, {2, c3}, {2, c4}});
  Value x = Stages(b, stages, Stem(b, stages[0].channels), Block18);
  x = b.Head("linear", b.BatchNorm("bn2", b.GlobalAvgPool("pool", x)));
  b.RegisterLast("bn2.");
  return b.Finish(x);
}

// The last convolution of a stage is pooled before its batch norm; `channels` of a stage are those
// of its convolutions.
Network VggSmall(const std::string& name, const std::vector<std::string>&, const Arguments& given) {
  NetworkBuilder b(name, given, kRecu, 32, 10);
  const auto stages = b.StageArguments({{2, 128}, {2, 256}, {2, 512}});
  Value x = b.Input(3);
  int index = 0;
  for (const auto& [convs, channels] : stages)
    for (int i = 0; i < convs; ++i, ++index) {
      const std::string number = std::to_string(index);
      if (index != 0) x = b.Quantize("sign" + number, x);
      x = b.Conv("conv" + number, x, channels, SquareWindow(3, 1, 1),
                 {.part = index == 0 ? Part::kStem : Part::kBody,
                  .init = {Init::kKaimingNormalFanOut}});
      if (i == convs - 1) x = b.MaxPool("pool" + number, x, 2, 2, 0);
      x = b.Hardtanh("hardtanh" + number, b.BatchNorm("bn" + number, x));
    }
  return b.Finish(b.Linear("fc", b.Flatten("flatten", x), b.classes(),
                           {.part = Part::kHead,
                            .init = {Init::kNormal, 0.01},
                            .bias = true,
                            .bias_init = Constant(0)}));
}

// CIFAR-10 is published with ImageNet's mean and deviation (methods.md 4.4).
NetworkDefaults Defaults(const Network& network) {
  const int size = network.nodes[0].height, classes = network.classes();
  return {classes == 100
              ? PreprocessingText(size, size, "0.507 0.487 0.441", "0.267 0.256 0.276")
              : PreprocessingText(size, size, kImageNetMean, kImageNetStd),
          CifarLabels(classes)};
}

constexpr NetworkEntry kNetworks[] = {
    {"recu/resnet20", ResNet20, Defaults},
    {"recu/resnet18", ResNet18<64, 128, 256, 512>, Defaults},
    {"recu/resnet18a", ResNet18<32, 32, 64, 128>, Defaults},
    {"recu/resnet18b", ResNet18<32, 64, 128, 256>, Defaults},
    {"recu/resnet18c", ResNet18<64, 64, 128, 256>, Defaults},
    {"recu/vgg-small", VggSmall, Defaults},
};

}  // namespace

NetworkEntries RecuCifarNetworks() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
