#include "runtime/ops/stages.h"

#include <cstring>

#include "runtime/ops/border.h"
#include "runtime/ops/checks.h"

namespace lbrt {
namespace {

Refusal CheckFloats(const FileView& file, const lbm::Floats& floats, int64_t channels,
                    int64_t border_classes) {
  const int64_t count = floats.count();
  if (count != 1 && count != channels &&
      (border_classes == 0 || count != channels * border_classes))
    return {"an epilogue has neither one number nor one per channel (or border class)", channels,
            count};
  return CheckFiniteFloats(file, floats.segment(), floats.offset(), count);
}

// In the file where there is one number a channel; else a copy of the only one.
const float* FloatsPerChannel(const FileView& file, const lbm::Floats* floats, float absent,
                              size_t channels, Allocator& allocator) {
  const float* values =
      floats == nullptr
          ? &absent
          : reinterpret_cast<const float*>(file.data(floats->segment()) + floats->offset());
  if (floats != nullptr && floats->count() != 1) return values;
  float* copy = allocator.Take<float>(channels);
  if (copy != nullptr)
    for (size_t c = 0; c < channels; ++c) copy[c] = *values;
  return copy;
}

// An f32 tensor of the result's shape that a stage reads.
Refusal CheckOperand(const OpView& view, int64_t index, const Shape& result, const char* not_f32,
                     const char* other_shape) {
  const ArenaTensor* t = nullptr;
  if (Refusal r = CheckRead(view, index, &t)) return r;
  if (t->type != lbm::TensorType::F32) return {not_f32};
  if (t->shape != result) return {other_shape};
  return {};
}

Refusal CheckNumbers(const FileView& file, const lbm::Stage& stage, int64_t channels,
                     int64_t border_classes) {
  if (stage.activation() > lbm::Activation::MAX)
    return {"unknown activation", -1, static_cast<int64_t>(stage.activation())};
  if (stage.a() != nullptr)
    if (Refusal r = CheckFloats(file, *stage.a(), channels, 0)) return r;
  if (stage.b() != nullptr)
    if (Refusal r = CheckFloats(file, *stage.b(), channels, border_classes)) return r;
  if ((stage.activation() == lbm::Activation::PRelu) != (stage.slopes() != nullptr))
    return {"a PReLU without slopes, or slopes without a PReLU"};
  if (stage.slopes() != nullptr)
    if (Refusal r = CheckFloats(file, *stage.slopes(), channels, 0)) return r;
  const bool counted = stage.thresholds() != nullptr;
  if (counted && stage.codes() != nullptr) return {"codes of both a quantizer and thresholds"};
  if ((stage.out_codes() != -1) != (counted || stage.codes() != nullptr))
    return {"codes without a quantizer, or a quantizer without codes"};
  if (counted)
    return CheckThresholds(file, stage.thresholds(), stage.threshold_levels(), channels);
  if (stage.threshold_levels() != 0) return {"levels of thresholds that there are none of"};
  if (stage.codes() == nullptr) return {};
  if (stage.codes()->levels() < 1) return {"a quantizer has at least one level above 0", 1, 0};
  const float inverse_step = stage.codes()->inverse_step();
  if (!(inverse_step > 0.0f && inverse_step <= 3.402823466e38f))
    return {"the inverse step of a quantizer is not a number above 0"};
  return {};
}

bool StoresNothing(const lbm::Stage& stage) {
  return stage.out_f32() == -1 && stage.out_sign() == -1 && stage.out_codes() == -1;
}

Refusal MakeResults(const OpView& view, const lbm::Stage& stage, const Shape& result) {
  if (stage.out_f32() != -1)
    if (Refusal r = MakeTensor(view, stage.out_f32(), lbm::TensorType::F32, result)) return r;
  if (stage.out_sign() != -1)
    if (Refusal r = MakeTensor(view, stage.out_sign(), lbm::TensorType::Bits, result)) return r;
  if (stage.out_codes() != -1)
    return MakeTensor(
        view, stage.out_codes(), lbm::TensorType::Codes, result,
        stage.codes() != nullptr ? stage.codes()->levels() : stage.threshold_levels());
  return {};
}

Place PlaceOrNowhere(const OpView& view, int32_t tensor) {
  return tensor < 0 ? Place{} : PlaceOf(view.tensors[tensor]);
}

void PreparePlaces(const OpView& view, const lbm::Stage& from, Stages::Stage* stage) {
  stage->add = PlaceOrNowhere(view, from.add());
  stage->base = PlaceOrNowhere(view, from.base());
  stage->out = PlaceOrNowhere(view, from.out_f32());
  stage->bits = PlaceOrNowhere(view, from.out_sign());
  stage->codes = PlaceOrNowhere(view, from.out_codes());
}

Activation ActivationOf(lbm::Activation activation) {
  switch (activation) {
    case lbm::Activation::None: break;
    case lbm::Activation::Relu: return Activation::kRelu;
    case lbm::Activation::Hardtanh: return Activation::kHardtanh;
    case lbm::Activation::ClipUnit: return Activation::kClipUnit;
    case lbm::Activation::PRelu: return Activation::kPRelu;
  }
  return Activation::kNone;
}

void PrepareNumbers(const FileView& file, const lbm::Stage& from, size_t channels,
                    Stages::Stage* stage, Allocator& allocator) {
  stage->activation = ActivationOf(from.activation());
  if (from.codes() != nullptr) {
    stage->inverse_step = from.codes()->inverse_step();
    stage->levels = from.codes()->levels();
  }
  if (from.thresholds() != nullptr) {
    stage->counted = ThresholdsOf(file, *from.thresholds(), from.threshold_levels());
    stage->levels = from.threshold_levels();
  }
  if (from.slopes() != nullptr)
    stage->slopes = FloatsPerChannel(file, from.slopes(), 0.0f, channels, allocator);
  if (from.a() == nullptr && from.b() == nullptr && from.base() == -1) return;
  stage->a = FloatsPerChannel(file, from.a(), 1.0f, channels, allocator);
  if (from.base() == -1) stage->b = FloatsPerChannel(file, from.b(), 0.0f, channels, allocator);
}

// More levels than this are faster by a quantizer's arithmetic: measured, see lbbench's
// epilogue_rows/codes beside threshold_sums.
constexpr int kMostSumLevels = 3;

// Whether the stage, one that takes exact sums, does no more than making signs, or codes, of them,
// in so few levels, and rises or falls all along.
bool IsCountedFromSums(const Stages::Stage& s, size_t channels, size_t b_count) {
  if (s.hands_on || s.out.used() || s.add.used() || s.base.used() || b_count > channels)
    return false;
  if (s.bits.used() == s.codes.used()) return false;
  for (size_t c = 0; s.slopes != nullptr && c < channels; ++c)
    if (!(s.slopes[c] >= 0)) return false;
  if (s.counted.list != nullptr) return static_cast<size_t>(s.levels) <= kMostCounted;
  return s.levels <= kMostSumLevels;
}

void PrepareSumThresholds(size_t channels, Stages::Stage* s, Allocator& allocator) {
  s->sum_levels = s->bits.used() ? 1 : static_cast<size_t>(s->levels);
  auto* thresholds = allocator.Take<int32_t>(s->sum_levels * channels);
  auto* flip = allocator.Take<int32_t>(channels);
  s->sum_thresholds = thresholds;
  s->sum_flip = flip;
  for (size_t c = 0; thresholds != nullptr && c < channels; ++c) {
    SumChain chain;
    chain.affine = s->a != nullptr;
    if (chain.affine) {
      chain.a = s->a[c];
      chain.b = s->b[c];
    }
    chain.activation = s->activation;
    if (s->slopes != nullptr) chain.slope = s->slopes[c];
    chain.inverse_step = s->inverse_step;
    chain.counted = s->counted;
    if (s->counted.list != nullptr && s->counted.stride != 1) chain.counted.list += c;
    chain.levels = s->bits.used() ? 0 : s->levels;
    FindSumThresholds(chain, channels, thresholds + c, flip + c);
  }
}

template <typename T>
T* At(uint8_t* arena, const Place& place, size_t n, size_t y, size_t x) {
  return place.used() ? reinterpret_cast<T*>(arena + place.At(n, y, x)) : nullptr;
}

template <typename T>
T* Behind(T* pointer, size_t elements) {
  return pointer != nullptr ? pointer + elements : nullptr;
}

// An epilogue whose b is a tensor's pixels, from `base` on: kernels take a pointer a pixel, made
// here for some pixels at a time.
void RunOnBase(const Kernels& kernels, EpilogueRows e, const float* base, size_t base_stride) {
  constexpr size_t kPixels = 64;
  const float* b_rows[kPixels];
  e.b_rows = b_rows;
  for (size_t left = e.pixels; left > 0; left -= e.pixels) {
    e.pixels = left < kPixels ? left : kPixels;
    for (size_t i = 0; i < e.pixels; ++i) b_rows[i] = base + i * base_stride;
    kernels.epilogue_rows(e);
    base += e.pixels * base_stride;
    e.sums = Behind(e.sums, e.pixels * e.in_stride);
    e.values = Behind(e.values, e.pixels * e.in_stride);
    e.residual = Behind(e.residual, e.pixels * e.residual_stride);
    e.out = Behind(e.out, e.pixels * e.out_stride);
    e.bits = Behind(e.bits, e.pixels * e.bits_stride);
    e.codes = Behind(e.codes, e.pixels * e.codes_stride);
  }
}

}  // namespace

Refusal CheckStages(const OpView& view, const StageList& stages, const Shape& result,
                    int64_t border_classes, bool may_restart) {
  if (stages.size() < 1 || stages.size() > kMaxStages)
    return {"an epilogue has too few or too many stages", kMaxStages, stages.size()};
  for (uint32_t i = 0; i < stages.size(); ++i) {
    const lbm::Stage& stage = *stages.Get(i);
    if (stage.restart() && (i == 0 || !may_restart))
      return {"a stage restarts that is the first, or no convolution's"};
    if (stage.restart() && StoresNothing(*stages.Get(i - 1)))
      return {"a stage before a restart stores nothing"};
    if (Refusal r = CheckNumbers(view.file, stage, result.c,
                                 i == 0 || stage.restart() ? border_classes : 0))
      return r;
    if (stage.base() != -1) {
      if (stage.b() != nullptr) return {"an affine has both a base and a b"};
      if (Refusal r = CheckOperand(view, stage.base(), result, "a base must be f32",
                                   "a base has another shape than the result"))
        return r;
    }
    if (stage.add() != -1)
      if (Refusal r = CheckOperand(view, stage.add(), result, "what is added must be f32",
                                   "what is added has another shape than the result"))
        return r;
  }
  if (StoresNothing(*stages.Get(stages.size() - 1))) return {"the last stage stores nothing"};
  for (const lbm::Stage* stage : stages)
    if (Refusal r = MakeResults(view, *stage, result)) return r;
  return {};
}

bool StagesKnowLanes(const StageList& stages) {
  for (const lbm::Stage* stage : stages)
    if (stage->base() != -1 || stage->slopes() != nullptr || stage->out_codes() != -1) return false;
  return true;
}

void AddTensors(const StageList& stages, OpTensors* tensors) {
  for (const lbm::Stage* stage : stages) {
    if (stage->add() >= 0) tensors->AddRead(stage->add()).heir = stage->out_f32();
    if (stage->base() >= 0) tensors->AddRead(stage->base());
    if (stage->out_f32() >= 0) tensors->AddMade(stage->out_f32());
    if (stage->out_sign() >= 0) tensors->AddMade(stage->out_sign());
    if (stage->out_codes() >= 0) tensors->AddMade(stage->out_codes());
  }
}

Stages PrepareStages(const OpView& view, const StageList& list, const Shape& result, bool lanes,
                     bool sums, const BorderAxis& ys, const BorderAxis& xs, const Kernels& kernels,
                     Allocator& allocator) {
  Stages stages;
  stages.channels = static_cast<size_t>(result.c);
  stages.width = static_cast<size_t>(result.w);
  stages.count = list.size();
  stages.kernels = &kernels;
  auto* made = allocator.Take<Stages::Stage>(stages.count);
  stages.stage = made;
  for (uint32_t i = 0; i < stages.count; ++i) {
    const lbm::Stage& from = *list.Get(i);
    Stages::Stage stage;
    stage.restart = from.restart();
    stage.hands_on = i + 1 < stages.count && !list.Get(i + 1)->restart();
    PrepareNumbers(view.file, from, stages.channels, &stage, allocator);
    PreparePlaces(view, from, &stage);
    if (!stage.out.used() && (stage.hands_on || stage.counted.list != nullptr))
      stages.needs_between = true;
    if (sums && !lanes && (i == 0 || stage.restart) &&
        IsCountedFromSums(stage, stages.channels, from.b() != nullptr ? from.b()->count() : 0))
      PrepareSumThresholds(stages.channels, &stage, allocator);
    if (from.b() != nullptr && from.b()->count() > stages.channels) {
      if (lanes) {
        stage.b_lanes = LaneTable(ys, xs, stage.b, stages.channels, stages.channels, allocator);
      } else {
        stage.b_pixels = PixelTable(ys, xs, stage.b, stages.channels, allocator);
      }
    }
    if (made != nullptr) made[i] = stage;
  }
  return stages;
}

void Stages::RunRows(uint8_t* arena, size_t n, size_t y, size_t x, size_t pixels,
                     const int32_t* sums, const float* values, size_t in_stride,
                     float* between) const {
  const int32_t* const first_sums = sums;
  const float* const first_values = values;
  const size_t first_stride = in_stride;
  for (size_t i = 0; i < count; ++i) {
    const Stage& s = stage[i];
    if (s.restart) {
      sums = first_sums;
      values = first_values;
      in_stride = first_stride;
    }
    if (s.sum_levels > 0) {
      kernels->threshold_sums({sums, pixels, in_stride, channels, s.sum_thresholds, s.sum_levels,
                               channels, s.sum_flip, At<uint8_t>(arena, s.codes, n, y, x),
                               s.codes.pixel, At<uint8_t>(arena, s.bits, n, y, x), s.bits.pixel});
      continue;
    }
    EpilogueRows e;
    e.sums = sums;
    e.values = values;
    e.channels = channels;
    e.a = s.a;
    e.b = s.b;
    e.activation = s.activation;
    e.slopes = s.slopes;
    e.pixels = pixels;
    e.in_stride = in_stride;
    e.b_rows = s.b_pixels != nullptr ? s.b_pixels[y] + x : nullptr;
    e.residual = At<const float>(arena, s.add, n, y, x);
    e.residual_stride = s.add.pixel / sizeof(float);
    e.out = At<float>(arena, s.out, n, y, x);
    e.out_stride = s.out.pixel / sizeof(float);
    const bool counted = s.counted.list != nullptr;
    if (e.out == nullptr && (s.hands_on || counted)) {
      e.out = between;
      e.out_stride = first_stride;
    }
    e.bits = At<uint8_t>(arena, s.bits, n, y, x);
    e.bits_stride = s.bits.pixel;
    e.codes = counted ? nullptr : At<uint8_t>(arena, s.codes, n, y, x);
    e.codes_stride = s.codes.pixel;
    e.inverse_step = s.inverse_step;
    e.levels = s.levels;
    if (s.base.used()) {
      RunOnBase(*kernels, e, At<const float>(arena, s.base, n, y, x), s.base.pixel / sizeof(float));
    } else {
      kernels->epilogue_rows(e);
    }
    if (counted)
      CountThresholds(*kernels, s.counted, e.out, pixels, channels, e.out_stride,
                      At<uint8_t>(arena, s.codes, n, y, x), s.codes.pixel);
    sums = nullptr;
    values = e.out;
    in_stride = e.out_stride;
  }
}

void Stages::RunLanes(uint8_t* arena, size_t n, size_t y, size_t rows, const int32_t* sums,
                      const float* values, size_t in_plane, float* between) const {
  const int32_t* const first_sums = sums;
  const float* const first_values = values;
  const size_t first_plane = in_plane;
  for (size_t i = 0; i < count; ++i) {
    const Stage& s = stage[i];
    if (s.restart) {
      sums = first_sums;
      values = first_values;
      in_plane = first_plane;
    }
    EpilogueLanes e;
    e.sums = sums;
    e.values = values;
    e.channels = channels;
    e.a = s.a;
    e.b = s.b;
    e.activation = s.activation;
    e.rows = rows;
    e.width = width;
    e.in_plane = in_plane;
    e.b_rows = s.b_lanes != nullptr ? s.b_lanes + y : nullptr;
    e.residual = At<const float>(arena, s.add, n, y, 0);
    e.residual_plane = s.add.plane / sizeof(float);
    e.out = At<float>(arena, s.out, n, y, 0);
    e.out_plane = s.out.plane / sizeof(float);
    if (e.out == nullptr && s.hands_on) {
      e.out = between;
      e.out_plane = first_plane;
    }
    e.bits = At<uint8_t>(arena, s.bits, n, y, 0);
    e.bits_row_bytes = s.bits.row;
    kernels->epilogue_lanes(e);
    sums = nullptr;
    values = e.out;
    in_plane = e.out_plane;
  }
}

}  // namespace lbrt
