// `ckpt.pt`: an ordinary PyTorch file. Reads what torch.save writes (the zip container and the
// legacy one before torch 1.6) and what lbtrain writes; writes zip files that torch.load opens,
// with weights_only=True too. The reader is a pickle machine that builds tensors and never executes
// anything: a class it does not know becomes an opaque value that is skipped.
#pragma once

#include <map>
#include <string>

#include "network/network.h"

namespace lbrt {

struct Checkpoint {
  std::string path;                         // where it was read from, for messages
  StateDict state;                          // a leading "module." is taken off the names
  std::map<std::string, StateDict> groups;  // further dicts of tensors, e.g. "optimizer"
  // What a checkpoint of ours says of itself, as text (uint8 tensors in the file); empty in foreign
  // ones: "network", "arguments", "recipe", "preprocessing", "labels", "seed", "device", ...
  std::map<std::string, std::string> text;
  std::map<std::string, int64_t> integers;  // "epoch", ...
  std::map<std::string, double> numbers;    // "best_accuracy", "last_accuracy", ...
};

// Throws InputError (one line: what, where, what was expected) for files that are no checkpoint.
Checkpoint ReadCheckpoint(const std::string& path);
// Atomic: the file appears complete under its name or not at all.
void WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint);

// The network a checkpoint belongs to: its own name and arguments, or `override_name` (required
// for a foreign file, whose classes are derived from its last layer's shape). The checkpoint has
// every tensor of the network, of the right shape and finite, and no other (CheckTensors); throws
// InputError naming the first that differs.
Network NetworkOf(const Checkpoint& checkpoint, const std::string& override_name);

}  // namespace lbrt
