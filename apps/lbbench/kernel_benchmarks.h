// The rows of kernels/kernels.h on the shapes of real layers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace lbrt {

// What a row's rate is held against.
enum class Peak : uint8_t { kNone, kPopcount, kDot8, kFma };

struct KernelBenchmark {
  std::string name;  // "kernel/xor_popcount_lanes/16@32": channels @ pixels of a side
  Peak peak = Peak::kNone;
  double work = 0;  // useful multiply-adds; for epilogues and pooling, elements
  std::function<void()> run;
  std::function<bool()> right;  // runs once and compares with kernels/reference.h
};

std::vector<KernelBenchmark> KernelBenchmarks(const Kernels& kernels);

}  // namespace lbrt
