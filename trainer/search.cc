#include "trainer/search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "images/error.h"
#include "images/file.h"
#include "network/bits.h"

namespace lbrt {

LatencyTable::Key LatencyTable::KeyOf(const Network& network, const Node& conv, int weight_bits,
                                      int activation_bits) {
  const Node& x = network.node(conv.inputs[0]);
  const Window& w = conv.window;
  return {x.channels, conv.channels, w.kernel_h, w.kernel_w,  w.stride_h,
          w.stride_w, x.height,      x.width,    weight_bits, activation_bits};
}

std::string LatencyTable::ShapeText(const Key& key) {
  const auto number = [&](size_t i) { return std::to_string(key[i]); };
  return number(0) + " to " + number(1) + " channels, " + number(2) + "x" + number(3) +
         ", stride " + number(4) + ", at " + number(6) + "x" + number(7);
}

std::string LatencyTable::BitsText(const Key& key) {
  return std::to_string(key[8]) + "-bit weights and " + std::to_string(key[9]) + "-bit activations";
}

LatencyTable LatencyTable::Read(const std::string& path) {
  LatencyTable table;
  table.path_ = path;
  const std::vector<uint8_t> bytes = ReadFile(path);
  try {
    const nlohmann::json file = nlohmann::json::parse(bytes.begin(), bytes.end());
    for (const auto& e : file.at("entries")) {
      const double microseconds = e.at("microseconds");
      if (!(microseconds > 0 && std::isfinite(microseconds)))
        throw InputError(path, "has a latency that is not above 0");
      const Key key = {e.at("inputs"),         e.at("outputs"),      e.at("kernel").at(0),
                       e.at("kernel").at(1),   e.at("stride").at(0), e.at("stride").at(1),
                       e.at("size").at(0),     e.at("size").at(1),   e.at("weight_bits"),
                       e.at("activation_bits")};
      if (!table.microseconds_.emplace(key, microseconds).second)
        throw InputError(path, "has two latencies of " + ShapeText(key) + ", with " +
                                   BitsText(key) + ", expected one");
    }
  } catch (const nlohmann::json::exception& error) {
    throw InputError(path, std::string("is no latency table: ") + error.what());
  }
  return table;
}

double LatencyTable::At(const Network& network, const Node& conv, int weight_bits,
                        int activation_bits) const {
  const Key key = KeyOf(network, conv, weight_bits, activation_bits);
  const auto found = microseconds_.find(key);
  if (found == microseconds_.end())
    throw InputError(path_, "has no latency of " + conv.name + " (" + ShapeText(key) + ") with " +
                                BitsText(key));
  return found->second;
}

SearchCost::SearchCost(const TrainerModel& model, const LatencyTable* latencies) {
  const Network& network = model.network();
  std::vector<QuantizedLayer> layers = QuantizedLayers(network);
  for (QuantizedLayer& layer : layers)  // the reference keeps it as a float32
    layer.size_product = static_cast<float>(layer.size_product);
  double scale = 1 / layers.at(0).size_product;
  if (latencies != nullptr) {
    double uniform_macs = 0, uniform_time = 0;
    for (const QuantizedLayer& layer : layers) {
      uniform_macs += layer.size_product * 2 * 2;
      uniform_time += latencies->At(network, network.node(layer.conv), 2, 2);
    }
    scale *= uniform_macs / uniform_time;
  }
  for (const QuantizedLayer& layer : layers) {
    const Node& conv = network.node(layer.conv);
    std::vector<double> costs;
    for (const int a : kMixtureActivationBits)
      for (const int w : kMixtureWeightBits)
        costs.push_back(scale * (latencies != nullptr ? latencies->At(network, conv, w, a)
                                                      : layer.size_product * w * a));
    layers_.push_back({network.node(layer.quantize).name + ".alpha_activ",
                       conv.name + ".mix_weight.alpha_weight",
                       at::tensor(costs, at::kDouble)
                           .view({std::ssize(kMixtureActivationBits), -1})
                           .to(model.type())
                           .to(model.device())});
  }
}

at::Tensor SearchCost::Complexity(const TrainerModel& model) const {
  at::Tensor sum;
  for (const Layer& layer : layers_) {
    const at::Tensor a = model.at(layer.activation_alphas).softmax(0);
    const at::Tensor w = model.at(layer.weight_alphas).softmax(0);
    const at::Tensor cost = at::mv(layer.costs, w).dot(a);
    sum = sum.defined() ? sum + cost : cost;
  }
  return sum;
}

// Of the shares that alphas mean, in bits.
static double Entropy(const HostTensor& alphas) {
  const float* values = alphas.f32();
  const int64_t n = alphas.numel();
  const double largest = *std::max_element(values, values + n);
  double sum = 0, weighted = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double e = std::exp(values[i] - largest);
    sum += e;
    weighted += e * (values[i] - largest);
  }
  return (std::log(sum) - weighted / sum) / std::log(2.0);
}

// Of the network that a search is for, with the bits that the arguments say.
static BitCosts FinalCosts(const Network& search, Arguments arguments) {
  arguments["mode"] = "final";
  arguments.insert(search.arguments.begin(), search.arguments.end());
  return CostsOf(BuildNetwork(search.name, arguments));
}

std::string ArchitectureTable(const Network& network, const StateDict& tensors) {
  const Architecture chosen = ArchitectureOf(tensors);
  const BitCosts costs = FinalCosts(network, ParseArguments(ArchitectureText(chosen)));
  const BitCosts uniform = FinalCosts(network, {{"bits", "2/2"}});
  const std::vector<QuantizedLayer> layers = QuantizedLayers(network);
  std::string text =
      "layer                               weights  entropy  activations  entropy\n";
  for (size_t i = 0; i < layers.size(); ++i) {
    const Node& conv = network.node(layers[i].conv);
    const std::string activations = network.node(layers[i].quantize).name + ".alpha_activ";
    char line[160];
    std::snprintf(line, sizeof line, "%-34s %8d %8.3f %12d %8.3f\n", conv.name.c_str(),
                  chosen.weight_bits[i],
                  Entropy(tensors.at(conv.name + ".mix_weight.alpha_weight")),
                  chosen.activation_bits[i], Entropy(tensors.at(activations)));
    text += line;
  }
  char total[120];
  std::snprintf(total, sizeof total, "%.1f M BitOps, %.3f bits in the mean (uniform 2/2: %.1f M)\n",
                costs.bitops_m, costs.mean_bits, uniform.bitops_m);
  return text + total;
}

}  // namespace lbrt
