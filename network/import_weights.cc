#include "network/import_weights.h"

#include <cmath>
#include <utility>

#include "images/error.h"

namespace lbrt {
namespace {

// [o][c][taps], as PyTorch has it, to the graph's [o][taps][c].
template <typename T, typename From>
std::vector<T> ChannelsLast(const std::vector<From>& weights, int channels, int taps) {
  std::vector<T> result;
  result.reserve(weights.size());
  const size_t size = static_cast<size_t>(channels) * static_cast<size_t>(taps);
  for (size_t o = 0; o < weights.size(); o += size)
    for (int tap = 0; tap < taps; ++tap)
      for (int c = 0; c < channels; ++c)
        result.push_back(static_cast<T>(weights[o + static_cast<size_t>(c * taps + tap)]));
  return result;
}

class Layer {
 public:
  Layer(const LayerWeights& layer, const LayerInput& input)
      : layer_(layer),
        input_(input),
        taps_(layer.window.taps()),
        size_(static_cast<size_t>(input.channels) * static_cast<size_t>(taps_)) {}

  LayerSums Run() {
    const bool image = input_.type == ValueType::kU8, codes = !image && IsCode();
    if (layer_.quantizer.kind == WeightQuantizer::kFixedPoint) {
      const size_t count = static_cast<size_t>(layer_.outputs) * size_;
      FixedPoint({layer_.latent, layer_.latent + count}, layer_.trained_divisor,
                 layer_.quantizer.limbs);
    } else {
      WeightCodes weights = QuantizeWeights(layer_.quantizer, layer_.latent, layer_.outputs,
                                            static_cast<int64_t>(size_));
      sums_.dead = std::move(weights.dead);
      sums_.cases = weights.cases;
      if (image || (codes && weights.planes.empty()))
        FixedPoint(Values(weights), input_.divisor, layer_.limbs);
      else if (weights.planes.empty())
        Floats(weights.floats);
      else
        for (const WeightPlane& plane : weights.planes) Codes(plane);
    }
    for (LayerPlane& plane : sums_.planes) Scale(plane);
    return std::move(sums_);
  }

 private:
  bool IsCode() const {
    return input_.type == ValueType::kSign || input_.type == ValueType::kCode;
  }

  GraphNode& AppendPlane(WeightKind kind, ValueType type) {
    GraphNode& conv = sums_.planes.emplace_back().conv;
    conv.op = GraphOp::kConv;
    conv.window = layer_.window;
    conv.channels = layer_.outputs;
    conv.height = OutputHeight(layer_.window, input_.height);
    conv.width = OutputWidth(layer_.window, input_.width);
    conv.weight_kind = kind;
    conv.type = type;
    return conv;
  }

  void Floats(const std::vector<float>& weights) {
    AppendPlane(WeightKind::kFloat, ValueType::kF32).weights =
        ChannelsLast<float>(weights, input_.channels, taps_);
    sums_.planes[0].scale.assign(static_cast<size_t>(layer_.outputs), 1);
  }

  void Codes(const WeightPlane& plane) {
    const WeightQuantizer& q = layer_.quantizer;
    const WeightKind kind = q.kind == WeightQuantizer::kTernary ? WeightKind::kTernary
                            : q.bits > 1                        ? WeightKind::kOdd
                                                                : WeightKind::kSign;
    GraphNode& conv = AppendPlane(kind, IsCode() ? ValueType::kI32 : ValueType::kF32);
    if (kind == WeightKind::kOdd) conv.bits = q.bits;
    conv.codes = ChannelsLast<int32_t>(plane.codes, input_.channels, taps_);
    sums_.planes.back().scale = plane.scale;
  }

  // The weights that the layer uses.
  std::vector<double> Values(const WeightCodes& weights) const {
    std::vector<double> values(weights.floats.begin(), weights.floats.end());
    for (const WeightPlane& plane : weights.planes) {
      values.resize(plane.codes.size());
      for (size_t i = 0; i < values.size(); ++i)
        values[i] += plane.scale[i / size_] * plane.codes[i];
    }
    return values;
  }

  // Codes of weights[o][c][tap] / divisor[c] (an empty divisor: 1).
  void FixedPoint(std::vector<double> weights, const std::vector<double>& divisor, int limbs) {
    for (size_t i = 0; !divisor.empty() && i < weights.size(); ++i)
      weights[i] /= divisor[i % size_ / static_cast<size_t>(taps_)];
    FixedCodes fixed = FixedPointCodes(weights.data(), layer_.outputs,
                                       static_cast<int64_t>(size_), limbs);
    const bool floats = input_.type == ValueType::kF32;
    GraphNode& conv = AppendPlane(WeightKind::kFixed, floats ? ValueType::kF32 : ValueType::kI64);
    conv.limbs = limbs;
    conv.codes = ChannelsLast<int32_t>(fixed.codes, input_.channels, taps_);
    sums_.planes[0].scale = std::move(fixed.scale);
    if (input_.type != ValueType::kU8) return;
    if (divisor != input_.divisor) TakeNormalisation(divisor);
    Offsets(conv);
  }

  // Training divided the weights by other numbers than the image's: only where all channels differ
  // by the same factor does it stay a matter of the scale.
  void TakeNormalisation(const std::vector<double>& trained) {
    std::vector<double> factor;
    for (size_t c = 0; c < input_.divisor.size(); ++c)
      factor.push_back((trained.empty() ? 1 : trained[c]) / input_.divisor[c]);
    for (const double f : factor)
      if (std::fabs(f - factor[0]) > 1e-9 * factor[0])
        throw InputError("preprocessing", "its deviations differ from those that node " +
                                              layer_.name + " was trained with in fixed point");
    for (double& scale : sums_.planes[0].scale) scale *= factor[0];
  }

  // What the mean of the image takes away: the sum of code * mean over the valid taps.
  void Offsets(const GraphNode& conv) {
    const BorderAxis rows = BorderRows(conv.window, input_.height);
    const BorderAxis columns = BorderColumns(conv.window, input_.width);
    sums_.border_rows = rows.classes();
    sums_.border_columns = columns.classes();
    for (int row = 0; row < rows.classes(); ++row)
      for (int column = 0; column < columns.classes(); ++column)
        for (int o = 0; o < layer_.outputs; ++o)
          sums_.offset.push_back(
              Offset(conv, o, rows.taps(rows.First(row)), columns.taps(columns.First(column))));
  }
  double Offset(const GraphNode& conv, int output, TapRange ys, TapRange xs) const {
    double offset = 0;
    for (int ky = ys.begin; ky < ys.end; ++ky)
      for (int kx = xs.begin; kx < xs.end; ++kx) {
        const int tap = ky * conv.window.kernel_w + kx;
        const size_t at = static_cast<size_t>(output) * size_ +
                          static_cast<size_t>(tap) * static_cast<size_t>(input_.channels);
        for (size_t c = 0; c < input_.offset.size(); ++c)
          offset += conv.codes[at + c] * input_.offset[c];
      }
    return offset;
  }

  // The quantizer's scale with the learned one and the step of the input's codes.
  void Scale(LayerPlane& plane) const {
    for (size_t o = 0; o < plane.scale.size(); ++o) {
      if (layer_.alpha != nullptr) plane.scale[o] *= static_cast<double>(layer_.alpha[o]);
      plane.scale[o] *= input_.step;
    }
  }

  const LayerWeights& layer_;
  const LayerInput& input_;
  const int taps_;
  const size_t size_;  // weights of one output
  LayerSums sums_;
};

}  // namespace

LayerSums SumsOf(const LayerWeights& layer, const LayerInput& input) {
  return Layer(layer, input).Run();
}

}  // namespace lbrt
