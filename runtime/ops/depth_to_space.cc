// depth_to_space: channels become pixels, block x block of them for each.
//
//   in   x  f32, bits or codes [n h w c]
//   out  y  the same type [n h * block w * block c / block^2]
#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

constexpr int32_t kMostBlock = 64;

Refusal Check(const OpView& view) {
  const lbm::DepthToSpace& op = *view.op().body_as_DepthToSpace();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, op.input(), &x)) return r;
  if (x->type == lbm::TensorType::U8) return {"depth_to_space wants f32, bits or codes"};
  const int32_t block = op.block();
  if (block < 1 || block > kMostBlock) return {"a block is out of range", kMostBlock, block};
  if (op.order() > lbm::DepthOrder::MAX)
    return {"an unknown order of channels", -1, static_cast<int64_t>(op.order())};
  if (x->shape.c % (block * block) != 0)
    return {"the block does not divide the channels", block * block, x->shape.c};
  return MakeTensor(view, op.output(), x->type,
                    {x->shape.n, x->shape.h * block, x->shape.w * block,
                     x->shape.c / (block * block)},
                    x->levels);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor*) {
  const lbm::DepthToSpace& body = *op.body_as_DepthToSpace();
  OpTensors tensors;
  tensors.AddRead(body.input());
  tensors.AddMade(body.output());
  return tensors;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

struct State {
  Place in, out;
  size_t block, channels;  // of the result
  bool channel_first;

  // The input's channel of channel c, at (by, bx) of a block.
  size_t From(size_t by, size_t bx, size_t c) const {
    return channel_first ? (c * block + by) * block + bx : (by * block + bx) * channels + c;
  }
};

// copy(from, to, by, bx) makes one pixel.
template <typename Copy>
void RunPixels(const State& s, const RunArguments& arguments, size_t begin, size_t end,
               Copy copy) {
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    const uint8_t* from = arguments.arena + s.in.At(at.image, at.y / s.block, 0);
    uint8_t* to = arguments.arena + s.out.At(at.image, at.y, 0);
    for (size_t x = 0; x < s.in.width; ++x, from += s.in.pixel)
      for (size_t bx = 0; bx < s.block; ++bx, to += s.out.pixel) copy(from, to, at.y % s.block, bx);
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

template <typename T>
void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  RunPixels(s, arguments, begin, end, [&](const uint8_t* from, uint8_t* to, size_t by, size_t bx) {
    for (size_t c = 0; c < s.channels; ++c)
      reinterpret_cast<T*>(to)[c] = reinterpret_cast<const T*>(from)[s.From(by, bx, c)];
  });
}

void RunBits(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  RunPixels(s, arguments, begin, end, [&](const uint8_t* from, uint8_t* to, size_t by, size_t bx) {
    std::memset(to, 0, s.out.pixel);
    for (size_t c = 0; c < s.channels; ++c) {
      const size_t k = s.From(by, bx, c);
      to[c / 8] = static_cast<uint8_t>(to[c / 8] | (from[k / 8] >> (k % 8) & 1) << (c % 8));
    }
  });
}

PreparedOp Prepare(const OpView& view, const Kernels&, ModelMemory& memory) {
  const lbm::DepthToSpace& op = *view.op().body_as_DepthToSpace();
  const ArenaTensor& y = view.tensors[op.output()];
  State state = {};
  state.in = PlaceOf(view.tensors[op.input()]);
  state.out = PlaceOf(y);
  state.block = op.block();
  state.channels = static_cast<size_t>(y.shape.c);
  state.channel_first = op.order() == lbm::DepthOrder::ChannelFirst;

  PreparedOp prepared;
  prepared.run = y.type == lbm::TensorType::Bits    ? RunBits
                 : y.type == lbm::TensorType::Codes ? Run<uint8_t>
                                                    : Run<float>;
  prepared.kernel = "scatter";
  prepared.why = "one channel after the other";
  prepared.precision = ActivationText(y);
  prepared.units = static_cast<size_t>(y.shape.n) * state.out.height;
  prepared.most_tasks = TasksFor(prepared.units, y.shape.elements(), 500);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kDepthToSpace = {"depth_to_space", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
