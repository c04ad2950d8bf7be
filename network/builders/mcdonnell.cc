// mcdonnell/wrn-D-W: wide residual networks with 1-bit weights and float activations (methods.md
// 3.3), of depth D and width W times (16, 32, 64) channels.
#include <charconv>

#include "images/error.h"
#include "network/builder.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr Init kInit = {Init::kKaimingNormalFanOut};

// Parameters hang directly on their module in the published code: a tensor has its node's name, and
// a module's own tensors come before those of its parts.
void DeclareWeight(NetworkBuilder& b, const std::string& name, int outputs, int inputs, int size) {
  b.Declare({name, {outputs, inputs, size, size}, DType::kF32, Role::kParameter, kInit});
}
Value Conv(NetworkBuilder& b, const std::string& name, Value x, int channels, Window window,
           Part part) {
  return b.Conv(name, x, channels, window, {.part = part, .weight = name, .init = kInit});
}
Value PlainNorm(NetworkBuilder& b, const std::string& name, Value x) {
  return b.BatchNorm(name, x, {.affine = false});
}

// block.bn0, .relu0, .conv0 for index "0".
Value NormConv(NetworkBuilder& b, const std::string& block, const std::string& index, Value x,
               int channels, int stride) {
  x = b.Rectify(block + ".relu" + index, PlainNorm(b, block + ".bn" + index, x));
  x = b.Quantize(block + ".activ" + index, x);
  return Conv(b, block + ".conv" + index, x, channels, SquareWindow(3, stride, 1), Part::kBody);
}

Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  DeclareWeight(b, name + ".conv0", channels, b.channels(x), 3);
  DeclareWeight(b, name + ".conv1", channels, channels, 3);
  Value y = NormConv(b, name, "0", x, channels, stride);
  y = NormConv(b, name, "1", y, channels, 1);
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

  NetworkBuilder b(name, given, {.weights = WeightQuantizer::kMcDonnell}, 32, 10);
  DeclareWeight(b, "conv0", channels[0], 3, 3);
  DeclareWeight(b, "conv_last", b.classes(), channels[2], 1);
  Value x = Conv(b, "conv0", b.Input(3), channels[0], SquareWindow(3, 1, 1), Part::kStem);
  for (int group = 0; group < 3; ++group)
    for (int block = 0; block < blocks; ++block)
      x = Block(b, "group" + std::to_string(group) + ".block" + std::to_string(block), x,
                channels[group], group != 0 && block == 0 ? 2 : 1);
  x = b.Relu("relu", PlainNorm(b, "bn", x));
  x = Conv(b, "conv_last", x, b.classes(), SquareWindow(1, 1, 0), Part::kHead);
  return b.Finish(b.GlobalAvgPool("pool", b.BatchNorm("bn_last", x)));
}

// The same numbers for CIFAR-10 and CIFAR-100 (methods.md 3.4).
NetworkDefaults Defaults(const Network& network) {
  const int size = network.nodes[0].height;
  return {PreprocessingText(size, size, kCifarMean, kCifarStd), CifarLabels(network.classes())};
}

constexpr NetworkEntry kNetworks[] = {
    {"mcdonnell/wrn-D-W", Build, Defaults},
};

}  // namespace

NetworkEntries McDonnellNetworks() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
