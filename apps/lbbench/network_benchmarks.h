// Whole networks with random weights, beside the other engines' form of the same topology.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "apps/lbbench/kernel_benchmarks.h"
#include "apps/lbbench/measure.h"
#include "apps/model_runner.h"
#include "apps/random_model.h"
#include "network/import.h"

namespace lbrt {

struct NetworkChoice {
  std::string name;  // "network/recu/resnet20/i24"
  const char* network;
  Stem stem;
  Peak peak;           // of its multiply-adds with quantized weights
  bool peers = false;  // other engines run it too
  Arguments arguments = {};
  int width = 0;  // of a network that switches
};

std::vector<NetworkChoice> NetworkChoices();

// Throws InputError where lbrt's logits of noise are not the interpreter's.
void CheckAgainstInterpreter(const std::string& name, const RandomModel& model,
                             ModelRunner& runner);

class NetworkBenchmark {
 public:
  // Checks every engine's result; throws InputError where one is wrong.
  NetworkBenchmark(const NetworkChoice& choice, const char* isa);

  const std::string& name() const { return name_; }
  Peak peak() const { return peak_; }
  int64_t macs() const { return macs_; }  // with quantized weights; as published: with padding
  const std::vector<Timed>& engines() const { return engines_; }  // lbrt's first

 private:
  std::string name_;
  Peak peak_;
  int64_t macs_;
  std::vector<Timed> engines_;
};

}  // namespace lbrt
