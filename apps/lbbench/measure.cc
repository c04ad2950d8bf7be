#include "apps/lbbench/measure.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace lbrt {
namespace {

double Seconds(const std::function<void()>& run, size_t calls) {
  const auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < calls; ++i) run();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count() / static_cast<double>(calls);
}

}  // namespace

void TimeSideBySide(std::vector<Timed>& all, int rounds) {
  constexpr double kSlice = 1e-3;
  std::vector<size_t> calls;
  for (Timed& timed : all) {
    timed.run();  // caches
    const double once = Seconds(timed.run, 1);
    calls.push_back(std::max<size_t>(1, static_cast<size_t>(kSlice / std::max(once, 1e-9))));
    timed.seconds = std::numeric_limits<double>::infinity();
  }
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < all.size(); ++i)
      all[i].seconds = std::min(all[i].seconds, Seconds(all[i].run, calls[i]));
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace lbrt
