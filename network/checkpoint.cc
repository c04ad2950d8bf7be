#include "network/checkpoint.h"

#include <algorithm>

#include "images/error.h"
#include "network/checkpoint_file.h"

namespace lbrt {
namespace {

using Kind = PickleValue::Kind;

// Calls visit(key, value) for the entries of a dict whose keys are text, later ones of a key last.
template <typename Visit>
void ForEachEntry(const PickleValue& dict, Visit visit) {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (dict.items[i]->is(Kind::kText)) visit(dict.items[i]->text, *dict.items[i + 1]);
}

bool IsDictOfTensors(const PickleValue& value) {
  if (!value.is(Kind::kDict)) return false;
  for (size_t i = 0; i + 1 < value.items.size(); i += 2)
    if (!value.items[i]->is(Kind::kText) || !value.items[i + 1]->is(Kind::kTensor)) return false;
  return true;
}

std::string WithoutModule(const std::string& name) {
  constexpr char kModule[] = "module.";  // DataParallel puts it there
  return name.starts_with(kModule) ? name.substr(sizeof kModule - 1) : name;
}

StateDict ReadState(CheckpointFile& file, const PickleValue& dict) {
  StateDict state;
  ForEachEntry(dict, [&](const std::string& name, const PickleValue& value) {
    if (value.is(Kind::kTensor)) state[WithoutModule(name)] = file.ReadTensor(name, value);
  });
  return state;
}

// What stands beside the state dict. Of a foreign file's, only what has our form is taken.
void ReadEntry(CheckpointFile& file, const std::string& name, const PickleValue& value,
               Checkpoint* checkpoint) {
  if (value.is(Kind::kInteger)) checkpoint->integers[name] = value.integer;
  if (value.is(Kind::kFloat)) checkpoint->numbers[name] = value.number;
  if (IsDictOfTensors(value)) {
    StateDict& group = checkpoint->groups[name];
    ForEachEntry(value, [&](const std::string& key, const PickleValue& tensor) {
      group[key] = file.ReadTensor(name + "." + key, tensor);
    });
  }
  if (!value.is(Kind::kTensor)) return;
  const HostTensor tensor = file.ReadTensor(name, value);
  if (tensor.type == DType::kU8 && tensor.shape.size() == 1) checkpoint->text[name] = tensor.Text();
  if (tensor.type == DType::kI64 && tensor.shape.empty())
    checkpoint->integers[name] = *tensor.i64();
  if (tensor.type == DType::kF64 && tensor.shape.empty()) checkpoint->numbers[name] = *tensor.f64();
}

// Classes of a foreign checkpoint: the rows of the last layer's weight.
Arguments DerivedArguments(const std::string& name, const StateDict& state) {
  const Network network = BuildNetwork(name, {});
  const auto last = std::find_if(network.nodes.rbegin(), network.nodes.rend(),
                                 [](const Node& node) { return !node.weight.empty(); });
  const HostTensor& weight = state.at(last->weight);
  if (weight.shape.empty()) throw InputError("tensor " + last->weight, "a scalar");
  return {{"classes", std::to_string(weight.shape[0])}};
}

}  // namespace

Checkpoint ReadCheckpoint(const std::string& path) {
  CheckpointFile file(path);
  Checkpoint checkpoint;
  checkpoint.path = path;
  const PickleValue& root = file.root();
  if (const PickleValue* state = root.Find("state_dict")) {
    checkpoint.state = ReadState(file, *state);
    ForEachEntry(root, [&](const std::string& name, const PickleValue& value) {
      if (&value != state) ReadEntry(file, name, value, &checkpoint);
    });
  } else {
    checkpoint.state = ReadState(file, root);  // torch.save(model.state_dict())
  }
  if (checkpoint.state.size() == 0)
    throw InputError(path, "holds no tensors, expected a state dict or one named state_dict");
  return checkpoint;
}

Network NetworkOf(const Checkpoint& checkpoint, const std::string& override_name) {
  const auto text = [&](const char* key) {
    const auto found = checkpoint.text.find(key);
    return found == checkpoint.text.end() ? std::string() : found->second;
  };
  const std::string own = text("network");
  const std::string name = override_name.empty() ? own : override_name;
  try {
    if (name.empty()) {
      std::string known;
      for (const std::string& pattern : NetworkNames())
        known += (known.empty() ? "" : ", ") + pattern;
      throw InputError("does not say which network it is of: name it, one of " + known);
    }
    const Network network =
        BuildNetwork(name, name == own ? ParseArguments(text("arguments"))
                                       : DerivedArguments(name, checkpoint.state));
    CheckTensors(network, checkpoint.state);
    return network;
  } catch (const InputError& error) {
    throw InputError(checkpoint.path, error.what());
  }
}

}  // namespace lbrt
