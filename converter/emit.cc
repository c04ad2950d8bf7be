#include "converter/emit.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "images/error.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"

namespace lbrt {
namespace {

using Op = LoweredGraph::Op;
using Stage = LoweredGraph::Stage;
using Kind = LoweredGraph::Kind;
namespace fb = flatbuffers;

size_t AlignUp(size_t n, size_t alignment) { return (n + alignment - 1) / alignment * alignment; }

bool AllAre(const std::vector<float>& values, float value) {
  return std::all_of(values.begin(), values.end(), [&](float v) {
    return std::bit_cast<uint32_t>(v) == std::bit_cast<uint32_t>(value);
  });
}

// The data of a file: one segment of all affines' numbers, then one per plane of weights, in the
// order of the ops.
class Segments {
 public:
  explicit Segments(const LoweredGraph& lowered) {
    segments_.emplace_back();
    for (const Op& op : lowered.ops)
      for (const auto& plane : op.planes) segments_.push_back(plane);
  }

  // Numbers that are all the same are stored once.
  lbm::Floats Add(const std::vector<float>& values) {
    const size_t count = AllAre(values, values[0]) ? 1 : values.size();
    std::vector<uint8_t>& bytes = segments_[0];
    const size_t offset = bytes.size();
    bytes.resize(offset + count * sizeof(float));
    std::memcpy(bytes.data() + offset, values.data(), count * sizeof(float));
    return {0, static_cast<uint32_t>(offset), static_cast<uint32_t>(count)};
  }

  // The list for the table, given where the table ends.
  std::vector<lbm::Segment> Place(size_t begin) const {
    std::vector<lbm::Segment> list;
    for (const auto& bytes : segments_) {
      begin = AlignUp(begin, lbm::kSegmentAlignment);
      list.emplace_back(static_cast<uint32_t>(begin), static_cast<uint32_t>(bytes.size()),
                        lbm::Crc32c(bytes.data(), bytes.size()));
      begin += bytes.size();
      if (begin > std::numeric_limits<uint32_t>::max())
        throw InputError("the model would be larger than 4 GiB, which the file format cannot hold");
    }
    return list;
  }

  const std::vector<std::vector<uint8_t>>& bytes() const { return segments_; }

 private:
  std::vector<std::vector<uint8_t>> segments_;
};

lbm::Window Window(const lbrt::Window& w) {
  const auto u16 = [](int n) { return static_cast<uint16_t>(n); };
  return {u16(w.kernel_h), u16(w.kernel_w), u16(w.stride_h),   u16(w.stride_w),
          u16(w.pad_top),  u16(w.pad_left), u16(w.pad_bottom), u16(w.pad_right)};
}

class Table {
 public:
  Table(const LoweredGraph& lowered, const ModelTexts& texts)
      : lowered_(lowered), values_(StoredValues(lowered)), segments_(lowered) {
    std::vector<fb::Offset<lbm::Op>> ops;
    for (const Op& op : lowered.ops) ops.push_back(AddOp(op));
    const auto ops_offset = builder_.CreateVector(ops);

    std::vector<fb::Offset<lbm::Tensor>> tensors;
    for (const int value : values_) tensors.push_back(AddTensor(value));
    const auto tensors_offset = builder_.CreateVector(tensors);

    // Placed where they would be without a table, for now.
    const auto segments_offset = builder_.CreateVectorOfStructs(segments_.Place(0));
    const auto inputs = builder_.CreateVector({lbm::CreatePortDirect(
        builder_, lowered.node(0).name.c_str(), Tensor(0), texts.preprocessing.c_str())});
    const GraphNode& output = lowered.node(lowered.graph->output);
    const auto outputs = builder_.CreateVector(
        {lbm::CreatePortDirect(builder_, output.name.c_str(), Tensor(lowered.graph->output))});
    fb::Offset<fb::Vector<fb::Offset<fb::String>>> labels;
    if (!texts.labels.empty()) labels = builder_.CreateVectorOfStrings(texts.labels);
    const auto widths = builder_.CreateVector(std::vector<uint8_t>{1});

    std::vector<fb::Offset<lbm::Note>> notes;
    for (const auto& [key, value] : texts.provenance)
      notes.push_back(lbm::CreateNoteDirect(builder_, key.c_str(), value.c_str()));
    const auto provenance = builder_.CreateVector(notes);
    std::vector<fb::Offset<lbm::Measurement>> measurements;
    for (const auto& [what, percent] : texts.accuracy)
      measurements.push_back(lbm::CreateMeasurementDirect(builder_, what.c_str(), percent));
    const auto accuracy = builder_.CreateVector(measurements);

    builder_.Finish(lbm::CreateModel(builder_, ops_offset, tensors_offset, segments_offset, inputs,
                                     outputs, labels, widths, provenance, accuracy));
    PlaceSegments();
  }

  const uint8_t* data() const { return builder_.GetBufferPointer(); }
  size_t size() const { return builder_.GetSize(); }
  const lbm::Model& model() const { return *lbm::GetModel(data()); }
  const Segments& segments() const { return segments_; }

 private:
  // The index of the tensor that holds a value.
  uint32_t Tensor(int value) const {
    return static_cast<uint32_t>(std::lower_bound(values_.begin(), values_.end(), value) -
                                 values_.begin());
  }
  int32_t TensorOrNone(int value) const {
    return value < 0 ? -1 : static_cast<int32_t>(Tensor(value));
  }

  fb::Offset<lbm::Tensor> AddTensor(int value) {
    const GraphNode& node = lowered_.node(value);
    lbm::TensorType type = lbm::TensorType::F32;  // exact sums are rounded when they are stored
    if (node.type == ValueType::kU8) type = lbm::TensorType::U8;
    if (node.type == ValueType::kSign) type = lbm::TensorType::Bits;
    const std::vector<int32_t> shape = {1, node.height, node.width, node.channels};
    return lbm::CreateTensorDirect(builder_, node.name.c_str(), type,
                                   value == 0 ? &shape : nullptr);
  }

  fb::Offset<lbm::Stage> AddStage(const Stage& stage) {
    std::optional<lbm::Floats> a, b;
    if (stage.affine >= 0) {
      const GraphNode& affine = lowered_.node(stage.affine);
      if (!AllAre(affine.b, 0.0f)) b = segments_.Add(affine.b);
      if (!b || !AllAre(affine.a, 1.0f)) a = segments_.Add(affine.a);
    }
    return lbm::CreateStage(builder_, a ? &*a : nullptr, b ? &*b : nullptr, TensorOrNone(stage.add),
                            static_cast<lbm::Activation>(stage.activation),
                            TensorOrNone(stage.out_f32), TensorOrNone(stage.out_sign));
  }

  fb::Offset<lbm::Op> AddOp(const Op& op) {
    std::vector<fb::Offset<lbm::Stage>> stages;
    for (const Stage& stage : op.stages) stages.push_back(AddStage(stage));
    lbm::OpBody kind = lbm::OpBody::NONE;
    fb::Offset<void> body;
    switch (op.kind) {
      case Kind::kConv: {
        const GraphNode& conv = lowered_.node(op.nodes[0]);
        std::vector<uint32_t> planes;
        for (size_t i = 0; i < op.planes.size(); ++i) planes.push_back(next_plane_++);
        const lbm::Window window = Window(conv.window);
        kind = lbm::OpBody::Conv;
        body = lbm::CreateConvDirect(
                   builder_, Tensor(op.input), static_cast<uint32_t>(conv.channels), &window,
                   static_cast<lbm::WeightKind>(conv.weight_kind), &planes, &stages)
                   .Union();
        break;
      }
      case Kind::kEltwise:
        kind = lbm::OpBody::Eltwise;
        body = lbm::CreateEltwiseDirect(builder_, Tensor(op.input), &stages).Union();
        break;
      case Kind::kAvgPool: {
        lbm::Window window = Window(op.pool < 0 ? lbrt::Window{} : lowered_.node(op.pool).window);
        const GraphNode none, &pad = op.pad < 0 ? none : lowered_.node(op.pad);
        kind = lbm::OpBody::AvgPool;
        body = lbm::CreateAvgPool(builder_, Tensor(op.input), &window,
                                  static_cast<uint32_t>(pad.pad_before),
                                  static_cast<uint32_t>(pad.pad_after), Tensor(OutputsOf(op)[0]))
                   .Union();
        break;
      }
    }
    return lbm::CreateOpDirect(builder_, lowered_.node(op.nodes[0]).name.c_str(), kind, body);
  }

  // Segments begin behind the table, whose size is known only when all is in it. They are structs,
  // so that the places can be written over.
  void PlaceSegments() {
    const auto list = segments_.Place(sizeof(lbm::Header) + builder_.GetSize());
    uint8_t* table = builder_.GetBufferPointer();
    std::memcpy(table + (model().segments()->Data() - table), list.data(),
                list.size() * sizeof(lbm::Segment));
  }

  fb::FlatBufferBuilder builder_;
  const LoweredGraph& lowered_;
  const std::vector<int> values_;
  Segments segments_;
  uint32_t next_plane_ = 1;  // segment 0 holds the affines
};

static_assert(static_cast<int>(WeightKind::kSign) == static_cast<int>(lbm::WeightKind::Sign) &&
              static_cast<int>(WeightKind::kFloat) == static_cast<int>(lbm::WeightKind::Float) &&
              static_cast<int>(WeightKind::kFixed) == static_cast<int>(lbm::WeightKind::Fixed));
static_assert(static_cast<int>(Activation::kNone) == static_cast<int>(lbm::Activation::None) &&
              static_cast<int>(Activation::kRelu) == static_cast<int>(lbm::Activation::Relu) &&
              static_cast<int>(Activation::kHardtanh) ==
                  static_cast<int>(lbm::Activation::Hardtanh));

}  // namespace

std::vector<uint8_t> Emit(const LoweredGraph& lowered, const ModelTexts& texts) {
  const Table table(lowered, texts);
  lbm::Header header;
  std::memcpy(header.magic, lbm::kMagic, sizeof header.magic);
  header.version = lbm::kVersion;
  header.features = lbm::UsedFeatures(table.model());
  header.table_offset = sizeof header;
  header.table_size = static_cast<uint32_t>(table.size());
  header.table_crc = lbm::Crc32c(table.data(), table.size());
  header.header_crc = lbm::Crc32c(&header, offsetof(lbm::Header, header_crc));

  std::vector<uint8_t> file(sizeof header + table.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::memcpy(file.data() + sizeof header, table.data(), table.size());
  for (const auto& bytes : table.segments().bytes()) {
    file.resize(AlignUp(file.size(), lbm::kSegmentAlignment));
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  return file;
}

}  // namespace lbrt
