// What runs: tables for `lbrun --explain` and `--profile`.
#pragma once

#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "apps/model_runner.h"

namespace lbrt {

// How long each op took, as the observer of a session's runs.
struct Profile {
  std::chrono::steady_clock::time_point last;  // the op before ended, or the run began
  std::vector<std::vector<double>> us;         // by op, of every run

  static void Observe(void* context, const lbrt_session* session, size_t op);
};

// Runs once; `profile` may be null.
std::span<const float> Run(ModelRunner& runner, Profile* profile);

// One line per op: what it makes, of what precision, by which kernel and why; with a profile, how
// long it took instead of why.
std::string OpTable(const ModelRunner& runner, const Profile* profile);

// Of a model of several widths, one line for each that is prepared: where the file may end, and the
// memory of its weights. Empty for others.
std::string WidthTable(const ModelRunner& runner);

// Sizes, memory, widths, where the model comes from and what was measured with it.
std::string Summary(const ModelRunner& runner);

}  // namespace lbrt
