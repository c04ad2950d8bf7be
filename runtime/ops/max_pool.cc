// max_pool: y = the largest of the window's valid taps, in the order of schema/lbm.fbs.
//
//   in   x  f32, bits or codes [n h w c]
//   out  y  the same type [n oh ow c]
//
// The largest of +-1 values is the OR of their bits. Where a channel wants the smallest, its codes
// or bits are flipped on the way in and out.
#include <cstring>

#include "runtime/ops/conv.h"

namespace lbrt {
namespace {

// A bit a channel.
Refusal CheckMinimum(const lbm::MaxPool& pool, const ArenaTensor& x) {
  if (pool.minimum() == nullptr) return {};
  const auto& bits = *pool.minimum();
  const int64_t bytes = (int64_t{x.shape.c} + 7) / 8;
  if (x.type == lbm::TensorType::F32) return {"the smallest of floats is not to be had"};
  if (bits.size() != bytes) return {"not one bit for each channel's minimum", bytes, bits.size()};
  if (x.shape.c % 8 != 0 && bits.Get(bits.size() - 1) >> (x.shape.c % 8) != 0)
    return {"the padding bits of the minimum are not zero"};
  return {};
}

Refusal Check(const OpView& view) {
  const lbm::MaxPool& pool = *view.op().body_as_MaxPool();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, pool.input(), &x)) return r;
  if (x->type == lbm::TensorType::U8) return {"max_pool wants f32, bits or codes"};
  if (Refusal r = CheckMinimum(pool, *x)) return r;
  Shape result;
  if (Refusal r = CheckWindow(*pool.window(), kMaxPoolKernel, x->shape, x->shape.c, &result))
    return r;
  return MakeTensor(view, pool.output(), x->type, result, x->levels);
}

OpTensors Tensors(const lbm::Op& op, const ArenaTensor* tensors) {
  const lbm::MaxPool& pool = *op.body_as_MaxPool();
  OpTensors result;
  result.AddRead(pool.input()).dense = tensors[pool.input()].type != lbm::TensorType::Bits;
  result.AddMade(pool.output());
  return result;
}

int64_t LanesGain(const OpView&, const Kernels&) { return kNoLanes; }

struct State {
  Window window;
  Place in, out;
  size_t channels;
  // Of codes [channels], of bits a pixel's bytes: ones where the smallest is wanted. Or null.
  const uint8_t* flip;
  const Kernels* kernels;
};

// The valid rows of output row y: how many, and the first.
struct InputRows {
  size_t first, count;
};
InputRows RowsOf(const State& s, size_t y) {
  const int out_y = static_cast<int>(y);
  const TapRange taps = ValidRows(s.window, static_cast<int>(s.in.height), out_y);
  return {static_cast<size_t>(out_y * s.window.stride_h - s.window.pad_top + taps.begin),
          static_cast<size_t>(taps.size())};
}

// One row of outputs is a pool over its valid rows, as high as they are.
template <typename T, void (*Kernels::*kKernel)(const MaxPool<T>& pool)>
void Run(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  MaxPool<T> pool;
  pool.width = s.in.width;
  pool.channels = s.channels;
  pool.flip = s.flip;
  pool.window = s.window;
  pool.window.stride_h = 1;
  pool.window.pad_top = pool.window.pad_bottom = 0;
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    const InputRows rows = RowsOf(s, at.y);
    pool.height = rows.count;
    pool.window.kernel_h = static_cast<int>(rows.count);
    pool.in = reinterpret_cast<const T*>(arguments.arena + s.in.At(at.image, rows.first, 0));
    pool.out = reinterpret_cast<T*>(arguments.arena + s.out.At(at.image, at.y, 0));
    (s.kernels->*kKernel)(pool);
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

// A pixel is 2 bytes, or a multiple of 4.
void OrPixel(const uint8_t* from, const uint8_t* flip, size_t bytes, uint8_t* to) {
  for (size_t i = 0; i < bytes; i += 2) {
    uint16_t a, b, f = 0;
    std::memcpy(&a, from + i, 2);
    std::memcpy(&b, to + i, 2);
    if (flip != nullptr) std::memcpy(&f, flip + i, 2);
    b = static_cast<uint16_t>((a ^ f) | b);
    std::memcpy(to + i, &b, 2);
  }
}

void RunBits(const void* state, const RunArguments& arguments, size_t begin, size_t end) {
  const auto& s = *static_cast<const State*>(state);
  for (size_t unit = begin; unit < end; ++unit) {
    const RowPosition at = RowAt(unit, end, s.out.height);
    const InputRows rows = RowsOf(s, at.y);
    for (size_t x = 0; x < s.out.width; ++x) {
      const int out_x = static_cast<int>(x);
      const TapRange taps = ValidColumns(s.window, static_cast<int>(s.in.width), out_x);
      const int first = out_x * s.window.stride_w - s.window.pad_left + taps.begin;
      uint8_t* to = arguments.arena + s.out.At(at.image, at.y, x);
      std::memset(to, 0, s.out.pixel);
      for (size_t y = rows.first; y < rows.first + rows.count; ++y)
        for (int i = 0; i < taps.size(); ++i)
          OrPixel(arguments.arena + s.in.At(at.image, y, static_cast<size_t>(first + i)), s.flip,
                  s.out.pixel, to);
      for (size_t i = 0; s.flip != nullptr && i < s.out.pixel; ++i) to[i] ^= s.flip[i];
    }
    ZeroRing(arguments.arena, s.out, at.image, at.y);
  }
}

const uint8_t* Flip(const lbm::MaxPool& pool, const ArenaTensor& x, size_t pixel_bytes,
                    Allocator& allocator) {
  if (pool.minimum() == nullptr) return nullptr;
  const auto& bits = *pool.minimum();
  uint8_t* flip = allocator.Take<uint8_t>(pixel_bytes);
  for (size_t i = 0; flip != nullptr && i < pixel_bytes; ++i) {
    const auto bit = [&](size_t c) {
      return bits.Get(static_cast<uint32_t>(c / 8)) >> (c % 8) & 1;
    };
    if (x.type == lbm::TensorType::Bits)
      flip[i] = i < bits.size() ? bits.Get(static_cast<uint32_t>(i)) : 0;
    else
      flip[i] = i < static_cast<size_t>(x.shape.c) && bit(i) != 0 ? 255 : 0;
  }
  return flip;
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::MaxPool& from = *view.op().body_as_MaxPool();
  const ArenaTensor& x = view.tensors[from.input()];
  State state = {};
  state.window = ToWindow(*from.window());
  state.in = PlaceOf(x);
  state.out = PlaceOf(view.tensors[from.output()]);
  state.channels = static_cast<size_t>(x.shape.c);
  state.flip = Flip(from, x, state.out.pixel, memory.allocator);
  state.kernels = &kernels;

  PreparedOp prepared;
  prepared.units = static_cast<size_t>(x.shape.n) * state.out.height;
  prepared.why = "vectors of channels";
  switch (x.type) {
    case lbm::TensorType::Bits:
      prepared.run = RunBits;
      prepared.kernel = "or";
      prepared.why = "the largest of +-1 values is the OR of their bits";
      break;
    case lbm::TensorType::Codes:
      prepared.run = Run<uint8_t, &Kernels::max_pool_codes>;
      prepared.kernel = "max_pool_codes";
      break;
    default:
      prepared.run = Run<float, &Kernels::max_pool_f32>;
      prepared.kernel = "max_pool_f32";
  }
  prepared.precision = ActivationText(x);
  prepared.macs = CountTaps(BorderRows(state.window, x.shape.h),
                            BorderColumns(state.window, x.shape.w)) *
                  x.shape.n * x.shape.c;
  prepared.most_tasks = TasksFor(prepared.units, prepared.macs, 2'000);
  prepared.state = Keep(state, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kMaxPool = {"max_pool", Check, Tensors, LanesGain, Prepare};

}  // namespace lbrt
