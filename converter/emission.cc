#include "converter/emission.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "images/error.h"
#include "schema/crc32c.h"
#include "schema/header.h"

namespace lbrt {
namespace {

bool AllAre(const std::vector<float>& values, float value) {
  return std::all_of(values.begin(), values.end(), [&](float v) {
    return std::bit_cast<uint32_t>(v) == std::bit_cast<uint32_t>(value);
  });
}

template <Activation activation, lbm::Activation file>
constexpr bool kSame = static_cast<int>(activation) == static_cast<int>(file);
static_assert(kSame<Activation::kNone, lbm::Activation::None> &&
              kSame<Activation::kRelu, lbm::Activation::Relu> &&
              kSame<Activation::kHardtanh, lbm::Activation::Hardtanh> &&
              kSame<Activation::kClipUnit, lbm::Activation::ClipUnit> &&
              kSame<Activation::kPRelu, lbm::Activation::PRelu>);

}  // namespace

void Segments::BeginWidth() {
  floats_ = segments_.size();
  segments_.emplace_back();
}

lbm::Floats Segments::Add(const std::vector<float>& values) {
  return AllAre(values, values[0]) ? AddAll({values[0]}) : AddAll(values);
}

lbm::Floats Segments::AddAll(const std::vector<float>& values) {
  const size_t count = values.size();
  std::vector<uint8_t>& bytes = segments_[floats_];
  const size_t offset = bytes.size();
  bytes.resize(offset + count * sizeof(float));
  std::memcpy(bytes.data() + offset, values.data(), count * sizeof(float));
  return {static_cast<uint32_t>(floats_), static_cast<uint32_t>(offset),
          static_cast<uint32_t>(count)};
}

uint32_t Segments::AddPlane(const std::vector<uint8_t>& plane) {
  const uint32_t crc = lbm::Crc32c(plane.data(), plane.size());
  const auto [first, end] = by_crc_.equal_range(crc);
  for (auto same = first; same != end; ++same)
    if (segments_[same->second] == plane) return same->second;
  const auto index = static_cast<uint32_t>(segments_.size());
  by_crc_.emplace(crc, index);
  segments_.push_back(plane);
  return index;
}

std::vector<lbm::Segment> Segments::Place(size_t begin) const {
  std::vector<lbm::Segment> list;
  for (const auto& bytes : segments_) {
    begin = (begin + lbm::kSegmentAlignment - 1) / lbm::kSegmentAlignment * lbm::kSegmentAlignment;
    list.emplace_back(static_cast<uint32_t>(begin), static_cast<uint32_t>(bytes.size()),
                      lbm::Crc32c(bytes.data(), bytes.size()));
    begin += bytes.size();
    if (begin > std::numeric_limits<uint32_t>::max())
      throw InputError("the model would be larger than 4 GiB, which the file format cannot hold");
  }
  return list;
}

lbm::Window TableWindow(const Window& w) {
  const auto u16 = [](int n) { return static_cast<uint16_t>(n); };
  return {u16(w.kernel_h), u16(w.kernel_w), u16(w.stride_h),   u16(w.stride_w),
          u16(w.pad_top),  u16(w.pad_left), u16(w.pad_bottom), u16(w.pad_right)};
}

uint32_t Emission::Tensor(int value) const {
  return static_cast<uint32_t>(std::lower_bound(values_.begin(), values_.end(), value) -
                               values_.begin());
}
int32_t Emission::TensorOrNone(int value) const {
  return value < 0 ? -1 : static_cast<int32_t>(Tensor(value));
}

std::vector<uint32_t> Emission::Planes(const LoweredGraph::Op& op) {
  std::vector<uint32_t> planes;
  for (const auto& plane : op.planes) planes.push_back(segments_.AddPlane(plane));
  return planes;
}

std::vector<flatbuffers::Offset<lbm::Stage>> Emission::Stages(const LoweredGraph::Op& op) {
  std::vector<flatbuffers::Offset<lbm::Stage>> stages;
  for (const LoweredGraph::Stage& stage : op.stages) stages.push_back(AddStage(stage));
  return stages;
}

lbm::Floats Emission::AddThresholds(const GraphNode& threshold) {
  const auto channels = static_cast<size_t>(threshold.channels);
  std::vector<float> shared;
  bool same = true;
  for (size_t i = 0; i < threshold.thresholds.size(); ++i) {
    same = same && threshold.thresholds[i] == threshold.thresholds[i / channels * channels];
    if (i % channels == 0) shared.push_back(threshold.thresholds[i]);
  }
  return segments_.AddAll(same ? shared : threshold.thresholds);
}

flatbuffers::Offset<lbm::Stage> Emission::AddStage(const LoweredGraph::Stage& stage) {
  std::optional<lbm::Floats> a, b, slopes;
  if (stage.affine >= 0) {
    const GraphNode& affine = node(stage.affine);
    const bool decodes = affine.op == GraphOp::kDecode;
    if (!decodes && stage.base < 0 && !AllAre(affine.b, 0.0f)) b = segments_.Add(affine.b);
    if (decodes)
      a = segments_.Add({affine.step});
    else if (!b || !AllAre(affine.a, 1.0f))
      a = segments_.Add(affine.a);
  }
  Activation activation = Activation::kNone;
  if (stage.activation >= 0) {
    const GraphNode& activate = node(stage.activation);
    activation = activate.activation;
    if (activate.op == GraphOp::kPRelu) {
      activation = Activation::kPRelu;
      slopes = segments_.Add(activate.a);
    }
  }
  std::optional<lbm::Quantizer> codes;
  std::optional<lbm::Floats> thresholds;
  uint8_t threshold_levels = 0;
  if (stage.out_codes >= 0) {
    const GraphNode& quantize = node(stage.out_codes);
    const auto levels = static_cast<uint8_t>(quantize.levels);
    if (quantize.op == GraphOp::kThreshold) {
      thresholds = AddThresholds(quantize);
      threshold_levels = levels;
    } else {
      codes.emplace(quantize.inverse_step, levels);
    }
  }
  return lbm::CreateStage(builder_, a ? &*a : nullptr, b ? &*b : nullptr, TensorOrNone(stage.add),
                          static_cast<lbm::Activation>(activation), TensorOrNone(stage.out_f32),
                          TensorOrNone(stage.out_sign), TensorOrNone(stage.base),
                          slopes ? &*slopes : nullptr, TensorOrNone(stage.out_codes),
                          codes ? &*codes : nullptr, stage.restart,
                          thresholds ? &*thresholds : nullptr, threshold_levels);
}

}  // namespace lbrt
