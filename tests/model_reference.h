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
  std::vector<float> values;  // +-1 for bits, 0..255 for u8

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
      if (conv.kind == lbm::WeightKind::Sign) {
        const uint8_t byte = file_.segments[conv.planes[0]][o * row + k / 8];
        weights[i] = (byte >> (k % 8)) & 1 ? 1 : -1;
      } else {
        for (uint32_t plane : conv.planes)
          weights[i] = weights[i] * 256 + static_cast<int8_t>(file_.segments[plane][i]);
      }
    }
    return weights;
  }

  void Run(const lbm::ConvT& conv) {
    const PlainTensor& x = tensors_[conv.input];
    const reference::Convolution shape = {x.h, x.w, x.c, conv.channels, PlainWindow(*conv.window)};
    const size_t elements = static_cast<size_t>(shape.window.taps()) * x.c;
    PlainTensor sums = {x.n, shape.out_height(), shape.out_width(), conv.channels, {}};
    sums.values.resize(sums.n * sums.image());
    const bool integers = file_.table.tensors[conv.input]->type != lbm::TensorType::F32;
    for (size_t n = 0; n < x.n; ++n) {
      float* out = sums.values.data() + n * sums.image();
      const float* in = x.values.data() + n * x.image();
      if (integers) {
        const std::vector<int32_t> codes(in, in + x.image());
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
    for (const auto& stage : stages) {
      const auto at = [](const std::vector<float>& list, size_t i) {
        return list.size() == 1 ? list[0] : list[i];
      };
      const std::vector<float> a = stage->a ? Numbers(*stage->a) : std::vector<float>{1.0f};
      const std::vector<float> b = stage->b ? Numbers(*stage->b) : std::vector<float>{0.0f};
      for (size_t i = 0; i < z.values.size(); ++i) {
        float& value = z.values[i];
        const size_t c = i % z.c, x = i / z.c % z.w, y = i / z.c / z.w % z.h;
        const size_t cls = b.size() > z.c ? BorderClass(*border, y, x) : 0;
        if (stage->a || stage->b) value = Affine(value, at(a, c), at(b, cls * z.c + c));
        if (stage->add >= 0) value += tensors_[static_cast<size_t>(stage->add)].values[i];
        if (stage->activation == lbm::Activation::Relu) value = Relu(value);
        if (stage->activation == lbm::Activation::Hardtanh) value = Hardtanh(value);
      }
      if (stage->out_f32 >= 0) tensors_[static_cast<size_t>(stage->out_f32)] = z;
      if (stage->out_sign >= 0) {
        PlainTensor& signs = tensors_[static_cast<size_t>(stage->out_sign)] = z;
        for (float& value : signs.values) value = SignBit(value) ? 1.0f : -1.0f;
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
    const float scale = 1.0f / static_cast<float>(shape.window.taps());
    for (size_t n = 0; n < x.n; ++n)
      reference::AveragePool(shape, x.values.data() + n * x.image(), scale, pool.pad_before,
                             pool.pad_after, y.values.data() + n * y.image());
    tensors_[pool.output] = y;
  }

  const ModelFile& file_;
  std::vector<PlainTensor> tensors_;
};

}  // namespace lbrt
