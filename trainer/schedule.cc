#include "trainer/schedule.h"

#include <cmath>
#include <numbers>

#include "images/error.h"

namespace lbrt {

static double HalfCosine(double progress) {
  return (1 + std::cos(std::numbers::pi * progress)) / 2;
}

// The published scheduler is stepped once before training, so epochs 0 and 1 use the values of
// epochs 1 and 2 of their cycles; from epoch 2 on a cycle starts at every power of two and is as
// long as the epoch at which it starts.
static double Restarts(double low, double high, int epoch) {
  if (epoch == 0) return low + (high - low) * HalfCosine(0.5);
  if (epoch == 1) return low;
  int start = 2;
  while (start * 2 <= epoch) start *= 2;
  return low + (high - low) * HalfCosine(static_cast<double>(epoch - start) / start);
}

double LearningRate::FactorAt(int epoch) const {
  if (schedule == Schedule::kRestarts) return Restarts(lr_min / lr, 1, epoch);
  if (epoch < warmup) return static_cast<double>(epoch + 1) / warmup;
  // The reference first steps its scheduler after the last warm-up epoch but one.
  const int late = warmup > 0 ? warmup - 1 : 0;
  const double length = epochs - late;
  if (schedule == Schedule::kCosine) return HalfCosine((epoch - late) / length);
  if (schedule == Schedule::kLinear) return 1 - (epoch - 2 * late) / length;
  double factor = 1;
  for (size_t i = 0; i < milestones.size(); ++i)
    if (epoch >= milestones[i] + late) factor *= i < factors.size() ? factors[i] : 0.1;
  return factor;
}

double RecuTau(double tau_min, double tau_max, int epoch, int epochs) {
  const double a = (tau_max - tau_min) / (std::numbers::e - 1);
  return a * std::exp(static_cast<double>(epoch) / epochs) + (tau_min - a);
}

static constexpr struct {
  Schedule schedule;
  const char* name;
} kSchedules[] = {
    {Schedule::kCosine, "cosine"},
    {Schedule::kStep, "step"},
    {Schedule::kLinear, "linear"},
    {Schedule::kRestarts, "restarts"}};

Schedule ParseSchedule(const std::string& text) {
  for (const auto& s : kSchedules)
    if (text == s.name) return s.schedule;
  throw InputError("unknown schedule \"" + text + "\", expected cosine, step, linear or restarts");
}

const char* ScheduleName(Schedule schedule) {
  for (const auto& s : kSchedules)
    if (schedule == s.schedule) return s.name;
  return "";
}

}  // namespace lbrt
