#include "apps/random_model.h"

#include <deque>
#include <sstream>

#include "converter/emit.h"
#include "converter/passes.h"
#include "images/preprocess.h"

namespace lbrt {
namespace {

// Sizes that leave activations within the clips of the networks, so that every float counts.
float Sized(const std::string& name, float x) {
  if (name.ends_with("running_var")) return 1 + 0.5f * x;
  const bool batch_norm = name.find("bn") != std::string::npos;
  if (batch_norm && name.ends_with(".weight")) return 0.1f + 0.05f * x;
  return (batch_norm ? 0.1f : 0.5f) * x;
}

StateDict RandomTensors(const Network& network) {
  StateDict tensors;
  uint64_t seed = 0;
  for (const TensorSpec& spec : network.tensors) {
    HostTensor tensor = HostTensor::Zeros(spec.type, spec.shape);
    const size_t count = static_cast<size_t>(tensor.numel());
    if (spec.type == DType::kF32) {
      const std::vector<float> values = RandomFloats(count, ++seed);
      for (size_t i = 0; i < count; ++i) tensor.f32()[i] = Sized(spec.name, values[i]);
    }
    tensors[spec.name] = std::move(tensor);
  }
  return tensors;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// What belongs to a network beside its tensors. `preprocessing`: empty for the published one.
struct Described {
  ModelTexts texts;
  ImportOptions import;
};
Described Describe(const Network& network, Stem stem, const std::string& preprocessing) {
  const NetworkDefaults defaults = DefaultsOf(network);
  Described described;
  described.texts.preprocessing = preprocessing.empty() ? defaults.preprocessing : preprocessing;
  described.texts.labels = Lines(defaults.labels);
  const Preprocessing input = FromText(described.texts.preprocessing, network.name);
  described.import.stem = stem;
  described.import.mean = input.mean;
  described.import.std = input.std;
  return described;
}

LoweredGraph Packed(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  return lowered;
}

}  // namespace

std::vector<float> RandomFloats(size_t count, uint64_t seed) {
  std::vector<float> result(count);
  uint64_t state = (seed + 1) * 0xd1342543de82ef95;
  for (float& x : result) {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    x = static_cast<float>(static_cast<int64_t>(z) >> 39) * 0x1p-24f;
  }
  return result;
}

RandomModel MakeRandomModel(const std::string& network, Stem stem,
                            const RandomModelOptions& options) {
  RandomModel model;
  model.network = BuildNetwork(network, options.arguments);
  const Described described = Describe(model.network, stem, options.preprocessing);
  ImportOptions import = described.import;
  import.width = options.width;
  ImportReport report;
  model.graph = std::make_unique<Graph>(
      Import(model.network, RandomTensors(model.network), import, &report));
  model.lowered = Packed(*model.graph);
  model.file = Emit(model.lowered, described.texts);
  return model;
}

std::vector<uint8_t> MakeRandomFile(const std::string& network, Stem stem,
                                    const std::vector<int>& widths) {
  if (widths.empty()) return MakeRandomModel(network, stem).file;
  const Network built = BuildNetwork(network, {});
  const StateDict tensors = RandomTensors(built);
  Described described = Describe(built, stem, "");
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
  for (const int width : widths) {
    described.import.width = width;
    ImportReport report;
    lowered.push_back(
        Packed(graphs.emplace_back(Import(built, tensors, described.import, &report))));
  }
  NestPlanes(lowered);
  described.texts.widths = widths;
  return Emit(lowered, described.texts);
}

}  // namespace lbrt
