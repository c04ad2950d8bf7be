// Anytime inference: the narrowest width of a model first, and the next one only where it is not
// sure, i.e. where its two largest logits are close.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "apps/model_runner.h"

namespace lbrt {

// The largest logit less the second; infinite where there is one class, not a number where one of
// the two is none.
float Margin(std::span<const float> logits);

// Runs on the input as it stands, at each of the runner's widths in turn until one has a margin of
// `margin` or more. The logits are of the width at which the runner is left.
std::span<const float> RunAnytime(ModelRunner& runner, float margin);

// What each width says of every image, and how long it takes.
class WidthResults {
 public:
  explicit WidthResults(std::vector<int> widths) : columns_(widths.size()), widths_(widths) {}

  // Of the next image at width `i`; `rank` is its label's (RankOf).
  void Add(size_t i, std::span<const float> logits, int rank, double us);

  struct Row {
    float margin = 0;  // of a policy
    double top1 = 0, top5 = 0;       // percent
    double runs = 0, us = 0;         // an image, on average
    std::vector<double> answered;    // percent of the images, by width
    std::vector<size_t> chosen;      // of every image, the width whose logits count
  };
  Row Alone(size_t i) const;       // width i for every image
  Row At(float margin) const;      // RunAnytime's policy
  // Margins at which the narrowest width answers some 90, 75, 50, 25 and 10 % of the images, of
  // three significant digits, ascending.
  std::vector<float> SomeMargins() const;

  const std::vector<int>& widths() const { return widths_; }
  size_t images() const { return columns_[0].margins.size(); }

 private:
  struct Column {
    std::vector<float> margins;
    std::vector<int> ranks;
    double us = 0;
    int classes = 0;
  };
  Row RowOf(const std::vector<size_t>& chosen) const;

  std::vector<Column> columns_;  // by width
  std::vector<int> widths_;
};

}  // namespace lbrt
