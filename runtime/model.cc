#include "runtime/model.h"

#include "runtime/plan.h"
#include "runtime/structs.h"
#include "schema/header.h"

namespace lbrt {
namespace {

#if LBRT_HOST
const Kernels* KernelsNamed(const char* isa) {
  return isa != nullptr ? FindKernels(isa) : BestKernels();
}
std::span<const Kernels* const> Columns() { return AvailableKernels(); }
#else
std::span<const Kernels* const> Columns() {
  static constexpr const Kernels* columns[] = {&kScalarKernels};
  return columns;
}
const Kernels* KernelsNamed(const char* isa) {
  const Kernels* scalar = &kScalarKernels;
  return isa == nullptr || std::strcmp(isa, scalar->isa) == 0 ? scalar : nullptr;
}
#endif

// A tensor an op makes takes the memory of the one whose heir it is, where that dies here, nothing
// else of the op reads it and both lie alike: then each value is read just before its place is
// written. Halves the traffic of residual streams.
void ReuseInPlace(const OpView& view, int32_t index) {
  const OpTensors used = TensorsOf(view.op(), view.tensors);
  for (size_t k = 0; k < used.read_count; ++k) {
    if (used.reads[k].heir < 0) continue;
    const ArenaTensor& old = view.tensors[used.reads[k].tensor];
    ArenaTensor& t = view.tensors[used.reads[k].heir];
    size_t reads = 0;
    for (size_t i = 0; i < used.read_count; ++i)
      reads += used.reads[i].tensor == used.reads[k].tensor ? 1 : 0;
    if (reads == 1 && old.last_use == index && old.type == t.type && old.lanes == t.lanes &&
        old.ring == t.ring)
      t.buffer = old.buffer;
  }
}

// Gives every tensor its place in the arena. `buffers` and `order` are working memory of one
// element a tensor.
void PlanArena(const FileView& file, ArenaTensor* tensors, Buffer* buffers, uint32_t* order,
               lbrt_model* model) {
  const size_t count = file.table->tensors()->size();
  const auto ops = static_cast<int32_t>(file.table->ops()->size());
  for (size_t i = 0; i < count; ++i) tensors[i].buffer = static_cast<int32_t>(i);
  for (int32_t i = 0; i < ops; ++i) ReuseInPlace({file, tensors, count, i}, i);

  for (size_t i = 0; i < count; ++i) buffers[i] = Buffer{INT32_MAX, -1};
  for (size_t i = 0; i < count; ++i) {
    const ArenaTensor& t = tensors[i];
    Buffer& buffer = buffers[t.buffer];
    if (t.maker < buffer.first) buffer.first = t.maker;
    if (t.last_use > buffer.last) buffer.last = t.last_use;
    buffer.bytes = (t.bytes() + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
  }
  model->arena_bytes = PlanBuffers(buffers, count, order);
  model->arena_lower_bound = LowerBound(buffers, count, ops);
  for (size_t i = 0; i < count; ++i) tensors[i].offset = buffers[tensors[i].buffer].offset;
}

// Everything a model has, taken from `allocator`; measures where that one does.
const lbrt_model* BuildModel(const lbrt_model& planned, ArenaTensor* planned_tensors,
                             Allocator& allocator) {
  auto* model = allocator.Take<lbrt_model>(1);
  auto* tensors = allocator.Take<ArenaTensor>(planned.tensor_count);
  auto* ops = allocator.Take<PreparedOp>(planned.op_count);
  if (model != nullptr) {
    *model = planned;
    model->tensors = tensors;
    model->ops = ops;
    std::memcpy(tensors, planned_tensors, planned.tensor_count * sizeof(ArenaTensor));
  }
  ModelMemory memory = {allocator};
  for (size_t i = 0; i < planned.op_count; ++i) {
    const OpView view = {planned.file, planned_tensors, planned.tensor_count,
                         static_cast<int32_t>(i)};
    const PreparedOp op = FindOp(view.op().body_type())->prepare(view, *planned.kernels, memory);
    if (model == nullptr) continue;
    ops[i] = op;
    if (op.scratch_bytes > model->scratch_bytes) model->scratch_bytes = op.scratch_bytes;
    model->repacked_bytes = memory.repacked_bytes;
  }
  return model;
}

const char* OpName(const FileView& file, int32_t op) {
  if (op < 0) return nullptr;
  const auto* name = file.table->ops()->Get(static_cast<uint32_t>(op))->name();
  return name != nullptr ? name->c_str() : nullptr;
}

// lbrt_model_open, and lbrt_model_bytes where `model` is null.
lbrt_status OpenOrMeasure(const void* file, size_t size, const lbrt_model_options* given,
                          void* memory, size_t bytes, size_t* needed, const lbrt_model** model) {
  lbrt_model_options options;
  if (!ReadStruct(given, &options)) return LBRT_BAD_ARGUMENT;
  const auto refuse = [&](const Refusal& r, const char* op_name = nullptr) {
    return Refuse(r, op_name, options.error);
  };
  if (file == nullptr || options.batch < 0 || options.height < 0 || options.width < 0)
    return refuse({"a null pointer or a negative size", -1, -1, LBRT_BAD_ARGUMENT});

  lbrt_model planned = {};
  const bool skip_checksums = options.skip_checksums != 0 || model == nullptr;
  if (Refusal r = CheckFile(file, size, skip_checksums, &planned.file)) return refuse(r);
  planned.kernels = KernelsNamed(options.isa);
  if (planned.kernels == nullptr)
    return refuse({"no such instruction set on this CPU", -1, -1, LBRT_UNKNOWN_ISA});
  lbm::Header header;
  std::memcpy(&header, file, sizeof(header));
  planned.features = header.features;
  planned.tensor_count = planned.file.table->tensors()->size();
  planned.op_count = planned.file.table->ops()->size();

  // The tensors, until it is known how much memory the model needs: some 100 bytes each, and
  // CheckFile limits their number. There is no heap to ask.
  auto* tensors =
      static_cast<ArenaTensor*>(__builtin_alloca(planned.tensor_count * sizeof(ArenaTensor)));
  auto* buffers = static_cast<Buffer*>(__builtin_alloca(planned.tensor_count * sizeof(Buffer)));
  auto* order = static_cast<uint32_t*>(__builtin_alloca(planned.tensor_count * sizeof(uint32_t)));
  if (Refusal r = CheckTable(planned.file, &options, tensors))
    return refuse(r, OpName(planned.file, r.op));
  ChooseLayouts(planned.file, *planned.kernels, tensors);
  PlanArena(planned.file, tensors, buffers, order, &planned);

  Allocator measure(nullptr);
  BuildModel(planned, tensors, measure);
  const uint64_t want = measure.used() + kMemoryAlignment - LBRT_ALIGNMENT;
  if (want > SIZE_MAX / 2 || planned.arena_bytes > SIZE_MAX / 2)
    return refuse({"needs more memory than this machine can address"});
  *needed = static_cast<size_t>(want);
  if (model == nullptr) return LBRT_OK;

  if (memory == nullptr || !IsAligned(memory, LBRT_ALIGNMENT))
    return refuse({"the model's memory is not aligned", LBRT_ALIGNMENT, -1, LBRT_MISALIGNED});
  if (bytes < *needed)
    return refuse({"too little memory for the model", static_cast<int64_t>(*needed),
                   static_cast<int64_t>(bytes), LBRT_TOO_LITTLE_MEMORY});
  Allocator allocator(AlignUp(memory));
  *model = BuildModel(planned, tensors, allocator);
  return LBRT_OK;
}

}  // namespace

lbrt_status Refuse(const Refusal& refusal, const char* op_name, lbrt_error* error) {
  lbrt_error value = {};
  value.what = refusal.what;
  value.op = refusal.op;
  value.op_name = op_name;
  value.expected = refusal.expected;
  value.actual = refusal.actual;
  WriteStruct(value, error);
  return refusal.status;
}

lbrt_tensor DescribeTensor(const lbrt_model& model, uint32_t index, const lbm::Port* port,
                           uint8_t* arena) {
  const ArenaTensor& t = model.tensors[index];
  lbrt_tensor result = {};
  result.name = t.name;
  result.index = index;
  switch (t.type) {
    case lbm::TensorType::U8: result.type = LBRT_U8; break;
    case lbm::TensorType::F32: result.type = LBRT_F32; break;
    case lbm::TensorType::Bits: result.type = LBRT_SIGN; break;
    case lbm::TensorType::Codes: result.type = LBRT_CODES; break;
  }
  const int32_t shape[4] = {t.shape.n, t.shape.h, t.shape.w, t.shape.c};
  std::memcpy(result.shape, shape, sizeof(shape));
  if (port == nullptr) return result;
  result.name = port->name()->c_str();
  if (port->preprocessing() != nullptr) result.preprocessing = port->preprocessing()->c_str();
  ptrdiff_t stride = result.type == LBRT_F32 ? 4 : 1;
  for (int axis = 3; axis >= 0; --axis) {
    result.strides[axis] = stride;
    stride *= shape[axis];
  }
  if (arena != nullptr) result.data = arena + PlaceOf(t).offset;
  return result;
}

}  // namespace lbrt

using lbrt::DescribeTensor;
using lbrt::WriteStruct;

const char* lbrt_isa_name(size_t index) {
  const auto columns = lbrt::Columns();
  return index < columns.size() ? columns[index]->isa : nullptr;
}

lbrt_status lbrt_model_bytes(const void* file, size_t size, const lbrt_model_options* options,
                             size_t* bytes) {
  if (bytes == nullptr) return LBRT_BAD_ARGUMENT;
  return lbrt::OpenOrMeasure(file, size, options, nullptr, 0, bytes, nullptr);
}

lbrt_status lbrt_model_open(const void* file, size_t size, const lbrt_model_options* options,
                            void* memory, size_t bytes, const lbrt_model** model) {
  if (model == nullptr) return LBRT_BAD_ARGUMENT;
  size_t needed = 0;
  return lbrt::OpenOrMeasure(file, size, options, memory, bytes, &needed, model);
}

lbrt_status lbrt_model_info(const lbrt_model* model, lbrt_info* info) {
  if (model == nullptr) return LBRT_BAD_ARGUMENT;
  const lbrt::lbm::Model& table = *model->file.table;
  const auto count = [](const auto* list) { return list != nullptr ? list->size() : uint32_t{0}; };
  lbrt_info result = {};
  result.inputs = table.inputs()->size();
  result.outputs = table.outputs()->size();
  result.ops = table.ops()->size();
  result.tensors = table.tensors()->size();
  result.labels = count(table.labels());
  result.notes = count(table.provenance());
  result.measurements = count(table.accuracy());
  result.width_count = table.widths()->size();
  result.widths = table.widths()->data();
  result.isa = model->kernels->isa;
  result.features = model->features;
  for (uint32_t i = 0; i < model->file.segments(); ++i)
    result.weight_bytes += model->file.segment(i).size();
  result.repacked_bytes = static_cast<size_t>(model->repacked_bytes);
  result.arena_bytes = static_cast<size_t>(model->arena_bytes);
  result.arena_lower_bound = static_cast<size_t>(model->arena_lower_bound);
  result.scratch_bytes = static_cast<size_t>(model->scratch_bytes);
  return WriteStruct(result, info) ? LBRT_OK : LBRT_BAD_ARGUMENT;
}

const char* lbrt_label(const lbrt_model* model, size_t index) {
  const auto* labels = model != nullptr ? model->file.table->labels() : nullptr;
  if (labels == nullptr || index >= labels->size()) return nullptr;
  return labels->Get(static_cast<uint32_t>(index))->c_str();
}

lbrt_status lbrt_note(const lbrt_model* model, size_t index, const char** key, const char** value) {
  const auto* notes = model != nullptr ? model->file.table->provenance() : nullptr;
  if (notes == nullptr || index >= notes->size() || key == nullptr || value == nullptr)
    return LBRT_BAD_ARGUMENT;
  const lbrt::lbm::Note& note = *notes->Get(static_cast<uint32_t>(index));
  *key = note.key()->c_str();
  *value = note.value() != nullptr ? note.value()->c_str() : "";
  return LBRT_OK;
}

lbrt_status lbrt_measurement(const lbrt_model* model, size_t index, const char** what,
                             float* percent) {
  const auto* list = model != nullptr ? model->file.table->accuracy() : nullptr;
  if (list == nullptr || index >= list->size() || what == nullptr || percent == nullptr)
    return LBRT_BAD_ARGUMENT;
  *what = list->Get(static_cast<uint32_t>(index))->what()->c_str();
  *percent = list->Get(static_cast<uint32_t>(index))->percent();
  return LBRT_OK;
}

lbrt_status lbrt_model_input(const lbrt_model* model, size_t index, lbrt_tensor* tensor) {
  if (model == nullptr || index >= model->file.table->inputs()->size()) return LBRT_BAD_ARGUMENT;
  const auto* port = model->file.table->inputs()->Get(static_cast<uint32_t>(index));
  return WriteStruct(DescribeTensor(*model, port->tensor(), port, nullptr), tensor)
             ? LBRT_OK
             : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_model_output(const lbrt_model* model, size_t index, lbrt_tensor* tensor) {
  if (model == nullptr || index >= model->file.table->outputs()->size()) return LBRT_BAD_ARGUMENT;
  const auto* port = model->file.table->outputs()->Get(static_cast<uint32_t>(index));
  return WriteStruct(DescribeTensor(*model, port->tensor(), port, nullptr), tensor)
             ? LBRT_OK
             : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_model_tensor(const lbrt_model* model, size_t index, lbrt_tensor* tensor) {
  if (model == nullptr || index >= model->tensor_count) return LBRT_BAD_ARGUMENT;
  const auto i = static_cast<uint32_t>(index);
  return WriteStruct(DescribeTensor(*model, i, nullptr, nullptr), tensor) ? LBRT_OK
                                                                          : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_model_op(const lbrt_model* model, size_t index, lbrt_op* op) {
  if (model == nullptr || index >= model->op_count) return LBRT_BAD_ARGUMENT;
  const lbrt::lbm::Op& from = *model->file.table->ops()->Get(static_cast<uint32_t>(index));
  const lbrt::PreparedOp& prepared = model->ops[index];
  const lbrt::OpTensors tensors = lbrt::TensorsOf(from, model->tensors);
  lbrt_op result = {};
  result.name = from.name() != nullptr ? from.name()->c_str() : nullptr;
  result.kind = lbrt::FindOp(from.body_type())->kind;
  result.kernel = prepared.kernel;
  result.isa = model->kernels->isa;
  result.precision = prepared.precision;
  result.why = prepared.why;
  result.macs = prepared.macs;
  result.weight_bytes = static_cast<size_t>(prepared.weight_bytes);
  const lbrt::Shape& shape = model->tensors[tensors.makes[0].tensor].shape;
  result.shape[0] = shape.n;
  result.shape[1] = shape.h;
  result.shape[2] = shape.w;
  result.shape[3] = shape.c;
  result.tensor_count = tensors.make_count;
  return WriteStruct(result, op) ? LBRT_OK : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_op_tensor(const lbrt_model* model, size_t op, size_t index, uint32_t* tensor) {
  if (model == nullptr || op >= model->op_count || tensor == nullptr) return LBRT_BAD_ARGUMENT;
  const lbrt::OpTensors tensors = lbrt::TensorsOf(
      *model->file.table->ops()->Get(static_cast<uint32_t>(op)), model->tensors);
  if (index >= tensors.make_count) return LBRT_BAD_ARGUMENT;
  *tensor = tensors.makes[index].tensor;
  return LBRT_OK;
}
