// An op is {check, tensors, lanes, prepare} and the run that prepare chooses, one file in
// runtime/ops/ and one line in the list of ops.cc; nothing else names it.
//
//   check    knows shapes, types and limits: refuses what is wrong, derives the results' shapes.
//            Needs no kernel; the converter calls it too (CheckTable).
//   tensors  which ones a checked op reads and makes, and what it asks of them.
//   lanes    what it would save with its f32 tensors in lanes order (layout.cc).
//   prepare  makes every choice (kernel, tiles, tables, repacked weights, scratch) and copies every
//            number it needs out of the file's table.
//   run      cannot fail, allocate, branch on types or read the table again.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "runtime/lbrt.h"
#include "runtime/memory.h"
#include "runtime/tensor.h"
#include "schema/lbm_generated.h"

namespace lbrt {

// Why something is refused: a static sentence and, where it helps, two numbers (else -1).
struct Refusal {
  const char* what = nullptr;  // null: not refused
  int64_t expected = -1, actual = -1;
  lbrt_status status = LBRT_BAD_MODEL;
  int32_t op = -1;

  explicit operator bool() const { return what != nullptr; }
};

// A file whose table is verified, at one of its widths; the segments that are there have been
// checked to lie inside of it.
struct FileView {
  const uint8_t* bytes = nullptr;
  const lbm::Model* table = nullptr;
  const lbm::Program* program = nullptr;  // null: the first width's, which is the table's own
  size_t segment_count = 0;               // a file of several widths may end behind any of them
  // Where not null, as many of the first segments as the ops checked so far need.
  uint32_t* segments_needed = nullptr;
  // Where not null, the same file at another width, whose ops have been checked: weights that they
  // have too need not be looked at again.
  const FileView* checked = nullptr;

  const auto& ops() const { return program != nullptr ? *program->ops() : *table->ops(); }
  const auto& tensors() const {
    return program != nullptr ? *program->tensors() : *table->tensors();
  }
  // The tensor of the file's input or output `i`.
  uint32_t input(uint32_t i) const {
    return program != nullptr ? program->inputs()->Get(i) : table->inputs()->Get(i)->tensor();
  }
  uint32_t output(uint32_t i) const {
    return program != nullptr ? program->outputs()->Get(i) : table->outputs()->Get(i)->tensor();
  }
  const lbm::Segment& segment(uint32_t i) const { return *table->segments()->Get(i); }
  const uint8_t* data(uint32_t i) const { return bytes + segment(i).offset(); }

  // At widths()[i] of the table.
  FileView AtWidth(size_t i) const {
    FileView view = *this;
    view.program = i == 0 ? nullptr : table->programs()->Get(static_cast<uint32_t>(i - 1));
    return view;
  }
};

// One op of a file among its tensors, whose shapes are known up to this op.
struct OpView {
  const FileView& file;
  ArenaTensor* tensors;
  size_t tensor_count;
  int32_t index;

  const lbm::Op& op() const { return *file.ops().Get(static_cast<uint32_t>(index)); }
};

// What run is given. `scratch` is one task's own.
struct RunArguments {
  uint8_t* arena;
  uint8_t* scratch;
};

// What prepare makes. The work of a run is `units` independent pieces (rows of all images, say);
// results do not depend on how they are divided.
struct PreparedOp {
  void (*run)(const void* state, const RunArguments& arguments, size_t begin, size_t end) = nullptr;
  const void* state = nullptr;
  size_t units = 0;
  size_t most_tasks = 1;  // more would cost more than they save
  uint64_t scratch_bytes = 0;
  // For people; static, or in the model's memory.
  const char* kernel = "";
  const char* precision = "";
  const char* why = "";
  int64_t macs = 0;
  uint64_t weight_bytes = 0;
};

// Weights in another form than the file's, to be found again by another width that needs the same.
struct RepackedWeights {
  const lbm::Conv* conv;
  int32_t in_channels;
  int32_t part;  // of several that one convolution has
  void (*pack)(const WeightRows& rows, void* packed);
  uint8_t* packed;
};

// Memory of a model in the making: everything it has, and the weights among it, counted. `shared`
// has room for kMostParts elements a convolution.
struct ModelMemory {
  static constexpr size_t kMostParts = 4;

  Allocator& allocator;
  RepackedWeights* shared = nullptr;
  size_t shared_count = 0;
  uint64_t repacked_bytes = 0;  // in all
  uint64_t width_bytes = 0;     // of those, what one width uses

  // For weights in another form than the file's.
  uint8_t* TakeRepacked(uint64_t bytes) {
    repacked_bytes += bytes;
    width_bytes += bytes;
    return allocator.Take<uint8_t>(bytes, kPackedAlignment);
  }
};

// The tensors an op reads and makes, in the order of the file, and what it asks of them.
struct OpTensors {
  // Of 8 stages, which read 2 and make 3 each, and a convolution.
  static constexpr size_t kMostReads = 17, kMostMakes = 24;
  struct Read {
    uint32_t tensor = 0;
    bool ordered = true;  // its f32 order, lanes or rows, is the op's; else it must be rows
    bool dense = false;   // its kernels know no ring
    int32_t ring = 0;     // it would gain by so many zero pixels around each image
    int32_t heir = -1;    // the tensor made by this op that may take its memory; -1: none
  };
  struct Made {
    uint32_t tensor = 0;
    bool dense = false;
  };
  Read reads[kMostReads];
  Made makes[kMostMakes];
  size_t read_count = 0, make_count = 0;

  Read& AddRead(int64_t tensor) {
    Read& read = reads[read_count++];
    read.tensor = static_cast<uint32_t>(tensor);
    return read;
  }
  Made& AddMade(int64_t tensor) {
    Made& made = makes[make_count++];
    made.tensor = static_cast<uint32_t>(tensor);
    return made;
  }
};

// Of OpDef::lanes: an op that has no kernels for that order.
inline constexpr int64_t kNoLanes = INT64_MIN;

struct OpDef {
  const char* kind;
  Refusal (*check)(const OpView& view);
  // `tensors`: of the file, their types and shapes known.
  OpTensors (*tensors)(const lbm::Op& op, const ArenaTensor* tensors);
  // What lanes order saves against rows, in multiply-adds of xor_popcount_tile; negative: costs.
  int64_t (*lanes)(const OpView& view, const Kernels& kernels);
  PreparedOp (*prepare)(const OpView& view, const Kernels& kernels, ModelMemory& memory);
};

// Null for none of the known ones.
const OpDef* FindOp(lbm::OpBody body);

// Of a checked op.
inline OpTensors TensorsOf(const lbm::Op& op, const ArenaTensor* tensors) {
  return FindOp(op.body_type())->tensors(op, tensors);
}

// Checks every op of a verified table, at one width, in order and fills `tensors` [file.tensors()]:
// names, types, shapes, makers and last uses. `options` may be null (sizes as in the file).
// Refusal.op says which op is refused; its status is LBRT_TRUNCATED where the file ends before a
// segment that the width needs.
Refusal CheckTable(const FileView& file, const lbrt_model_options* options, ArenaTensor* tensors);

// Header, table, segments and (unless skipped) their checksums: all but the ops. `view` is at the
// first width.
Refusal CheckFile(const void* file, size_t size, bool skip_checksums, FileView* view);

// layout.cc: chooses lanes and ring of every tensor. RunsInLanes is the order an op then has.
void ChooseLayouts(const FileView& file, const Kernels& kernels, ArenaTensor* tensors);
bool RunsInLanes(const OpView& view, const Kernels& kernels);

// How many tasks pay for `units` pieces of `work` multiply-adds in all, at a rough
// `work_per_microsecond`: handing work to another thread costs microseconds.
inline size_t TasksFor(size_t units, int64_t work, int64_t work_per_microsecond) {
  constexpr int64_t kMicrosecondsPerTask = 20;
  const int64_t tasks = work / (work_per_microsecond * kMicrosecondsPerTask);
  if (tasks < 2) return 1;
  return tasks < static_cast<int64_t>(units) ? static_cast<size_t>(tasks) : units;
}

}  // namespace lbrt
