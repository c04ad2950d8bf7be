// XNNPACK's subgraphs in f32.
#include <limits>
#include <memory>

#include <xnnpack.h>

#include "apps/lbbench/peers.h"
#include "apps/random_model.h"
#include "images/error.h"

namespace lbrt {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void Check(xnn_status status) {
  if (status != xnn_status_success)
    throw InputError("XNNPACK", "status " + std::to_string(static_cast<int>(status)));
}

class XnnpackNetwork {
 public:
  explicit XnnpackNetwork(const FloatNetwork& network) : network_(network) {
    const size_t inputs = static_cast<size_t>(network.height) * static_cast<size_t>(network.width) *
                          static_cast<size_t>(network.channels);
    input_ = RandomFloats(inputs, 1);
    output_.resize(network.layers.back().outputs());
    // Engines may read a little behind a buffer.
    input_.resize(inputs + XNN_EXTRA_BYTES / sizeof(float));
    output_.reserve(output_.size() + XNN_EXTRA_BYTES / sizeof(float));

    Check(xnn_initialize(nullptr));
    xnn_subgraph_t subgraph = nullptr;
    Check(xnn_create_subgraph(2, 0, &subgraph));
    subgraph_.reset(subgraph);
    values_.push_back(
        Value(network.height, network.width, network.channels, 0, XNN_VALUE_FLAG_EXTERNAL_INPUT));
    for (const FloatLayer& layer : network.layers) Add(layer);
    xnn_runtime_t runtime = nullptr;
    Check(xnn_create_runtime_v2(subgraph, /*threadpool=*/nullptr, 0, &runtime));
    runtime_.reset(runtime);
    const xnn_external_value external[] = {{0, input_.data()}, {1, output_.data()}};
    Check(xnn_setup_runtime(runtime, 2, external));
  }

  void Run() { Check(xnn_invoke_runtime(runtime_.get())); }
  std::span<const float> input() const {
    return std::span(input_).first(input_.size() - XNN_EXTRA_BYTES / sizeof(float));
  }
  std::span<const float> output() const { return output_; }

 private:
  struct Delete {
    void operator()(xnn_subgraph_t subgraph) const { xnn_delete_subgraph(subgraph); }
    void operator()(xnn_runtime_t runtime) const { xnn_delete_runtime(runtime); }
  };

  uint32_t Value(int height, int width, int channels, uint32_t external = XNN_INVALID_VALUE_ID,
                 uint32_t flags = 0) {
    const size_t shape[] = {1, static_cast<size_t>(height), static_cast<size_t>(width),
                            static_cast<size_t>(channels)};
    uint32_t id = 0;
    Check(xnn_define_tensor_value(subgraph_.get(), xnn_datatype_fp32, 4, shape, nullptr, external,
                                  flags, &id));
    return id;
  }
  uint32_t Constant(std::initializer_list<int> dims, const std::vector<float>& data) {
    const std::vector<size_t> shape(dims.begin(), dims.end());
    uint32_t id = 0;
    Check(xnn_define_tensor_value(subgraph_.get(), xnn_datatype_fp32, shape.size(), shape.data(),
                                  data.data(), XNN_INVALID_VALUE_ID, 0, &id));
    return id;
  }

  void Add(const FloatLayer& layer) {
    const bool last = &layer == &network_.layers.back();
    const uint32_t out =
        Value(layer.height, layer.width, layer.channels, last ? 1 : XNN_INVALID_VALUE_ID,
              last ? XNN_VALUE_FLAG_EXTERNAL_OUTPUT : 0);
    const uint32_t in = values_[static_cast<size_t>(layer.input)];
    const auto unsigned_ = [](int n) { return static_cast<uint32_t>(n); };
    const Window& w = layer.window;
    switch (layer.kind) {
      case FloatLayer::Kind::kConv:
        AddConv(layer, in, out);
        break;
      case FloatLayer::Kind::kAveragePool:
        Check(xnn_define_average_pooling_2d(
            subgraph_.get(), 0, 0, 0, 0, unsigned_(w.kernel_h), unsigned_(w.kernel_w),
            unsigned_(w.stride_h), unsigned_(w.stride_w), -kInfinity, kInfinity, in, out, 0));
        break;
      case FloatLayer::Kind::kPadChannels: {
        const size_t before[] = {0, 0, 0, static_cast<size_t>(layer.pad_before)};
        const size_t after[] = {0, 0, 0, static_cast<size_t>(layer.pad_after)};
        Check(xnn_define_static_constant_pad(subgraph_.get(), before, after, 0, in, out, 0));
        break;
      }
    }
    values_.push_back(out);
  }

  void AddConv(const FloatLayer& layer, uint32_t in, uint32_t out) {
    const auto unsigned_ = [](int n) { return static_cast<uint32_t>(n); };
    const Window& w = layer.window;
    const float limit = layer.clip ? 1 : kInfinity;
    const bool adds = layer.residual >= 0;
    const uint32_t sums = adds ? Value(layer.height, layer.width, layer.channels) : out;
    const float conv_limit = adds ? kInfinity : limit;
    Check(xnn_define_convolution_2d(
        subgraph_.get(), unsigned_(w.pad_top), unsigned_(w.pad_right), unsigned_(w.pad_bottom),
        unsigned_(w.pad_left), unsigned_(w.kernel_h), unsigned_(w.kernel_w), unsigned_(w.stride_h),
        unsigned_(w.stride_w), 1, 1, 1, static_cast<size_t>(layer.in_channels),
        static_cast<size_t>(layer.channels), -conv_limit, conv_limit, in,
        Constant({layer.channels, w.kernel_h, w.kernel_w, layer.in_channels}, layer.weights),
        Constant({layer.channels}, layer.bias), sums, 0));
    if (adds)
      Check(xnn_define_add2(subgraph_.get(), -limit, limit, sums,
                            values_[static_cast<size_t>(layer.residual)], out, 0));
  }

  const FloatNetwork& network_;
  std::vector<float> input_, output_;
  std::unique_ptr<xnn_subgraph, Delete> subgraph_;
  std::unique_ptr<xnn_runtime, Delete> runtime_;
  std::vector<uint32_t> values_;
};

}  // namespace

std::vector<Peer> XnnpackPeers(const FloatNetwork& network) {
  const auto engine = std::make_shared<XnnpackNetwork>(network);
  engine->Run();
  CheckPeer("XNNPACK f32", engine->output(), Run(network, engine->input()), 1e-4);
  return {{"XNNPACK f32", [engine] { engine->Run(); }}};
}

}  // namespace lbrt
