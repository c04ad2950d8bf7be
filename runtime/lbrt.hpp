// lbrt for C++ hosts: runtime/lbrt.h with objects that own their memory and exceptions for errors.
// Header-only, C++17.
//
//   const lbrt::Model model(bytes);  // of the file, which are copied; see Borrow
//   lbrt::Session session(model);
//   std::copy(pixels.begin(), pixels.end(), session.input().u8());
//   session.Run();
//   const float* logits = session.output().f32();
#ifndef LBRT_HPP_
#define LBRT_HPP_

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/lbrt.h"

namespace lbrt {

// what() is one line: what was refused, where, and what was expected.
class Error : public std::runtime_error {
 public:
  Error(lbrt_status status, const lbrt_error& detail)
      : std::runtime_error(Text(status, detail)), status_(status), op_(detail.op) {}

  lbrt_status status() const { return status_; }
  int op() const { return op_; }  // position of the op that was refused, or -1

 private:
  static std::string Text(lbrt_status status, const lbrt_error& detail) {
    std::string text;
    if (detail.op >= 0) text += "op " + std::to_string(detail.op);
    if (detail.op_name != nullptr) text += " (" + Printable(detail.op_name) + ")";
    if (detail.op >= 0) text += ": ";
    text += detail.what != nullptr ? detail.what : lbrt_status_text(status);
    const bool expected = detail.expected >= 0, actual = detail.actual >= 0;
    if (expected) text += " (expected " + std::to_string(detail.expected) + (actual ? "" : ")");
    if (actual) text += (expected ? ", got " : " (") + std::to_string(detail.actual) + ")";
    return text;
  }
  // Names come from the file: no control characters on anyone's terminal.
  static std::string Printable(const char* name) {
    std::string text(name);
    for (char& c : text)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    return text;
  }

  lbrt_status status_;
  int op_;
};

// A tensor of a session: its shape, and its values as they lie in memory.
struct Tensor : lbrt_tensor {
  size_t size() const {
    size_t count = 1;
    for (int32_t side : shape) count *= static_cast<size_t>(side);
    return count;
  }
  uint8_t* u8() const { return static_cast<uint8_t*>(data); }
  float* f32() const { return static_cast<float*>(data); }
};

struct ModelOptions {
  const char* isa = nullptr;  // null: LBRT_ISA, or the best
  bool skip_checksums = false;
  int batch = 0, height = 0, width = 0;  // 0: as in the file
  int bits = 0;  // bits per weight to prepare, or LBRT_WIDEST; 0: all widths of the file
};

struct SessionOptions {
  int threads = 1;
  lbrt_observer observer = nullptr;
  void* observer_context = nullptr;
};

// Memory for a model, a session or a file, aligned as the library asks and to cache lines. Large
// blocks are in large pages where the system has them: of small ones, the first touch of each takes
// as long as packing the weights that it holds.
struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<void, FreeMemory>;
inline Memory Allocate(size_t bytes) {
  constexpr size_t kLine = 64, kLargePage = size_t{1} << 21;
  const size_t alignment = bytes < 2 * kLargePage ? kLine : kLargePage;
  const size_t size = (bytes / alignment + (bytes % alignment != 0 ? 1 : 0)) * alignment;
  Memory memory(std::aligned_alloc(alignment, size));
  if (memory == nullptr) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (alignment == kLargePage) madvise(memory.get(), size, MADV_HUGEPAGE);  // a wish, not a need
#endif
  return memory;
}

namespace internal {

struct DestroyPool {
  void operator()(void* pool) const { lbrt_pool_destroy(pool); }
};

inline lbrt_error EmptyError() {
  lbrt_error error = {};
  error.struct_size = sizeof(error);
  error.op = -1;
  error.expected = error.actual = -1;
  return error;
}

// For calls that say no only by their status.
inline void Check(lbrt_status status) {
  if (status != LBRT_OK) throw Error(status, EmptyError());
}
template <typename T, typename Call>
T Get(Call call) {
  T result = {};
  result.struct_size = sizeof(result);
  Check(call(&result));
  return result;
}

}  // namespace internal

// Copies the file's bytes unless told that they stay: see Borrow.
class Model {
 public:
  Model(const void* file, size_t size, const ModelOptions& options = {})
      : copy_(Allocate(size > 0 ? size : 1)) {
    for (size_t i = 0; i < size; ++i)
      static_cast<uint8_t*>(copy_.get())[i] = static_cast<const uint8_t*>(file)[i];
    Open(copy_.get(), size, options);
  }
  explicit Model(const std::vector<uint8_t>& file, const ModelOptions& options = {})
      : Model(file.data(), file.size(), options) {}

  // A file in memory that begins at a multiple of LBRT_ALIGNMENT and outlives the model.
  static Model Borrow(const void* file, size_t size, const ModelOptions& options = {}) {
    Model model;
    model.Open(file, size, options);
    return model;
  }

  // The same at another of its widths; this one must outlive it.
  Model At(int bits) const {
    Model model;
    internal::Check(lbrt_model_at(model_, bits, &model.model_));
    return model;
  }

  const lbrt_model* get() const { return model_; }
  lbrt_info info() const {
    return internal::Get<lbrt_info>([&](auto* out) { return lbrt_model_info(model_, out); });
  }
  lbrt_op op(size_t i) const {
    return internal::Get<lbrt_op>([&](auto* out) { return lbrt_model_op(model_, i, out); });
  }
  Tensor input(size_t i = 0) const {
    return internal::Get<Tensor>([&](auto* out) { return lbrt_model_input(model_, i, out); });
  }
  Tensor output(size_t i = 0) const {
    return internal::Get<Tensor>([&](auto* out) { return lbrt_model_output(model_, i, out); });
  }
  Tensor tensor(size_t i) const {
    return internal::Get<Tensor>([&](auto* out) { return lbrt_model_tensor(model_, i, out); });
  }
  std::vector<uint32_t> op_tensors(size_t i) const {
    std::vector<uint32_t> tensors(op(i).tensor_count);
    for (size_t k = 0; k < tensors.size(); ++k)
      internal::Check(lbrt_op_tensor(model_, i, k, &tensors[k]));
    return tensors;
  }
  std::vector<std::string> labels() const {
    std::vector<std::string> labels;
    while (const char* label = lbrt_label(model_, labels.size())) labels.push_back(label);
    return labels;
  }
  std::vector<std::pair<std::string, std::string>> notes() const {
    std::vector<std::pair<std::string, std::string>> notes;
    const char *key = nullptr, *value = nullptr;
    while (lbrt_note(model_, notes.size(), &key, &value) == LBRT_OK) notes.emplace_back(key, value);
    return notes;
  }
  std::vector<std::pair<std::string, float>> measurements() const {
    std::vector<std::pair<std::string, float>> measurements;
    const char* what = nullptr;
    float percent = 0;
    while (lbrt_measurement(model_, measurements.size(), &what, &percent) == LBRT_OK)
      measurements.emplace_back(what, percent);
    return measurements;
  }

 private:
  Model() = default;
  void Open(const void* file, size_t size, const ModelOptions& options) {
    lbrt_error error = internal::EmptyError();
    lbrt_model_options c_options = {};
    c_options.struct_size = sizeof(c_options);
    c_options.isa = options.isa;
    c_options.skip_checksums = options.skip_checksums ? 1 : 0;
    c_options.batch = options.batch;
    c_options.height = options.height;
    c_options.width = options.width;
    c_options.bits = options.bits;
    c_options.error = &error;
    size_t bytes = 0;
    lbrt_status status = lbrt_model_bytes(file, size, &c_options, &bytes);
    if (status == LBRT_OK) {
      memory_ = Allocate(bytes);
      status = lbrt_model_open(file, size, &c_options, memory_.get(), bytes, &model_);
    }
    if (status != LBRT_OK) throw Error(status, error);
  }

  Memory copy_, memory_;
  const lbrt_model* model_ = nullptr;
};

// The model must outlive it.
class Session {
 public:
  explicit Session(const Model& model, const SessionOptions& options = {}) {
    lbrt_error error = internal::EmptyError();
    lbrt_session_options c_options = {};
    c_options.struct_size = sizeof(c_options);
    c_options.threads = options.threads;
    c_options.observer = options.observer;
    c_options.observer_context = options.observer_context;
    c_options.error = &error;
    if (options.threads > 1) {
      pool_.reset(lbrt_pool_create(static_cast<size_t>(options.threads)));
      if (pool_ == nullptr) throw std::bad_alloc();
      c_options.parallel_for = lbrt_pool_run;
      c_options.parallel_context = pool_.get();
    }
    size_t bytes = 0;
    lbrt_status status = lbrt_session_bytes(model.get(), &c_options, &bytes);
    if (status == LBRT_OK) {
      memory_ = Allocate(bytes);
      status = lbrt_session_create(model.get(), &c_options, memory_.get(), bytes, &session_);
    }
    if (status != LBRT_OK) throw Error(status, error);
  }

  lbrt_session* get() const { return session_; }
  Tensor input(size_t i = 0) const {
    return internal::Get<Tensor>([&](auto* out) { return lbrt_input(session_, i, out); });
  }
  Tensor output(size_t i = 0) const {
    return internal::Get<Tensor>([&](auto* out) { return lbrt_output(session_, i, out); });
  }
  Tensor input(const char* name) const {
    return internal::Get<Tensor>(
        [&](auto* out) { return lbrt_input_by_name(session_, name, out); });
  }
  Tensor output(const char* name) const {
    return internal::Get<Tensor>(
        [&](auto* out) { return lbrt_output_by_name(session_, name, out); });
  }
  // One of the model's widths, for the next runs.
  void SetWidth(int bits) { internal::Check(lbrt_set_width(session_, bits)); }
  void Run() { internal::Check(lbrt_run(session_)); }

 private:
  std::unique_ptr<void, internal::DestroyPool> pool_;
  Memory memory_;
  lbrt_session* session_ = nullptr;
};

// Names of the instruction sets this CPU can run, slowest first.
inline std::vector<std::string> IsaNames() {
  std::vector<std::string> names;
  while (const char* name = lbrt_isa_name(names.size())) names.push_back(name);
  return names;
}

}  // namespace lbrt

#endif  // LBRT_HPP_
