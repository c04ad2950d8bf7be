// What a file must be before anything of it is used: header, table, segments, then every op.
#include <cstring>

#include "kernels/crc32c.h"
#include "runtime/op.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"

namespace lbrt {
namespace {

constexpr int64_t kMaxSide = 65535;  // of a graph input, in pixels
constexpr uint32_t kMaxWidth = 32;

uint32_t SegmentCrc(const uint8_t* bytes, size_t size) {
#if LBRT_HOST
  if (Crc32cRow* crc32c = FindCrc32c()) return crc32c(bytes, size, 0);
#endif
  return lbm::Crc32c(bytes, size);
}

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

// A model of several widths may end behind any of its segments, or in the zeros that follow it.
Refusal CheckSegments(uint64_t table_end, size_t size, bool skip_checksums, FileView* file) {
  const FileView& view = *file;
  const bool may_end = view.table->programs() != nullptr;
  const uint32_t count = view.table->segments() ? view.table->segments()->size() : 0;
  uint64_t end = table_end;
  for (uint32_t i = 0; i < count; ++i) {
    const lbm::Segment& segment = view.segment(i);
    if (segment.offset() % lbm::kMinSegmentAlignment != 0)
      return {"a segment is not aligned", lbm::kMinSegmentAlignment, segment.offset()};
    if (segment.offset() < end) return {"segments overlap, or are out of order"};
    if (may_end && i > 0 && size >= end && size <= segment.offset()) {
      if (!AllZero(view.bytes + end, size - static_cast<size_t>(end)))
        return {"the bytes between segments are not zero"};
      return {};
    }
    const uint64_t gap = segment.offset() - end;
    const uint64_t segment_end = uint64_t{segment.offset()} + segment.size();
    if (segment_end > size)
      return {"a segment is cut off", static_cast<int64_t>(segment_end), static_cast<int64_t>(size),
              LBRT_TRUNCATED};
    if (!AllZero(view.bytes + end, static_cast<size_t>(gap)))
      return {"the bytes between segments are not zero"};
    if (!skip_checksums &&
        segment.crc() != SegmentCrc(view.bytes + segment.offset(), segment.size()))
      return {"a segment's checksum is wrong (segment)", -1, i, LBRT_BAD_CHECKSUM};
    end = segment_end;
    file->segment_count = i + 1;
  }
  if (end != size)
    return {"the file is longer than its segments", static_cast<int64_t>(end),
            static_cast<int64_t>(size)};
  return {};
}

// At any width, inputs are what they are at the first.
Refusal CheckSameInput(const FileView& file, uint32_t port) {
  if (file.program == nullptr) return {};
  const auto& list = *file.table->tensors();
  const uint32_t index = file.table->inputs()->Get(port)->tensor();
  const lbm::Tensor& here = *file.tensors().Get(file.input(port));
  bool same = index < list.size() && list.Get(index)->shape() != nullptr &&
              list.Get(index)->shape()->size() == 4 && list.Get(index)->type() == here.type();
  for (uint32_t i = 0; same && i < 4; ++i)
    same = here.shape()->Get(i) == list.Get(index)->shape()->Get(i);
  if (!same) return {"a graph input differs between widths", -1, port};
  return {};
}

Refusal CheckInput(uint32_t port, const FileView& file, const lbrt_model_options* options,
                   ArenaTensor* tensors) {
  const auto& list = file.tensors();
  const uint32_t index = file.input(port);
  if (index >= list.size())
    return {"a graph input names a tensor that does not exist", -1, index};
  ArenaTensor& t = tensors[index];
  if (t.maker != ArenaTensor::kUnmade) return {"two graph inputs name the same tensor"};
  if (t.type != lbm::TensorType::U8 && t.type != lbm::TensorType::F32)
    return {"a graph input must be u8 or f32"};
  const auto* shape = list.Get(index)->shape();
  if (shape == nullptr || shape->size() != 4)
    return {"a graph input has no shape of four", 4, shape == nullptr ? 0 : shape->size()};
  if (Refusal r = CheckSameInput(file, port)) return r;
  int32_t sides[4];
  for (uint32_t i = 0; i < 4; ++i) sides[i] = shape->Get(i);
  if (options != nullptr) {
    if (options->batch > 0) sides[0] = options->batch;
    if (options->height > 0 && port == 0) sides[1] = options->height;
    if (options->width > 0 && port == 0) sides[2] = options->width;
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
  t.last_use = static_cast<int32_t>(file.ops().size());
  return {};
}

Refusal CheckOutputs(const FileView& file, ArenaTensor* tensors) {
  const lbm::Model& table = *file.table;
  const auto ops = static_cast<int32_t>(file.ops().size());
  for (uint32_t port = 0; port < table.outputs()->size(); ++port) {
    const uint32_t index = file.output(port);
    if (index >= file.tensors().size())
      return {"a graph output names a tensor that does not exist", -1, index};
    ArenaTensor& t = tensors[index];
    if (t.type != lbm::TensorType::F32) return {"a graph output must be f32"};
    if (t.maker < 0) return {"a graph output is not made by an op"};
    if (table.programs() != nullptr && t.last_use == ops)
      return {"two graph outputs of a model of several widths name the same tensor"};
    t.dense_rows = true;
    t.last_use = ops;
  }
  const int32_t channels = tensors[file.output(0)].shape.c;
  if (table.labels() != nullptr && table.labels()->size() != static_cast<uint32_t>(channels))
    return {"labels are not as many as output channels", channels, table.labels()->size()};
  return {};
}

Refusal CheckOp(const FileView& file, ArenaTensor* tensors, int32_t index) {
  const auto i = static_cast<uint32_t>(index);
  const lbm::Op& op = *file.ops().Get(i);
  const OpDef* def = FindOp(op.body_type());
  if (def == nullptr || op.body() == nullptr) return {"an op of no known kind"};
  if (Refusal r = def->check({file, tensors, file.tensors().size(), index})) return r;
  const OpTensors used = TensorsOf(op, tensors);
  for (size_t k = 0; k < used.make_count; ++k) tensors[used.makes[k].tensor].last_use = index;
  for (size_t k = 0; k < used.read_count; ++k) {
    ArenaTensor& t = tensors[used.reads[k].tensor];
    if (t.last_use < index) t.last_use = index;
  }
  return {};
}

// One width for the table's own ops, and one for each program; the narrowest first.
Refusal CheckWidths(const lbm::Model& table) {
  const auto* programs = table.programs();
  const uint32_t count = 1 + (programs != nullptr ? programs->size() : 0);
  const auto& widths = *table.widths();
  if (widths.size() != count)
    return {"a model has not one width for each of its programs", count, widths.size()};
  if (programs != nullptr && programs->size() == 0) return {"a list of programs without any"};
  for (uint32_t i = 0; i < count; ++i)
    if (widths.Get(i) < 1 || widths.Get(i) > kMaxWidth ||
        (i > 0 && widths.Get(i) <= widths.Get(i - 1)))
      return {"widths are out of range or order", kMaxWidth, widths.Get(i)};
  for (uint32_t i = 1; i < count; ++i) {
    const lbm::Program& program = *programs->Get(i - 1);
    if (program.inputs()->size() != table.inputs()->size() ||
        program.outputs()->size() != table.outputs()->size())
      return {"a width has other inputs or outputs than the first"};
  }
  return {};
}

Refusal CheckCounts(const FileView& file, size_t widths) {
  size_t ops = 0, tensors = 0;
  for (size_t i = 0; i < widths; ++i) {
    const FileView view = file.AtWidth(i);
    if (view.ops().size() > kMaxOps) return {"too many ops", kMaxOps, view.ops().size()};
    if (view.tensors().size() > kMaxTensors)
      return {"too many tensors", kMaxTensors, view.tensors().size()};
    ops += view.ops().size();
    tensors += view.tensors().size();
  }
  const size_t most = ops > tensors ? ops : tensors;
  if (most > kMaxOfAllWidths)
    return {"too many ops or tensors in all", kMaxOfAllWidths, static_cast<int64_t>(most)};
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
  if (Refusal r = CheckWidths(table)) return r;
  if (Refusal r = CheckCounts(*view, table.widths()->size())) return r;
  if ((lbm::UsedFeatures(table) & ~header.features) != 0)
    return {"the feature mask does not name what the file uses",
            static_cast<int64_t>(lbm::UsedFeatures(table)), static_cast<int64_t>(header.features)};
  return CheckSegments(uint64_t{header.table_offset} + header.table_size, size, skip_checksums,
                       view);
}

Refusal CheckTable(const FileView& file, const lbrt_model_options* options, ArenaTensor* tensors) {
  const auto& list = file.tensors();
  for (uint32_t i = 0; i < list.size(); ++i) {
    const lbm::Tensor& from = *list.Get(i);
    if (from.type() > lbm::TensorType::MAX)
      return {"a tensor of unknown type", -1, static_cast<int64_t>(from.type())};
    tensors[i] = ArenaTensor();
    tensors[i].name = from.name() != nullptr ? from.name()->c_str() : nullptr;
    tensors[i].type = from.type();
  }
  for (uint32_t i = 0; i < file.table->inputs()->size(); ++i)
    if (Refusal r = CheckInput(i, file, options, tensors)) return r;
  for (uint32_t i = 0; i < list.size(); ++i)
    if (tensors[i].maker == ArenaTensor::kUnmade && list.Get(i)->shape() != nullptr)
      return {"a tensor that is no graph input has a shape", -1, i};
  for (uint32_t i = 0; i < file.ops().size(); ++i) {
    if (Refusal r = CheckOp(file, tensors, static_cast<int32_t>(i))) {
      r.op = static_cast<int32_t>(i);
      return r;
    }
  }
  for (uint32_t i = 0; i < list.size(); ++i)
    if (tensors[i].maker == ArenaTensor::kUnmade) return {"a tensor that no op makes", -1, i};
  return CheckOutputs(file, tensors);
}

}  // namespace lbrt
