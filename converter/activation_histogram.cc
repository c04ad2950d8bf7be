#include "converter/activation_histogram.h"

#include <algorithm>
#include <cmath>

namespace lbrt {
namespace {

constexpr size_t kBins = 65536;
constexpr double kSmallest = 1e-20;  // values that have a step; 1 / step is a float

}  // namespace

void ActivationHistogram::Add(std::span<const float> values) {
  for (const float value : values)
    if (static_cast<double>(value) > kSmallest) AddOne(static_cast<double>(value));
}

void ActivationHistogram::AddOne(double value) {
  const bool first = counts_.empty();
  if (first) counts_.resize(kBins);
  while (value >= width_ * static_cast<double>(kBins)) {
    width_ *= 2;
    if (first) continue;
    for (size_t i = 0; i < kBins / 2; ++i) counts_[i] = counts_[2 * i] + counts_[2 * i + 1];
    std::fill(counts_.begin() + kBins / 2, counts_.end(), 0);
  }
  ++counts_[static_cast<size_t>(value / width_)];
  largest_ = std::max(largest_, value);
}

template <typename Visit>
void ActivationHistogram::VisitBins(Visit visit) const {
  for (size_t i = 0; i < counts_.size(); ++i)
    if (counts_[i] != 0)
      visit((static_cast<double>(i) + 0.5) * width_, static_cast<double>(counts_[i]));
}

double ActivationHistogram::Error(double step, int levels) const {
  double errors = 0, squares = 0;
  VisitBins([&](double x, double count) {
    const double code = std::nearbyint(std::min(x / step, static_cast<double>(levels)));
    errors += count * (x - step * code) * (x - step * code);
    squares += count * x * x;
  });
  return squares > 0 ? errors / squares : 0;
}

double ActivationHistogram::BestStep(int levels) const {
  if (largest_ == 0) return 1;
  constexpr int kAnOctave = 16, kOctaves = 5;
  double best = 0, least = 0;
  for (int i = 0; i <= kAnOctave * kOctaves; ++i) {
    const double step = largest_ / levels * std::exp2(-static_cast<double>(i) / kAnOctave);
    const double error = Error(step, levels);
    if (i > 0 && error >= least) continue;
    best = step;
    least = error;
  }
  return best;
}

}  // namespace lbrt
