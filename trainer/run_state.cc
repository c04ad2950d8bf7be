#include "trainer/run_state.h"

#include <ATen/ATen.h>

#include "images/error.h"

namespace lbrt {

static int64_t Integer(const Checkpoint& checkpoint, const std::string& path,
                       const std::string& name) {
  const auto found = checkpoint.integers.find(name);
  if (found == checkpoint.integers.end())
    throw InputError(path, "has no " + name + ", expected a checkpoint of lbtrain");
  return found->second;
}

void EpochSums::Add(const StepResult& step, size_t images) {
  for (size_t i = 0; i < step.losses.size(); ++i) {
    const at::Tensor loss = step.losses[i].to(at::kDouble) * static_cast<double>(images);
    if (i == losses.size())
      losses.push_back(loss);
    else
      losses[i] = losses[i] + loss;
  }
  correct = correct.defined() ? correct + step.correct : step.correct;
  complexity = step.complexity;
}

void RunState::WriteTo(Checkpoint* checkpoint) const {
  Checkpoint& c = *checkpoint;
  c.integers["epoch"] = epoch;
  c.integers["best_epoch"] = best_epoch;
  c.integers["random_state"] = static_cast<int64_t>(random.state());
  if (best_epoch > 0) c.numbers["best_accuracy"] = best_accuracy;
  if (position == 0) return;
  c.integers["position"] = static_cast<int64_t>(position);
  c.integers["order_seed"] = static_cast<int64_t>(order_seed);
  c.integers["correct"] = sums.correct.item<int64_t>();
  for (size_t i = 0; i < sums.losses.size(); ++i)
    c.numbers["loss_sum_" + std::to_string(i)] = sums.losses[i].item<double>();
  if (sums.complexity.defined()) c.numbers["complexity"] = sums.complexity.item<double>();
}

RunState RunState::ReadFrom(const Checkpoint& checkpoint, const std::string& path, size_t widths,
                            const at::Device& device) {
  const auto integer = [&](const std::string& name) { return Integer(checkpoint, path, name); };
  const auto& numbers = checkpoint.numbers;
  RunState state(static_cast<uint64_t>(integer("random_state")));
  state.epoch = static_cast<int>(integer("epoch"));
  state.best_epoch = integer("best_epoch");
  if (numbers.count("best_accuracy")) state.best_accuracy = numbers.at("best_accuracy");
  if (!checkpoint.integers.count("position")) return state;
  state.position = static_cast<size_t>(integer("position"));
  state.order_seed = static_cast<uint64_t>(integer("order_seed"));
  state.sums.correct = at::scalar_tensor(integer("correct"), at::kLong).to(device);
  if (numbers.count("complexity"))
    state.sums.complexity = at::scalar_tensor(numbers.at("complexity"), at::kDouble);
  for (size_t i = 0; i < widths; ++i) {
    const auto loss = numbers.find("loss_sum_" + std::to_string(i));
    if (loss == numbers.end()) throw InputError(path, "has no loss_sum_" + std::to_string(i));
    state.sums.losses.push_back(at::scalar_tensor(loss->second, at::kDouble).to(device));
  }
  return state;
}

}  // namespace lbrt
