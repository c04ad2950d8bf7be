#include "apps/progress.h"

#include <cstdio>
#include <unistd.h>

namespace lbrt {

Progress::Progress(std::string what, size_t total)
    : what_(std::move(what)), total_(total), terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (terminal_ && drawn_ != Clock::time_point{}) std::fputs("\r\x1b[K", stderr);
}

void Progress::Show(size_t done) {
  if (!terminal_) return;
  const Clock::time_point now = Clock::now();
  if (done < total_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  constexpr int kWidth = 30;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const int filled = total_ == 0 ? kWidth : static_cast<int>(kWidth * done / total_);
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(kWidth - filled), '.');
  std::fprintf(stderr, "\r%s [%s] %zu/%zu, %.0f/s, %.0f s left\x1b[K", what_.c_str(), bar.c_str(),
               done, total_, rate, rate > 0 ? static_cast<double>(total_ - done) / rate : 0.0);
  std::fflush(stderr);
}

}  // namespace lbrt
