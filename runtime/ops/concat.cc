// concat: y = the channels of all inputs, in order.
//
//   in   x0, x1, ...  all f32, all bits or all codes of the same levels [n h w ci]
//   out  y            the same type [n h w c0 + c1 + ...]
#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

constexpr uint32_t kMostInputs = 16;
static_assert(kMostInputs <= OpTensors::kMostReads);

Refusal Check(const OpView& view) {
  const lbm::Concat& concat = *view.op().body_as_Concat();
  const auto& inputs = *concat.inputs();
  if (inputs.size() < 2 || inputs.size() > kMostInputs)
    return {"concat wants 2 to 16 inputs", -1, inputs.size()};
  const ArenaTensor* first = nullptr;
  int64_t channels = 0;
  for (uint32_t input : inputs) {
    const ArenaTensor* x = nullptr;
    if (Refusal r = CheckRead(view, input, &x)) return r;
    if (first == nullptr) first = x;
    if (x->type == lbm::TensorType::U8) return {"concat wants f32, bits or codes"};
    if (x->type != first->type || x->levels != first->levels)
      return {"concat wants inputs of one type and number of levels"};
    if (x->shape.n != first->shape.n || x->shape.h != first->shape.h ||
        x->shape.w != first->shape.w)
      return {"concat wants inputs of one batch, height and width"};
    channels += x->shape.c;  // 16 times at most 2^28
  }
  const Shape& x = first->shape;
  if (channels > kMaxElements || x.pixels() * channels > kMaxElements)
    return {"the result is too large", kMaxElements, -1};
  return MakeTensor(view, concat.output(), first->type,
                    {x.n, x.h, x.w, static_cast<int32_t>(channels)}, first->levels);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::Concat& concat = *op.body_as_Concat();
  OpTensors tensors;
  for (uint32_t input : *concat.inputs()) tensors.AddRead(input);
  tensors.AddMade(concat.output());
  return tensors;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

struct State {
  struct Part {
    Place in;
    size_t channels, bytes;  // of a pixel
  };
  Part parts[kMostInputs];
  size_t part_count;
  Place out;
  size_t padding;  // bytes behind the last part of a pixel
};

// Whole bytes, part by part.
void RunBytes(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    uint8_t* column = arguments.arena + s.out.At(at.image, at.y, 0);
    for (size_t i = 0; i < s.part_count; ++i) {
      const State::Part& part = s.parts[i];
      const uint8_t* from = arguments.arena + part.in.At(at.image, at.y, 0);
      for (size_t x = 0; x < s.out.width; ++x)
        std::memcpy(column + x * s.out.pixel, from + x * part.in.pixel, part.bytes);
      column += part.bytes;
    }
    for (size_t x = 0; s.padding > 0 && x < s.out.width; ++x)
      std::memset(column + x * s.out.pixel, 0, s.padding);
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

// Bits of any channel counts: appended, up to 16 at a time.
void AppendPixel(const State& s, const uint8_t* arena, size_t n, size_t y, size_t x, uint8_t* to) {
  uint32_t pending = 0;
  size_t bits = 0;
  uint8_t* const end = to + s.out.pixel;
  const auto flush = [&] {
    std::memcpy(to, &pending, 2);
    to += 2;
    pending >>= 16;
  };
  for (size_t i = 0; i < s.part_count; ++i) {
    const uint8_t* from = arena + s.parts[i].in.At(n, y, x);
    for (size_t c = 0; c < s.parts[i].channels; c += 16) {
      uint16_t part;
      std::memcpy(&part, from + c / 8, 2);
      pending |= uint32_t{part} << bits;
      bits += s.parts[i].channels - c < 16 ? s.parts[i].channels - c : 16;
      if (bits < 16) continue;
      flush();
      bits -= 16;
    }
  }
  while (to != end) flush();
}

void RunBits(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    for (size_t x = 0; x < s.out.width; ++x)
      AppendPixel(s, arguments.arena, at.image, at.y, x,
                  arguments.arena + s.out.At(at.image, at.y, x));
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

PreparedOp Prepare(const OpView& view, const Kernels&, ModelMemory& memory) {
  const lbm::Concat& concat = *view.op().body_as_Concat();
  const ArenaTensor& y = view.tensors[concat.output()];
  State state = {};
  state.out = PlaceOf(y);
  state.padding = state.out.pixel;
  bool whole_bytes = true;
  for (uint32_t input : *concat.inputs()) {
    const ArenaTensor& x = view.tensors[input];
    State::Part& part = state.parts[state.part_count++];
    part.in = PlaceOf(x);
    part.channels = static_cast<size_t>(x.shape.c);
    part.bytes = part.in.pixel;
    if (x.type == lbm::TensorType::Bits) {
      part.bytes = part.channels / 8;
      whole_bytes = whole_bytes && part.channels % 8 == 0;
    }
    state.padding -= part.bytes;
  }

  PreparedOp prepared;
  prepared.units = static_cast<size_t>(y.shape.n) * state.out.height;
  prepared.run = whole_bytes ? RunBytes : RunBits;
  prepared.kernel = whole_bytes ? "copy" : "append_bits";
  prepared.precision = ActivationText(y);
  prepared.why = whole_bytes ? "channels are whole bytes" : "channels are no whole bytes";
  prepared.most_tasks =
      TasksFor(prepared.units, y.shape.pixels() * static_cast<int64_t>(state.out.pixel), 4'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kConcat = {"concat", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
