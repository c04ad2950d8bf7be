// A libFuzzer entry point: any bytes as a checkpoint, and what is made of one that is accepted.
#include <cstddef>
#include <cstdint>

#include "images/error.h"
#include "network/architecture.h"
#include "network/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lbrt;
  static const Network network =
      BuildNetwork("mcdonnell/wrn-8-1", {{"classes", "3"}, {"size", "8"}});
  Checkpoint checkpoint;
  try {
    checkpoint = ParseCheckpoint({data, size}, "fuzz");
  } catch (const InputError&) {
    return 0;
  }
  try {
    ArchitectureOf(checkpoint.state);
  } catch (const InputError&) {
  }
  try {
    FitTensors(network, &checkpoint.state);
    CheckTensors(network, checkpoint.state);
    FitToNetwork(&checkpoint, "any-precision/svhn");
  } catch (const InputError&) {
  }
  return 0;
}
