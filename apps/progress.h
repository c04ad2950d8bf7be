// A progress bar.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace lbrt {

// "epoch 1/2 [######....] 600/1000, 100/s, 4 s left, loss 1.234": `done` of `total`, of which all
// but the first `before` were done in `seconds`; `detail` after that. Without rate and time left
// where `seconds` says nothing of them.
std::string ProgressText(const std::string& what, size_t before, size_t done, size_t total,
                         double seconds, const std::string& detail);

// One line on stderr that is drawn over, with the rate and the time left; nothing where stderr is
// no terminal. Gone when the bar is destroyed.
class Progress {
 public:
  // `before`: how much is done already.
  Progress(std::string what, size_t total, size_t before = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Show(size_t done, const std::string& detail = "");

 private:
  using Clock = std::chrono::steady_clock;

  std::string what_;
  size_t total_, before_;
  bool terminal_;
  Clock::time_point start_ = Clock::now(), drawn_ = {};
};

}  // namespace lbrt
