#include "network/architecture.h"

#include <algorithm>
#include <sstream>
#include <string_view>

#include "images/error.h"
#include "images/file.h"
#include "network/builder.h"
#include "network/checkpoint.h"

namespace lbrt {
namespace {

template <typename Bits>
int Chosen(const HostTensor& alphas, const Bits& bits, const std::string& name) {
  if (alphas.type != DType::kF32 || alphas.numel() != std::ssize(bits))
    throw InputError("tensor " + name, std::string(DTypeName(alphas.type)) + " " +
                                           ShapeText(alphas.shape) + ", expected float32 " +
                                           std::to_string(std::size(bits)));
  const float* values = alphas.f32();
  return bits[std::max_element(values, values + alphas.numel()) - values];
}

std::vector<int> BitList(const Arguments& arguments, const std::string& name,
                         const std::string& path) {
  const auto found = arguments.find(name);
  if (found == arguments.end()) throw InputError(path, "has no " + name);
  std::vector<int> bits;
  std::istringstream list(found->second);
  for (std::string number; std::getline(list, number, ',');) {
    if (number.size() != 1 || number[0] < '1' || number[0] > '8')
      throw InputError(path, name + "=" + found->second + ": expected numbers from 1 to 8");
    bits.push_back(number[0] - '0');
  }
  return bits;
}

}  // namespace

Architecture ArchitectureOf(const StateDict& tensors) {
  Architecture result;
  for (const std::string& name : tensors.names()) {
    if (name.ends_with(".alpha_activ"))
      result.activation_bits.push_back(Chosen(tensors.at(name), kMixtureActivationBits, name));
    if (name.ends_with(".alpha_weight"))
      result.weight_bits.push_back(Chosen(tensors.at(name), kMixtureWeightBits, name));
  }
  if (result.weight_bits.empty() || result.weight_bits.size() != result.activation_bits.size())
    throw InputError("the tensors hold " + std::to_string(result.activation_bits.size()) +
                     " alpha_activ and " + std::to_string(result.weight_bits.size()) +
                     " alpha_weight, expected those of a search, as many of each");
  return result;
}

std::string ArchitectureText(const Architecture& architecture) {
  return "weight_bits=" + ListText(architecture.weight_bits) +
         "\nactivation_bits=" + ListText(architecture.activation_bits) + "\n";
}

Architecture ReadArchitecture(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  constexpr std::string_view kText = "weight_bits=";
  const std::string text(bytes.begin(), bytes.end());
  if (!text.starts_with(kText)) {
    const Checkpoint checkpoint = ParseCheckpoint(bytes, path);
    try {
      return ArchitectureOf(checkpoint.state);
    } catch (const InputError& error) {
      throw InputError(path, error.what());
    }
  }
  const Arguments arguments = ParseArguments(text);
  return {BitList(arguments, "weight_bits", path), BitList(arguments, "activation_bits", path)};
}

Arguments WithBitsRead(const Arguments& arguments) {
  const auto bits = arguments.find("bits");
  if (bits == arguments.end() ||
      bits->second.find_first_not_of("0123456789/, []") == std::string::npos)
    return arguments;
  const Architecture architecture = ReadArchitecture(bits->second);
  Arguments result = arguments;
  result.erase("bits");
  result["weight_bits"] = ListText(architecture.weight_bits);
  result["activation_bits"] = ListText(architecture.activation_bits);
  return result;
}

}  // namespace lbrt
