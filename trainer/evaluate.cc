#include "trainer/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

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
  return Evaluate(model, width, samples, Batcher(samples, preprocessing, model.device()), progress,
                  share);
}

Evaluation Evaluate(const TrainerModel& model, int width, const Samples& samples,
                    const Batcher& batcher, const std::function<void(size_t done)>& progress,
                    Share share) {
  at::NoGradGuard no_grad;
  std::vector<at::Tensor> logits;
  std::vector<int64_t> labels;
  const size_t batch = BatchSize(samples, model.device());
  const size_t step = batch * static_cast<size_t>(share.parts);
  for (size_t first = batch * static_cast<size_t>(share.part); first < samples.size();
       first += step) {
    const size_t count = std::min(batch, samples.size() - first);
    const at::Tensor input = batcher.Images(first, count).to(model.device(), model.type());
    logits.push_back(Execute(model, input, {Mode::kEval, width}));
    labels.insert(labels.end(), samples.labels.begin() + static_cast<ptrdiff_t>(first),
                  samples.labels.begin() + static_cast<ptrdiff_t>(first + count));
    progress(first + count);
  }
  if (logits.empty()) return {};
  const at::Tensor all = at::cat(logits).to(at::kCPU, at::kFloat).contiguous();
  return Judge({all.data_ptr<float>(), all.data_ptr<float>() + all.numel()}, labels);
}

}  // namespace lbrt
