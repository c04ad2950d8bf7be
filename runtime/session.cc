// A session: one caller's activations in one piece of memory, and the loop that runs a model.
#include <cstring>
#include <string_view>

#include "runtime/float_environment.h"
#include "runtime/model.h"
#include "runtime/structs.h"

struct lbrt_session {
  const lbrt_model* model;  // at the present width
  uint8_t* arena;
  uint8_t* scratch;       // of task 0
  size_t scratch_stride;  // from one task's to the next's
  size_t threads;
  lbrt_parallel_for parallel_for;
  void* parallel_context;
  lbrt_observer observer;
  void* observer_context;
};

namespace lbrt {
namespace {

// A session's parts, taken from `allocator`; measures where that one does.
lbrt_session* BuildSession(const lbrt_model& model, const lbrt_session_options& options,
                           Allocator& allocator) {
  const size_t threads = options.threads > 1 ? static_cast<size_t>(options.threads) : 1;
  const uint64_t stride =
      (model.all_scratch_bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  auto* session = allocator.Take<lbrt_session>(1);
  auto* arena = allocator.Take<uint8_t>(model.arena_bytes, kMemoryAlignment);
  auto* scratch = allocator.Take<uint8_t>(stride * threads, kMemoryAlignment);
  if (session != nullptr)
    *session = {&model,
                arena,
                scratch,
                static_cast<size_t>(stride),
                threads,
                options.parallel_for,
                options.parallel_context,
                options.observer,
                options.observer_context};
  return session;
}

lbrt_status CreateOrMeasure(const lbrt_model* model, const lbrt_session_options* given,
                            void* memory, size_t bytes, size_t* needed, lbrt_session** session) {
  lbrt_session_options options;
  if (model == nullptr || !ReadStruct(given, &options)) return LBRT_BAD_ARGUMENT;
  const auto refuse = [&](const Refusal& r) { return Refuse(r, nullptr, options.error); };
  constexpr int32_t kMostThreads = 1024;
  if (options.threads < 0 || options.threads > kMostThreads)
    return refuse(
        {"a number of threads out of range", kMostThreads, options.threads, LBRT_BAD_ARGUMENT});
  if (options.threads > 1 && options.parallel_for == nullptr)
    return refuse(
        {"several threads without a parallel_for", -1, options.threads, LBRT_BAD_ARGUMENT});
  Allocator measure(nullptr);
  BuildSession(*model, options, measure);
  const uint64_t want = measure.used() + kMemoryAlignment - LBRT_ALIGNMENT;
  if (want > SIZE_MAX / 2) return refuse({"needs more memory than this machine can address"});
  *needed = static_cast<size_t>(want);
  if (session == nullptr) return LBRT_OK;

  if (memory == nullptr || !IsAligned(memory, LBRT_ALIGNMENT))
    return refuse({"the session's memory is not aligned", LBRT_ALIGNMENT, -1, LBRT_MISALIGNED});
  if (bytes < *needed)
    return refuse({"too little memory for the session", static_cast<int64_t>(*needed),
                   static_cast<int64_t>(bytes), LBRT_TOO_LITTLE_MEMORY});
  Allocator allocator(AlignUp(memory));
  *session = BuildSession(*model, options, allocator);
  return LBRT_OK;
}

// One op divided among tasks: task i has units [i * units / tasks, (i + 1) * units / tasks).
struct DividedOp {
  const lbrt_session* session;
  const PreparedOp* op;
  size_t tasks;

  static void Run(void* argument, size_t i) {
    const auto& divided = *static_cast<const DividedOp*>(argument);
    const FloatEnvironment environment;
    const lbrt_session& s = *divided.session;
    const size_t units = divided.op->units;
    divided.op->run(divided.op->state, {s.arena, s.scratch + i * s.scratch_stride},
                    i * units / divided.tasks, (i + 1) * units / divided.tasks);
  }
};

using Ports = flatbuffers::Vector<flatbuffers::Offset<lbm::Port>>;

lbrt_status FindPort(const lbrt_session* session, const Ports& ports,
                     uint32_t (FileView::*tensor_of)(uint32_t port) const, size_t index,
                     lbrt_tensor* tensor) {
  if (index >= ports.size()) return LBRT_BAD_ARGUMENT;
  const auto i = static_cast<uint32_t>(index);
  const lbrt_model& model = *session->model;
  return WriteStruct(
             DescribeTensor(model, (model.file.*tensor_of)(i), ports.Get(i), session->arena),
             tensor)
             ? LBRT_OK
             : LBRT_BAD_ARGUMENT;
}

size_t PortNamed(const Ports& ports, std::string_view name) {
  uint32_t i = 0;
  while (i < ports.size() && ports.Get(i)->name()->string_view() != name) ++i;
  return i;
}

// Element (n, y, x, c) of a tensor, whatever its layout.
float ReadElement(const uint8_t* arena, const ArenaTensor& t, const Place& place, size_t n,
                  size_t y, size_t x, size_t c) {
  const uint8_t* pixel = arena + place.At(n, y, x);
  switch (t.type) {
    case lbm::TensorType::U8:
    case lbm::TensorType::Codes: return pixel[c];
    case lbm::TensorType::Bits: return (pixel[c / 8] >> (c % 8)) & 1 ? 1.0f : -1.0f;
    case lbm::TensorType::F32: break;
  }
  float value;
  std::memcpy(&value, pixel + c * place.plane, sizeof(value));
  return value;
}

}  // namespace
}  // namespace lbrt

lbrt_status lbrt_session_bytes(const lbrt_model* model, const lbrt_session_options* options,
                               size_t* bytes) {
  if (bytes == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt::CreateOrMeasure(model, options, nullptr, 0, bytes, nullptr);
}

lbrt_status lbrt_session_create(const lbrt_model* model, const lbrt_session_options* options,
                                void* memory, size_t bytes, lbrt_session** session) {
  if (session == nullptr) return LBRT_BAD_ARGUMENT;
  size_t needed = 0;
  return lbrt::CreateOrMeasure(model, options, memory, bytes, &needed, session);
}

lbrt_status lbrt_input(const lbrt_session* session, size_t index, lbrt_tensor* tensor) {
  if (session == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt::FindPort(session, *session->model->file.table->inputs(), &lbrt::FileView::input, index,
                        tensor);
}

lbrt_status lbrt_output(const lbrt_session* session, size_t index, lbrt_tensor* tensor) {
  if (session == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt::FindPort(session, *session->model->file.table->outputs(), &lbrt::FileView::output, index,
                        tensor);
}

lbrt_status lbrt_input_by_name(const lbrt_session* session, const char* name, lbrt_tensor* tensor) {
  if (session == nullptr || name == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt_input(session, lbrt::PortNamed(*session->model->file.table->inputs(), name), tensor);
}

lbrt_status lbrt_output_by_name(const lbrt_session* session, const char* name,
                                lbrt_tensor* tensor) {
  if (session == nullptr || name == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt_output(session, lbrt::PortNamed(*session->model->file.table->outputs(), name),
                     tensor);
}

lbrt_status lbrt_run(lbrt_session* session) {
  if (session == nullptr) return LBRT_BAD_ARGUMENT;
  const lbrt::FloatEnvironment environment;
  const lbrt_session& s = *session;
  const size_t op_count = s.model->op_count;
  for (size_t i = 0; i < op_count; ++i) {
    const lbrt::PreparedOp& op = s.model->ops[i];
    const size_t tasks = op.most_tasks < s.threads ? op.most_tasks : s.threads;
    if (tasks <= 1) {
      op.run(op.state, {s.arena, s.scratch}, 0, op.units);
    } else {
      lbrt::DividedOp divided = {session, &op, tasks};
      s.parallel_for(s.parallel_context, tasks, lbrt::DividedOp::Run, &divided);
    }
    if (s.observer != nullptr) s.observer(s.observer_context, session, i);
  }
  return LBRT_OK;
}

lbrt_status lbrt_set_width(lbrt_session* session, int32_t bits) {
  if (session == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt_model_at(session->model, bits, &session->model);
}

lbrt_status lbrt_tensor_read(const lbrt_session* session, size_t index, float* values,
                             size_t count) {
  if (session == nullptr || values == nullptr || index >= session->model->tensor_count)
    return LBRT_BAD_ARGUMENT;
  const lbrt::ArenaTensor& t = session->model->tensors[index];
  if (count != static_cast<size_t>(t.shape.elements())) return LBRT_BAD_ARGUMENT;
  const lbrt::Place place = lbrt::PlaceOf(t);
  const auto n = static_cast<size_t>(t.shape.n), c = static_cast<size_t>(t.shape.c);
  for (size_t i = 0; i < n; ++i)
    for (size_t y = 0; y < place.height; ++y)
      for (size_t x = 0; x < place.width; ++x)
        for (size_t channel = 0; channel < c; ++channel)
          *values++ = lbrt::ReadElement(session->arena, t, place, i, y, x, channel);
  return LBRT_OK;
}
