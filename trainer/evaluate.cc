#include "trainer/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trainer/execute.h"

namespace lbrt {

constexpr size_t kBatch = 200;

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

Evaluation Judge(std::vector<float> logits, const std::vector<int64_t>& labels) {
  Evaluation e;
  if (labels.empty()) return e;
  e.images = labels.size();
  e.classes = logits.size() / labels.size();
  e.logits = std::move(logits);
  for (size_t i = 0; i < e.images; ++i) {
    const float* row = e.logits.data() + i * e.classes;
    if (e.Class(i) == static_cast<size_t>(labels[i])) ++e.correct;
    e.loss += LogSumExp(row, e.classes) - row[labels[i]];
  }
  e.loss /= static_cast<double>(e.images);
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

Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Preprocessing& preprocessing,
                    const std::function<void(size_t done)>& progress, Share share) {
  at::NoGradGuard no_grad;
  Batcher batcher(samples, preprocessing, model.device());
  std::vector<float> logits;
  std::vector<int64_t> labels;
  const size_t step = kBatch * static_cast<size_t>(share.parts);
  for (size_t first = kBatch * static_cast<size_t>(share.part); first < samples.size();
       first += step) {
    const size_t count = std::min(kBatch, samples.size() - first);
    const at::Tensor input = batcher.Images(first, count).to(model.device(), model.type());
    const at::Tensor out =
        Execute(model, input, {Mode::kEval, width}).to(at::kCPU, at::kFloat).contiguous();
    logits.insert(logits.end(), out.data_ptr<float>(), out.data_ptr<float>() + out.numel());
    labels.insert(labels.end(), samples.labels.begin() + static_cast<ptrdiff_t>(first),
                  samples.labels.begin() + static_cast<ptrdiff_t>(first + count));
    progress(first + count);
  }
  return Judge(std::move(logits), labels);
}

}  // namespace lbrt
