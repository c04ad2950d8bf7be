// `ckpt.pt`: an ordinary PyTorch file. Reads what torch.save writes (the zip container and the
// legacy one before torch 1.6, under Python 2 and 3) and what lbtrain writes; writes zip files that
// torch.load opens, with weights_only=True too. The reader is a pickle machine that builds tensors
// and never executes anything: a class it does not know becomes an opaque value that is skipped.
#pragma once

#include <map>
#include <span>
#include <string>

#include "network/network.h"

namespace lbrt {

struct Checkpoint {
  std::string path;                         // where it was read from, for messages
  // The dict of tensors that the file is, or that lies under "state_dict", "model", "net", ... in
  // it. "module." and "_orig_mod." in front of the names (DataParallel's, torch.compile's) are off.
  StateDict state;
  std::map<std::string, StateDict> groups;  // further dicts of tensors, e.g. "optimizer"
  // What a checkpoint of ours says of itself, as text (uint8 tensors in the file); empty in foreign
  // ones: "network", "arguments", "recipe", "preprocessing", "labels", "seed", "device", ...
  std::map<std::string, std::string> text;
  std::map<std::string, int64_t> integers;  // "epoch", ...
  std::map<std::string, double> numbers;    // "best_accuracy", "last_accuracy", ...
};

// Throws InputError (one line: what, where, what was expected) for files that are no checkpoint.
Checkpoint ReadCheckpoint(const std::string& path);
// The same of a file in memory; `path` is what messages call it.
Checkpoint ParseCheckpoint(std::span<const uint8_t> bytes, const std::string& path);
// Atomic: the file appears complete under its name or not at all.
void WriteCheckpoint(const std::string& path, const Checkpoint& checkpoint);

// Brings tensors to the type that the network has them in: float16 and float64 become float32 (the
// latter rounded once), counters int64, and McDonnell's packed weights (uint8, methods.md 3.6) the
// signs times sqrt(2 / fan in) that they stand for. All others stay as they are.
void FitTensors(const Network& network, StateDict* state);

// The network a checkpoint belongs to: its own name and arguments, or `override_name` (required for
// a foreign file). What a foreign file shows is derived: classes from its last layer's shape, widths
// from its batch norms. `arguments` win over all of that. The checkpoint has every tensor of the
// network, of the right shape and finite, and no other (CheckTensors); throws InputError naming
// those that differ.
Network NetworkOf(const Checkpoint& checkpoint, const std::string& override_name,
                  const Arguments& arguments = {});
// The same, after its tensors were fitted to that network: for files that others wrote.
Network FitToNetwork(Checkpoint* checkpoint, const std::string& override_name,
                     const Arguments& arguments = {});

}  // namespace lbrt
