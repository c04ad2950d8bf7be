// conv: y = stages(sum over the window's valid taps of weight * x); the sum by kind of weights and
// type of x, as schema/lbm.fbs says.
//
//   in   x     u8, f32, bits or codes [n h w c]
//   in   adds  f32, of the result's shape (stages)
//   out  y     f32, bits and codes [n oh ow channels] (stages)
#include "runtime/ops/conv.h"

#include <iterator>

#include "kernels/weights.h"

namespace lbrt {
namespace {

// By kind of weights and type of x; null: there is no such sum.
constexpr const ConvSum* kSums[][4] = {
    //            U8          F32         Bits        Codes
    /* Sign    */ {nullptr, &kFloatSum, &kBitsSum, &kCodesSum},
    /* Float   */ {nullptr, &kFloatSum, nullptr, nullptr},
    /* Fixed   */ {&kFixedSum, &kFloatSum, &kCodesSum, &kCodesSum},
    /* Ternary */ {nullptr, &kFloatSum, &kCodesSum, &kCodesSum},
    /* Odd     */ {nullptr, &kFloatSum, &kCodesSum, &kCodesSum},
    /* Weighted */ {nullptr, &kFloatSum, &kCodesSum, &kCodesSum},
    /* Integers */ {nullptr, &kFloatSum, &kCodesSum, &kCodesSum},
};
static_assert(std::size(kSums) == static_cast<size_t>(lbm::WeightKind::MAX) + 1 &&
              std::size(kSums[0]) == static_cast<size_t>(lbm::TensorType::MAX) + 1);

const ConvSum* FindSum(const lbm::Conv& conv, lbm::TensorType type) {
  const ConvSum* sum = kSums[static_cast<size_t>(conv.kind())][static_cast<size_t>(type)];
  if (sum == nullptr || conv.groups() == 1) return sum;
  return sum == &kFloatSum ? &kFloatGroupsSum : &kGroupsSum;
}

// How the file stores a kind of weights.
struct Storage {
  WeightForm form;
  uint32_t least_planes, most_planes;
  int64_t element_bits;
  bool most_significant_first;  // kernels want the least significant plane first
  const char* name[8];          // for people, by planes, or by bits where weights have some
};
constexpr Storage kStorage[] = {
    {WeightForm::kSigns, 1, 1, 1, false, {"1"}},
    {WeightForm::kFloats, 1, 1, 32, false, {"f32"}},
    {WeightForm::kLimbs, 1, 3, 8, true, {"i8", "i16", "i24"}},
    {WeightForm::kTernary, 2, 2, 1, false, {"", "tern"}},
    {WeightForm::kOdd, 2, 8, 1, true, {"", "2", "3", "4", "5", "6", "7", "8"}},
    {WeightForm::kWeighted, 2, kMostPlanes, 1, false, {"", "2", "3", "4", "5", "6", "7", "8"}},
    {WeightForm::kIntegers, 2, 8, 1, true, {"", "i2", "i3", "i4", "i5", "i6", "i7", "i8"}},
};
static_assert(std::size(kStorage) == std::size(kSums));

const Storage& StorageOf(const lbm::Conv& conv) {
  return kStorage[static_cast<size_t>(conv.kind())];
}

// Bytes of one output channel in each plane of the file.
int64_t RowBytes(const Storage& storage, int64_t elements) {
  return storage.element_bits == 1 ? (elements + 31) / 32 * 4 : elements * storage.element_bits / 8;
}

// Planes of bits: those behind the elements of a row are zero, and no ternary weight is +1 and 0.
Refusal CheckBits(const FileView& file, const lbm::Conv& conv, int64_t elements) {
  const auto words = [&](uint32_t plane) {
    return reinterpret_cast<const Word*>(file.data(conv.planes()->Get(plane)));
  };
  const size_t row_words = static_cast<size_t>(RowBytes(StorageOf(conv), elements) / 4);
  if (elements % 32 != 0)
    for (uint32_t plane = 0; plane < conv.planes()->size(); ++plane)
      for (size_t o = 1; o <= conv.channels(); ++o)
        if (words(plane)[o * row_words - 1] >> (elements % 32) != 0)
          return {"the padding bits of a weight row are not zero"};
  if (conv.kind() != lbm::WeightKind::Ternary) return {};
  for (size_t i = 0; i < row_words * conv.channels(); ++i)
    if ((words(0)[i] & ~words(1)[i]) != 0) return {"a ternary weight is both +1 and 0"};
  return {};
}

// What only weighted planes have.
Refusal CheckWeighted(const lbm::Conv& conv) {
  const auto* weights = conv.plane_weights();
  if (conv.kind() != lbm::WeightKind::Weighted) {
    if (weights != nullptr || conv.bits() != 0 || conv.offset() != 0)
      return {"weights of planes that are not weighted"};
    return {};
  }
  if (conv.bits() < 2 || conv.bits() > 8)
    return {"weighted planes of too few or too many bits", 8, conv.bits()};
  const int levels = (1 << conv.bits()) - 1;
  if (conv.offset() > levels)
    return {"the offset of weighted planes is too large", levels, conv.offset()};
  if (weights == nullptr || weights->size() != conv.planes()->size())
    return {"not one weight for each plane", conv.planes()->size(), weights ? weights->size() : 0};
  for (const uint8_t weight : *weights)
    if (weight < 1 || weight > levels)
      return {"the weight of a plane is out of range", levels, weight};
  return {};
}

// Whether an op that has been checked has the same weights: all of a segment's floats are one
// convolution's.
bool FloatsAreChecked(const OpView& view, uint32_t segment) {
  const FileView* file = view.file.checked;
  const auto index = static_cast<uint32_t>(view.index);
  if (file == nullptr || index >= file->ops().size()) return false;
  const lbm::Conv* conv = file->ops().Get(index)->body_as_Conv();
  return conv != nullptr && conv->kind() == lbm::WeightKind::Float &&
         conv->planes()->Get(0) == segment;
}

Refusal CheckPlanes(const OpView& view, const lbm::Conv& conv, int64_t elements) {
  const FileView& file = view.file;
  const auto& planes = *conv.planes();
  const Storage& storage = StorageOf(conv);
  if (planes.size() < storage.least_planes || planes.size() > storage.most_planes)
    return {"weights have too few or too many planes", storage.most_planes, planes.size()};
  if (Refusal r = CheckWeighted(conv)) return r;
  for (uint32_t plane : planes)
    if (Refusal r = CheckSegment(file, plane, RowBytes(storage, elements) * conv.channels()))
      return r;
  if (conv.kind() == lbm::WeightKind::Float)
    return FloatsAreChecked(view, planes.Get(0))
               ? Refusal{}
               : CheckFiniteFloats(file, planes.Get(0), 0, elements * conv.channels());
  return storage.element_bits == 1 ? CheckBits(file, conv, elements) : Refusal{};
}

// Sums of codes fit int32. Those of limbs do by the number of elements, and are combined in int64.
Refusal CheckSums(const lbm::Conv& conv, const ArenaTensor& x, int64_t elements) {
  if (x.type != lbm::TensorType::Codes)
    return conv.zero() != 0 ? Refusal{"a code that means 0, of an input that has no codes"}
                            : Refusal{};
  if (conv.kind() == lbm::WeightKind::Fixed && conv.zero() == 0) return {};
  const bool planes =
      conv.kind() == lbm::WeightKind::Odd || conv.kind() == lbm::WeightKind::Integers;
  const uint32_t bits = planes                                     ? conv.planes()->size()
                        : conv.kind() == lbm::WeightKind::Weighted ? conv.bits()
                        : conv.kind() == lbm::WeightKind::Fixed    ? 8
                                                                   : 1;
  const int64_t most_weight = conv.kind() == lbm::WeightKind::Integers ? int64_t{1} << (bits - 1)
                                                                       : (int64_t{1} << bits) - 1;
  const int64_t most = elements * most_weight * (int64_t{x.levels} + conv.zero());
  if (most > INT32_MAX) return {"sums can be too large for 32 bits", INT32_MAX, most};
  return {};
}

Refusal Check(const OpView& view) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  const ArenaTensor* x = nullptr;
  if (Refusal r = CheckRead(view, conv.input(), &x)) return r;
  if (conv.kind() > lbm::WeightKind::MAX)
    return {"unknown kind of weights", -1, static_cast<int64_t>(conv.kind())};
  const ConvSum* sum = FindSum(conv, x->type);
  if (sum == nullptr) return {"no convolution of such weights with an input of such a type"};
  Shape result;
  if (Refusal r = CheckWindow(*conv.window(), kMaxKernel, x->shape, conv.channels(), &result))
    return r;
  const int64_t groups = conv.groups();
  if (groups < 1 || x->shape.c % groups != 0 || conv.channels() % groups != 0)
    return {"groups do not divide the channels", x->shape.c, groups};
  const int64_t elements =
      int64_t{conv.window()->kernel_h()} * conv.window()->kernel_w() * (x->shape.c / groups);
  if (elements * conv.channels() > kMaxElements)
    return {"too many weights", kMaxElements, elements * conv.channels()};
  if (elements > sum->most_elements)
    return {"too many weights per output for exact sums", sum->most_elements, elements};
  if (Refusal r = CheckPlanes(view, conv, elements)) return r;
  if (Refusal r = CheckSums(conv, *x, elements)) return r;
  const Window window = ToWindow(*conv.window());
  const int64_t classes = BorderRows(window, x->shape.h).classes() *
                          int64_t{BorderColumns(window, x->shape.w).classes()};
  const bool fixed = conv.kind() == lbm::WeightKind::Fixed;
  return CheckStages(view, *conv.stages(), result, fixed ? classes : 0, true);
}

// A ring of zeros is worth having where it may be read: f32 weights visit valid taps only, bits
// that meet others than +-1 weights are copied, and with groups it is the one or the other.
OpTensors Tensors(const lbm::Op& op, const ArenaTensor* tensors) {
  const lbm::Conv& conv = *op.body_as_Conv();
  const bool bits = tensors[conv.input()].type == lbm::TensorType::Bits;
  const bool ring = conv.groups() > 1 ? false
                    : bits            ? conv.kind() == lbm::WeightKind::Sign
                                      : conv.kind() != lbm::WeightKind::Float;
  OpTensors result;
  OpTensors::Read& x = result.AddRead(conv.input());
  x.ordered = false;
  x.ring = ring ? MostPadding(ToWindow(*conv.window())) : 0;
  AddTensors(*conv.stages(), &result);
  return result;
}

int64_t LanesGain(const OpView& view, const Kernels& kernels) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  if (conv.channels() > kMostLanesChannels || !StagesKnowLanes(*conv.stages())) return kNoLanes;
  return FindSum(conv, view.tensors[conv.input()].type)->lanes(view, kernels);
}

// "4x8", in the model's memory.
const char* PrecisionText(const lbm::Conv& conv, const ArenaTensor& x, Allocator& allocator) {
  constexpr size_t kMost = 16;
  char* text = allocator.Take<char>(kMost);
  if (text == nullptr) return "";
  size_t length = 0;
  const uint32_t which = conv.bits() != 0 ? conv.bits() : conv.planes()->size();
  for (const char* part : {StorageOf(conv).name[which - 1], "x", ActivationText(x)})
    while (*part != 0) text[length++] = *part++;
  text[length] = 0;
  return text;
}

PreparedOp Prepare(const OpView& view, const Kernels& kernels, ModelMemory& memory) {
  const lbm::Conv& conv = *view.op().body_as_Conv();
  const ArenaTensor& x = view.tensors[conv.input()];
  PreparedOp prepared = FindSum(conv, x.type)->prepare(view, kernels, memory);
  prepared.precision = PrecisionText(conv, x, memory.allocator);
  return prepared;
}

}  // namespace

extern const OpDef kConv = {"conv", Check, Tensors, LanesGain, Prepare};

WeightRows ConvView::Rows(const FileView& file) const {
  const Storage& storage = StorageOf(conv);
  WeightRows rows = {};
  rows.form = storage.form;
  rows.planes = conv.planes()->size();
  if (rows.planes > kMostPlanes) __builtin_unreachable();  // as checked
  for (uint32_t i = 0; i < rows.planes; ++i)
    rows.plane[storage.most_significant_first ? rows.planes - 1 - i : i] =
        file.data(conv.planes()->Get(i));
  rows.row_bytes = static_cast<size_t>(RowBytes(storage, static_cast<int64_t>(elements())));
  rows.outputs = outputs();
  rows.runs = kernel_h();
  rows.run = kernel_w() * group_channels();
  rows.bits = conv.bits();
  rows.offset = conv.offset();
  for (uint32_t i = 0; conv.plane_weights() != nullptr && i < rows.planes; ++i)
    rows.weight[i] = conv.plane_weights()->Get(i);
  return rows;
}

uint64_t ConvView::WeightBytes(const FileView& file) const {
  uint64_t bytes = 0;
  for (uint32_t plane : *conv.planes()) bytes += file.segment(plane).size();
  return bytes;
}

namespace {

// Whether two convolutions with as many input channels have the same weights, in the same rows.
bool SameWeights(const lbm::Conv& a, const lbm::Conv& b) {
  const auto same = [](const auto* x, const auto* y) {
    if (x == nullptr || y == nullptr) return x == y;
    bool equal = x->size() == y->size();
    for (uint32_t i = 0; equal && i < x->size(); ++i) equal = x->Get(i) == y->Get(i);
    return equal;
  };
  return a.kind() == b.kind() && same(a.planes(), b.planes()) && a.channels() == b.channels() &&
         a.window()->kernel_h() == b.window()->kernel_h() &&
         a.window()->kernel_w() == b.window()->kernel_w() && a.groups() == b.groups() &&
         a.bits() == b.bits() &&
         a.offset() == b.offset() && same(a.plane_weights(), b.plane_weights());
}

}  // namespace

Weights PackWeights(const ConvView& c, const WeightRows& rows, const Packing& packing,
                    ModelMemory& memory, int part, size_t groups) {
  const size_t each = packing.bytes(GroupOf(rows, 0, groups)), bytes = each * groups;
  if (bytes == 0) return {rows, nullptr};
  for (size_t i = 0; i < memory.shared_count; ++i) {
    const RepackedWeights& other = memory.shared[i];
    if (other.pack != packing.pack || other.part != part || other.in_channels != c.x.shape.c ||
        !SameWeights(*other.conv, c.conv))
      continue;
    memory.width_bytes += bytes;
    return {rows, other.packed};
  }
  uint8_t* packed = memory.TakeRepacked(bytes);
  for (size_t g = 0; packed != nullptr && g < groups; ++g)
    packing.pack(GroupOf(rows, g, groups), packed + g * each);
  memory.shared[memory.shared_count++] = {&c.conv, c.x.shape.c, part, packing.pack, packed};
  return {rows, packed};
}

const int32_t* const* const* ZeroBase(const ConvView& c, const WeightRows& rows, int32_t zero,
                                      size_t stride, Allocator& allocator) {
  const size_t channels = c.group_channels();
  const auto tap = [&](size_t o, size_t y, size_t x) {
    int32_t sum = 0;
    const size_t first = (y * c.kernel_w() + x) * channels;
    for (size_t k = first; k < first + channels; ++k) sum += WeightCode(rows, o, k);
    return sum;
  };
  const int32_t* base = BorderTable(c.ys, c.xs, c.kernel_h(), c.kernel_w(), rows.outputs, stride,
                                    allocator, tap,
                                    [zero](int32_t valid, int32_t, int) { return -zero * valid; });
  return PixelTable(c.ys, c.xs, base, stride, allocator);
}

TapSegments SegmentsOf(const ConvView& c, Allocator& allocator) {
  const size_t count = CountClasses(c.xs);
  auto* list = allocator.Take<TapSegment>(count);
  if (list == nullptr) return {nullptr, count};
  ForEachClass(c.xs, [&](size_t i, size_t first, size_t last, TapRange taps) {
    list[i] = {first, last, static_cast<size_t>(taps.begin), static_cast<size_t>(taps.size())};
  });
  return {list, count};
}

ConvState PrepareConvState(const OpView& view, const ConvView& c, const Kernels& kernels,
                           bool lanes, ModelMemory& memory, PreparedOp* prepared, size_t arrays) {
  ConvState state = {};
  state.kernels = &kernels;
  state.x = PlaceOf(c.x);
  const bool sums =
      c.x.type != lbm::TensorType::F32 && c.conv.kind() != lbm::WeightKind::Fixed;
  state.stages = PrepareStages(view, *c.conv.stages(), c.result, lanes, sums, c.ys, c.xs, kernels,
                               memory.allocator);
  state.out_h = c.out_h();
  state.out_w = c.out_w();
  state.kernel_h = c.kernel_h();
  state.kernel_w = c.kernel_w();
  state.stride_h = static_cast<size_t>(c.window.stride_h);
  state.stride_w = static_cast<size_t>(c.window.stride_w);
  state.pad_top = static_cast<size_t>(c.window.pad_top);
  state.pad_left = static_cast<size_t>(c.window.pad_left);

  // As many pixels, or rows, as fit the scratch; whole tiles where it is less than a row.
  if (lanes) {
    const size_t row_bytes = c.outputs() * c.out_w() * sizeof(float);
    state.block = kScratchTarget / row_bytes;
    if (state.block < 1) state.block = 1;
    if (state.block > c.out_h()) state.block = c.out_h();
    state.acc_stride = state.block * c.out_w();
    state.acc_bytes = state.block * row_bytes;
  } else {
    // Whole panels of each group: those of the next overwrite what is more than its outputs.
    const size_t each = c.outputs() / c.groups();
    state.acc_stride =
        RoundUp(c.outputs() - each + RoundUp(each, kernels.panel), kernels.panel);
    const size_t pixel_bytes = state.acc_stride * sizeof(float);
    const size_t tiles = kScratchTarget / (pixel_bytes * arrays * kernels.tile_rows);
    state.block = (tiles < 1 ? 1 : tiles) * kernels.tile_rows;
    if (state.block > c.out_w()) state.block = c.out_w();
    state.acc_bytes = state.block * pixel_bytes;
  }
  state.acc_bytes = RoundUp(state.acc_bytes, kMemoryAlignment);
  prepared->scratch_bytes = state.acc_bytes * (state.stages.needs_between ? 2 : 1);
  prepared->units = static_cast<size_t>(c.result.n) * c.out_h();
  prepared->macs = c.macs();
  prepared->weight_bytes = c.WeightBytes(view.file);
  return state;
}

}  // namespace lbrt
