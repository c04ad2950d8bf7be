// What a model file means, on plain values by kernels/reference: every tensor's values, NHWC. It
// shares no layout, table or packing with the runtime.
#pragma once

#include <vector>

#include "kernels/numerics.h"
#include "kernels/reference.h"
#include "tests/model_builder.h"

namespace lbrt {

struct PlainTensor {
  size_t n = 0, h = 0, w = 0, c = 0;
  std::vector<float> values;  // +-1 for bits, 0..255 for u8 and codes

  size_t image() const { return h * w * c; }
};

class PlainModel {
 public:
  // `inputs` in the order of the file's, NHWC; they may have another batch than the file says.
  PlainModel(const ModelFile& file, const std::vector<PlainTensor>& inputs)
      : file_(file), tensors_(file.table.tensors.size()) {
    for (size_t i = 0; i < inputs.size(); ++i) tensors_[file.table.inputs[i]->tensor] = inputs[i];
    for (const auto& op : file.table.ops) {
      if (const auto* conv = op->body.AsConv()) Run(*conv);
      if (const auto* eltwise = op->body.AsEltwise())
        RunStages(eltwise->stages, tensors_[eltwise->input]);
      if (const auto* pool = op->body.AsAvgPool()) Run(*pool);
      if (const auto* pool = op->body.AsMaxPool()) Run(*pool);
      if (const auto* concat = op->body.AsConcat()) Run(*concat);
      if (const auto* threshold = op->body.AsThreshold()) Run(*threshold);
      if (const auto* upsample = op->body.AsUpsample()) Run(*upsample);
      if (const auto* blocks = op->body.AsDepthToSpace()) Run(*blocks);
    }
  }

  const PlainTensor& tensor(size_t i) const { return tensors_[i]; }

 private:
  static Window PlainWindow(const lbm::Window& w) {
    return {w.kernel_h(), w.kernel_w(), w.stride_h(),   w.stride_w(),
            w.pad_top(),  w.pad_left(), w.pad_bottom(), w.pad_right()};
  }

  std::vector<float> Numbers(const lbm::Floats& floats) const {
    std::vector<float> numbers(floats.count());
    std::memcpy(numbers.data(), file_.segments[floats.segment()].data() + floats.offset(),
                numbers.size() * sizeof(float));
    return numbers;
  }

  std::vector<int32_t> IntegerWeights(const lbm::ConvT& conv, size_t elements) const {
    std::vector<int32_t> weights(conv.channels * elements);
    const size_t row = (elements + 31) / 32 * 4;
    for (size_t i = 0; i < weights.size(); ++i) {
      const size_t o = i / elements, k = i % elements;
      const auto bit = [&](uint32_t plane) {
        return (file_.segments[plane][o * row + k / 8] >> (k % 8)) & 1;
      };
      int32_t& w = weights[i];
      switch (conv.kind) {
        case lbm::WeightKind::Sign:
        case lbm::WeightKind::Odd:
          for (uint32_t plane : conv.planes) w = w * 2 + (bit(plane) ? 1 : -1);
          break;
        case lbm::WeightKind::Integers:
          w = bit(conv.planes[0]) ? -1 : 0;
          for (size_t plane = 1; plane < conv.planes.size(); ++plane)
            w = w * 2 + bit(conv.planes[plane]);
          break;
        case lbm::WeightKind::Weighted:
          w = conv.offset;
          for (size_t plane = 0; plane < conv.planes.size(); ++plane)
            w += bit(conv.planes[plane]) * conv.plane_weights[plane];
          w = 2 * (w % (1 << conv.bits)) - (1 << conv.bits) + 1;
          break;
        case lbm::WeightKind::Ternary:
          w = bit(conv.planes[1]) == 0 ? 0 : bit(conv.planes[0]) ? 1 : -1;
          break;
        default:
          for (uint32_t plane : conv.planes)
            w = w * 256 + static_cast<int8_t>(file_.segments[plane][i]);
      }
    }
    return weights;
  }

  void Run(const lbm::ConvT& conv) {
    const PlainTensor& x = tensors_[conv.input];
    const reference::Convolution shape = {x.h,           x.w,
                                          x.c,           conv.channels,
                                          PlainWindow(*conv.window), conv.groups};
    const size_t elements = static_cast<size_t>(shape.window.taps()) * (x.c / conv.groups);
    PlainTensor sums = {x.n, shape.out_height(), shape.out_width(), conv.channels, {}};
    sums.values.resize(sums.n * sums.image());
    const bool integers = file_.table.tensors[conv.input]->type != lbm::TensorType::F32;
    for (size_t n = 0; n < x.n; ++n) {
      float* out = sums.values.data() + n * sums.image();
      const float* in = x.values.data() + n * x.image();
      if (integers) {
        std::vector<int32_t> codes(in, in + x.image());
        for (int32_t& code : codes) code -= conv.zero;
        std::vector<int64_t> exact(sums.image());
        reference::IntegerSums(shape, codes.data(), IntegerWeights(conv, elements).data(),
                               exact.data());
        for (size_t i = 0; i < exact.size(); ++i) out[i] = static_cast<float>(exact[i]);
      } else {
        std::vector<float> weights;
        if (conv.kind == lbm::WeightKind::Float) {
          weights = Numbers({conv.planes[0], 0, static_cast<uint32_t>(conv.channels * elements)});
        } else {
          for (int32_t w : IntegerWeights(conv, elements)) weights.push_back(static_cast<float>(w));
        }
        reference::FloatSums(shape, in, weights.data(), out);
      }
    }
    RunStages(conv.stages, sums, &shape);
  }

  // `border` is the convolution whose border classes a b may have.
  void RunStages(const std::vector<std::unique_ptr<lbm::StageT>>& stages, PlainTensor z,
                 const reference::Convolution* border = nullptr) {
    const PlainTensor sum = z;
    for (const auto& stage : stages) {
      if (stage->restart) z = sum;
      const auto at = [](const std::vector<float>& list, size_t i) {
        return list.size() == 1 ? list[0] : list[i];
      };
      const std::vector<float> a = stage->a ? Numbers(*stage->a) : std::vector<float>{1.0f};
      const std::vector<float> b = stage->b ? Numbers(*stage->b) : std::vector<float>{0.0f};
      const std::vector<float> slopes =
          stage->slopes ? Numbers(*stage->slopes) : std::vector<float>{0.0f};
      const auto operand = [&](int32_t tensor) -> const std::vector<float>& {
        return tensors_[static_cast<size_t>(tensor)].values;
      };
      for (size_t i = 0; i < z.values.size(); ++i) {
        float& value = z.values[i];
        const size_t c = i % z.c, x = i / z.c % z.w, y = i / z.c / z.w % z.h;
        const size_t cls = b.size() > z.c ? BorderClass(*border, y, x) : 0;
        if (stage->base >= 0) {
          value = Affine(value, at(a, c), operand(stage->base)[i]);
        } else if (stage->a || stage->b) {
          value = Affine(value, at(a, c), at(b, cls * z.c + c));
        }
        if (stage->add >= 0) value += operand(stage->add)[i];
        switch (stage->activation) {
          case lbm::Activation::None: break;
          case lbm::Activation::Relu: value = Relu(value); break;
          case lbm::Activation::Hardtanh: value = Hardtanh(value); break;
          case lbm::Activation::ClipUnit: value = ClipUnit(value); break;
          case lbm::Activation::PRelu: value = PRelu(value, at(slopes, c)); break;
        }
      }
      if (stage->out_f32 >= 0) tensors_[static_cast<size_t>(stage->out_f32)] = z;
      if (stage->out_sign >= 0) {
        PlainTensor& signs = tensors_[static_cast<size_t>(stage->out_sign)] = z;
        for (float& value : signs.values) value = SignBit(value) ? 1.0f : -1.0f;
      }
      if (stage->out_codes >= 0) {
        PlainTensor& codes = tensors_[static_cast<size_t>(stage->out_codes)] = z;
        if (stage->thresholds) {
          Count(*stage->thresholds, stage->threshold_levels, codes);
          continue;
        }
        for (float& value : codes.values)
          value = ActivationCode(value, stage->codes->inverse_step(), stage->codes->levels());
      }
    }
  }

  static size_t BorderClass(const reference::Convolution& conv, size_t y, size_t x) {
    const BorderAxis ys = BorderRows(conv.window, static_cast<int>(conv.height));
    const BorderAxis xs = BorderColumns(conv.window, static_cast<int>(conv.width));
    return static_cast<size_t>(ys.Class(static_cast<int>(y)) * xs.classes() +
                               xs.Class(static_cast<int>(x)));
  }

  void Run(const lbm::AvgPoolT& pool) {
    const PlainTensor& x = tensors_[pool.input];
    const reference::Convolution shape = {x.h, x.w, x.c, 0, PlainWindow(*pool.window)};
    PlainTensor y = {
        x.n, shape.out_height(), shape.out_width(), pool.pad_before + x.c + pool.pad_after, {}};
    y.values.resize(y.n * y.image());
    const float scale = pool.sum ? 1.0f : 1.0f / static_cast<float>(shape.window.taps());
    for (size_t n = 0; n < x.n; ++n)
      reference::AveragePool(shape, x.values.data() + n * x.image(), scale, pool.pad_before,
                             pool.pad_after, y.values.data() + n * y.image());
    tensors_[pool.output] = y;
  }

  void Run(const lbm::MaxPoolT& pool) {
    const PlainTensor& x = tensors_[pool.input];
    const reference::Convolution shape = {x.h, x.w, x.c, 0, PlainWindow(*pool.window)};
    PlainTensor y = {x.n, shape.out_height(), shape.out_width(), x.c, {}};
    y.values.resize(y.n * y.image());
    std::vector<uint8_t> minimum(x.c);
    for (size_t c = 0; c < x.c && !pool.minimum.empty(); ++c)
      minimum[c] = pool.minimum[c / 8] >> (c % 8) & 1;
    for (size_t n = 0; n < x.n; ++n)
      reference::MaxPool(shape, x.values.data() + n * x.image(), y.values.data() + n * y.image(),
                         minimum.data());
    tensors_[pool.output] = y;
  }

  void Run(const lbm::ConcatT& concat) {
    const PlainTensor& first = tensors_[concat.inputs[0]];
    PlainTensor y = {first.n, first.h, first.w, 0, {}};
    for (uint32_t input : concat.inputs) y.c += tensors_[input].c;
    for (size_t pixel = 0; pixel < y.n * y.h * y.w; ++pixel)
      for (uint32_t input : concat.inputs) {
        const PlainTensor& x = tensors_[input];
        for (size_t c = 0; c < x.c; ++c) y.values.push_back(x.values[pixel * x.c + c]);
      }
    tensors_[concat.output] = y;
  }

  // Each value becomes how many of its channel's thresholds are <= it.
  void Count(const lbm::Floats& list, size_t levels, PlainTensor& y) {
    const std::vector<float> thresholds = Numbers(list);
    const size_t row = thresholds.size() / levels;
    for (size_t i = 0; i < y.values.size(); ++i) {
      const float x = y.values[i];
      y.values[i] = 0;
      for (size_t t = row == 1 ? 0 : i % y.c; t < thresholds.size(); t += row)
        if (x >= thresholds[t]) ++y.values[i];
    }
  }

  void Run(const lbm::ThresholdT& op) {
    tensors_[op.output] = tensors_[op.input];
    Count(*op.thresholds, op.levels, tensors_[op.output]);
  }

  // y [n h w channels] of `block_h` x `block_w` pixels for each of x's; from(c, by, bx) is the
  // channel of x.
  template <typename From>
  static PlainTensor Blocks(const PlainTensor& x, size_t block_h, size_t block_w, size_t channels,
                            From from) {
    PlainTensor y = {x.n, x.h * block_h, x.w * block_w, channels, {}};
    for (size_t i = 0; i < y.n * y.image(); ++i) {
      const size_t c = i % y.c, column = i / y.c % y.w, row = i / y.c / y.w % y.h;
      const size_t pixel = (i / y.image() * x.h + row / block_h) * x.w + column / block_w;
      y.values.push_back(x.values[pixel * x.c + from(c, row % block_h, column % block_w)]);
    }
    return y;
  }

  void Run(const lbm::UpsampleT& op) {
    const PlainTensor& x = tensors_[op.input];
    tensors_[op.output] = Blocks(x, op.factor_h, op.factor_w, x.c,
                                 [](size_t c, size_t, size_t) { return c; });
  }

  void Run(const lbm::DepthToSpaceT& op) {
    const PlainTensor& x = tensors_[op.input];
    const size_t block = op.block, channels = x.c / block / block;
    const bool channel_first = op.order == lbm::DepthOrder::ChannelFirst;
    tensors_[op.output] = Blocks(x, block, block, channels, [&](size_t c, size_t by, size_t bx) {
      return channel_first ? c * block * block + by * block + bx
                           : by * block * channels + bx * channels + c;
    });
  }

  const ModelFile& file_;
  std::vector<PlainTensor> tensors_;
};

}  // namespace lbrt
