#include "network/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "images/error.h"
#include "network/builder.h"
#include "network/checkpoint_file.h"

namespace lbrt {
namespace {

using Kind = PickleValue::Kind;

// Of dicts of tensors inside of dicts, by what people call them; the first that is there is meant.
constexpr const char* kStateKeys[] = {"state_dict", "model_state_dict", "model_state", "model",
                                      "net",        "network",          "module",      "weights"};
constexpr int kDeepest = 4;  // that such a dict is looked for
constexpr size_t kLongestName = 1000;

// Calls visit(key, value) for the entries of a dict whose keys are text, later ones of a key last.
// No tensor's name is longer than those that are visited.
template <typename Visit>
void ForEachEntry(const PickleValue& dict, Visit visit) {
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
    if (dict.items[i]->is(Kind::kText) && dict.items[i]->text.size() <= kLongestName)
      visit(dict.items[i]->text, *dict.items[i + 1]);
}

bool HoldsTensors(const PickleValue& value) {
  bool holds = false;
  if (value.is(Kind::kDict))
    ForEachEntry(value, [&](const std::string&, const PickleValue& entry) {
      holds = holds || entry.is(Kind::kTensor);
    });
  return holds;
}

bool IsDictOfTensors(const PickleValue& value) {
  if (!value.is(Kind::kDict)) return false;
  for (size_t i = 0; i + 1 < value.items.size(); i += 2)
    if (!value.items[i]->is(Kind::kText) || !value.items[i + 1]->is(Kind::kTensor)) return false;
  return true;
}

// The dict of tensors, or null; `parent` becomes the dict that it lies in.
const PickleValue* FindState(const PickleValue& value, int depth, const PickleValue** parent) {
  for (const char* key : kStateKeys) {
    const PickleValue* entry = value.Find(key);
    if (entry == nullptr || !entry->is(Kind::kDict)) continue;
    *parent = &value;
    const PickleValue* inner = depth == 0 ? nullptr : FindState(*entry, depth - 1, parent);
    if (inner != nullptr) return inner;
    *parent = &value;
    if (HoldsTensors(*entry)) return entry;
  }
  return nullptr;
}

std::string WithoutWrapper(std::string name) {
  for (const std::string wrapper : {"module.", "_orig_mod.", "module."})
    if (name.starts_with(wrapper)) name.erase(0, wrapper.size());
  return name;
}

StateDict ReadState(CheckpointFile& file, const std::string& path, const PickleValue& dict) {
  StateDict state;
  std::map<std::string, std::string> full_names;
  ForEachEntry(dict, [&](const std::string& full, const PickleValue& value) {
    if (!value.is(Kind::kTensor)) return;
    const std::string name = WithoutWrapper(full);
    const auto [seen, is_new] = full_names.emplace(name, full);
    if (!is_new && seen->second != full)
      throw InputError(path, "has both " + seen->second + " and " + full + ", expected one of them");
    state[name] = file.ReadTensor(full, value);
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
      if (file.CanRead(tensor)) group[key] = file.ReadTensor(name + "." + key, tensor);
    });
  }
  if (!value.is(Kind::kTensor) || !file.CanRead(value)) return;
  const HostTensor tensor = file.ReadTensor(name, value);
  if (tensor.type == DType::kU8 && tensor.shape.size() == 1) checkpoint->text[name] = tensor.Text();
  if (!tensor.shape.empty()) return;
  if (tensor.type == DType::kI64) checkpoint->integers[name] = *tensor.i64();
  if (tensor.type == DType::kF32) checkpoint->numbers[name] = static_cast<double>(*tensor.f32());
  if (tensor.type == DType::kF64) checkpoint->numbers[name] = *tensor.f64();
}

// Every entry of the dict that holds the state dict, but no value twice: a hostile pickle names one
// a million times.
void ReadEntries(CheckpointFile& file, const PickleValue& parent, const PickleValue& state,
                 Checkpoint* checkpoint) {
  std::set<const PickleValue*> seen = {&state};
  ForEachEntry(parent, [&](const std::string& name, const PickleValue& value) {
    if (seen.insert(&value).second) ReadEntry(file, name, value, checkpoint);
  });
  // Without a network these are bytes of something else, e.g. a random generator's state.
  if (checkpoint->text.count("network") == 0) checkpoint->text.clear();
}

// "a file of an object of class torch.nn.Module", "a dict of epoch, optimizer, ...".
std::string Described(const PickleValue& root) {
  if (root.is(Kind::kOpaque) && !root.text.empty()) {
    std::string name = root.text;
    std::replace(name.begin(), name.end(), ' ', '.');
    return ", but an object of class " + name;
  }
  std::string keys;
  int count = 0;
  if (root.is(Kind::kDict))
    ForEachEntry(root, [&](const std::string& key, const PickleValue&) {
      constexpr int kMost = 5;
      if (++count <= kMost) keys += (count == 1 ? "" : ", ") + key.substr(0, 40);
      if (count == kMost + 1) keys += ", ...";
    });
  return keys.empty() ? "" : ", but " + keys;
}

Checkpoint Read(CheckpointFile& file, const std::string& path) {
  Checkpoint checkpoint;
  checkpoint.path = path;
  const PickleValue& root = file.root();
  const PickleValue* parent = nullptr;
  if (const PickleValue* state = FindState(root, kDeepest, &parent)) {
    checkpoint.state = ReadState(file, path, *state);
    ReadEntries(file, *parent, *state, &checkpoint);
  } else if (root.is(Kind::kDict)) {
    checkpoint.state = ReadState(file, path, root);  // torch.save(model.state_dict())
  }
  if (checkpoint.state.size() == 0)
    throw InputError(path, "holds no tensors" + Described(root) +
                               "; expected a state dict or one named state_dict, model, ...");
  return checkpoint;
}

// Classes of a foreign checkpoint: the rows of the last layer's weight.
void DeriveClasses(const Network& network, const StateDict& state, Arguments* arguments) {
  const auto last = std::find_if(network.nodes.rbegin(), network.nodes.rend(),
                                 [](const Node& node) { return !node.weight.empty(); });
  if (last == network.nodes.rend() || !state.contains(last->weight)) return;
  const HostTensor& weight = state.at(last->weight);
  if (weight.shape.empty()) throw InputError("tensor " + last->weight, "a scalar");
  arguments->emplace("classes", std::to_string(weight.shape[0]));
}

// Widths of a network that switches: those that its batch norms are there for.
void DeriveWidths(const Network& network, const StateDict& state, Arguments* arguments) {
  if (network.widths.empty()) return;
  constexpr std::string_view kDict = ".bn_dict.";
  std::set<int> widths;
  for (const std::string& name : state.names()) {
    const size_t at = name.find(kDict);
    if (at == std::string::npos) continue;
    int width = 0;
    std::from_chars(name.data() + at + kDict.size(), name.data() + name.size(), width);
    if (width >= 1 && width <= 32) widths.insert(width);
  }
  if (!widths.empty()) arguments->emplace("widths", ListText({widths.begin(), widths.end()}));
}

// What a foreign checkpoint shows of its network, unless `given` says otherwise.
Arguments DerivedArguments(const std::string& name, const StateDict& state,
                           const Arguments& given) {
  const Network network = BuildNetwork(name, given);
  Arguments arguments = given;
  DeriveClasses(network, state, &arguments);
  DeriveWidths(network, state, &arguments);
  return arguments;
}

// A bit list for all layers and one for each say the same: the given one is meant.
Arguments Over(Arguments own, const Arguments& given) {
  if (given.count("bits") != 0 || given.count("weight_bits") != 0)
    for (const char* key : {"bits", "weight_bits", "activation_bits"}) own.erase(key);
  for (const auto& [key, value] : given) own[key] = value;
  return own;
}

Network NetworkNamed(const Checkpoint& checkpoint, const std::string& override_name,
                     const Arguments& arguments) {
  const auto text = [&](const char* key) {
    const auto found = checkpoint.text.find(key);
    return found == checkpoint.text.end() ? std::string() : found->second;
  };
  const std::string own = text("network");
  const std::string name = override_name.empty() ? own : override_name;
  if (name.empty()) {
    std::string known;
    for (const std::string& pattern : NetworkNames())
      known += (known.empty() ? "" : ", ") + pattern;
    throw InputError("does not say which network it is of: name it, one of " + known);
  }
  return BuildNetwork(name, name == own ? Over(ParseArguments(text("arguments")), arguments)
                                        : DerivedArguments(name, checkpoint.state, arguments));
}

}  // namespace

Checkpoint ReadCheckpoint(const std::string& path) {
  CheckpointFile file(path);
  return Read(file, path);
}

Checkpoint ParseCheckpoint(std::span<const uint8_t> bytes, const std::string& path) {
  CheckpointFile file(bytes, path);
  return Read(file, path);
}

Network NetworkOf(const Checkpoint& checkpoint, const std::string& override_name,
                  const Arguments& arguments) {
  try {
    Network network = NetworkNamed(checkpoint, override_name, arguments);
    CheckTensors(network, checkpoint.state);
    return network;
  } catch (const InputError& error) {
    throw InputError(checkpoint.path, error.what());
  }
}

Network FitToNetwork(Checkpoint* checkpoint, const std::string& override_name,
                     const Arguments& arguments) {
  try {
    Network network = NetworkNamed(*checkpoint, override_name, arguments);
    FitTensors(network, &checkpoint->state);
    CheckTensors(network, checkpoint->state);
    return network;
  } catch (const InputError& error) {
    throw InputError(checkpoint->path, error.what());
  }
}

}  // namespace lbrt
