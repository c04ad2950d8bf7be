// What an op kind's emit works with: tensors by value, the ops' numbers and weights as segments,
// and the table in the making. Private to converter/.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "converter/lowered.h"
#include "schema/lbm_generated.h"

namespace lbrt {

// The data of a file, for each width in turn: one segment of all its floats that are not weights,
// then one for each plane that no narrower width, and no other convolution, has.
class Segments {
 public:
  void BeginWidth();
  // Numbers that are all the same are stored once.
  lbm::Floats Add(const std::vector<float>& values);
  lbm::Floats AddAll(const std::vector<float>& values);  // each of them
  uint32_t AddPlane(const std::vector<uint8_t>& plane);

  // The list for the table, given where the table ends.
  std::vector<lbm::Segment> Place(size_t begin) const;
  const std::vector<std::vector<uint8_t>>& bytes() const { return segments_; }

 private:
  std::vector<std::vector<uint8_t>> segments_;
  size_t floats_ = 0;                          // the segment that takes them
  std::multimap<uint32_t, uint32_t> by_crc_;  // planes
};

struct TableBody {
  lbm::OpBody kind;
  flatbuffers::Offset<void> offset;
};

lbm::Window TableWindow(const Window& window);

// Of one width.
class Emission {
 public:
  Emission(const LoweredGraph& lowered, flatbuffers::FlatBufferBuilder& builder, Segments& segments)
      : builder_(builder), lowered_(lowered), values_(StoredValues(lowered)), segments_(segments) {}

  flatbuffers::FlatBufferBuilder& builder() { return builder_; }
  Segments& segments() { return segments_; }
  const std::vector<int>& values() const { return values_; }
  const GraphNode& node(int value) const { return lowered_.node(value); }

  uint32_t Tensor(int value) const;        // the index of the tensor that holds a value
  int32_t TensorOrNone(int value) const;   // -1 for -1
  std::vector<uint32_t> Planes(const LoweredGraph::Op& op);
  std::vector<flatbuffers::Offset<lbm::Stage>> Stages(const LoweredGraph::Op& op);
  lbm::Floats AddThresholds(const GraphNode& threshold);  // once where all channels have the same

 private:
  flatbuffers::Offset<lbm::Stage> AddStage(const LoweredGraph::Stage& stage);

  flatbuffers::FlatBufferBuilder& builder_;
  const LoweredGraph& lowered_;
  const std::vector<int> values_;
  Segments& segments_;
};

}  // namespace lbrt
