// What a file must be before anything of it is used: header, table, segments, then every op.
#include <cstring>

#include "runtime/op.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"

namespace lbrt {
namespace {

constexpr int64_t kMaxSide = 65535;  // of a graph input, in pixels

bool AllZero(const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (bytes[i] != 0) return false;
  return true;
}

Refusal CheckHeader(const uint8_t* file, size_t size, lbm::Header* header) {
  constexpr size_t kHeaderSize = sizeof(lbm::Header);
  if (size < sizeof(lbm::kMagic) || std::memcmp(file, lbm::kMagic, sizeof(lbm::kMagic)) != 0)
    return {"does not begin with LBM1", -1, -1, LBRT_NOT_A_MODEL};
  if (size < kHeaderSize)
    return {"the header is cut off", kHeaderSize, static_cast<int64_t>(size), LBRT_TRUNCATED};
  std::memcpy(header, file, kHeaderSize);
  if (header->version != lbm::kVersion)
    return {"another version of the format", lbm::kVersion, header->version, LBRT_BAD_VERSION};
  if (header->header_crc != lbm::Crc32c(file, offsetof(lbm::Header, header_crc)))
    return {"the header's checksum is wrong", -1, -1, LBRT_BAD_CHECKSUM};
  if ((header->features & ~lbm::kKnownFeatures) != 0)
    return {"uses features this build does not know (masks expected and found)",
            static_cast<int64_t>(lbm::kKnownFeatures), static_cast<int64_t>(header->features),
            LBRT_NEEDS_FEATURE};
  if (header->table_offset % lbm::kTableAlignment != 0 || header->table_offset < kHeaderSize)
    return {"the table begins at an impossible place", -1, header->table_offset};
  const uint64_t end = uint64_t{header->table_offset} + header->table_size;
  if (end > size)
    return {"the table is cut off", static_cast<int64_t>(end), static_cast<int64_t>(size),
            LBRT_TRUNCATED};
  if (!AllZero(file + kHeaderSize, header->table_offset - kHeaderSize))
    return {"the bytes between header and table are not zero"};
  if (header->table_crc != lbm::Crc32c(file + header->table_offset, header->table_size))
    return {"the table's checksum is wrong", -1, -1, LBRT_BAD_CHECKSUM};
  return {};
}

Refusal CheckSegments(const FileView& view, uint64_t table_end, size_t size, bool skip_checksums) {
  uint64_t end = table_end;
  for (uint32_t i = 0; i < view.segments(); ++i) {
    const lbm::Segment& segment = view.segment(i);
    if (segment.offset() % lbm::kMinSegmentAlignment != 0)
      return {"a segment is not aligned", lbm::kMinSegmentAlignment, segment.offset()};
    if (segment.offset() < end) return {"segments overlap, or are out of order"};
    const uint64_t gap = segment.offset() - end;
    const uint64_t segment_end = uint64_t{segment.offset()} + segment.size();
    if (segment_end > size)
      return {"a segment is cut off", static_cast<int64_t>(segment_end), static_cast<int64_t>(size),
              LBRT_TRUNCATED};
    if (!AllZero(view.bytes + end, static_cast<size_t>(gap)))
      return {"the bytes between segments are not zero"};
    if (!skip_checksums &&
        segment.crc() != lbm::Crc32c(view.bytes + segment.offset(), segment.size()))
      return {"a segment's checksum is wrong (segment)", -1, i, LBRT_BAD_CHECKSUM};
    end = segment_end;
  }
  if (end != size)
    return {"the file is longer than its segments", static_cast<int64_t>(end),
            static_cast<int64_t>(size)};
  return {};
}

Refusal CheckInput(const lbm::Port& port, const FileView& file, const lbrt_model_options* options,
                   bool first, ArenaTensor* tensors) {
  const auto& list = *file.table->tensors();
  if (port.tensor() >= list.size())
    return {"a graph input names a tensor that does not exist", -1, port.tensor()};
  ArenaTensor& t = tensors[port.tensor()];
  if (t.maker != ArenaTensor::kUnmade) return {"two graph inputs name the same tensor"};
  if (t.type != lbm::TensorType::U8 && t.type != lbm::TensorType::F32)
    return {"a graph input must be u8 or f32"};
  const auto* shape = list.Get(port.tensor())->shape();
  if (shape == nullptr || shape->size() != 4)
    return {"a graph input has no shape of four", 4, shape == nullptr ? 0 : shape->size()};
  int32_t sides[4];
  for (uint32_t i = 0; i < 4; ++i) sides[i] = shape->Get(i);
  if (options != nullptr) {
    if (options->batch > 0) sides[0] = options->batch;
    if (options->height > 0 && first) sides[1] = options->height;
    if (options->width > 0 && first) sides[2] = options->width;
  }
  int64_t elements = 1;
  for (int32_t side : sides) {
    if (side < 1 || side > kMaxSide)
      return {"a side of a graph input is out of range", kMaxSide, side};
    elements *= side;  // below 2^28 before, and a side is below 2^16
    if (elements > kMaxElements) return {"a graph input is too large", kMaxElements, elements};
  }
  t.shape = {sides[0], sides[1], sides[2], sides[3]};
  t.maker = ArenaTensor::kGraphInput;
  t.dense_rows = true;
  t.last_use = static_cast<int32_t>(file.table->ops()->size());
  return {};
}

Refusal CheckOutputs(const FileView& file, ArenaTensor* tensors) {
  const lbm::Model& table = *file.table;
  for (const lbm::Port* port : *table.outputs()) {
    if (port->tensor() >= table.tensors()->size())
      return {"a graph output names a tensor that does not exist", -1, port->tensor()};
    ArenaTensor& t = tensors[port->tensor()];
    if (t.type != lbm::TensorType::F32) return {"a graph output must be f32"};
    if (t.maker < 0) return {"a graph output is not made by an op"};
    t.dense_rows = true;
    t.last_use = static_cast<int32_t>(table.ops()->size());
  }
  const int32_t channels = tensors[table.outputs()->Get(0)->tensor()].shape.c;
  if (table.labels() != nullptr && table.labels()->size() != static_cast<uint32_t>(channels))
    return {"labels are not as many as output channels", channels, table.labels()->size()};
  return {};
}

Refusal CheckOp(const FileView& file, ArenaTensor* tensors, int32_t index) {
  const auto i = static_cast<uint32_t>(index);
  const lbm::Op& op = *file.table->ops()->Get(i);
  const OpDef* def = FindOp(op.body_type());
  if (def == nullptr || op.body() == nullptr) return {"an op of no known kind"};
  if (Refusal r = def->check({file, tensors, file.table->tensors()->size(), index})) return r;
  const OpTensors used = TensorsOf(op, tensors);
  for (size_t k = 0; k < used.make_count; ++k) tensors[used.makes[k].tensor].last_use = index;
  for (size_t k = 0; k < used.read_count; ++k) {
    ArenaTensor& t = tensors[used.reads[k].tensor];
    if (t.last_use < index) t.last_use = index;
  }
  return {};
}

}  // namespace

Refusal CheckFile(const void* file, size_t size, bool skip_checksums, FileView* view) {
  if (!IsAligned(file, LBRT_ALIGNMENT))
    return {"the file's memory is not aligned", LBRT_ALIGNMENT, -1, LBRT_MISALIGNED};
  const auto* bytes = static_cast<const uint8_t*>(file);
  lbm::Header header;
  if (Refusal r = CheckHeader(bytes, size, &header)) return r;

  constexpr size_t kMostDepth = 8, kMostTables = 65536;
  flatbuffers::Verifier verifier(bytes + header.table_offset, header.table_size, kMostDepth,
                                 kMostTables);
  if (header.table_size >= FLATBUFFERS_MAX_BUFFER_SIZE || !lbm::VerifyModelBuffer(verifier))
    return {"the table is no FlatBuffers table of this format"};
  view->bytes = bytes;
  view->table = lbm::GetModel(bytes + header.table_offset);
  const lbm::Model& table = *view->table;
  if (table.inputs()->size() < 1 || table.outputs()->size() < 1)
    return {"a model without input or output"};
  if (table.ops()->size() > kMaxOps) return {"too many ops", kMaxOps, table.ops()->size()};
  if (table.tensors()->size() > kMaxTensors)
    return {"too many tensors", kMaxTensors, table.tensors()->size()};
  if (table.widths()->size() != 1 || table.widths()->Get(0) == 0)
    return {"a model has one width unless a feature says otherwise", 1, table.widths()->size()};
  if ((lbm::UsedFeatures(table) & ~header.features) != 0)
    return {"the feature mask does not name what the file uses",
            static_cast<int64_t>(lbm::UsedFeatures(table)), static_cast<int64_t>(header.features)};
  return CheckSegments(*view, uint64_t{header.table_offset} + header.table_size, size,
                       skip_checksums);
}

Refusal CheckTable(const FileView& file, const lbrt_model_options* options, ArenaTensor* tensors) {
  const lbm::Model& table = *file.table;
  for (uint32_t i = 0; i < table.tensors()->size(); ++i) {
    const lbm::Tensor& from = *table.tensors()->Get(i);
    if (from.type() > lbm::TensorType::MAX)
      return {"a tensor of unknown type", -1, static_cast<int64_t>(from.type())};
    tensors[i] = ArenaTensor();
    tensors[i].name = from.name() != nullptr ? from.name()->c_str() : nullptr;
    tensors[i].type = from.type();
  }
  bool first = true;
  for (const lbm::Port* port : *table.inputs()) {
    if (Refusal r = CheckInput(*port, file, options, first, tensors)) return r;
    first = false;
  }
  for (uint32_t i = 0; i < table.tensors()->size(); ++i)
    if (tensors[i].maker == ArenaTensor::kUnmade && table.tensors()->Get(i)->shape() != nullptr)
      return {"a tensor that is no graph input has a shape", -1, i};
  for (uint32_t i = 0; i < table.ops()->size(); ++i) {
    if (Refusal r = CheckOp(file, tensors, static_cast<int32_t>(i))) {
      r.op = static_cast<int32_t>(i);
      return r;
    }
  }
  for (uint32_t i = 0; i < table.tensors()->size(); ++i)
    if (tensors[i].maker == ArenaTensor::kUnmade) return {"a tensor that no op makes", -1, i};
  return CheckOutputs(file, tensors);
}

}  // namespace lbrt
