#include "converter/emit.h"

#include <cstring>
#include <utility>

#include "converter/emission.h"
#include "converter/ops.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"

namespace lbrt {
namespace {

namespace fb = flatbuffers;

class Table {
 public:
  Table(std::span<const LoweredGraph> widths, const ModelTexts& texts) {
    const ProgramParts first = AddParts(widths[0]);
    std::vector<fb::Offset<lbm::Program>> others;
    for (const LoweredGraph& lowered : widths.subspan(1)) {
      const ProgramParts parts = AddParts(lowered);
      others.push_back(lbm::CreateProgram(builder_, parts.ops, parts.tensors,
                                          builder_.CreateVector(std::vector{parts.input}),
                                          builder_.CreateVector(parts.outputs)));
    }
    fb::Offset<fb::Vector<fb::Offset<lbm::Program>>> programs;
    if (!others.empty()) programs = builder_.CreateVector(others);

    // Placed where they would be without a table, for now.
    const auto segments_offset = builder_.CreateVectorOfStructs(segments_.Place(0));
    const LoweredGraph& lowered = widths[0];
    const bool image = !texts.preprocessing.empty();
    const auto inputs = builder_.CreateVector(
        {lbm::CreatePortDirect(builder_, lowered.node(0).name.c_str(), first.input,
                               image ? texts.preprocessing.c_str() : nullptr)});
    std::vector<fb::Offset<lbm::Port>> ports;
    for (const uint32_t tensor : first.outputs)
      ports.push_back(lbm::CreatePortDirect(
          builder_, lowered.node(StoredValues(lowered)[tensor]).name.c_str(), tensor));
    const auto outputs = builder_.CreateVector(ports);
    fb::Offset<fb::Vector<fb::Offset<fb::String>>> labels;
    if (!texts.labels.empty()) labels = builder_.CreateVectorOfStrings(texts.labels);
    const auto bits =
        builder_.CreateVector(std::vector<uint8_t>(texts.widths.begin(), texts.widths.end()));

    std::vector<fb::Offset<lbm::Note>> notes;
    for (const auto& [key, value] : texts.provenance)
      notes.push_back(lbm::CreateNoteDirect(builder_, key.c_str(), value.c_str()));
    const auto provenance = builder_.CreateVector(notes);
    std::vector<fb::Offset<lbm::Measurement>> measurements;
    for (const auto& [what, percent] : texts.accuracy)
      measurements.push_back(lbm::CreateMeasurementDirect(builder_, what.c_str(), percent));
    const auto accuracy = builder_.CreateVector(measurements);

    builder_.Finish(lbm::CreateModel(builder_, first.ops, first.tensors, segments_offset, inputs,
                                     outputs, labels, bits, provenance, accuracy, programs));
    PlaceSegments();
  }

  const uint8_t* data() const { return builder_.GetBufferPointer(); }
  size_t size() const { return builder_.GetSize(); }
  const lbm::Model& model() const { return *lbm::GetModel(data()); }
  const Segments& segments() { return segments_; }

 private:
  struct ProgramParts {
    fb::Offset<fb::Vector<fb::Offset<lbm::Op>>> ops;
    fb::Offset<fb::Vector<fb::Offset<lbm::Tensor>>> tensors;
    uint32_t input;
    std::vector<uint32_t> outputs;
  };
  // Names are stored once for all widths.
  ProgramParts AddParts(const LoweredGraph& lowered) {
    segments_.BeginWidth();
    Emission emission(lowered, builder_, segments_);
    std::vector<fb::Offset<lbm::Op>> ops;
    for (const LoweredGraph::Op& op : lowered.ops) {
      const TableBody body = op.kind->emit(emission, op);
      const auto name = builder_.CreateSharedString(lowered.node(op.nodes[0]).name);
      ops.push_back(lbm::CreateOp(builder_, name, body.kind, body.offset));
    }
    std::vector<fb::Offset<lbm::Tensor>> tensors;
    for (const int value : emission.values()) tensors.push_back(AddTensor(lowered, value));
    std::vector<uint32_t> outputs = {emission.Tensor(lowered.graph->output)};
    for (const int value : lowered.graph->more_outputs) outputs.push_back(emission.Tensor(value));
    return {builder_.CreateVector(ops), builder_.CreateVector(tensors), emission.Tensor(0),
            std::move(outputs)};
  }

  fb::Offset<lbm::Tensor> AddTensor(const LoweredGraph& lowered, int value) {
    const GraphNode& node = lowered.node(value);
    lbm::TensorType type = lbm::TensorType::F32;  // exact sums are rounded when they are stored
    if (node.type == ValueType::kU8) type = lbm::TensorType::U8;
    if (node.type == ValueType::kSign) type = lbm::TensorType::Bits;
    if (node.type == ValueType::kCode) type = lbm::TensorType::Codes;
    const auto name = builder_.CreateSharedString(node.name);
    if (value != 0) return lbm::CreateTensor(builder_, name, type);
    return lbm::CreateTensor(
        builder_, name, type,
        builder_.CreateVector(std::vector<int32_t>{1, node.height, node.width, node.channels}));
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
  Segments segments_;
};

}  // namespace

std::vector<uint8_t> Emit(std::span<const LoweredGraph> widths, const ModelTexts& texts) {
  Table table(widths, texts);
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
    file.resize((file.size() + lbm::kSegmentAlignment - 1) / lbm::kSegmentAlignment *
                lbm::kSegmentAlignment);
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  return file;
}

}  // namespace lbrt
