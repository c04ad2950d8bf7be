// recu/imagenet-resnet{18, 34} and recu/two-stage-resnet{18, 34}: 1-bit weights and activations for
// ImageNet, the second with ReActNet's blocks (methods.md 4.3).
#include "network/builder.h"

namespace lbrt {
namespace {

using Part = NetworkBuilder::Part;
constexpr QuantizationDefaults kRecu = {.weights = WeightQuantizer::kRecu,
                                        .activations = ActivationQuantizer::kSign,
                                        .channel_scale = true};

bool Contains(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}

// By name: alphas decay, the shortcuts' convolutions do not (methods.md 4.4). Stage 1, with real
// weights, goes by the shape too.
void SetDecay(NetworkBuilder& b) {
  const bool stage1 = b.binary_activations();
  b.DecayOnly([stage1](const TensorSpec& spec) {
    if (stage1) return spec.shape.size() == 4 || Contains(spec.name, "conv");
    return Contains(spec.name, "conv") || Contains(spec.name, "fc");
  });
}

// `block` appends one; a block registers its shortcut last.
Value Stages(NetworkBuilder& b, const std::vector<NetworkBuilder::Stage>& stages, Value x,
             Value (*block)(NetworkBuilder&, const std::string&, Value, int, int)) {
  for (size_t stage = 0; stage < stages.size(); ++stage)
    for (int i = 0; i < stages[stage].blocks; ++i) {
      const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i);
      x = block(b, name, x, stages[stage].channels, stage != 0 && i == 0 ? 2 : 1);
      b.RegisterLast(name + ".downsample.");
    }
  return x;
}

// --- imagenet-resnet -----------------------------------------------------------------------------

constexpr Init kKaiming = {Init::kKaimingNormalFanIn};
constexpr NetworkBuilder::Norm kSmallNorm = {.weight = 1e-8};  // published (methods.md 4.6)

Value BinaryConv(NetworkBuilder& b, const std::string& block, const std::string& index, Value x,
                 int channels, int stride, Value shortcut) {
  Value y = b.Quantize(block + ".sign" + index, x);
  y = b.Conv(block + ".conv" + index, y, channels, SquareWindow(3, stride, 1), {.init = kKaiming});
  y = b.BatchNorm(block + ".bn" + index, y, kSmallNorm);
  return b.Hardtanh(block + ".hardtanh" + index, b.Add(block + ".add" + index, y, shortcut));
}

Value Block(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  Value shortcut = x;
  if (stride != 1 || b.channels(x) != channels) {
    shortcut = b.Conv(name + ".downsample.0", x, channels, SquareWindow(1, stride, 0),
                      {.part = Part::kSkip, .init = kKaiming});
    shortcut = b.BatchNorm(name + ".downsample.1", shortcut, kSmallNorm);
  }
  const Value y = BinaryConv(b, name, "1", x, channels, stride, shortcut);
  return BinaryConv(b, name, "2", y, channels, 1, y);
}

template <int n1, int n2, int n3, int n4>
Network ImageNetResNet(const std::string& name, const std::vector<std::string>&,
                       const Arguments& given) {
  NetworkBuilder b(name, given, kRecu, 224, 1000);
  SetDecay(b);
  const auto stages = b.StageArguments({{n1, 64}, {n2, 128}, {n3, 256}, {n4, 512}});
  Value x = b.Conv("conv1", b.Input(3), stages[0].channels, SquareWindow(7, 2, 3),
                   {.part = Part::kStem, .init = kKaiming});
  x = b.Hardtanh("hardtanh", b.BatchNorm("bn1", x, kSmallNorm));
  x = Stages(b, stages, b.MaxPool("maxpool", x, 3, 2, 1), Block);
  return b.Finish(b.Head("fc", b.BatchNorm("bn2", b.GlobalAvgPool("avgpool", x))));
}

// --- two-stage-resnet ----------------------------------------------------------------------------

constexpr Init kTorch = {Init::kTorchDefault};

Value TwoStageBlock(NetworkBuilder& b, const std::string& name, Value x, int channels, int stride) {
  Value y = b.Quantize(name + ".sign", b.Bias(name + ".move0", x));
  y = b.Conv(name + ".conv", y, channels, SquareWindow(3, stride, 1), {.init = kTorch});
  y = b.BatchNorm(name + ".bn", y);
  Value shortcut = x;
  if (stride != 1 || b.channels(x) != channels) {
    if (stride != 1)
      shortcut = b.AvgPool(name + ".downsample.0", x, SquareWindow(2, stride, 0));
    shortcut = b.Conv(name + ".downsample.1", shortcut, channels, SquareWindow(1, 1, 0),
                      {.part = Part::kSkip, .init = kTorch});
    shortcut = b.BatchNorm(name + ".downsample.2", shortcut);
  }
  y = b.Bias(name + ".move1", b.Add(name + ".add", y, shortcut));
  return b.Bias(name + ".move2", b.PRelu(name + ".nonlinear", y));
}

template <int n1, int n2, int n3, int n4>
Network TwoStageResNet(const std::string& name, const std::vector<std::string>&,
                       const Arguments& given) {
  NetworkBuilder b(name, given, kRecu, 224, 1000);
  SetDecay(b);
  const auto stages = b.StageArguments({{n1, 64}, {n2, 128}, {n3, 256}, {n4, 512}});
  Value x = b.Conv("conv", b.Input(3), stages[0].channels, SquareWindow(7, 2, 3),
                   {.part = Part::kStem, .init = kTorch});
  x = b.MaxPool("maxpool", b.BatchNorm("bn", x), 3, 2, 1);
  x = Stages(b, stages, x, TwoStageBlock);
  return b.Finish(b.Head("fc", b.GlobalAvgPool("avgpool", x)));
}

// -------------------------------------------------------------------------------------------------

// Tiny-ImageNet's 200 classes are resized without a crop (methods.md 4.4).
NetworkDefaults Defaults(const Network& network) {
  if (network.classes() != 200) return ImageNetDefaults(network);
  const int size = network.nodes[0].height;
  return {PreprocessingText(size, size, "0.4802 0.4481 0.3975", "0.2302 0.2265 0.2262"),
          NumberLabels(200)};
}

constexpr NetworkEntry kNetworks[] = {
    {"recu/imagenet-resnet18", ImageNetResNet<2, 2, 2, 2>, Defaults},
    {"recu/imagenet-resnet34", ImageNetResNet<3, 4, 6, 3>, Defaults},
    {"recu/two-stage-resnet18", TwoStageResNet<4, 4, 4, 4>, Defaults},
    {"recu/two-stage-resnet34", TwoStageResNet<6, 8, 12, 6>, Defaults},
};

}  // namespace

NetworkEntries RecuImageNetNetworks() { return {kNetworks, std::size(kNetworks)}; }

}  // namespace lbrt
