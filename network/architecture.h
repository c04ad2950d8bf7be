// The bits of every quantized layer of a network, as EdMIPS's search finds them (methods.md 2.3).
#pragma once

#include <string>
#include <vector>

#include "network/network.h"

namespace lbrt {

struct Architecture {
  std::vector<int> weight_bits, activation_bits;  // a layer each, in the order of registration
};

// The largest alpha of every layer of a search, the first one of equals; weights and activations
// each on their own. Throws InputError where `tensors` holds no alphas.
Architecture ArchitectureOf(const StateDict& tensors);

// "weight_bits=1,2,... activation_bits=2,3,...", two lines: an architecture file.
std::string ArchitectureText(const Architecture& architecture);

// Reads an architecture file, or the alphas of a search's checkpoint (ours or a published
// arch_checkpoint.pth.tar). Throws InputError.
Architecture ReadArchitecture(const std::string& path);

// Arguments in which "bits" named a file: weight_bits and activation_bits instead.
Arguments WithBitsRead(const Arguments& arguments);

}  // namespace lbrt
