#include "apps/model_runner.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>

#include "apps/command_line.h"
#include "images/file.h"
#include "runtime/lbrt.hpp"

namespace lbrt {
namespace {

std::string ShapeOf(std::span<const int64_t> shape) {
  std::string text;
  for (int64_t n : shape) text += (text.empty() ? "" : "x") + std::to_string(n);
  return text;
}

lbrt_error NoError() {
  lbrt_error error = {};
  error.struct_size = sizeof error;
  error.op = -1;
  error.expected = error.actual = -1;
  return error;
}

}  // namespace

void ModelRunner::Free::operator()(void* memory) const { std::free(memory); }
void ModelRunner::DestroyPool::operator()(void* pool) const { lbrt_pool_destroy(pool); }

ModelRunner::Memory ModelRunner::Allocate(size_t bytes) {
  return Memory(lbrt::Allocate(bytes).release());
}

ModelRunner::ModelRunner(const std::string& path, const RunnerOptions& options)
    : ModelRunner(ReadFile(path), path, options) {}

ModelRunner::ModelRunner(std::vector<uint8_t> file, const std::string& name,
                         const RunnerOptions& options)
    : name_(name), file_(std::move(file)) {
  Open(options);
  CreateSession(options);
}

// The one line of design.md section 6: what, where, what was expected.
void ModelRunner::Check(lbrt_status status, const lbrt_error& error,
                        const RunnerOptions& options) const {
  if (status == LBRT_OK) return;
  if (status == LBRT_UNKNOWN_ISA) {
    const char* environment = std::getenv("LBRT_ISA");
    std::string known;
    for (size_t i = 0; lbrt_isa_name(i) != nullptr; ++i)
      known += std::string(i == 0 ? "" : " ") + lbrt_isa_name(i);
    throw UsageError(options.isa.empty() && environment != nullptr
                         ? "LBRT_ISA=" + std::string(environment) +
                               ": not on this CPU, which has: " + known
                         : "--isa " + options.isa + ": not on this CPU, which has: " + known);
  }
  std::string line;
  if (error.op >= 0) line += "op " + std::to_string(error.op);
  if (error.op_name != nullptr) line += " (" + std::string(error.op_name) + ")";
  if (error.op >= 0) line += ": ";
  line += error.what != nullptr ? error.what : lbrt_status_text(status);
  if (error.expected >= 0) line += ", expected " + std::to_string(error.expected);
  if (error.actual >= 0) line += ", got " + std::to_string(error.actual);
  throw InputError(name_, line);
}

lbrt_status ModelRunner::TryOpen(lbrt_model_options model_options) {
  size_t bytes = 0;
  lbrt_status status = lbrt_model_bytes(file_.data(), file_.size(), &model_options, &bytes);
  if (status != LBRT_OK) return status;
  model_memory_ = Allocate(bytes);
  status = lbrt_model_open(file_.data(), file_.size(), &model_options, model_memory_.get(), bytes,
                           &model_);
  info_ = {};
  info_.struct_size = sizeof info_;
  return status == LBRT_OK ? lbrt_model_info(model_, &info_) : status;
}

void ModelRunner::RefuseWidth(lbrt_status status, const RunnerOptions& options) {
  if (options.width == 0 || (status != LBRT_BAD_WIDTH && status != LBRT_TRUNCATED)) return;
  lbrt_model_options all = {};
  all.struct_size = sizeof all;
  all.isa = "scalar";
  all.batch = 1;
  if (TryOpen(all) != LBRT_OK) return;
  std::string has;
  for (const int width : widths()) has += " " + std::to_string(width);
  if (status == LBRT_TRUNCATED)
    throw InputError(name_, "the file ends before the weights of width " +
                                std::to_string(options.width) + ", it has those of" + has);
  throw UsageError("--width " + std::to_string(options.width) + ": " + name_ + " has" + has);
}

void ModelRunner::Open(const RunnerOptions& options) {
  lbrt_error error = NoError();
  lbrt_model_options model_options = {};
  model_options.struct_size = sizeof model_options;
  model_options.isa = options.isa.empty() ? nullptr : options.isa.c_str();
  model_options.batch = 1;
  model_options.bits = options.all_widths ? 0 : options.width != 0 ? options.width : LBRT_WIDEST;
  model_options.error = &error;
  const lbrt_status status = TryOpen(model_options);
  RefuseWidth(status, options);
  Check(status, error, options);
  if (options.width != 0 && options.all_widths) {
    const lbrt_status at = lbrt_model_at(model_, options.width, &model_);
    const bool made_for = std::find(info_.file_widths, info_.file_widths + info_.file_width_count,
                                    options.width) != info_.file_widths + info_.file_width_count;
    RefuseWidth(at != LBRT_OK && made_for ? LBRT_TRUNCATED : at, options);
    Check(lbrt_model_info(model_, &info_), error, options);
  }
  input_.struct_size = sizeof input_;
  Check(lbrt_model_input(model_, 0, &input_), error, options);
  if (info_.inputs != 1) throw InputError(name_, "it has several inputs, expected one");
  if (input_.preprocessing != nullptr) {
    takes_images_ = true;
    preprocessing_ = FromText(input_.preprocessing, name_ + ": preprocessing");
    if (preprocessing_.channels != input_.shape[3])
      throw InputError(name_, "its preprocessing makes " + std::to_string(preprocessing_.channels) +
                                  " channels, its input has " + std::to_string(input_.shape[3]));
    if (input_.type == LBRT_F32) normalise_ = NormaliseTable(preprocessing_);
  }
}

void ModelRunner::CreateSession(const RunnerOptions& options) {
  lbrt_error error = NoError();
  threads_ = std::max(options.threads, 1);
  lbrt_session_options session_options = {};
  session_options.struct_size = sizeof session_options;
  session_options.error = &error;
  session_options.observer = options.observer;
  session_options.observer_context = options.observer_context;
  if (threads_ > 1) {
    pool_.reset(lbrt_pool_create(static_cast<size_t>(threads_)));
    if (!pool_) throw UsageError("--threads: " + std::to_string(threads_) + " cannot be started");
    session_options.threads = threads_;
    session_options.parallel_for = lbrt_pool_run;
    session_options.parallel_context = pool_.get();
  }
  size_t bytes = 0;
  Check(lbrt_session_bytes(model_, &session_options, &bytes), error, options);
  session_memory_ = Allocate(bytes);
  Check(lbrt_session_create(model_, &session_options, session_memory_.get(), bytes, &session_),
        error, options);
  Check(lbrt_input(session_, 0, &input_), error, options);

  lbrt_tensor output = {};
  output.struct_size = sizeof output;
  Check(lbrt_output(session_, 0, &output), error, options);
  if (output.shape[1] != 1 || output.shape[2] != 1)
    throw InputError(name_, "its output is an image, expected one row of classes");
  logits_ = {static_cast<const float*>(output.data), static_cast<size_t>(output.shape[3])};
}

std::vector<int> ModelRunner::widths() const {
  return {info_.widths, info_.widths + info_.width_count};
}

void ModelRunner::SetWidth(int width) {
  if (lbrt_set_width(session_, width) != LBRT_OK || lbrt_model_at(model_, width, &model_) != LBRT_OK)
    throw UsageError("--width " + std::to_string(width) + ": " + name_ + " has no such width");
  lbrt_model_info(model_, &info_);
}

std::string ModelRunner::label(int index) const {
  const char* label = lbrt_label(model_, static_cast<size_t>(index));
  return label != nullptr ? label : std::to_string(index);
}

std::vector<std::string> ModelRunner::labels() const {
  std::vector<std::string> result;
  for (size_t i = 0; lbrt_label(model_, i) != nullptr; ++i) result.push_back(lbrt_label(model_, i));
  return result;
}

void ModelRunner::SetImage(Image image, const std::string& name) {
  if (!takes_images_)
    throw InputError(name, name_ + " takes no images, expected a .npy array of f32");
  image = Apply(preprocessing_, std::move(image));
  const int height = input_.shape[1], width = input_.shape[2];
  if (image.height != height || image.width != width)
    throw InputError(name, "it has " + std::to_string(image.width) + "x" +
                               std::to_string(image.height) + " pixels, expected " +
                               std::to_string(width) + "x" + std::to_string(height) + " (" + name_ +
                               " resizes nothing)");
  if (input_.type == LBRT_U8) {
    std::memcpy(input_.data, image.pixels.data(), image.pixels.size());
    return;
  }
  float* out = static_cast<float*>(input_.data);
  const size_t channels = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    out[i] = normalise_[i % channels * 256 + image.pixels[i]];
}

void ModelRunner::SetValues(std::span<const float> values, std::span<const int64_t> shape,
                            const std::string& name) {
  if (input_.type != LBRT_F32)
    throw InputError(name,
                     "it is f32, but " + name_ +
                         " has an integer stem, which normalises by itself: expected images or u8");
  const int64_t height = input_.shape[1], width = input_.shape[2], channels = input_.shape[3];
  const std::vector<int64_t> expected = height == 1 && width == 1 && shape.size() == 1
                                            ? std::vector<int64_t>{channels}
                                            : std::vector<int64_t>{channels, height, width};
  // A row of numbers may come in any shape: networks that flatten their input first take images.
  const bool row = height == 1 && width == 1 &&
                   std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()) ==
                       channels;
  if (!row && !std::ranges::equal(shape, expected))
    throw InputError(name, "its samples are " + ShapeOf(shape) + ", expected " + ShapeOf(expected));
  float* out = static_cast<float*>(input_.data);
  const size_t pixels = static_cast<size_t>(height * width);
  for (size_t c = 0; c < static_cast<size_t>(channels); ++c)
    for (size_t p = 0; p < pixels; ++p)
      out[p * static_cast<size_t>(channels) + c] = values[c * pixels + p];
}

void ModelRunner::SetSample(const Dataset& data, size_t i) {
  if (data.values.empty()) {
    SetImage(data.image(i), data.name(i));
  } else {
    const size_t size = data.values.size() / data.size();
    SetValues(std::span(data.values).subspan(i * size, size), data.shape, data.name(i));
  }
}

void ModelRunner::SetNoise() {
  uint32_t state = 1;
  const size_t count = static_cast<size_t>(input_.shape[0]) * static_cast<size_t>(input_.shape[1]) *
                       static_cast<size_t>(input_.shape[2]) * static_cast<size_t>(input_.shape[3]);
  for (size_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    if (input_.type == LBRT_U8)
      static_cast<uint8_t*>(input_.data)[i] = static_cast<uint8_t>(state >> 24);
    else
      static_cast<float*>(input_.data)[i] = static_cast<float>(state >> 8) * 0x1p-23f - 1.0f;
  }
}

std::span<const float> ModelRunner::Run() {
  lbrt_run(session_);
  return logits_;
}

std::vector<int> Ranked(std::span<const float> logits, size_t count) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // What is not a number ranks last, so that this is an order whatever the values.
  const auto value = [&](int i) {
    const float logit = logits[static_cast<size_t>(i)];
    return std::isnan(logit) ? -INFINITY : logit;
  };
  std::ranges::stable_sort(order, [&](int a, int b) { return value(a) > value(b); });
  order.resize(std::min(count, order.size()));
  return order;
}

int RankOf(std::span<const float> logits, int label) {
  const float own = logits[static_cast<size_t>(label)];
  if (std::isnan(own)) return static_cast<int>(logits.size());
  int rank = 0;
  for (int i = 0; i < static_cast<int>(logits.size()); ++i) {
    const float other = logits[static_cast<size_t>(i)];
    if (other > own || (other == own && i < label)) ++rank;
  }
  return rank;
}

std::vector<double> Softmax(std::span<const float> logits) {
  std::vector<double> result(logits.begin(), logits.end());
  const double largest = *std::ranges::max_element(result);
  double sum = 0;
  for (double& x : result) sum += x = std::exp(x - largest);
  for (double& x : result) x /= sum;
  return result;
}

}  // namespace lbrt
