#include "apps/random_model.h"

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
  const NetworkDefaults defaults = DefaultsOf(model.network);
  ModelTexts texts;
  texts.preprocessing =
      options.preprocessing.empty() ? defaults.preprocessing : options.preprocessing;
  texts.labels = Lines(defaults.labels);
  const Preprocessing input = FromText(texts.preprocessing, network);
  ImportOptions import;
  import.stem = stem;
  import.mean = input.mean;
  import.std = input.std;
  import.width = options.width;
  ImportReport report;
  model.graph = std::make_unique<Graph>(
      Import(model.network, RandomTensors(model.network), import, &report));
  model.lowered = Lower(*model.graph);
  for (const Pass& pass : Passes()) pass.run(model.lowered);
  model.file = Emit(model.lowered, texts);
  return model;
}

}  // namespace lbrt
