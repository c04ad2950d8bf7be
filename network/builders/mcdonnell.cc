// mcdonnell/wrn-D-W: wide residual networks with 1-bit weights and float activations (methods.md
// 3.3), of depth D and width W times (16, 32, 64) channels.
#include <charconv>

#include "images/error.h"
#include "network/builder.h"

namespace lbrt {
namespace {

// Parameters hang directly on their module in the published code: a tensor has its node's name, and
// a module's own tensors come before those of its parts.
NetworkBuilder::Weights Binary(const std::string& name) {
  return {WeightQuantizer::kMcDonnell, name, Init::kKaimingNormalFanOut};
}
NetworkBuilder::Weights Float(const std::string& name) {
  return {WeightQuantizer::kFloat, name, Init::kKaimingNormalFanOut};
}
void DeclareWeight(NetworkBuilder& b, const std::string& name, int outputs, int inputs, int size) {
  b.Declare({name, {outputs, inputs, size, size}, DType::kF32, false, Init::kKaimingNormalFanOut});
}

Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  const std::string conv0 = name + ".conv0", conv1 = name + ".conv1";
  DeclareWeight(b, conv0, channels, b.channels(x), 3);
  DeclareWeight(b, conv1, channels, channels, 3);
  Value y = b.Relu(name + ".relu0", b.BatchNorm(name + ".bn0", x, /*affine=*/false));
  y = b.Conv(conv0, y, channels, SquareWindow(3, stride, 1), Binary(conv0));
  y = b.Relu(name + ".relu1", b.BatchNorm(name + ".bn1", y, /*affine=*/false));
  y = b.Conv(conv1, y, channels, SquareWindow(3, 1, 1), Binary(conv1));
  Value shortcut = x;
  if (stride != 1) {
    const Value pooled = b.AvgPool(name + ".shortcut.pool", x, SquareWindow(3, stride, 1));
    shortcut = b.PadChannels(name + ".shortcut.pad", pooled, 0, channels - b.channels(x));
  }
  return b.Add(name + ".add", shortcut, y);
}

// The number that W or D stands for; throws where the published code could not build the network.
double Number(const std::string& network, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw InputError("network " + network, text + " is not a number");
  return value;
}

Network Build(const std::string& name, const std::vector<std::string>& numbers,
              const Arguments& given) {
  const double depth = Number(name, numbers[0]), width = Number(name, numbers[1]);
  const int blocks = static_cast<int>((depth - 2) / 6);
  if (depth > 1000 || blocks < 1 || depth != 6 * blocks + 2)
    throw InputError("network " + name,
                     "depth " + numbers[0] + ": expected 8, 14, 20, ... (6 n + 2, below 1000)");
  if (!(16 * width >= 1 && width <= 100))
    throw InputError("network " + name, "width " + numbers[1] + ": expected from 1/16 to 100");
  int channels[3];
  for (int group = 0; group < 3; ++group) channels[group] = static_cast<int>((16 << group) * width);
  if (channels[1] != 2 * channels[0] || channels[2] != 2 * channels[1])
    throw InputError("network " + name,
                     "width " + numbers[1] + ": expected channels that double from group to group");

  NetworkBuilder b(name, "mcdonnell", given);
  const int classes = b.IntegerArgument("classes", 10, 2, 100000);
  DeclareWeight(b, "conv0", channels[0], 3, 3);
  DeclareWeight(b, "conv_last", classes, channels[2], 1);
  Value x = b.Conv("conv0", b.Input(3, 32, 32), channels[0], SquareWindow(3, 1, 1), Float("conv0"));
  for (int group = 0; group < 3; ++group)
    for (int block = 0; block < blocks; ++block)
      x = Block(b, "group" + std::to_string(group) + ".block" + std::to_string(block), x,
                channels[group], group != 0 && block == 0 ? 2 : 1);
  x = b.Relu("relu", b.BatchNorm("bn", x, /*affine=*/false));
  x = b.Conv("conv_last", x, classes, SquareWindow(1, 1, 0), Float("conv_last"));
  return b.Finish(b.GlobalAvgPool("pool", b.BatchNorm("bn_last", x)));
}

// (125.3, 123.0, 113.9) / 255 and (63.0, 62.1, 66.7) / 255, for CIFAR-100 too (methods.md 3.4).
NetworkDefaults Defaults(const Network& network) {
  return {
      "channels = 3\n"
      "resize = 32\n"
      "crop = 32\n"
      "mean = 0.49137254901960782 0.4823529411764706 0.44666666666666671\n"
      "std = 0.24705882352941178 0.24352941176470588 0.2615686274509804\n",
      CifarLabels(network.node(network.output).channels)};
}

}  // namespace

const NetworkEntry kMcDonnellWideResNet = {"mcdonnell/wrn-D-W", Build, Defaults};

}  // namespace lbrt
