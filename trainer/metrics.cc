#include "trainer/metrics.h"

#include <charconv>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "images/file.h"

namespace lbrt {
namespace {

std::string Header(const EpochResult& r) {
  std::string text =
      "epoch,lr,tau,train_loss,train_accuracy,test_loss,test_accuracy,complexity,seconds,"
      "images_per_second,data_share";
  for (const WidthResult& w : r.widths) {
    const std::string of = w.width == 0 ? "" : "_w" + std::to_string(w.width);
    if (w.width != 0)
      for (const char* name : {"train_loss", "test_loss", "test_accuracy"})
        text += "," + std::string(name) + of;
    if (w.test_top5) text += ",test_top5" + of;
  }
  return text + "\n";
}

std::string Line(const EpochResult& r) {
  char line[256];
  std::snprintf(line, sizeof line, "%d,%.9g,%.9g,%.6f,%.3f,%.6f,%.3f,%.4f,%.2f,%.1f,%.4f", r.epoch,
                r.lr, r.tau, r.train_loss, r.train_accuracy, r.test_loss, r.test_accuracy,
                r.complexity, r.seconds, r.images_per_second, r.data_share);
  std::string text = line;
  for (const WidthResult& w : r.widths) {
    if (w.width != 0) {
      std::snprintf(line, sizeof line, ",%.6f,%.6f,%.3f", w.train_loss, w.test_loss,
                    w.test_accuracy);
      text += line;
    }
    if (!w.test_top5) continue;
    std::snprintf(line, sizeof line, ",%.3f", *w.test_top5);
    text += line;
  }
  return text + "\n";
}

}  // namespace

void WriteMetrics(const std::string& path, const EpochResult& result) {
  std::string text = Header(result);
  if (result.epoch > 0 && std::filesystem::exists(path)) {
    const std::vector<uint8_t> bytes = ReadFile(path);
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    for (std::string line; std::getline(lines, line);) {
      int of = -1;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), of);
      if (error == std::errc() && of < result.epoch) text += line + "\n";
    }
  }
  AtomicFile file(path);
  file.Write(text + Line(result));
  file.Commit();
}

}  // namespace lbrt
