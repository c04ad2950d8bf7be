#include "trainer/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "trainer/execute.h"

namespace lbrt {

// Images at once: a GPU takes more, and waits for the host less.
static size_t BatchSize(const Samples& samples, at::Device device) {
  constexpr size_t kOnCpu = 200, kPixels = 1 << 21;
  if (device.is_cpu()) return kOnCpu;
  const size_t pixels = static_cast<size_t>(samples.height) * static_cast<size_t>(samples.width);
  return std::max<size_t>(1, kPixels / pixels);
}

size_t Evaluation::Class(size_t image) const {
  const float* row = logits.data() + image * classes;
  return static_cast<size_t>(std::max_element(row, row + classes) - row);
}

// log of the sum of the exponentials, without overflow.
static double LogSumExp(const float* row, size_t n) {
  const double largest = *std::max_element(row, row + n);
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(row[i] - largest);
  return largest + std::log(sum);
}

// How many classes are before the label's, the largest logit first: ties go to the lower index.
static size_t RankOf(size_t label, const float* row, size_t n) {
  size_t rank = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool behind = row[i] < row[label] || (row[i] == row[label] && i > label);
    rank += i != label && !behind ? 1 : 0;
  }
  return rank;
}

// Adds images: one row of logits each.
static void Add(const float* row, size_t classes, std::span<const int64_t> labels,
                Evaluation* sums) {
  sums->classes = classes;
  sums->images += labels.size();
  for (const int64_t label : labels) {
    const size_t rank = RankOf(static_cast<size_t>(label), row, classes);
    if (rank == 0) ++sums->correct;
    if (rank < 5) ++sums->correct_of_five;
    sums->loss_sum += LogSumExp(row, classes) - row[label];
    row += classes;
  }
}

Evaluation Judge(std::vector<float> logits, const std::vector<int64_t>& labels) {
  Evaluation e;
  if (labels.empty()) return e;
  Add(logits.data(), logits.size() / labels.size(), labels, &e);
  e.logits = std::move(logits);
  return e;
}

Agreement Compare(const Evaluation& a, const Evaluation& b) {
  Agreement result;
  for (size_t i = 0; i < a.logits.size(); ++i) {
    const double x = a.logits[i], y = b.logits[i];
    result.largest_logit = std::max(result.largest_logit, std::abs(y));
    result.largest_difference = std::max(result.largest_difference, std::abs(x - y));
  }
  for (size_t i = 0; i < a.images; ++i) result.same_class += a.Class(i) == b.Class(i) ? 1 : 0;
  return result;
}

// Logits [n, classes] of one batch at one width, on the CPU.
static at::Tensor Logits(const TrainerModel& model, int width, const at::Tensor& images) {
  const at::Tensor input = images.to(model.device(), model.type());
  return Execute(model, input, {Mode::kEval, width}).to(at::kCPU, at::kFloat).contiguous();
}

Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Preprocessing& preprocessing,
                    const std::function<void(size_t done)>& progress) {
  at::NoGradGuard no_grad;
  const Batcher batcher(samples, preprocessing, model.device());
  const size_t batch = BatchSize(samples, model.device());
  std::vector<float> all;
  for (size_t first = 0; first < samples.size(); first += batch) {
    const size_t count = std::min(batch, samples.size() - first);
    const at::Tensor logits = Logits(model, width, batcher.Images(first, count));
    const float* data = logits.data_ptr<float>();
    all.insert(all.end(), data, data + logits.numel());
    progress(first + count);
  }
  return Judge(std::move(all), samples.labels);
}

std::vector<Evaluation> EvaluateWidths(const TrainerModel& model, const std::vector<int>& widths,
                                       const Samples& samples, const Batcher& batcher, Share share,
                                       const std::function<bool()>& go_on) {
  at::NoGradGuard no_grad;
  std::vector<Evaluation> results(widths.size());
  const size_t batch = BatchSize(samples, model.device());
  const size_t step = batch * static_cast<size_t>(share.parts);
  for (size_t first = batch * static_cast<size_t>(share.part); first < samples.size();
       first += step) {
    if (!go_on()) return {};
    const size_t count = std::min(batch, samples.size() - first);
    const at::Tensor images = batcher.Images(first, count);
    for (size_t i = 0; i < widths.size(); ++i) {
      const at::Tensor logits = Logits(model, widths[i], images);
      Add(logits.data_ptr<float>(), static_cast<size_t>(logits.size(1)),
          std::span(samples.labels).subspan(first, count), &results[i]);
    }
  }
  return results;
}

}  // namespace lbrt
