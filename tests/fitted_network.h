// Networks of all five systems, small, with random tensors: what whole-network tests run on.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "network/graph.h"
#include "network/import.h"
#include "network/network.h"
#include "network/quantizers.h"
#include "tests/plain_network.h"

namespace lbrt {

// Tensors as training leaves them in size and sign; deviations stay away from zero.
inline StateDict RandomTensors(const Network& network, uint32_t seed = 3) {
  std::mt19937 random(seed);
  StateDict tensors;
  for (const TensorSpec& spec : network.tensors) {
    HostTensor tensor = HostTensor::Zeros(spec.type, spec.shape);
    const bool variance = spec.name.ends_with("running_var");
    for (int64_t i = 0; spec.type == DType::kF32 && i < tensor.numel(); ++i)
      tensor.f32()[i] = variance ? std::uniform_real_distribution(0.5f, 2.0f)(random)
                                 : std::normal_distribution<float>(0.0f, 0.5f)(random);
    if (spec.name.ends_with(".tau")) tensor.f32()[0] = 0.99f;
    tensors[spec.name] = std::move(tensor);
  }
  return tensors;
}

// Every network of the five systems in small, with every kind of quantizer, operator and form; the
// first word is the name.
inline constexpr const char* kSmallNetworks[] = {
    "recu/resnet20 blocks=1,1,1",
    "recu/resnet20 blocks=1,1,1 form=full-precision size=16",
    "recu/resnet20 blocks=1,1 channels=8,16 size=16 form=binary-activations",
    "recu/resnet20 blocks=1,1 channels=8,16 size=8 weights=ternary activations=hwgq bits=3/2",
    "recu/resnet18 blocks=1,1 channels=8,16 size=16",
    "recu/resnet18a blocks=1,1,1,1 size=16",
    "recu/resnet18b blocks=1,1 channels=8,16 size=8",
    "recu/resnet18c blocks=1,1 channels=8,16 size=8",
    "recu/vgg-small channels=8,16,32 size=16",
    "recu/imagenet-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/imagenet-resnet18 blocks=1,1 channels=8,16 size=32 classes=10 stem=i16 skips=i8 head=i8",
    "recu/imagenet-resnet34 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10",
    "recu/two-stage-resnet18 blocks=1,1 channels=8,16 size=32 classes=10 form=binary-activations",
    "recu/two-stage-resnet34 blocks=1,1 channels=8,16 size=32 classes=10 form=full-precision",
    "mcdonnell/wrn-8-0.5",
    "mcdonnell/wrn-8-0.5 size=16 stem=i8 head=i16",
    "mcdonnell/wrn-8-0.5 size=16 activations=hwgq activation_bits=2",
    "mcdonnell/wrn-8-0.5 size=16 form=full-precision",
    "any-precision/resnet20 expansion=1 blocks=1,1,1 size=8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=9,21 size=9 widths=1,2,4,8,32",
    "any-precision/resnet20 expansion=1 blocks=1,1,1 size=8 weights=truncating widths=3,5",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 stem=i8 skips=i8 head=i16",
    "any-precision/svhn expansion=1 size=48",
    "any-precision/resnet50 blocks=1,1 channels=4,8 size=32 classes=10 widths=2,32",
    "edmips/resnet18 blocks=1,1 channels=16,32 size=32 bits=3/2 classes=10",
    "edmips/resnet50 blocks=1,1 channels=4,8 size=32 bits=1/4 classes=10",
    "edmips/cifar-resnet20 blocks=1,1 channels=8,16 size=16 bits=4,1,2,3,4/2,3,4,2,3",
    "edmips/cifar-resnet20 blocks=1,1 channels=8,16 size=16 bits=1/1",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 t_ex=2 first_last=float",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 activations=sign",
    "ternary/resnet20 blocks=1,1,1 channels=8,16,32 size=16 t_ex=2 activations=hwgq bits=2/2",
    "ternary/resnet18 blocks=1,1 channels=8,16 size=32 classes=10 first_last=ternary t_ex=4",
    "ternary/resnet50 blocks=1,1 channels=4,8 size=32 classes=10 first_last=ternary",
    "ternary/alexnet channels=8,8,8,8,8,16,16 size=96 classes=10 first_last=ternary",
};
// Networks that switch, with weights that nest, that truncate and that do neither.
inline constexpr const char* kSwitchedNetworks[] = {
    "any-precision/resnet20 expansion=1 blocks=1,1,1 size=8 widths=1,2,4,8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=9,21 size=9 widths=1,2,4,8,32",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 widths=4,8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 widths=1,8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 widths=3,6",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 widths=5,7",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 weights=truncating "
    "widths=1,2,3,4,5,6,7,8",
    "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8 stem=i8 skips=i8 head=i16",
    "any-precision/svhn expansion=1 size=48",
    "any-precision/resnet50 blocks=1,1 channels=4,8 size=32 classes=10 widths=2,32",
};
// Concatenations of values and codes of several steps.
inline constexpr const char* kInceptions[] = {
    "edmips/googlenet size=32 classes=10",
    "edmips/inception-v3 size=75 classes=10",
};

// A network with random tensors whose batch norms fit it, so that codes of all sizes occur, and the
// image they were fitted to.
struct FittedNetwork {
  explicit FittedNetwork(const std::string& text) {
    const size_t space = std::min(text.find(' '), text.size());
    network = BuildNetwork(text.substr(0, space), ParseArguments(text.substr(space)));
    network.input_std = kStd;
    tensors = RandomTensors(network);
    const Node& input = network.nodes[0];
    std::mt19937 random(12);
    image.resize(static_cast<size_t>(input.height * input.width * input.channels));
    for (uint8_t& pixel : image) pixel = static_cast<uint8_t>(random());
    for (const int width : Widths())
      PlainNetwork(network, tensors, width).Calibrate(NormalisedImage(), tensors);
  }

  std::vector<int> Widths() const {
    return network.widths.empty() ? std::vector<int>{0} : network.widths;
  }
  // Those it may be imported with.
  std::vector<Stem> Stems() const {
    for (const Node& node : network.nodes)
      if (node.weights.kind == WeightQuantizer::kFixedPoint &&
          network.node(node.inputs[0]).kind == NodeKind::kInput)
        return {Stem::kAuto};
    return {Stem::kI24, Stem::kI16, Stem::kI8, Stem::kF32};
  }
  Graph Imported(Stem stem, int width) const {
    return Import(network, tensors, {stem, kMean, kStd, width}, nullptr);
  }
  // The image, [h w c], as [c h w].
  std::vector<double> NormalisedImage() const {
    const size_t channels = kMean.size(), pixels = image.size() / channels;
    std::vector<double> x(image.size());
    for (size_t i = 0; i < image.size(); ++i)
      x[i % channels * pixels + i / channels] =
          (static_cast<double>(image[i]) / 255 - kMean[i % channels]) / kStd[i % channels];
    return x;
  }

  static inline const std::vector<double> kMean = {0.49, 0.48, 0.45}, kStd = {0.25, 0.24, 0.26};
  Network network;
  StateDict tensors;
  std::vector<uint8_t> image;  // [h w c]
};

}  // namespace lbrt
