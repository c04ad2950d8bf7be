#include "apps/lbconvert/float_check.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "apps/lbconvert/describe.h"
#include "trainer/execute.h"

namespace lbrt {
namespace {

// Sample i as the network's own input, [1 c h w].
at::Tensor InputOf(const Network& network, const Preprocessing& preprocessing, const Dataset& data,
                   size_t i) {
  const Node& node = network.nodes[0];
  at::Tensor input = at::empty({1, node.channels, node.height, node.width}, at::kFloat);
  float* values = input.data_ptr<float>();
  const auto count = static_cast<size_t>(input.numel());
  if (!data.values.empty()) {
    std::copy_n(data.values.data() + i * count, count, values);
    return input;
  }
  const std::vector<float> table = NormaliseTable(preprocessing);
  const Image image = Apply(preprocessing, data.image(i));
  const auto channels = static_cast<size_t>(node.channels), pixels = count / channels;
  for (size_t c = 0; c < channels; ++c)
    for (size_t p = 0; p < pixels; ++p)
      values[c * pixels + p] = table[c * 256 + image.pixels[p * channels + c]];
  return input;
}

}  // namespace

std::string FloatCheck(const Network& network, const StateDict& tensors, int width,
                       const Preprocessing& preprocessing, const Dataset& data,
                       const Verification& verified) {
  const at::NoGradGuard no_gradients;
  TrainerModel model(network, at::kFloat, at::kCPU);
  model.Load(tensors);
  Execution execution;
  execution.width = width;
  const size_t classes = verified.logits.size() / verified.images;
  size_t agree = 0;
  float largest = 0, difference = 0;
  for (size_t i = 0; i < verified.images; ++i) {
    const at::Tensor logits =
        Execute(model, InputOf(network, preprocessing, data, i), execution).contiguous();
    const float* want = logits.data_ptr<float>();
    const float* got = verified.logits.data() + i * classes;
    for (size_t c = 0; c < classes; ++c) {
      largest = std::max(largest, std::abs(want[c]));
      difference = std::max(difference, std::abs(want[c] - got[c]));
    }
    agree +=
        std::max_element(want, want + classes) - want == std::max_element(got, got + classes) - got;
  }
  char text[160];
  std::snprintf(
      text, sizeof text,
      "float network (LibTorch): the same class on %zu of %s, logits of up to %.4g differ "
      "by at most %.2g\n",
      agree, Counted(static_cast<int64_t>(verified.images), "image").c_str(),
      static_cast<double>(largest), static_cast<double>(difference));
  return text;
}

}  // namespace lbrt
