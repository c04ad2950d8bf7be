// oneDNN in f32, and in int8: u8 activations (so relu in place of hardtanh), s8 weights, sums in 32
// bits, scaled by a power of two per layer, which makes the expected result exact.
#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_map>

#include <dnnl.hpp>

#include "apps/lbbench/peers.h"
#include "apps/random_model.h"
#include "images/error.h"

// OpenMP's, which Debian's oneDNN brings along; absent where it was built without.
extern "C" [[gnu::weak]] void omp_set_num_threads(int threads);

namespace lbrt {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

std::vector<uint8_t> RandomBytes(size_t count, uint64_t seed) {
  std::vector<uint8_t> result;
  for (float x : RandomFloats(count, seed))
    result.push_back(static_cast<uint8_t>((x + 1) * 127.5f));
  return result;
}

// The layer's weights in int8, and the power of two that brings its sums back to 0..255.
std::vector<int8_t> QuantizedWeights(const FloatLayer& layer) {
  float largest = 0;
  for (float w : layer.weights) largest = std::max(largest, std::abs(w));
  std::vector<int8_t> result;
  for (float w : layer.weights)
    result.push_back(static_cast<int8_t>(std::nearbyint(w / largest * 127)));
  return result;
}
float Scale(const FloatLayer& layer) {
  const double inputs = static_cast<double>(layer.weights.size()) / layer.channels;
  return static_cast<float>(std::exp2(-std::round(std::log2(std::sqrt(inputs) * 64))));
}

// What the int8 network means; the last layer's result stays in f32.
std::vector<float> RunInt8(const FloatNetwork& network, std::span<const uint8_t> input) {
  FloatNetwork plain = network;
  std::vector<std::vector<float>> values = {{input.begin(), input.end()}};
  for (FloatLayer& layer : plain.layers) {
    const bool last = &layer == &plain.layers.back();
    if (layer.kind == FloatLayer::Kind::kConv) {
      const std::vector<int8_t> weights = QuantizedWeights(layer);
      layer.weights.assign(weights.begin(), weights.end());
      std::ranges::fill(layer.bias, 0.0f);
      for (float& w : layer.weights) w *= Scale(layer);
      layer.clip = false;
    }
    std::span<const float> residual;
    if (layer.residual >= 0) residual = values[static_cast<size_t>(layer.residual)];
    std::vector<float> out = Run(layer, values[static_cast<size_t>(layer.input)], residual);
    if (!last)
      for (float& x : out) x = std::clamp(std::nearbyint(x), 0.0f, 255.0f);
    values.push_back(std::move(out));
  }
  return values.back();
}

class OneDnnNetwork {
 public:
  OneDnnNetwork(const FloatNetwork& network, bool int8)
      : network_(network), int8_(int8), type_(int8 ? Type::u8 : Type::f32) {
    const memory::dims shape = {1, network.channels, network.height, network.width};
    values_.push_back(memory({shape, type_, Tag::nhwc}, engine_));
    const size_t inputs = static_cast<size_t>(network.height) * static_cast<size_t>(network.width) *
                          static_cast<size_t>(network.channels);
    if (int8)
      std::ranges::copy(RandomBytes(inputs, 1),
                        static_cast<uint8_t*>(values_[0].get_data_handle()));
    else
      std::ranges::copy(RandomFloats(inputs, 1), static_cast<float*>(values_[0].get_data_handle()));
    for (const FloatLayer& layer : network.layers) Add(layer);
  }

  void Run() {
    for (auto& [primitive, arguments] : steps_) primitive.execute(stream_, arguments);
    stream_.wait();
  }

  void CheckAgainstReference(const std::string& name) {
    Run();
    const FloatLayer& last = network_.layers.back();
    const float* result = static_cast<const float*>(values_.back().get_data_handle());
    const size_t inputs = values_[0].get_desc().get_size() / (int8_ ? 1 : sizeof(float));
    const std::vector<float> expected =
        int8_ ? RunInt8(network_, {static_cast<uint8_t*>(values_[0].get_data_handle()), inputs})
              : lbrt::Run(network_, {static_cast<float*>(values_[0].get_data_handle()), inputs});
    CheckPeer(name, {result, last.outputs()}, expected, int8_ ? 1e-6 : 1e-4);
  }

 private:
  using Arguments = std::unordered_map<int, memory>;

  // `value` in another order in memory, if it is not so already.
  memory Reordered(const memory& value, const memory::desc& desc) {
    if (value.get_desc() == desc) return value;
    memory result(desc, engine_);
    Copy(value, result);
    return result;
  }
  void Copy(const memory& from, const memory& to) {
    steps_.push_back({dnnl::reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}});
  }
  memory Constant(const memory::desc& plain, const void* data, const memory::desc& wanted) {
    memory from(plain, engine_, const_cast<void*>(data));
    memory to(wanted, engine_);
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }

  void Add(const FloatLayer& layer) {
    switch (layer.kind) {
      case FloatLayer::Kind::kConv:
        return AddConv(layer);
      case FloatLayer::Kind::kAveragePool:
        return AddPool(layer);
      case FloatLayer::Kind::kPadChannels:
        return AddPad(layer);
    }
  }

  void AddConv(const FloatLayer& layer) {
    const bool last = &layer == &network_.layers.back();
    const memory::dims in_shape = {1, layer.in_channels, layer.in_height, layer.in_width};
    const memory::dims out_shape = {1, layer.channels, layer.height, layer.width};
    const Window& w = layer.window;
    const memory::dims weights_shape = {layer.channels, layer.in_channels, w.kernel_h, w.kernel_w};
    const memory input = values_[static_cast<size_t>(layer.input)];
    // Three channels have an order of their own; the result stays plain where people read it.
    const memory::desc source =
        layer.input == 0 ? input.get_desc() : memory::desc(in_shape, type_, Tag::any);
    const memory::desc weights(weights_shape, int8_ ? Type::s8 : Type::f32, Tag::any);
    const memory::desc bias({layer.channels}, Type::f32, Tag::a);
    const memory::desc result(out_shape, last ? Type::f32 : type_, last ? Tag::nhwc : Tag::any);

    dnnl::post_ops post;
    // The faster of two ways to add: f32 convolutions have none that reads another tensor, and sum
    // into a copy of it.
    const bool adds = layer.residual >= 0;
    if (adds && int8_)
      post.append_binary(dnnl::algorithm::binary_add,
                         values_[static_cast<size_t>(layer.residual)].get_desc());
    if (adds && !int8_) post.append_sum(1);
    if (int8_ && !last) post.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
    if (!int8_ && layer.clip) post.append_eltwise(1, dnnl::algorithm::eltwise_clip, -1, 1);
    dnnl::primitive_attr attributes;
    attributes.set_post_ops(post);
    if (int8_) attributes.set_output_scales(0, {Scale(layer)});
    const dnnl::convolution_forward::primitive_desc description(
        {dnnl::prop_kind::forward_inference,
         dnnl::algorithm::convolution_direct,
         source,
         weights,
         bias,
         result,
         {w.stride_h, w.stride_w},
         {w.pad_top, w.pad_left},
         {w.pad_bottom, w.pad_right}},
        attributes, engine_);

    const std::vector<int8_t> quantized = int8_ ? QuantizedWeights(layer) : std::vector<int8_t>();
    const std::vector<float> no_bias(layer.bias.size(), 0);
    Arguments arguments = {
        {DNNL_ARG_SRC, Reordered(input, description.src_desc())},
        {DNNL_ARG_WEIGHTS,
         Constant({weights_shape, int8_ ? Type::s8 : Type::f32, Tag::ohwi},
                  int8_ ? static_cast<const void*>(quantized.data()) : layer.weights.data(),
                  description.weights_desc())},
        {DNNL_ARG_BIAS, Constant(bias, int8_ ? no_bias.data() : layer.bias.data(), bias)},
        {DNNL_ARG_DST, memory(description.dst_desc(), engine_)}};
    if (adds) {
      const memory& residual = values_[static_cast<size_t>(layer.residual)];
      if (int8_)
        arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, residual});
      else
        Copy(residual, arguments.at(DNNL_ARG_DST));
    }
    values_.push_back(arguments.at(DNNL_ARG_DST));
    steps_.push_back({dnnl::convolution_forward(description), arguments});
  }

  void AddPool(const FloatLayer& layer) {
    const memory input = values_[static_cast<size_t>(layer.input)];
    const Window& w = layer.window;
    const dnnl::pooling_forward::primitive_desc description(
        {dnnl::prop_kind::forward_inference,
         dnnl::algorithm::pooling_avg_include_padding,
         input.get_desc(),
         memory::desc({1, layer.channels, layer.height, layer.width}, type_, Tag::any),
         {w.stride_h, w.stride_w},
         {w.kernel_h, w.kernel_w},
         {0, 0},
         {0, 0}},
        engine_);
    memory result(description.dst_desc(), engine_);
    steps_.push_back(
        {dnnl::pooling_forward(description), {{DNNL_ARG_SRC, input}, {DNNL_ARG_DST, result}}});
    values_.push_back(result);
  }

  void AddPad(const FloatLayer& layer) {
    const memory input = values_[static_cast<size_t>(layer.input)];
    const auto zeros = [&](int channels) {
      memory result({{1, channels, layer.height, layer.width}, type_, Tag::nhwc}, engine_);
      std::fill_n(static_cast<uint8_t*>(result.get_data_handle()), result.get_desc().get_size(), 0);
      return result;
    };
    std::vector<memory> parts;
    if (layer.pad_before > 0) parts.push_back(zeros(layer.pad_before));
    parts.push_back(input);
    if (layer.pad_after > 0) parts.push_back(zeros(layer.pad_after));
    std::vector<memory::desc> descriptions;
    for (const memory& part : parts) descriptions.push_back(part.get_desc());
    const dnnl::concat::primitive_desc description(1, descriptions, engine_);
    Arguments arguments = {{DNNL_ARG_DST, memory(description.dst_desc(), engine_)}};
    for (size_t i = 0; i < parts.size(); ++i)
      arguments.insert({DNNL_ARG_MULTIPLE_SRC + static_cast<int>(i), parts[i]});
    values_.push_back(arguments.at(DNNL_ARG_DST));
    steps_.push_back({dnnl::concat(description), arguments});
  }

  const FloatNetwork& network_;
  bool int8_;
  Type type_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::vector<memory> values_;
  std::vector<std::pair<dnnl::primitive, Arguments>> steps_;
};

Peer MakePeer(const FloatNetwork& network, bool int8) {
  const std::string name = int8 ? "oneDNN int8" : "oneDNN f32";
  try {
    const auto engine = std::make_shared<OneDnnNetwork>(network, int8);
    engine->CheckAgainstReference(name);
    return {name, [engine] { engine->Run(); }};
  } catch (const dnnl::error& error) {
    throw InputError(name, error.what());
  }
}

}  // namespace

std::vector<Peer> OneDnnPeers(const FloatNetwork& network) {
  if (omp_set_num_threads != nullptr) omp_set_num_threads(1);
  return {MakePeer(network, true), MakePeer(network, false)};
}

}  // namespace lbrt
