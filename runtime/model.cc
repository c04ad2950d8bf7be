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

// A width of a file on its way to a model: what is known of it before there is memory.
struct PlannedWidth {
  FileView file;
  uint8_t bits = 0;
  uint32_t segments_needed = 0;
  ArenaTensor* tensors = nullptr;  // [file.tensors()]
  uint64_t arena_bytes = 0, arena_lower_bound = 0;

  int32_t ops() const { return static_cast<int32_t>(file.ops().size()); }
};

// The heap that there is none of, for the time it takes to open a file: some 120 bytes a tensor and
// 40 a convolution, and CheckFile limits their numbers. `buffers` and `order` have one element for
// each tensor of any width.
struct Workspace {
  PlannedWidth* widths;
  ArenaTensor* tensors;  // of all widths
  Buffer* buffers;
  uint32_t* order;
  RepackedWeights* shared;
};

uint64_t Padded(uint64_t bytes) {
  return (bytes + kMemoryAlignment - 1) / kMemoryAlignment * kMemoryAlignment;
}

// Where a model has several widths, its inputs and outputs have the same place at each.
void FixPorts(const PlannedWidth& width, Buffer* buffers) {
  const lbm::Model& table = *width.file.table;
  if (table.programs() == nullptr) return;
  uint64_t end = 0;
  const auto fix = [&](uint32_t tensor) {
    Buffer& buffer = buffers[width.tensors[tensor].buffer];
    buffer.fixed = true;
    buffer.offset = end;
    end += buffer.bytes;
  };
  for (uint32_t i = 0; i < table.inputs()->size(); ++i) fix(width.file.input(i));
  for (uint32_t i = 0; i < table.outputs()->size(); ++i) fix(width.file.output(i));
}

// Gives every tensor its place in the arena.
void PlanArena(PlannedWidth* width, const Workspace& workspace) {
  ArenaTensor* tensors = width->tensors;
  Buffer* buffers = workspace.buffers;
  const size_t count = width->file.tensors().size();
  for (size_t i = 0; i < count; ++i) tensors[i].buffer = static_cast<int32_t>(i);
  for (int32_t i = 0; i < width->ops(); ++i) ReuseInPlace({width->file, tensors, count, i}, i);

  for (size_t i = 0; i < count; ++i) buffers[i] = Buffer{INT32_MAX, -1};
  for (size_t i = 0; i < count; ++i) {
    const ArenaTensor& t = tensors[i];
    Buffer& buffer = buffers[t.buffer];
    if (t.maker < buffer.first) buffer.first = t.maker;
    if (t.last_use > buffer.last) buffer.last = t.last_use;
    buffer.bytes = Padded(t.bytes());
  }
  FixPorts(*width, buffers);
  width->arena_bytes = PlanBuffers(buffers, count, workspace.order);
  width->arena_lower_bound = LowerBound(buffers, count, width->ops());
  for (size_t i = 0; i < count; ++i) tensors[i].offset = buffers[tensors[i].buffer].offset;
}

// One width of a model, all but what it shares with the others. `model` is null where the memory
// measures.
void BuildWidth(const PlannedWidth& planned, const Kernels& kernels, ModelMemory& memory,
                lbrt_model* model) {
  const size_t tensor_count = planned.file.tensors().size(), op_count = planned.file.ops().size();
  auto* tensors = memory.allocator.Take<ArenaTensor>(tensor_count);
  auto* ops = memory.allocator.Take<PreparedOp>(op_count);
  memory.width_bytes = 0;
  uint64_t scratch_bytes = 0;
  for (size_t i = 0; i < op_count; ++i) {
    const OpView view = {planned.file, planned.tensors, tensor_count, static_cast<int32_t>(i)};
    const PreparedOp op = FindOp(view.op().body_type())->prepare(view, kernels, memory);
    if (op.scratch_bytes > scratch_bytes) scratch_bytes = op.scratch_bytes;
    if (ops != nullptr) ops[i] = op;
  }
  if (model == nullptr) return;
  std::memcpy(tensors, planned.tensors, tensor_count * sizeof(ArenaTensor));
  model->file = planned.file;
  model->file.segments_needed = nullptr;
  model->file.checked = nullptr;
  model->kernels = &kernels;
  model->tensors = tensors;
  model->ops = ops;
  model->tensor_count = tensor_count;
  model->op_count = op_count;
  model->scratch_bytes = scratch_bytes;
  model->repacked_bytes = memory.width_bytes;
  lbm::Header header;
  std::memcpy(&header, planned.file.bytes, sizeof(header));
  model->file_bytes = uint64_t{header.table_offset} + header.table_size;
  if (planned.segments_needed == 0) return;
  const lbm::Segment& last = planned.file.segment(planned.segments_needed - 1);
  model->file_bytes = uint64_t{last.offset()} + last.size();
}

// Everything a model has, taken from `allocator`; measures where that one does. The widest one's.
const lbrt_model* BuildModel(const Workspace& workspace, size_t width_count,
                             const Kernels& kernels, uint64_t features, Allocator& allocator) {
  auto* models = allocator.Take<lbrt_model>(width_count);
  auto* bits = allocator.Take<uint8_t>(width_count);
  ModelMemory memory = {allocator, workspace.shared};
  lbrt_model all = {};
  all.widths = models;
  all.width_bits = bits;
  all.width_count = width_count;
  all.features = features;
  for (size_t i = 0; i < width_count; ++i) {
    const PlannedWidth& planned = workspace.widths[i];
    if (models != nullptr) {
      models[i] = {};
      bits[i] = planned.bits;
    }
    BuildWidth(planned, kernels, memory, models != nullptr ? &models[i] : nullptr);
    if (models == nullptr) continue;
    const auto most = [](uint64_t* value, uint64_t other) {
      if (other > *value) *value = other;
    };
    most(&all.arena_bytes, planned.arena_bytes);
    most(&all.arena_lower_bound, planned.arena_lower_bound);
    most(&all.all_scratch_bytes, models[i].scratch_bytes);
  }
  for (size_t i = 0; i < width_count && models != nullptr; ++i) {
    lbrt_model& model = models[i];
    model.features = all.features;
    model.widths = all.widths;
    model.width_bits = all.width_bits;
    model.width_count = all.width_count;
    model.arena_bytes = all.arena_bytes;
    model.arena_lower_bound = all.arena_lower_bound;
    model.all_scratch_bytes = all.all_scratch_bytes;
    model.all_repacked_bytes = memory.repacked_bytes;
  }
  return models != nullptr ? &models[width_count - 1] : nullptr;
}

const char* OpName(const FileView& file, int32_t op) {
  if (op < 0) return nullptr;
  const auto* name = file.ops().Get(static_cast<uint32_t>(op))->name();
  return name != nullptr ? name->c_str() : nullptr;
}

// A session's outputs have one shape whatever the width.
Refusal CheckSameOutputs(const PlannedWidth& a, const PlannedWidth& b) {
  for (uint32_t i = 0; i < a.file.table->outputs()->size(); ++i)
    if (a.tensors[a.file.output(i)].shape != b.tensors[b.file.output(i)].shape)
      return {"a graph output differs between widths", -1, i};
  return {};
}

// Fills workspace.widths with those that the options ask for, checked and planned: narrowest first,
// `count` of them. A width whose segments are not there is left out. In Refusal.op's file, which
// `*refused` becomes, is the op of a refusal.
Refusal PlanWidths(const FileView& file, const lbrt_model_options& options, const Kernels& kernels,
                   const Workspace& workspace, size_t* count, FileView* refused) {
  const auto& widths = *file.table->widths();
  const bool widest = options.bits == LBRT_WIDEST;
  ArenaTensor* tensors = workspace.tensors;
  Refusal cut;
  *count = 0;
  for (uint32_t i = 0; i < widths.size(); ++i) {
    const uint32_t at = widest ? widths.size() - 1 - i : i;  // or the widest first
    if (options.bits > 0 && widths.Get(at) != options.bits) continue;
    PlannedWidth& width = workspace.widths[*count];
    width = PlannedWidth{};
    width.file = file.AtWidth(at);
    width.file.segments_needed = &width.segments_needed;
    if (*count > 0) width.file.checked = &workspace.widths[*count - 1].file;
    width.bits = widths.Get(at);
    width.tensors = tensors;
    *refused = width.file;
    const Refusal r = CheckTable(width.file, &options, tensors);
    if (r.status == LBRT_TRUNCATED) {
      cut = {"the file ends before the weights of a width (bits)", -1, width.bits, LBRT_TRUNCATED};
      continue;
    }
    if (r) return r;
    if (*count > 0)
      if (Refusal differs = CheckSameOutputs(workspace.widths[0], width)) return differs;
    ChooseLayouts(width.file, kernels, tensors);
    PlanArena(&width, workspace);
    tensors += width.file.tensors().size();
    ++*count;
    if (widest) break;
  }
  if (*count > 0) return {};
  if (cut) return cut;
  return {"the model has no such width", -1, options.bits, LBRT_BAD_WIDTH};
}

// lbrt_model_open, and lbrt_model_bytes where `model` is null.
lbrt_status OpenOrMeasure(const void* file, size_t size, const lbrt_model_options* given,
                          void* memory, size_t bytes, size_t* needed, const lbrt_model** model) {
  lbrt_model_options options;
  if (!ReadStruct(given, &options)) return LBRT_BAD_ARGUMENT;
  const auto refuse = [&](const Refusal& r, const char* op_name = nullptr) {
    return Refuse(r, op_name, options.error);
  };
  if (file == nullptr || options.batch < 0 || options.height < 0 || options.width < 0 ||
      options.bits < LBRT_WIDEST)
    return refuse({"a null pointer or a negative size", -1, -1, LBRT_BAD_ARGUMENT});

  FileView view;
  const bool skip_checksums = options.skip_checksums != 0 || model == nullptr;
  if (Refusal r = CheckFile(file, size, skip_checksums, &view)) return refuse(r);
  const Kernels* kernels = KernelsNamed(options.isa);
  if (kernels == nullptr)
    return refuse({"no such instruction set on this CPU", -1, -1, LBRT_UNKNOWN_ISA});
  lbm::Header header;
  std::memcpy(&header, file, sizeof(header));

  const size_t widths = view.table->widths()->size();
  size_t tensors = 0, most_tensors = 0, ops = 0;
  for (size_t i = 0; i < widths; ++i) {
    const size_t count = view.AtWidth(i).tensors().size();
    tensors += count;
    ops += view.AtWidth(i).ops().size();
    if (count > most_tensors) most_tensors = count;
  }
  const Workspace workspace = {
      static_cast<PlannedWidth*>(__builtin_alloca(widths * sizeof(PlannedWidth))),
      static_cast<ArenaTensor*>(__builtin_alloca(tensors * sizeof(ArenaTensor))),
      static_cast<Buffer*>(__builtin_alloca(most_tensors * sizeof(Buffer))),
      static_cast<uint32_t*>(__builtin_alloca(most_tensors * sizeof(uint32_t))),
      static_cast<RepackedWeights*>(
          __builtin_alloca(ops * ModelMemory::kMostParts * sizeof(RepackedWeights)))};
  size_t count = 0;
  FileView refused;
  if (Refusal r = PlanWidths(view, options, *kernels, workspace, &count, &refused))
    return refuse(r, OpName(refused, r.op));

  Allocator measure(nullptr);
  BuildModel(workspace, count, *kernels, header.features, measure);
  const uint64_t want = measure.used() + kMemoryAlignment - LBRT_ALIGNMENT;
  bool fits = want <= SIZE_MAX / 2;
  for (size_t i = 0; i < count; ++i) fits = fits && workspace.widths[i].arena_bytes <= SIZE_MAX / 2;
  if (!fits) return refuse({"needs more memory than this machine can address"});
  *needed = static_cast<size_t>(want);
  if (model == nullptr) return LBRT_OK;

  if (memory == nullptr || !IsAligned(memory, LBRT_ALIGNMENT))
    return refuse({"the model's memory is not aligned", LBRT_ALIGNMENT, -1, LBRT_MISALIGNED});
  if (bytes < *needed)
    return refuse({"too little memory for the model", static_cast<int64_t>(*needed),
                   static_cast<int64_t>(bytes), LBRT_TOO_LITTLE_MEMORY});
  Allocator allocator(AlignUp(memory));
  *model = BuildModel(workspace, count, *kernels, header.features, allocator);
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
  result.ops = static_cast<uint32_t>(model->op_count);
  result.tensors = static_cast<uint32_t>(model->tensor_count);
  result.labels = count(table.labels());
  result.notes = count(table.provenance());
  result.measurements = count(table.accuracy());
  result.width_count = static_cast<uint32_t>(model->width_count);
  result.widths = model->width_bits;
  result.isa = model->kernels->isa;
  result.features = model->features;
  for (uint32_t i = 0; i < model->file.segment_count; ++i)
    result.weight_bytes += model->file.segment(i).size();
  result.repacked_bytes = static_cast<size_t>(model->all_repacked_bytes);
  result.arena_bytes = static_cast<size_t>(model->arena_bytes);
  result.arena_lower_bound = static_cast<size_t>(model->arena_lower_bound);
  result.scratch_bytes = static_cast<size_t>(model->all_scratch_bytes);
  result.bits = model->bits();
  result.width_repacked_bytes = static_cast<size_t>(model->repacked_bytes);
  result.width_file_bytes = static_cast<size_t>(model->file_bytes);
  result.file_widths = table.widths()->data();
  result.file_width_count = table.widths()->size();
  return WriteStruct(result, info) ? LBRT_OK : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_model_at(const lbrt_model* model, int32_t bits, const lbrt_model** at) {
  if (model == nullptr || at == nullptr) return LBRT_BAD_ARGUMENT;
  for (size_t i = 0; i < model->width_count; ++i) {
    if (model->width_bits[i] != bits) continue;
    *at = &model->widths[i];
    return LBRT_OK;
  }
  return LBRT_BAD_WIDTH;
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
  const auto i = static_cast<uint32_t>(index);
  const auto* port = model->file.table->inputs()->Get(i);
  return WriteStruct(DescribeTensor(*model, model->file.input(i), port, nullptr), tensor)
             ? LBRT_OK
             : LBRT_BAD_ARGUMENT;
}

lbrt_status lbrt_model_output(const lbrt_model* model, size_t index, lbrt_tensor* tensor) {
  if (model == nullptr || index >= model->file.table->outputs()->size()) return LBRT_BAD_ARGUMENT;
  const auto i = static_cast<uint32_t>(index);
  const auto* port = model->file.table->outputs()->Get(i);
  return WriteStruct(DescribeTensor(*model, model->file.output(i), port, nullptr), tensor)
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
  const lbrt::lbm::Op& from = *model->file.ops().Get(static_cast<uint32_t>(index));
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
      *model->file.ops().Get(static_cast<uint32_t>(op)), model->tensors);
  if (index >= tensors.make_count) return LBRT_BAD_ARGUMENT;
  *tensor = tensors.makes[index].tensor;
  return LBRT_OK;
}
