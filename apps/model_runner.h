// A model file opened for a tool: the file's bytes, the memory of a model and one session, and the
// way of images and arrays into its input.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "images/dataset.h"
#include "images/preprocess.h"
#include "runtime/lbrt.h"

namespace lbrt {

struct RunnerOptions {
  std::string isa;  // empty: LBRT_ISA, or else the best
  int threads = 1;
  int width = 0;             // bits per weight; 0: the most the model has
  bool all_widths = false;   // prepares them all, for SetWidth, and begins at `width`
  lbrt_observer observer = nullptr;
  void* observer_context = nullptr;
};

class ModelRunner {
 public:
  // Throws InputError for a file that is no usable model, or that ends before the weights of the
  // width, UsageError for an instruction set this CPU lacks or a width the model has not.
  ModelRunner(const std::string& path, const RunnerOptions& options);
  // The same from memory; `name` stands in messages.
  ModelRunner(std::vector<uint8_t> file, const std::string& name, const RunnerOptions& options);

  const std::string& name() const { return name_; }
  size_t file_bytes() const { return file_.size(); }
  const lbrt_model* model() const { return model_; }  // at the present width
  const lbrt_info& info() const { return info_; }
  const lbrt_tensor& input() const { return input_; }  // input 0, with the session's memory
  int width() const { return info_.bits; }
  std::vector<int> widths() const;  // those prepared, ascending
  int threads() const { return threads_; }

  // Output 0 as classes.
  int classes() const { return static_cast<int>(logits_.size()); }
  // "7" where the model names none.
  std::string label(int index) const;
  std::vector<std::string> labels() const;  // empty where the model names none

  // Sets input 0; they throw InputError, beginning with `name`, for what does not fit it. An image
  // of any size goes through the model's preprocessing; values are the network's own input as it
  // stands
  // ([c h w] for images), which a model with an integer input refuses.
  void SetImage(Image image, const std::string& name);
  void SetValues(std::span<const float> values, std::span<const int64_t> shape,
                 const std::string& name);
  // Sample i of a data set, whatever it holds.
  void SetSample(const Dataset& data, size_t i);
  // Every input filled with noise, the same each time; for timing.
  void SetNoise();

  // One of widths(), for the next runs. Inputs stay.
  void SetWidth(int width);
  // Runs; the result holds until the next run.
  std::span<const float> Run();

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  struct DestroyPool {
    void operator()(void* pool) const;
  };
  using Memory = std::unique_ptr<void, Free>;

  static Memory Allocate(size_t bytes);
  void Check(lbrt_status status, const lbrt_error& error, const RunnerOptions& options) const;
  // Throws for a width that the file has not, or has no more.
  void RefuseWidth(lbrt_status status, const RunnerOptions& options);
  void Open(const RunnerOptions& options);
  lbrt_status TryOpen(lbrt_model_options model_options);
  void CreateSession(const RunnerOptions& options);

  std::string name_;
  std::vector<uint8_t> file_;
  Memory model_memory_, session_memory_;
  std::unique_ptr<void, DestroyPool> pool_;
  const lbrt_model* model_ = nullptr;
  lbrt_session* session_ = nullptr;
  lbrt_info info_ = {};
  int threads_ = 1;

  lbrt_tensor input_ = {};
  bool takes_images_ = false;
  Preprocessing preprocessing_;
  std::vector<float> normalise_;  // [channels 256], for a float input
  std::span<const float> logits_;
};

// Indices of the `count` best, best first; equal ones in the order of their index.
std::vector<int> Ranked(std::span<const float> logits, size_t count);
// How many classes rank before `label`; the number of classes where its logit is not a number.
int RankOf(std::span<const float> logits, int label);
// For display only.
std::vector<double> Softmax(std::span<const float> logits);

}  // namespace lbrt
