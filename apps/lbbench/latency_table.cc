#include "apps/lbbench/latency_table.h"

#include <algorithm>
#include <deque>
#include <memory>

#include "apps/explain.h"
#include "apps/json.h"
#include "apps/lbbench/measure.h"
#include "apps/lbbench/network_benchmarks.h"
#include "apps/model_runner.h"
#include "apps/random_model.h"
#include "apps/table.h"
#include "images/error.h"
#include "network/bits.h"

namespace lbrt {
namespace {

using Pair = std::pair<int, int>;  // bits of weights, of activations
constexpr Pair kUniform = {2, 2};
constexpr int kRoundsAPlace = 5;

std::vector<Pair> Pairs() {
  std::vector<Pair> pairs;
  for (const int weights : kMixtureWeightBits)
    for (const int activations : kMixtureActivationBits) pairs.emplace_back(weights, activations);
  return pairs;
}
std::string PairText(const Pair& bits) {
  return std::to_string(bits.first) + "/" + std::to_string(bits.second);
}

Arguments WithBits(Arguments arguments, const Pair& bits) {
  arguments["bits"] = PairText(bits);
  return arguments;
}

// The network at one pair of bits, ready to run, and what its layers took.
class PairRuns {
 public:
  PairRuns(const std::string& name, const Arguments& arguments, const Pair& bits,
           const std::vector<std::string>& layers, const char* isa)
      : name_(name + " at " + PairText(bits) + " bits"), isa_(isa), us_(layers.size()) {
    RandomModelOptions options;
    options.arguments = WithBits(arguments, bits);
    RandomModel model = MakeRandomModel(name, Stem::kAuto, options);
    file_ = model.file;
    profile_.us.resize(model.lowered.ops.size());
    Open();
    CheckAgainstInterpreter(name_, model, *runner_);
    for (const std::string& layer : layers) ops_.push_back(OpOf(layer));
  }

  // In other memory than before.
  void Open() {
    RunnerOptions options;
    options.isa = isa_;
    options.observer = Profile::Observe;
    options.observer_context = &profile_;
    runner_ = std::make_unique<ModelRunner>(file_, name_, options);
    runner_->SetNoise();
  }

  void Round() {
    for (const bool measured : {false, true}) {
      for (std::vector<double>& us : profile_.us) us.clear();
      Run(*runner_, &profile_);
      for (size_t i = 0; measured && i < ops_.size(); ++i)
        us_[i].push_back(profile_.us[ops_[i]].back());
    }
  }
  double us(size_t layer) const { return Median(us_[layer]); }

 private:
  // The op that computes a layer bears its name.
  size_t OpOf(const std::string& layer) const {
    for (uint32_t i = 0; i < runner_->info().ops; ++i) {
      lbrt_op op = {};
      op.struct_size = sizeof op;
      lbrt_model_op(runner_->model(), i, &op);
      if (op.name != nullptr && op.name == layer) return i;
    }
    throw InputError(name_, "has no op of layer " + layer);
  }

  std::string name_;
  const char* isa_;
  std::vector<uint8_t> file_;
  Profile profile_;
  std::unique_ptr<ModelRunner> runner_;
  std::vector<size_t> ops_;              // by layer
  std::vector<std::vector<double>> us_;  // by layer, of every round
};

Network WithUniformBits(const std::string& name, const Arguments& arguments) {
  try {
    return BuildNetwork(name, WithBits(arguments, kUniform));
  } catch (const InputError&) {
    BuildNetwork(name, arguments);  // refuses whatever else is wrong
    throw InputError("network " + name, "has no layer of EdMIPS's quantizers, whose bits a search "
                                        "chooses; expected one that has, as edmips/cifar-resnet20");
  }
}

ShapeLatency ShapeOf(const Network& network, const Node& conv) {
  const Node& x = network.node(conv.inputs[0]);
  const Window& w = conv.window;
  return {x.channels, conv.channels, w.kernel_h, w.kernel_w, w.stride_h, w.stride_w,
          x.height,   x.width,       0,          {}};
}

ShapeLatency& FindOrAdd(std::vector<ShapeLatency>& shapes, const ShapeLatency& shape) {
  for (ShapeLatency& s : shapes)
    if (s.name() == shape.name()) return s;
  return shapes.emplace_back(shape);
}

}  // namespace

std::string ShapeLatency::name() const {
  return std::to_string(inputs) + " -> " + std::to_string(outputs) + ", " +
         std::to_string(kernel_h) + "x" + std::to_string(kernel_w) + "/" +
         std::to_string(stride_h) + (stride_w != stride_h ? "x" + std::to_string(stride_w) : "") +
         ", " + std::to_string(height) + "x" + std::to_string(width);
}

Latencies MeasureLatencies(const std::string& name, const Arguments& arguments, const char* isa,
                           int rounds) {
  const Network network = WithUniformBits(name, arguments);
  const std::vector<QuantizedLayer> quantized = QuantizedLayers(network);
  std::vector<std::string> layers;
  for (const QuantizedLayer& layer : quantized) layers.push_back(network.node(layer.conv).name);

  std::deque<PairRuns> runs;  // the observer's context keeps its place
  const std::vector<Pair> pairs = Pairs();
  for (const Pair& bits : pairs) runs.emplace_back(name, arguments, bits, layers, isa);
  for (int round = 0; round < rounds; ++round)
    for (PairRuns& run : runs) {
      if (round % kRoundsAPlace == kRoundsAPlace - 1) run.Open();
      run.Round();
    }

  Latencies result = {isa, arguments, {}};
  for (size_t i = 0; i < quantized.size(); ++i) {
    const Node& conv = network.node(quantized[i].conv);
    ShapeLatency& shape = FindOrAdd(result.shapes, ShapeOf(network, conv));
    ++shape.layers;
    for (size_t p = 0; p < pairs.size(); ++p) shape.us[pairs[p]] += runs[p].us(i);
  }
  for (ShapeLatency& shape : result.shapes)
    for (auto& [bits, us] : shape.us) us /= shape.layers;
  return result;
}

std::string LatencyText(const Latencies& latencies) {
  std::vector<std::string> headings = {"layers", "inputs -> outputs, kernel/stride, size"};
  for (const Pair& bits : Pairs()) headings.push_back(PairText(bits));
  Table us(headings), ratios(headings);
  ShapeLatency all = {};
  const auto add = [&](const std::string& name, const ShapeLatency& shape) {
    std::vector<std::string> times = {std::to_string(shape.layers), name}, parts = times;
    for (const Pair& bits : Pairs()) {
      times.push_back(Fixed(shape.us.at(bits), 2));
      parts.push_back(Fixed(shape.us.at(bits) / shape.us.at(kUniform), 2));
    }
    us.Add(times);
    ratios.Add(parts);
  };
  for (const ShapeLatency& shape : latencies.shapes) {
    add(shape.name(), shape);
    all.layers += shape.layers;
    for (const auto& [bits, time] : shape.us) all.us[bits] += time * shape.layers;
  }
  add("all", all);
  return "microseconds at bits of weights/activations\n" + us.Text() + "\ntimes those at 2/2\n" +
         ratios.Text();
}

std::string LatencyJson(const Latencies& latencies, const std::string& network,
                        const std::string& device, int rounds) {
  Json json;
  json.BeginObject().Key("device").String(device).Key("isa").String(latencies.isa);
  json.Key("threads").Integer(1).Key("rounds").Integer(rounds).Key("network").String(network);
  json.Key("arguments").String(ArgumentsText(latencies.arguments));
  json.Key("entries").BeginArray();
  for (const ShapeLatency& s : latencies.shapes)
    for (const auto& [bits, us] : s.us) {
      json.BeginObject().Key("inputs").Integer(s.inputs).Key("outputs").Integer(s.outputs);
      json.Key("kernel").BeginArray().Integer(s.kernel_h).Integer(s.kernel_w).EndArray();
      json.Key("stride").BeginArray().Integer(s.stride_h).Integer(s.stride_w).EndArray();
      json.Key("size").BeginArray().Integer(s.height).Integer(s.width).EndArray();
      json.Key("weight_bits").Integer(bits.first).Key("activation_bits").Integer(bits.second);
      json.Key("microseconds").Number(us, 6).Key("layers").Integer(s.layers).EndObject();
    }
  json.EndArray().EndObject();
  return json.text();
}

}  // namespace lbrt
