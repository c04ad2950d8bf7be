#include "network/network.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <sstream>

#include "images/error.h"
#include "network/builder.h"

namespace lbrt {
namespace {

// One line a file of network/builders/.
constexpr NetworkEntries (*kFiles[])() = {
    AnyPrecisionNetworks,
    EdmipsResNets,
    EdmipsInceptions,
    McDonnellNetworks,
    RecuCifarNetworks,
    RecuImageNetNetworks,
    TernaryNetworks,
};

std::vector<const NetworkEntry*>& Registered() {
  static std::vector<const NetworkEntry*> entries;
  return entries;
}

std::vector<const NetworkEntry*> Entries() {
  std::vector<const NetworkEntry*> entries;
  for (const auto file : kFiles)
    for (size_t i = 0; i < file().size; ++i) entries.push_back(file().begin + i);
  entries.insert(entries.end(), Registered().begin(), Registered().end());
  return entries;
}

bool IsCapital(char c) { return c >= 'A' && c <= 'Z'; }

// The decimal numbers that stand in `name` where `pattern` has capital letters; nothing when the
// two differ elsewhere.
std::optional<std::vector<std::string>> MatchName(const std::string& pattern,
                                                  const std::string& name) {
  std::vector<std::string> numbers;
  size_t at = 0;
  for (const char c : pattern) {
    if (!IsCapital(c)) {
      if (at == name.size() || name[at++] != c) return std::nullopt;
      continue;
    }
    const size_t end = std::min(name.find_first_not_of("0123456789.", at), name.size());
    if (end == at) return std::nullopt;
    numbers.push_back(name.substr(at, end - at));
    at = end;
  }
  if (at != name.size()) return std::nullopt;
  return numbers;
}

struct Match {
  const NetworkEntry* entry;
  std::vector<std::string> numbers;
};

Match Find(const std::string& name) {
  for (const NetworkEntry* entry : Entries())
    if (auto numbers = MatchName(entry->pattern, name)) return {entry, *std::move(numbers)};
  std::string known;
  for (const std::string& pattern : NetworkNames()) known += (known.empty() ? "" : ", ") + pattern;
  throw InputError("unknown network \"" + name + "\", expected one of: " + known);
}

template <typename T>
bool AllFinite(const HostTensor& tensor) {
  const T* values = reinterpret_cast<const T*>(tensor.bytes.data());
  return std::all_of(values, values + tensor.numel(), [](T x) { return std::isfinite(x); });
}

// What is wrong with a tensor; "" where it fits.
std::string Misfit(const TensorSpec& spec, const HostTensor& tensor) {
  const bool same_shape =
      spec.shape == tensor.shape || (spec.shape.empty() && tensor.shape == std::vector<int64_t>{1});
  if (!same_shape)
    return "shape " + ShapeText(tensor.shape) + ", expected " + ShapeText(spec.shape);
  if (spec.type != tensor.type)
    return std::string("type ") + DTypeName(tensor.type) + ", expected " + DTypeName(spec.type);
  if ((tensor.type == DType::kF32 && !AllFinite<float>(tensor)) ||
      (tensor.type == DType::kF64 && !AllFinite<double>(tensor)))
    return "holds a value that is not finite";
  return "";
}

// "3 tensors are missing (a, b, c)", with the first few names.
std::string Few(const std::vector<std::string>& names, const char* one, const char* many) {
  constexpr size_t kFew = 3;
  std::string text =
      std::to_string(names.size()) + (names.size() == 1 ? " tensor " : " tensors ") +
      (names.size() == 1 ? one : many) + " (";
  for (size_t i = 0; i < std::min(names.size(), kFew); ++i) text += (i == 0 ? "" : ", ") + names[i];
  return text + (names.size() > kFew ? ", ...)" : ")");
}

}  // namespace

bool IsCounter(const std::string& tensor) { return tensor.ends_with(".num_batches_tracked"); }

void CheckTensors(const Network& network, const StateDict& tensors) {
  std::set<std::string> known;
  std::vector<std::string> missing, misfits, others;
  for (const TensorSpec& spec : network.tensors) {
    known.insert(spec.name);
    if (spec.role == Role::kConstant) continue;
    if (!tensors.contains(spec.name)) {
      if (!IsCounter(spec.name)) missing.push_back(spec.name);
    } else if (const std::string misfit = Misfit(spec, tensors.at(spec.name)); !misfit.empty()) {
      misfits.push_back(spec.name + ": " + misfit);
    }
  }
  for (const std::string& name : tensors.names())
    if (known.count(name) == 0) others.push_back(name);

  const size_t wrong = missing.size() + misfits.size() + others.size();
  if (wrong == 0) return;
  if (wrong == 1) {
    if (!missing.empty()) throw InputError("tensor " + missing[0] + " is missing");
    if (!misfits.empty()) throw InputError("tensor " + misfits[0]);
    throw InputError("tensor " + others[0], "is not part of network " + network.name);
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& names, const char* one, const char* many) {
    if (!names.empty()) text += (text.empty() ? "" : ", ") + Few(names, one, many);
  };
  add(missing, "is missing", "are missing");
  add(misfits, "does not fit", "do not fit");
  add(others, "is not part of it", "are not part of it");
  throw InputError("tensors differ from those of network " + network.name, text);
}

NetworkCounts Count(const Network& network) {
  NetworkCounts counts;
  std::map<std::string, int64_t> elements;
  for (const TensorSpec& spec : network.tensors) {
    const int64_t numel = HostTensor{spec.type, spec.shape, {}}.numel();
    elements[spec.name] = numel;
    if (spec.trains()) counts.parameters += numel;
  }
  for (const Node& node : network.nodes) {
    if (node.kind != NodeKind::kConv && node.kind != NodeKind::kLinear) continue;
    const int64_t weights = elements.at(node.weight);
    const int64_t positions =
        node.kind == NodeKind::kConv ? int64_t{node.height} * node.width : int64_t{1};
    if (!node.weights.quantizes() || node.weights.kind == WeightQuantizer::kFixedPoint) {
      counts.float_weights += weights;
      counts.float_macs += weights * positions;
    } else {
      ++counts.quantized_layers;
      counts.quantized_weights += weights;
      const int planes = node.weights.kind == WeightQuantizer::kTernary ? node.weights.t_ex : 1;
      counts.quantized_macs += weights * positions * planes;
    }
  }
  return counts;
}

Network BuildNetwork(const std::string& name, const Arguments& arguments) {
  const Match match = Find(name);
  return match.entry->build(name, match.numbers, arguments);
}

std::vector<std::string> NetworkNames() {
  std::vector<std::string> names;
  for (const NetworkEntry* entry : Entries()) names.push_back(entry->pattern);
  return names;
}

void RegisterNetwork(const NetworkEntry* entry) { Registered().push_back(entry); }

NetworkDefaults DefaultsOf(const Network& network) {
  return Find(network.name).entry->defaults(network);
}

std::string ArgumentsText(const Arguments& arguments) {
  std::string text;
  for (const auto& [name, value] : arguments)
    text += (text.empty() ? "" : " ") + name + "=" + value;
  return text;
}

Arguments ParseArguments(const std::string& text) {
  Arguments arguments;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size())
      throw InputError("network argument \"" + word + "\": expected name=value");
    if (!arguments.emplace(word.substr(0, equals), word.substr(equals + 1)).second)
      throw InputError("network argument " + word.substr(0, equals) + " is given twice");
  }
  return arguments;
}

}  // namespace lbrt
