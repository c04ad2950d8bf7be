// A progress bar.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace lbrt {

// One line on stderr that is drawn over, with the rate and the time left; nothing where stderr is
// no terminal. Gone when the bar is destroyed.
class Progress {
 public:
  Progress(std::string what, size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Show(size_t done);

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  size_t total_;
  bool terminal_;
  Clock::time_point start_ = Clock::now(), drawn_ = {};
};

}  // namespace lbrt
