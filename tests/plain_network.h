// What a network means at a width, in double: node after node on one image's values, [c h w], as
// methods.md writes it. It shares nothing with import but the weights' codes.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "network/network.h"

namespace lbrt {

class PlainNetwork {
 public:
  struct Value {
    int c = 0, h = 1, w = 1;
    std::vector<double> x;
    double& at(int channel, int row, int column) {
      return x[static_cast<size_t>((channel * h + row) * w + column)];
    }
    double at(int channel, int row, int column) const {
      return const_cast<Value*>(this)->at(channel, row, column);
    }
  };

  // `width` 0: of a network that has none.
  PlainNetwork(const Network& network, const StateDict& tensors, int width)
      : network_(network), tensors_(tensors), width_(width) {}

  // The logits of a normalised image [c h w].
  std::vector<double> Run(const std::vector<double>& image) {
    values_.clear();
    for (const Node& node : network_.nodes) {
      if (node.kind == NodeKind::kInput)
        values_.push_back({node.channels, node.height, node.width, image});
      else
        values_.push_back(Evaluate(node, values_[static_cast<size_t>(node.inputs[0])]));
    }
    return values_[static_cast<size_t>(network_.output)].x;
  }

  // Runs with statistics of the image itself in all batch norms, and leaves those in `tensors`.
  void Calibrate(const std::vector<double>& image, StateDict& tensors) {
    calibrated_ = &tensors;
    Run(image);
    calibrated_ = nullptr;
  }

 private:
  double Number(const std::string& name, int i) const {
    return static_cast<double>(tensors_.at(name).f32()[i]);
  }

  template <typename Function>
  static Value Each(Value y, Function function) {
    for (double& x : y.x) x = function(x);
    return y;
  }
  // function(x, c)
  template <typename Function>
  static Value EachChannel(Value y, Function function) {
    const size_t pixels = static_cast<size_t>(y.h) * static_cast<size_t>(y.w);
    for (size_t i = 0; i < y.x.size(); ++i) y.x[i] = function(y.x[i], static_cast<int>(i / pixels));
    return y;
  }

  Value Evaluate(const Node& node, const Value& x) {
    switch (node.kind) {
      case NodeKind::kConv:
      case NodeKind::kLinear:
        return Layer(node, x);
      case NodeKind::kBatchNorm:
        return BatchNorm(node, x);
      case NodeKind::kQuantize:
        return Each(x, [&](double v) { return Quantized(AtWidth(node.activations, width_), v); });
      case NodeKind::kRelu:
        return Each(x, [](double v) { return std::max(v, 0.0); });
      case NodeKind::kHardtanh:
        return Each(x, [](double v) { return std::clamp(v, -1.0, 1.0); });
      case NodeKind::kClip:
        return Each(x, [&](double v) { return std::clamp(v, 0.0, width_ == 32 ? 1e300 : 1.0); });
      case NodeKind::kPRelu:
        return EachChannel(
            x, [&](double v, int c) { return v > 0 ? v : v * Number(node.name + ".weight", c); });
      case NodeKind::kBias:
        return EachChannel(x,
                           [&](double v, int c) { return v + Number(node.name + ".bias", c); });
      case NodeKind::kAdd: {
        Value y = x;
        const Value& other = values_[static_cast<size_t>(node.inputs[1])];
        for (size_t i = 0; i < y.x.size(); ++i) y.x[i] += other.x[i];
        return y;
      }
      case NodeKind::kConcat: {
        Value y = {0, x.h, x.w, {}};
        for (const int input : node.inputs) {
          const Value& part = values_[static_cast<size_t>(input)];
          y.c += part.c;
          y.x.insert(y.x.end(), part.x.begin(), part.x.end());
        }
        return y;
      }
      case NodeKind::kMaxPool:
      case NodeKind::kAvgPool:
        return Pool(node, x, node.window);
      case NodeKind::kGlobalAvgPool:
        return Pool(node, x, {x.h, x.w, 1, 1, 0, 0, 0, 0});
      case NodeKind::kPadChannels: {
        Value y = {x.c + node.pad_before + node.pad_after, x.h, x.w, {}};
        const auto zeros = [&](int channels) {
          y.x.insert(y.x.end(), static_cast<size_t>(channels * x.h * x.w), 0.0);
        };
        zeros(node.pad_before);
        y.x.insert(y.x.end(), x.x.begin(), x.x.end());
        zeros(node.pad_after);
        return y;
      }
      case NodeKind::kFlatten:
        return {static_cast<int>(x.x.size()), 1, 1, x.x};
      case NodeKind::kInput:
      case NodeKind::kDropout:
        break;
    }
    return x;
  }

  // methods.md 1.1, 2.1, 4.1
  static double Quantized(const ActivationQuantizer& quantizer, double x) {
    const double levels = std::ldexp(1.0, quantizer.bits) - 1;
    switch (quantizer.kind) {
      case ActivationQuantizer::kSign:
        return x >= 0 ? 1 : -1;
      case ActivationQuantizer::kAnyPrecision:
        if (quantizer.bits == 32) return std::max(x, 0.0);
        return std::nearbyint(levels * std::clamp(x, 0.0, 1.0)) / levels;
      case ActivationQuantizer::kHwgq: {
        const double step = HwgqStep(quantizer.bits);
        return step * std::nearbyint(std::clamp(x, 0.0, step * levels) / step);
      }
      case ActivationQuantizer::kNone:
        break;
    }
    return x;
  }

  // The weights used, [o][c][taps].
  std::vector<double> Weights(const Node& node) const {
    const HostTensor& latent = tensors_.at(node.weight);
    const int64_t outputs = node.channels, size = latent.numel() / outputs;
    const WeightQuantizer quantizer = AtWidth(node.weights, width_);
    std::vector<double> used(static_cast<size_t>(latent.numel()));
    if (quantizer.kind == WeightQuantizer::kFixedPoint) {
      FixedPoint(node, quantizer.limbs, used);
    } else {
      const WeightCodes codes = QuantizeWeights(quantizer, latent.f32(), outputs, size);
      std::copy(codes.floats.begin(), codes.floats.end(), used.begin());
      for (const WeightPlane& plane : codes.planes)
        for (size_t i = 0; i < used.size(); ++i)
          used[i] += plane.scale[i / static_cast<size_t>(size)] * plane.codes[i];
    }
    for (size_t i = 0; !node.alpha.empty() && i < used.size(); ++i)
      used[i] *= Number(node.alpha, static_cast<int>(i / static_cast<size_t>(size)));
    return used;
  }

  // methods.md 8a
  void FixedPoint(const Node& node, int limbs, std::vector<double>& used) const {
    const HostTensor& latent = tensors_.at(node.weight);
    const size_t size = used.size() / static_cast<size_t>(node.channels);
    const bool stem = network_.node(node.inputs[0]).kind == NodeKind::kInput;
    const size_t taps = node.kind == NodeKind::kConv ? static_cast<size_t>(node.window.taps()) : 1;
    const auto divisor = [&](size_t i) {
      return stem && !network_.input_std.empty() ? 255 * network_.input_std[i % size / taps] : 1.0;
    };
    for (size_t begin = 0; begin < used.size(); begin += size) {
      double largest = 0;
      for (size_t i = begin; i < begin + size; ++i)
        largest = std::max(largest, std::fabs(latent.f32()[i] / divisor(i)));
      const double scale = largest / (limbs == 1 ? 127 : 32639);
      for (size_t i = begin; i < begin + size; ++i)
        used[i] = std::nearbyint(latent.f32()[i] / divisor(i) / scale) * scale * divisor(i);
    }
  }

  Value Layer(const Node& node, const Value& x) const {
    const Window w = node.kind == NodeKind::kLinear ? Window{x.h, x.w, 1, 1, 0, 0, 0, 0}
                                                    : node.window;
    const std::vector<double> weights = Weights(node);
    Value y = {node.channels, OutputHeight(w, x.h), OutputWidth(w, x.w), {}};
    y.x.resize(static_cast<size_t>(y.c) * static_cast<size_t>(y.h * y.w));
    for (int o = 0; o < y.c; ++o)
      for (int row = 0; row < y.h; ++row)
        for (int column = 0; column < y.w; ++column) {
          double sum = node.bias ? node.weights.t_ex * Number(node.name + ".bias", o) : 0;
          const double* weight = &weights[static_cast<size_t>(o) * static_cast<size_t>(x.c) *
                                          static_cast<size_t>(w.taps())];
          for (int c = 0; c < x.c; ++c)
            for (int ky = 0; ky < w.kernel_h; ++ky)
              for (int kx = 0; kx < w.kernel_w; ++kx, ++weight) {
                const int in_y = row * w.stride_h - w.pad_top + ky;
                const int in_x = column * w.stride_w - w.pad_left + kx;
                if (in_y >= 0 && in_y < x.h && in_x >= 0 && in_x < x.w)
                  sum += *weight * x.at(c, in_y, in_x);
              }
          y.at(o, row, column) = sum;
        }
    return y;
  }

  Value BatchNorm(const Node& node, const Value& x) {
    const std::string prefix = BatchNormPrefix(node, width_);
    const int pixels = x.h * x.w;
    for (int c = 0; calibrated_ != nullptr && pixels > 1 && c < x.c; ++c) {
      double sum = 0, squares = 0;
      for (int i = 0; i < pixels; ++i) sum += x.at(c, 0, i);
      for (int i = 0; i < pixels; ++i) squares += std::pow(x.at(c, 0, i) - sum / pixels, 2);
      (*calibrated_)[prefix + ".running_mean"].f32()[c] = static_cast<float>(sum / pixels);
      (*calibrated_)[prefix + ".running_var"].f32()[c] =
          static_cast<float>(std::max(squares / pixels, 1e-3));
    }
    return EachChannel(x, [&](double v, int c) {
      const double normal = (v - Number(prefix + ".running_mean", c)) /
                            std::sqrt(Number(prefix + ".running_var", c) + node.eps);
      return node.affine ? normal * Number(prefix + ".weight", c) + Number(prefix + ".bias", c)
                         : normal;
    });
  }

  static Value Pool(const Node& node, const Value& x, const Window& w) {
    const bool largest = node.kind == NodeKind::kMaxPool;
    Value y = {x.c, OutputHeight(w, x.h), OutputWidth(w, x.w), {}};
    y.x.resize(static_cast<size_t>(y.c * y.h * y.w));
    for (int c = 0; c < y.c; ++c)
      for (int row = 0; row < y.h; ++row)
        for (int column = 0; column < y.w; ++column) {
          double result = largest ? -1e300 : 0;
          for (int ky = 0; ky < w.kernel_h; ++ky)
            for (int kx = 0; kx < w.kernel_w; ++kx) {
              const int in_y = row * w.stride_h - w.pad_top + ky;
              const int in_x = column * w.stride_w - w.pad_left + kx;
              if (in_y < 0 || in_y >= x.h || in_x < 0 || in_x >= x.w) continue;
              const double value = x.at(c, in_y, in_x);
              result = largest ? std::max(result, value) : result + value / w.taps();
            }
          y.at(c, row, column) = result;
        }
    return y;
  }

  const Network& network_;
  const StateDict& tensors_;
  const int width_;
  StateDict* calibrated_ = nullptr;
  std::vector<Value> values_;
};

}  // namespace lbrt
