#include "apps/progress.h"

#include <cstdio>
#include <unistd.h>

namespace lbrt {

std::string ProgressText(const std::string& what, size_t before, size_t done, size_t total,
                         double seconds, const std::string& detail) {
  constexpr size_t kWidth = 30;
  const size_t filled = total == 0 ? kWidth : kWidth * done / total;
  std::string text = what + " [" + std::string(filled, '#') + std::string(kWidth - filled, '.') +
                     "] " + std::to_string(done) + "/" + std::to_string(total);
  const std::string end = detail.empty() ? "" : ", " + detail;
  if (done <= before || seconds <= 0) return text + end;
  const double rate = static_cast<double>(done - before) / seconds;
  char rest[64];
  std::snprintf(rest, sizeof rest, ", %.0f/s, %.0f s left", rate,
                static_cast<double>(total - done) / rate);
  return text + rest + end;
}

Progress::Progress(std::string what, size_t total, size_t before)
    : what_(std::move(what)),
      total_(total),
      before_(before),
      terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (terminal_ && drawn_ != Clock::time_point{}) std::fputs("\r\x1b[K", stderr);
}

void Progress::Show(size_t done, const std::string& detail) {
  if (!terminal_) return;
  const Clock::time_point now = Clock::now();
  if (done < total_ && now - drawn_ < std::chrono::milliseconds(100)) return;
  drawn_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  std::fprintf(stderr, "\r%s\x1b[K",
               ProgressText(what_, before_, done, total_, seconds, detail).c_str());
  std::fflush(stderr);
}

}  // namespace lbrt
