// Learning rate and tau as closed formulas of the epoch, counted from 0.
#pragma once

#include <string>
#include <vector>

namespace lbrt {

enum class Schedule {
  kCosine,    // to 0 at the last epoch; with warm-up as ReCU (methods.md 4.4)
  kStep,      // times a factor at each milestone; with warm-up, these act warmup - 1 epochs late
  kLinear,    // to 0; with warm-up as ReCU (methods.md 4.4)
  kRestarts,  // McDonnell's cosine with warm restarts at epochs 2, 4, 8, ... (methods.md 3.4)
};
Schedule ParseSchedule(const std::string& text);  // throws InputError listing the names
const char* ScheduleName(Schedule schedule);

struct LearningRate {
  Schedule schedule = Schedule::kCosine;
  double lr = 0.1;              // the highest
  double lr_min = 0;            // kRestarts: the lowest
  int epochs = 1;               // length of the run
  int warmup = 0;               // kCosine, kStep, kLinear: linear warm-up over so many epochs
  std::vector<int> milestones;  // kStep
  std::vector<double> factors;  // kStep: at each milestone; fewer of them: 0.1 at the others

  double At(int epoch) const { return lr * FactorAt(epoch); }
  // The same as a part of `lr`: what a search's other learning rate is multiplied by.
  double FactorAt(int epoch) const;
};

// tau = A e^(epoch / epochs) + B, from tau_min at epoch 0 towards tau_max (methods.md 4.1).
double RecuTau(double tau_min, double tau_max, int epoch, int epochs);

}  // namespace lbrt
