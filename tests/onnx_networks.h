// QONNX networks as Brevitas and FINN write them, with random weights, for tests and the fuzzer's
// corpus.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/onnx_writer.h"

namespace lbrt {

class OnnxNetworks {
 public:
  // `fine`: scales that are no powers of two.
  explicit OnnxNetworks(bool fine, uint32_t seed = 1) : fine_(fine), random_(seed) {}

  float Uniform(float least, float most) {
    return std::uniform_real_distribution<float>(least, most)(random_);
  }
  float Scale(float about) {
    return fine_ ? about * Uniform(0.7f, 1.3f) : std::exp2(std::round(std::log2(about)));
  }
  std::vector<float> Normal(size_t count, float size = 1) {
    std::vector<float> values(count);
    for (float& value : values) value = size * std::normal_distribution<float>()(random_);
    return values;
  }
  std::vector<float> Integers(size_t count, int least, int most) {
    std::vector<float> values(count);
    for (float& v : values)
      v = static_cast<float>(std::uniform_int_distribution<int>(least, most)(random_));
    return values;
  }

  // Weights of a shape, quantized; of 1 bit by BipolarQuant, else a scale a channel.
  std::string Weights(OnnxWriter& w, std::vector<int64_t> shape, int bits) {
    size_t count = 1;
    for (const int64_t side : shape) count *= static_cast<size_t>(side);
    const std::string latent = w.Constant(shape, Normal(count));
    if (bits == 1) return w.Bipolar(latent, Scale(0.1f));
    std::vector<int64_t> sides(shape.size(), 1);
    sides[0] = shape[0];
    std::vector<float> scales;
    for (int64_t o = 0; o < shape[0]; ++o) scales.push_back(Scale(2.0f / std::exp2(bits - 1.0f)));
    return w.Quant(latent, w.Constant(sides, scales), 0, static_cast<float>(bits), true, true);
  }

  // Some of its weights are negative; `size` is about the largest input.
  std::string BatchNorm(OnnxWriter& w, const std::string& x, int64_t channels, float size) {
    const auto n = static_cast<size_t>(channels);
    std::vector<float> variance;
    for (size_t c = 0; c < n; ++c)
      variance.push_back(fine_ ? size * size * Uniform(0.5f, 1.5f)
                               : std::exp2(2 * std::round(std::log2(size))));
    std::vector<float> weight = Normal(n);
    if (!fine_)
      for (float& g : weight) g = g < 0 ? -1.0f : 1.0f;
    return w.Node(
        "BatchNormalization",
        {x, w.Constant({channels}, weight), w.Constant({channels}, Normal(n, 0.5f)),
         w.Constant({channels}, Normal(n, size * 0.3f)), w.Constant({channels}, variance)},
        {Real("epsilon", fine_ ? 1e-5f : 0.0f)});
  }

  // Activations of `bits`: signs, or signed and narrow as Brevitas has them.
  std::string Activations(OnnxWriter& w, const std::string& x, int bits,
                          const std::string& domain = OnnxWriter::kQonnx) {
    if (bits == 1) return w.Bipolar(x, Scale(1));
    return w.Quant(x, w.Scalar(Scale(2.0f / std::exp2(bits - 1.0f))), 0, static_cast<float>(bits),
                   true, true, "ROUND", domain);
  }

  // TFC: a grey image, flattened, 2x - 1, quantized; dense layers.
  std::vector<uint8_t> Dense(int weight_bits, int activation_bits) {
    OnnxWriter w;
    std::string x = w.Input("image", {1, 1, 28, 28});
    x = w.Node("Reshape", {x, w.Integers({1, -1})});
    x = w.Node("Sub", {w.Node("Mul", {x, w.Scalar(2)}), w.Constant({1}, {1})});
    x = activation_bits == 1 ? w.Bipolar(x, 1)
                             : w.Quant(x, w.Scalar(Scale(1.0f / 128)), 0, 8, true, false);
    int64_t features = 784;
    for (const int64_t outputs : {33, 24}) {
      const std::string weights = Weights(w, {outputs, features}, weight_bits);
      x = w.Node("MatMul", {x, w.Node("Transpose", {weights}, {Ints("perm", {1, 0})})});
      x = BatchNorm(w, x, outputs, 0.1f * std::sqrt(static_cast<float>(features)));
      x = Activations(w, x, activation_bits, outputs == 33 ? "onnx.brevitas" : OnnxWriter::kQonnx);
      features = outputs;
    }
    const std::string weights = Weights(w, {10, features}, weight_bits);
    x = w.Node("MatMul", {x, w.Node("Transpose", {weights})});
    x = w.Node("Add", {w.Node("Mul", {x, w.Scalar(Scale(0.3f))}), w.Scalar(-0.25f)});
    w.Output(x);
    return w.Bytes();
  }

  // CNV: valid convolutions, pooling, a flattening computed from shapes, dense layers, TopK.
  std::vector<uint8_t> Convolutions(int weight_bits, int activation_bits) {
    OnnxWriter w;
    std::string x = w.Input("image", {-1, 3, 14, 14});
    x = w.Quant(x, w.Scalar(Scale(1.0f / 128)), 0, 8, true, true);
    int64_t channels = 3;
    for (const int64_t outputs : {13, 17}) {
      x = w.Node("Conv", {x, Weights(w, {outputs, channels, 3, 3}, weight_bits)},
                 {Ints("kernel_shape", {3, 3}), Ints("pads", {0, 0, 0, 0})});
      x = BatchNorm(w, x, outputs, 0.3f * std::sqrt(static_cast<float>(channels)));
      x = Activations(w, x, activation_bits);
      if (channels == 3)
        x = w.Node("MaxPool", {x}, {Ints("kernel_shape", {2, 2}), Ints("strides", {2, 2})});
      channels = outputs;
    }  // 4x4
    const std::string batch =
        w.Node("Gather", {w.Node("Shape", {x}), w.Constant({}, {0})}, {Int("axis", 0)});
    const std::string shape =
        w.Node("Concat", {w.Node("Unsqueeze", {batch, w.Integers({0})}), w.Integers({-1})},
               {Int("axis", 0)});
    x = w.Node("Reshape", {x, shape});
    x = w.Node("MatMul", {x, w.Node("Transpose", {Weights(w, {20, 17 * 16}, weight_bits)})});
    x = Activations(w, BatchNorm(w, x, 20, 1), activation_bits);
    x = w.Node("Gemm", {x, Weights(w, {10, 20}, weight_bits), w.Constant({10}, Normal(10))},
               {Int("transB", 1)});
    w.Output(w.Node("Softmax", {x}));
    return w.Bytes();
  }

  // As FINN leaves it: integer weights, thresholds, NHWC where it says so.
  std::vector<uint8_t> Thresholds() {
    OnnxWriter w;
    const std::string finn = "finn.custom_op.general";
    const auto rows = [&](int64_t channels, int64_t steps, float size) {
      std::vector<float> values;
      for (int64_t c = 0; c < channels; ++c) {
        std::vector<float> row = Normal(static_cast<size_t>(steps), size);
        for (float& t : row) t = fine_ ? t : std::round(t);
        std::sort(row.begin(), row.end());
        values.insert(values.end(), row.begin(), row.end());
      }
      return w.Constant({channels, steps}, values);
    };
    std::string x = w.Input("image", {1, 2, 6, 7});
    x = w.Node("MultiThreshold", {x, rows(1, 255, 1)},
               {Text("out_dtype", "INT8"), Real("out_bias", -128)}, finn);
    x = w.Node("Conv", {x, w.Constant({8, 2, 3, 3}, Integers(144, -1, 1))},
               {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1})});
    x = w.Node("Transpose", {x}, {Ints("perm", {0, 2, 3, 1})});
    x = w.Node("MultiThreshold", {x, rows(8, 7, 90)},
               {Text("out_dtype", "UINT3"), Text("data_layout", "NHWC")}, finn);
    x = w.Node("MatMul", {x, w.Constant({8, 5}, Integers(40, -3, 3))});
    x = w.Node("MultiThreshold", {x, rows(5, 1, 9)},
               {Text("out_dtype", "BIPOLAR"), Real("out_scale", 2), Real("out_bias", -1),
                Text("data_layout", "NHWC")},
               finn);
    x = w.Node("Flatten", {x});
    x = w.Node("MatMul", {x, w.Constant({210, 4}, Integers(840, -7, 7))});
    x = w.Node("MultiThreshold", {x, rows(4, 15, 40)},
               {Text("out_dtype", "UINT4"), Real("out_scale", 0.5f)}, finn);
    x = w.Node("MatMul", {x, w.Constant({4, 6}, Integers(24, -128, 127))});
    x = w.Node("Add",
               {w.Node("Mul", {x, w.Constant({1, 6}, Normal(6))}), w.Constant({6}, Normal(6))});
    w.Output(x);
    return w.Bytes();
  }

  // What else exporters write: paddings of every kind, groups, zero points, roundings, a residual
  // sum, averages with Trunc, concatenation, several consumers, a bias.
  std::vector<uint8_t> Everything() {
    OnnxWriter w;
    std::string x = w.Input("image", {1, 3, 9, 8});
    x = w.Quant(x, w.Scalar(Scale(1.0f / 32)), 3, 8, false, false);
    x = w.Node("Pad", {x, w.Integers({0, 0, 1, 0, 0, 0, 0, 1})});
    x = w.Node("Conv", {x, Weights(w, {8, 3, 3, 3}, 4), w.Constant({8}, Normal(8))},
               {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 0, 1}), Ints("strides", {1, 2})});
    const std::string stem = w.Quant(w.Node("Relu", {BatchNorm(w, x, 8, 1)}),
                                     w.Scalar(Scale(0.25f)), 0, 3, false, false);
    std::string y =
        w.Node("Conv", {stem, Weights(w, {8, 1, 3, 3}, 3)},
               {Ints("kernel_shape", {3, 3}), Text("auto_pad", "SAME_UPPER"), Int("group", 8)});
    y = w.Quant(BatchNorm(w, y, 8, 1), w.Constant({1, 8, 1, 1}, ScalesOf(8)), 0, 5, true, false,
                "FLOOR");
    const std::string sum = w.Node("Add", {y, stem});
    std::string z = w.Quant(sum, w.Scalar(Scale(0.25f)), 0, 4, true, false, "CEIL");
    std::string left =
        w.Node("Conv", {z, Weights(w, {4, 8, 1, 1}, 1)}, {Ints("kernel_shape", {1, 1})});
    std::string right =
        w.Node("Conv", {z, Weights(w, {6, 4, 3, 3}, 2)},
               {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1}), Int("group", 2)});
    const std::string scale = w.Scalar(Scale(0.5f));
    left = w.Quant(BatchNorm(w, left, 4, 1), scale, 0, 3, false, false);
    right = w.Quant(w.Node("MaxPool", {BatchNorm(w, right, 6, 2)},
                           {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1})}),
                    scale, 0, 3, false, false);
    x = w.Node("Concat", {left, right}, {Int("axis", 1)});
    x = w.Node("AveragePool", {x}, {Ints("kernel_shape", {2, 2}), Ints("strides", {2, 2})});
    x = w.Node("Trunc", {x, scale, w.Scalar(0), w.Scalar(5), w.Scalar(3)},
               {Text("rounding_mode", "FLOOR")}, OnnxWriter::kQonnx);
    x = w.Node("Conv", {x, Weights(w, {7, 10, 2, 2}, 8)}, {Ints("kernel_shape", {2, 2})});
    x = w.Quant(x, w.Scalar(Scale(0.5f)), 0, 6, true, true, "HALF_UP");
    x = w.Node("GlobalAveragePool", {x});
    x = w.Node("Flatten", {x});
    w.Output(w.Node("Gemm", {x, Weights(w, {5, 7}, 8)}, {Int("transB", 1), Real("alpha", 0.5f)}));
    return w.Bytes();
  }

  // What moves pixels and channels, groups and depthwise convolutions, weights of 3 to 7 bits.
  std::vector<uint8_t> Blocks() {
    OnnxWriter w;
    std::string x = w.Input("image", {1, 4, 5, 6});
    x = w.Quant(x, w.Scalar(Scale(0.25f)), 0, 4, true, false);
    x = w.Node("Conv", {x, Weights(w, {8, 1, 3, 3}, 5)},
               {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1}), Int("group", 4)});
    x = w.Node("Resize", {BatchNorm(w, x, 8, 1), "", w.Constant({4}, {1, 1, 2, 3})},
               {Text("mode", "nearest"), Text("coordinate_transformation_mode", "asymmetric"),
                Text("nearest_mode", "floor")});
    const std::string scale = w.Scalar(Scale(0.25f));
    x = w.Quant(x, scale, 0, 3, false, false);
    std::string y = w.Node("DepthToSpace", {x}, {Int("blocksize", 2), Text("mode", "CRD")});
    std::string z = w.Node(
        "Conv", {x, Weights(w, {24, 4, 3, 3}, 7)},
        {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1}), Int("group", 2)});
    z = w.Bipolar(BatchNorm(w, z, 24, 2), Scale(1));
    z = w.Node("DepthToSpace", {z}, {Int("blocksize", 2)});
    y = w.Node("Conv", {y, Weights(w, {6, 2, 1, 1}, 3)}, {Ints("kernel_shape", {1, 1})});
    z = w.Node("Conv", {z, Weights(w, {6, 1, 3, 3}, 2)},
               {Ints("kernel_shape", {3, 3}), Ints("pads", {1, 1, 1, 1}), Int("group", 6)});
    y = w.Quant(y, w.Scalar(Scale(0.25f)), 0, 4, true, false);
    z = w.Quant(BatchNorm(w, z, 6, 2), w.Scalar(Scale(0.25f)), 0, 4, true, false);
    y = w.Quant(w.Node("Add", {y, z}), w.Scalar(Scale(0.5f)), 0, 4, true, false);
    y = w.Node("MaxPool", {y}, {Ints("kernel_shape", {10, 9}), Ints("strides", {10, 9})});
    y = w.Node("Upsample", {y, w.Constant({4}, {1, 1, 2, 1})}, {Text("mode", "nearest")});
    y = w.Node("Flatten", {y});
    w.Output(w.Node("Gemm", {y, Weights(w, {5, 96}, 6)}, {Int("transB", 1)}));
    return w.Bytes();
  }

  // One dimension: a signal of 3 channels.
  std::vector<uint8_t> Signal() {
    OnnxWriter w;
    std::string x = w.Input("signal", {1, 3, 41});
    x = w.Quant(x, w.Scalar(Scale(0.125f)), 0, 5, true, false);
    x = w.Node("Conv", {x, Weights(w, {8, 3, 5}, 4)},
               {Ints("kernel_shape", {5}), Ints("pads", {2, 1}), Ints("strides", {2})});
    x = w.Quant(BatchNorm(w, x, 8, 1), w.Scalar(Scale(0.25f)), 0, 3, false, false);
    x = w.Node("Conv", {x, Weights(w, {8, 1, 3}, 3)},
               {Ints("kernel_shape", {3}), Ints("pads", {1, 1}), Int("group", 8)});
    x = w.Node("MaxPool", {x}, {Ints("kernel_shape", {2}), Ints("strides", {2})});
    x = w.Node("Resize", {x, "", w.Constant({3}, {1, 1, 2})}, {Text("mode", "nearest")});
    x = w.Bipolar(BatchNorm(w, x, 8, 1), Scale(1));
    x = w.Node("Conv", {x, Weights(w, {6, 8, 3}, 1)}, {Ints("kernel_shape", {3})});
    x = w.Node("GlobalAveragePool", {BatchNorm(w, x, 6, 2)});
    x = w.Quant(x, w.Scalar(Scale(0.0625f)), 0, 7, true, false);
    x = w.Node("Flatten", {x});
    w.Output(w.Node("Gemm", {x, Weights(w, {5, 6}, 8)}, {Int("transB", 1)}));
    return w.Bytes();
  }

 private:
  std::vector<float> ScalesOf(size_t count) {
    std::vector<float> scales;
    for (size_t i = 0; i < count; ++i) scales.push_back(Scale(0.125f));
    return scales;
  }

  const bool fine_;
  std::mt19937 random_;
};

}  // namespace lbrt
