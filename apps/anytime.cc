#include "apps/anytime.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace lbrt {

float Margin(std::span<const float> logits) {
  if (logits.size() < 2) return std::numeric_limits<float>::infinity();
  const std::vector<int> best = Ranked(logits, 2);
  return logits[static_cast<size_t>(best[0])] - logits[static_cast<size_t>(best[1])];
}

std::span<const float> RunAnytime(ModelRunner& runner, float margin) {
  std::span<const float> logits;
  for (const int width : runner.widths()) {
    runner.SetWidth(width);
    logits = runner.Run();
    if (Margin(logits) >= margin) break;
  }
  return logits;
}

void WidthResults::Add(size_t i, std::span<const float> logits, int rank, double us) {
  Column& column = columns_[i];
  column.margins.push_back(Margin(logits));
  column.ranks.push_back(rank);
  column.us += us;
  column.classes = static_cast<int>(logits.size());
}

WidthResults::Row WidthResults::RowOf(const std::vector<size_t>& chosen) const {
  Row row;
  row.chosen = chosen;
  row.answered.resize(widths_.size());
  const double images = static_cast<double>(chosen.size());
  for (size_t image = 0; image < chosen.size(); ++image) {
    const Column& column = columns_[chosen[image]];
    const int rank = column.ranks[image];
    row.top1 += rank < 1;
    row.top5 += rank < 5 && rank < column.classes;
    row.answered[chosen[image]] += 100 / images;
  }
  row.top1 *= 100 / images;
  row.top5 *= 100 / images;
  return row;
}

WidthResults::Row WidthResults::Alone(size_t i) const {
  Row row = RowOf(std::vector<size_t>(images(), i));
  row.runs = 1;
  row.us = columns_[i].us / static_cast<double>(images());
  return row;
}

WidthResults::Row WidthResults::At(float margin) const {
  std::vector<size_t> chosen;
  double runs = 0, us = 0;
  for (size_t image = 0; image < images(); ++image) {
    size_t i = 0;
    while (i + 1 < columns_.size() && !(columns_[i].margins[image] >= margin)) ++i;
    chosen.push_back(i);
    runs += static_cast<double>(i + 1);
    for (size_t run = 0; run <= i; ++run) us += columns_[run].us / static_cast<double>(images());
  }
  Row row = RowOf(chosen);
  row.margin = margin;
  row.runs = runs / static_cast<double>(images());
  row.us = us / static_cast<double>(images());
  return row;
}

std::vector<float> WidthResults::SomeMargins() const {
  std::vector<float> sorted = columns_[0].margins, result;
  std::erase_if(sorted, [](float margin) { return !std::isfinite(margin); });
  std::ranges::sort(sorted);
  if (sorted.empty()) return {};
  for (const size_t percent : {10, 25, 50, 75, 90}) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3g",
                  static_cast<double>(sorted[(sorted.size() - 1) * percent / 100]));
    result.push_back(std::strtof(text, nullptr));
  }
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

}  // namespace lbrt
