#include "converter/onnx/layers.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lbrt::onnx {
namespace {

constexpr double kMostCode = 8355711;  // of three signed 8-bit limbs

template <typename Visit>
void ForEachWeight(const LayerWeights& w, Visit visit) {
  for (int o = 0; o < w.outputs; ++o)
    for (int ky = 0; ky < w.window.kernel_h; ++ky)
      for (int kx = 0; kx < w.window.kernel_w; ++kx)
        for (int c = 0; c < w.channels; ++c) visit(o, w.index(o, ky, kx, c));
}

template <typename Test>
bool All(const std::vector<int32_t>& codes, Test test) {
  return std::all_of(codes.begin(), codes.end(), test);
}

}  // namespace

WeightList ListWeights(const LayerWeights& weights) {
  const Value& constant = *weights.constant;
  const bool quantized = !constant.codes.empty();
  WeightList list;
  list.scale.assign(static_cast<size_t>(weights.outputs), quantized ? 0 : 1);
  ForEachWeight(weights, [&](int o, size_t i) {
    const double code = quantized ? constant.codes[i] : constant.values[i];
    double& scale = list.scale[static_cast<size_t>(o)];
    if (quantized && scale == 0) scale = constant.scales[i];
    if (quantized && scale != constant.scales[i])
      list.why_floats = "its weights have several scales an output channel";
    if (code != std::floor(code) || std::fabs(code) > kMostCode)
      list.why_floats = quantized ? "its weights' codes are no whole numbers of 24 bits"
                                  : "its weights are not quantized";
    else
      list.codes.push_back(static_cast<int32_t>(code));
  });
  if (list.why_floats.empty()) return list;
  list.codes.clear();
  list.scale.assign(static_cast<size_t>(weights.outputs), 1);
  ForEachWeight(weights, [&](int, size_t i) {
    list.floats.push_back(static_cast<float>(constant.values[i]));
  });
  return list;
}

void SetWeights(WeightList list, ValueType input, GraphNode* conv) {
  conv->type = ValueType::kF32;
  if (!list.floats.empty()) {
    conv->weight_kind = WeightKind::kFloat;
    conv->weights = std::move(list.floats);
    return;
  }
  conv->codes = std::move(list.codes);
  int32_t largest = 0, bits = 0;  // of magnitudes; of two's complement
  for (const int32_t w : conv->codes) {
    largest = std::max(largest, std::abs(w));
    bits = std::max(bits, 1 + static_cast<int32_t>(
                                  std::bit_width(static_cast<uint32_t>(w < 0 ? -(w + 1) : w))));
  }
  const bool odd = All(conv->codes, [](int32_t w) { return w % 2 != 0; });
  if (largest == 1 && odd) {
    conv->weight_kind = WeightKind::kSign;
  } else if (largest <= 1) {
    conv->weight_kind = WeightKind::kTernary;
  } else if (odd && largest < 256) {
    conv->weight_kind = WeightKind::kOdd;
    conv->bits = std::bit_width(static_cast<uint32_t>(largest));
  } else if (bits < 8 || (bits == 8 && largest == 128)) {  // 8 bits are bytes, but for -128
    conv->weight_kind = WeightKind::kInteger;
    conv->bits = bits;
  } else {
    conv->weight_kind = WeightKind::kFixed;
    conv->limbs = largest <= 127 ? 1 : largest <= 32639 ? 2 : 3;
  }
  if (input != ValueType::kF32)
    conv->type = conv->weight_kind == WeightKind::kFixed ? ValueType::kI64 : ValueType::kI32;
}

}  // namespace lbrt::onnx
