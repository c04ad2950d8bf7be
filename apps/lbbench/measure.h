// Times things side by side: machines change their clock and share their caches, so only figures of
// the same moment can be compared.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace lbrt {

struct Timed {
  std::string name;
  std::function<void()> run;
  double seconds = 0;  // of one call; the best of all rounds
};

// Rounds in which each of them runs for about a millisecond (at least once), one after the other.
void TimeSideBySide(std::vector<Timed>& all, int rounds);

double Median(std::vector<double> values);  // at least one

}  // namespace lbrt
