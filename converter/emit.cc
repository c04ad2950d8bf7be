#include "converter/emit.h"

#include <cstring>

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
  Table(const LoweredGraph& lowered, const ModelTexts& texts)
      : lowered_(lowered), emission_(lowered), builder_(emission_.builder()) {
    std::vector<fb::Offset<lbm::Op>> ops;
    for (const LoweredGraph::Op& op : lowered.ops) {
      const TableBody body = op.kind->emit(emission_, op);
      ops.push_back(lbm::CreateOpDirect(builder_, lowered.node(op.nodes[0]).name.c_str(),
                                        body.kind, body.offset));
    }
    const auto ops_offset = builder_.CreateVector(ops);

    std::vector<fb::Offset<lbm::Tensor>> tensors;
    for (const int value : emission_.values()) tensors.push_back(AddTensor(value));
    const auto tensors_offset = builder_.CreateVector(tensors);

    // Placed where they would be without a table, for now.
    const auto segments_offset = builder_.CreateVectorOfStructs(segments().Place(0));
    const bool image = !texts.preprocessing.empty();
    const auto inputs = builder_.CreateVector(
        {lbm::CreatePortDirect(builder_, lowered.node(0).name.c_str(), emission_.Tensor(0),
                               image ? texts.preprocessing.c_str() : nullptr)});
    const int output = lowered.graph->output;
    const auto outputs = builder_.CreateVector({lbm::CreatePortDirect(
        builder_, lowered.node(output).name.c_str(), emission_.Tensor(output))});
    fb::Offset<fb::Vector<fb::Offset<fb::String>>> labels;
    if (!texts.labels.empty()) labels = builder_.CreateVectorOfStrings(texts.labels);
    const auto widths =
        builder_.CreateVector(std::vector<uint8_t>{static_cast<uint8_t>(texts.width)});

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
  const Segments& segments() { return emission_.segments(); }

 private:
  fb::Offset<lbm::Tensor> AddTensor(int value) {
    const GraphNode& node = lowered_.node(value);
    lbm::TensorType type = lbm::TensorType::F32;  // exact sums are rounded when they are stored
    if (node.type == ValueType::kU8) type = lbm::TensorType::U8;
    if (node.type == ValueType::kSign) type = lbm::TensorType::Bits;
    if (node.type == ValueType::kCode) type = lbm::TensorType::Codes;
    const std::vector<int32_t> shape = {1, node.height, node.width, node.channels};
    return lbm::CreateTensorDirect(builder_, node.name.c_str(), type,
                                   value == 0 ? &shape : nullptr);
  }

  // Segments begin behind the table, whose size is known only when all is in it. They are structs,
  // so that the places can be written over.
  void PlaceSegments() {
    const auto list = segments().Place(sizeof(lbm::Header) + builder_.GetSize());
    uint8_t* table = builder_.GetBufferPointer();
    std::memcpy(table + (model().segments()->Data() - table), list.data(),
                list.size() * sizeof(lbm::Segment));
  }

  const LoweredGraph& lowered_;
  Emission emission_;
  fb::FlatBufferBuilder& builder_;
};

}  // namespace

std::vector<uint8_t> Emit(const LoweredGraph& lowered, const ModelTexts& texts) {
  Table table(lowered, texts);
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
