#include "trainer/deploy_eval.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "kernels/numerics.h"
#include "network/import.h"
#include "tests/fitted_network.h"

namespace lbrt {
namespace {

// A value of one image, NHWC: integers (images, codes, their sums) or floats.
struct Plain {
  std::vector<int64_t> integers;
  std::vector<float> floats;
};

// The contract, one scalar after another.
class NaiveGraph {
 public:
  explicit NaiveGraph(const Graph& graph) : graph_(graph) {}

  std::vector<float> Run(Plain image) {
    values_ = {std::move(image)};
    for (size_t i = 1; i < graph_.nodes.size(); ++i) values_.push_back(Node(graph_.nodes[i]));
    return values_[static_cast<size_t>(graph_.output)].floats;
  }

 private:
  Plain Node(const GraphNode& node) const {
    const Plain& x = values_[static_cast<size_t>(node.inputs[0])];
    const GraphNode& from = graph_.node(node.inputs[0]);
    Plain y;
    for (int row = 0; row < node.height; ++row)
      for (int column = 0; column < node.width; ++column)
        for (int c = 0; c < node.channels; ++c) {
          const size_t at = Index(node, row, column, c);
          switch (node.op) {
            case GraphOp::kInput:
              break;
            case GraphOp::kConv:
              if (node.type == ValueType::kF32)
                y.floats.push_back(FloatSum(node, from, x, row, column, c));
              else
                y.integers.push_back(IntegerSum(node, from, x, row, column, c));
              break;
            case GraphOp::kAffine:
              y.floats.push_back(ExactFma(
                  x.floats.empty() ? static_cast<float>(x.integers[at]) : x.floats[at],
                  node.a[static_cast<size_t>(c)],
                  node.inputs.size() > 1
                      ? values_[static_cast<size_t>(node.inputs[1])].floats[at]
                      : node.b[static_cast<size_t>(Class(node, row, column) * node.channels + c)]));
              break;
            case GraphOp::kAdd:
              y.floats.push_back(x.floats[at] +
                                 values_[static_cast<size_t>(node.inputs[1])].floats[at]);
              break;
            case GraphOp::kActivation: {
              const float z = x.floats[at];
              if (node.activation == Activation::kRelu)
                y.floats.push_back(z > 0 ? z : 0.0f);
              else if (node.activation == Activation::kHardtanh)
                y.floats.push_back(z < -1 ? -1.0f : z > 1 ? 1.0f : z);
              else
                y.floats.push_back(z > 1 ? 1.0f : z > 0 ? z : 0.0f);
              break;
            }
            case GraphOp::kPRelu: {
              const float z = x.floats[at];
              y.floats.push_back(z > 0 ? z : z * node.a[static_cast<size_t>(c)]);
              break;
            }
            case GraphOp::kQuantize: {
              const float scaled = x.floats[at] * node.inverse_step;
              y.integers.push_back(scaled > 0 ? std::lrint(std::min<float>(
                                                    scaled, static_cast<float>(node.levels)))
                                              : 0);
              break;
            }
            case GraphOp::kDecode:
              y.floats.push_back(static_cast<float>(x.integers[at]) * node.step);
              break;
            case GraphOp::kMaxPool:
              Largest(node, from, x, row, column, c, y);
              break;
            case GraphOp::kConcat: {
              int channel = c;
              for (const int input : node.inputs) {
                const GraphNode& part = graph_.node(input);
                if (channel >= 0 && channel < part.channels)
                  Copy(values_[static_cast<size_t>(input)], Index(part, row, column, channel), y);
                channel -= part.channels;
              }
              break;
            }
            case GraphOp::kSign:
              y.integers.push_back(x.floats[at] >= 0 ? 1 : -1);
              break;
            case GraphOp::kThreshold:
            case GraphOp::kUpsample:
            case GraphOp::kDepthToSpace:
              ADD_FAILURE() << "networks of the trainer have no such node";
              break;
            case GraphOp::kAvgPool:
              if (node.type == ValueType::kI32)
                y.integers.push_back(Total<int64_t>(x.integers, node, from, row, column, c));
              else
                y.floats.push_back(Total<float>(x.floats, node, from, row, column, c) *
                                   (1.0f / static_cast<float>(node.window.taps())));
              break;
            case GraphOp::kPadChannels: {
              const int source = c - node.pad_before;
              const bool inside = source >= 0 && source < from.channels;
              y.floats.push_back(inside ? x.floats[Index(from, row, column, source)] : 0.0f);
              break;
            }
          }
        }
    return y;
  }

  static size_t Index(const GraphNode& node, int row, int column, int c) {
    return static_cast<size_t>((row * node.width + column) * node.channels + c);
  }

  // Calls visit(input index or npos outside, tap, channel) in order ky, kx, c.
  template <typename Visit>
  static void ForEachTap(const GraphNode& node, const GraphNode& from, int row, int column,
                         Visit visit) {
    const Window& w = node.window;
    for (int ky = 0; ky < w.kernel_h; ++ky)
      for (int kx = 0; kx < w.kernel_w; ++kx) {
        const int y = row * w.stride_h - w.pad_top + ky, x = column * w.stride_w - w.pad_left + kx;
        if (y < 0 || y >= from.height || x < 0 || x >= from.width) continue;
        for (int c = 0; c < from.channels; ++c)
          visit(Index(from, y, x, c), (ky * w.kernel_w + kx) * from.channels + c, c);
      }
  }

  static size_t Weight(const GraphNode& node, const GraphNode& from, int output, int tap) {
    return static_cast<size_t>(output * node.window.taps() * from.channels + tap);
  }

  static float FloatSum(const GraphNode& node, const GraphNode& from, const Plain& x, int row,
                        int column, int output) {
    float acc = 0;
    ForEachTap(node, from, row, column, [&](size_t at, int tap, int) {
      const size_t i = Weight(node, from, output, tap);
      const float w = node.weight_kind == WeightKind::kFloat ? node.weights[i]
                                                             : static_cast<float>(node.codes[i]);
      acc = ExactFma(w, x.floats[at], acc);
    });
    return acc;
  }
  static int64_t IntegerSum(const GraphNode& node, const GraphNode& from, const Plain& x, int row,
                            int column, int output) {
    int64_t acc = 0;
    ForEachTap(node, from, row, column, [&](size_t at, int tap, int) {
      acc += node.codes[Weight(node, from, output, tap)] * x.integers[at];
    });
    return acc;
  }
  template <typename T>
  static T Total(const std::vector<T>& x, const GraphNode& node, const GraphNode& from, int row,
                 int column, int channel) {
    T acc = 0;
    ForEachTap(node, from, row, column, [&](size_t at, int, int c) {
      if (c == channel) acc += x[at];
    });
    return acc;
  }

  static void Copy(const Plain& x, size_t at, Plain& y) {
    if (x.floats.empty())
      y.integers.push_back(x.integers[at]);
    else
      y.floats.push_back(x.floats[at]);
  }
  static void Largest(const GraphNode& node, const GraphNode& from, const Plain& x, int row,
                      int column, int channel, Plain& y) {
    size_t best = SIZE_MAX;
    ForEachTap(node, from, row, column, [&](size_t at, int, int c) {
      if (c != channel) return;
      const bool larger = best == SIZE_MAX || (x.floats.empty() ? x.integers[at] > x.integers[best]
                                                                : x.floats[at] > x.floats[best]);
      if (larger) best = at;
    });
    Copy(x, best, y);
  }

  // Counts the pairs of valid taps that were seen before this position's, along each axis.
  int Class(const GraphNode& affine, int row, int column) const {
    if (affine.b.size() == static_cast<size_t>(affine.channels)) return 0;
    const GraphNode& conv = graph_.node(affine.inputs[0]);
    const GraphNode& from = graph_.node(conv.inputs[0]);
    const auto distinct = [](int position, int size, int kernel, int stride, int pad) {
      std::vector<std::pair<int, int>> seen;
      for (int out = 0; out <= position; ++out) {
        const int begin = std::max(0, pad - out * stride);
        const int end = std::min(kernel, size + pad - out * stride);
        if (std::find(seen.begin(), seen.end(), std::pair(begin, end)) == seen.end())
          seen.emplace_back(begin, end);
      }
      return static_cast<int>(seen.size()) - 1;
    };
    const Window& w = conv.window;
    return distinct(row, from.height, w.kernel_h, w.stride_h, w.pad_top) * affine.border_columns +
           distinct(column, from.width, w.kernel_w, w.stride_w, w.pad_left);
  }

  const Graph& graph_;
  std::vector<Plain> values_;
};

class Randomness {
 public:
  explicit Randomness(uint32_t seed) : random_(seed) {}
  float Float() { return std::normal_distribution<float>(0, 1)(random_); }
  int Integer(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }

 private:
  std::mt19937 random_;
};

// Images for a graph, as deploy-eval and as the naive loop take them.
struct Images {
  at::Tensor tensor;
  std::vector<Plain> plain;
};
Images RandomImages(const GraphNode& input, int64_t count, Randomness& random) {
  Images images;
  const int64_t h = input.height, w = input.width, c = input.channels;
  for (int64_t i = 0; i < count; ++i) {
    Plain plain;
    for (int64_t k = 0; k < h * w * c; ++k)
      if (input.type == ValueType::kU8)
        plain.integers.push_back(random.Integer(0, 255));
      else
        plain.floats.push_back(random.Float());
    images.plain.push_back(std::move(plain));
  }
  const bool bytes = input.type == ValueType::kU8;
  at::Tensor nhwc = at::empty({count, h, w, c}, bytes ? at::kLong : at::kFloat);
  for (int64_t i = 0; i < count; ++i) {
    const Plain& plain = images.plain[static_cast<size_t>(i)];
    if (bytes)
      std::copy(plain.integers.begin(), plain.integers.end(), nhwc[i].data_ptr<int64_t>());
    else
      std::copy(plain.floats.begin(), plain.floats.end(), nhwc[i].data_ptr<float>());
  }
  images.tensor = bytes ? nhwc.to(at::kByte) : nhwc.permute({0, 3, 1, 2});
  return images;
}

void ExpectSameBits(const std::vector<float>& want, const at::Tensor& got) {
  ASSERT_TRUE(got.is_contiguous());
  ASSERT_EQ(static_cast<int64_t>(want.size()), got.numel());
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_EQ(std::bit_cast<uint32_t>(want[i]), std::bit_cast<uint32_t>(got.data_ptr<float>()[i]))
        << "at " << i << ": " << want[i] << " and " << got.data_ptr<float>()[i];
}

void ExpectIsTheNaiveLoop(const Graph& graph, int64_t count, uint32_t seed) {
  Randomness random(seed);
  const Images images = RandomImages(graph.node(0), count, random);
  const at::Tensor got = DeployedGraph(graph).Run(images.tensor);
  for (int64_t i = 0; i < count; ++i)
    ExpectSameBits(NaiveGraph(graph).Run(images.plain[static_cast<size_t>(i)]), got[i]);
}

// Makes graphs of a few nodes; each call appends one to the last.
class SmallGraph {
 public:
  SmallGraph(ValueType type, int height, int width, int channels, uint32_t seed) : random_(seed) {
    GraphNode& input = Append(GraphOp::kInput, type);
    input.inputs.clear();
    input.height = height;
    input.width = width;
    input.channels = channels;
  }
  SmallGraph& Conv(WeightKind kind, ValueType type, int outputs, Window window) {
    GraphNode& conv = Append(GraphOp::kConv, type);
    const int count = outputs * window.taps() * conv.channels;
    conv.weight_kind = kind;
    conv.limbs = 3;
    for (int i = 0; i < count; ++i) {
      if (kind == WeightKind::kFloat) conv.weights.push_back(random_.Float());
      if (kind == WeightKind::kSign) conv.codes.push_back(random_.Integer(0, 1) * 2 - 1);
      if (kind == WeightKind::kFixed) conv.codes.push_back(random_.Integer(-8355711, 8355711));
      if (kind == WeightKind::kTernary) conv.codes.push_back(random_.Integer(-1, 1));
      if (kind == WeightKind::kOdd) conv.codes.push_back(random_.Integer(0, 255) * 2 - 255);
    }
    Slide(conv, window);
    conv.channels = outputs;
    return *this;
  }
  SmallGraph& Affine(int border_rows, int border_columns) {
    GraphNode& affine = Append(GraphOp::kAffine, ValueType::kF32);
    affine.border_rows = border_rows;
    affine.border_columns = border_columns;
    for (int i = 0; i < affine.channels; ++i) affine.a.push_back(random_.Float());
    for (int i = 0; i < affine.channels * border_rows * border_columns; ++i)
      affine.b.push_back(random_.Float());
    return *this;
  }
  SmallGraph& Pool(Window window) {
    const ValueType type = graph_.nodes.back().type;
    Slide(Append(GraphOp::kAvgPool, type), window);
    return *this;
  }
  SmallGraph& Activate(Activation activation) {
    Append(GraphOp::kActivation, ValueType::kF32).activation = activation;
    return *this;
  }
  SmallGraph& Sign() {
    Append(GraphOp::kSign, ValueType::kSign);
    return *this;
  }
  SmallGraph& Quantize(float inverse_step, int levels) {
    GraphNode& quantize = Append(GraphOp::kQuantize, ValueType::kCode);
    quantize.inverse_step = inverse_step;
    quantize.levels = levels;
    return *this;
  }
  SmallGraph& Decode(float step) {
    Append(GraphOp::kDecode, ValueType::kF32).step = step;
    return *this;
  }
  SmallGraph& MaxPool(Window window) {  // of the last value, codes or floats
    const ValueType type = graph_.nodes.back().type;
    const int levels = graph_.nodes.back().levels;
    GraphNode& pool = Append(GraphOp::kMaxPool, type);
    pool.levels = levels;
    Slide(pool, window);
    return *this;
  }
  SmallGraph& ConcatWith(int other) {
    const ValueType type = graph_.nodes.back().type;
    const int levels = graph_.nodes.back().levels;
    GraphNode& concat = Append(GraphOp::kConcat, type);
    concat.levels = levels;
    concat.inputs.push_back(other);
    concat.channels += graph_.node(other).channels;
    return *this;
  }
  SmallGraph& PRelu() {
    GraphNode& prelu = Append(GraphOp::kPRelu, ValueType::kF32);
    for (int i = 0; i < prelu.channels; ++i) prelu.a.push_back(random_.Float());
    return *this;
  }
  // An affine of the last value whose base is the value `other`.
  SmallGraph& AffineOnto(int other) {
    GraphNode& affine = Append(GraphOp::kAffine, ValueType::kF32);
    affine.inputs.push_back(other);
    for (int i = 0; i < affine.channels; ++i) affine.a.push_back(random_.Float());
    return *this;
  }
  SmallGraph& AddTo(int other) {
    Append(GraphOp::kAdd, ValueType::kF32).inputs.push_back(other);
    return *this;
  }
  SmallGraph& Pad(int before, int after) {
    GraphNode& pad = Append(GraphOp::kPadChannels, ValueType::kF32);
    pad.pad_before = before;
    pad.pad_after = after;
    pad.channels += before + after;
    return *this;
  }
  const Graph& graph() const { return graph_; }

 private:
  GraphNode& Append(GraphOp op, ValueType type) {
    GraphNode node = graph_.nodes.empty() ? GraphNode() : GraphNode(graph_.nodes.back());
    GraphNode fresh;
    fresh.op = op;
    fresh.type = type;
    fresh.name = "node" + std::to_string(graph_.nodes.size());
    fresh.inputs = {graph_.output};
    fresh.height = node.height;
    fresh.width = node.width;
    fresh.channels = node.channels;
    graph_.nodes.push_back(std::move(fresh));
    graph_.output = static_cast<int>(graph_.nodes.size()) - 1;
    return graph_.nodes.back();
  }
  static void Slide(GraphNode& node, const Window& window) {
    node.window = window;
    const int height = node.height, width = node.width;
    node.height = OutputHeight(window, height);
    node.width = OutputWidth(window, width);
  }

  Graph graph_;
  Randomness random_;
};

// 1x1, the usual ones, even and oblong ones, padding on some sides only.
const Window kWindows[] = {SquareWindow(1, 1, 0),
                           SquareWindow(3, 1, 1),
                           SquareWindow(3, 2, 1),
                           SquareWindow(2, 2, 0),
                           {2, 5, 1, 2, 1, 0, 0, 3}};

TEST(DeployEvalTest, FloatSumsAreTakenTapByTap) {
  for (const Window& window : kWindows)
    for (const int outputs : {1, 16, 19})  // around a panel of channels
      for (const WeightKind kind : {WeightKind::kFloat, WeightKind::kSign, WeightKind::kTernary,
                                    WeightKind::kFixed})
        ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 5, 1)
                                 .Conv(kind, ValueType::kF32, outputs, window)
                                 .graph(),
                             2, 2);
}

TEST(DeployEvalTest, SumsOfSignsAreExactAndPaddingIsZero) {
  for (const Window& window : kWindows)
    ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 33, 3)
                             .Sign()
                             .Conv(WeightKind::kSign, ValueType::kI32, 19, window)
                             .Affine(1, 1)
                             .graph(),
                         2, 4);
}

TEST(DeployEvalTest, SumsOfActivationCodesAreExact) {
  for (const Window& window : kWindows)
    for (const int levels : {1, 3, 255})
      for (const WeightKind kind : {WeightKind::kSign, WeightKind::kTernary, WeightKind::kOdd,
                                    WeightKind::kFixed})
        ExpectIsTheNaiveLoop(
            SmallGraph(ValueType::kF32, 7, 13, 33, 15)
                .Quantize(static_cast<float>(levels), levels)
                .Conv(kind, kind == WeightKind::kFixed ? ValueType::kI64 : ValueType::kI32, 19,
                      window)
                .Affine(1, 1)
                .graph(),
            1, 16);
}

TEST(DeployEvalTest, PlanesAreAddedInTheirOrderWithOneRoundingEach) {
  SmallGraph small(ValueType::kF32, 5, 6, 7, 17);
  const Window window = SquareWindow(3, 1, 1);
  small.Conv(WeightKind::kTernary, ValueType::kF32, 7, window).Affine(1, 1);
  small.Conv(WeightKind::kTernary, ValueType::kF32, 7, window).AffineOnto(2);
  ExpectIsTheNaiveLoop(small.graph(), 2, 18);
}

TEST(DeployEvalTest, CodesRoundHalfToEvenAndStayInTheirRange) {
  SmallGraph small(ValueType::kF32, 1, 9, 1, 0);
  const Graph graph = small.Quantize(3, 3).Decode(2).graph();
  const float third = 1.0f / 3;
  const std::vector<float> x = {-1, -0.0f, third / 2, 0.5f, 0.51f, 5 * third / 2, 1, 1e30f, third};
  const at::Tensor input = at::tensor(x).reshape({1, 1, 1, 9});
  ExpectSameBits({0, 0, 0, 4, 4, 4, 6, 6, 2}, DeployedGraph(graph).Run(input));
  ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 5, 19)
                           .Quantize(static_cast<float>(1 / 0.3217), 7)
                           .Decode(0.3217f)
                           .graph(),
                       3, 20);
}

TEST(DeployEvalTest, MaxPoolingTakesTheFirstOfTheLargest) {
  // Padding of ceil mode, which never wins, and of both sides.
  const Window ceil = {3, 3, 2, 2, 0, 0, 1, 1};
  for (const Window& window : {ceil, SquareWindow(2, 2, 0), SquareWindow(3, 1, 1)}) {
    const auto input = [] { return SmallGraph(ValueType::kF32, 6, 8, 5, 21); };
    ExpectIsTheNaiveLoop(input().MaxPool(window).graph(), 2, 22);
    ExpectIsTheNaiveLoop(input().Quantize(3, 3).MaxPool(window).Decode(0.5f).graph(), 2, 23);
    ExpectIsTheNaiveLoop(input().Sign().MaxPool(window).Decode(1).graph(), 2, 24);
  }
  const Graph pool = SmallGraph(ValueType::kF32, 1, 2, 1, 0).MaxPool({1, 2}).graph();
  ExpectSameBits({-0.0f}, DeployedGraph(pool).Run(at::tensor({-0.0f, 0.0f}).reshape({1, 1, 1, 2})));
}

TEST(DeployEvalTest, ConcatenationKeepsTheOrderOfChannels) {
  ExpectIsTheNaiveLoop(
      SmallGraph(ValueType::kF32, 3, 4, 5, 25).Affine(1, 1).ConcatWith(0).graph(), 2, 26);
  ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 3, 4, 5, 27)
                           .Quantize(3, 3)
                           .MaxPool(SquareWindow(3, 1, 1))
                           .ConcatWith(1)
                           .Decode(1.0f / 3)
                           .graph(),
                       2, 28);
}

TEST(DeployEvalTest, SumsArePooledAveragedAndJoinedExactly) {
  for (const Window& window : {SquareWindow(3, 1, 1), SquareWindow(3, 2, 0)})
    ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 33, 29)
                             .Quantize(15, 15)
                             .Conv(WeightKind::kOdd, ValueType::kI32, 19, SquareWindow(3, 1, 1))
                             .MaxPool(SquareWindow(3, 1, 1))
                             .ConcatWith(2)
                             .Pool(window)
                             .Affine(1, 1)
                             .graph(),
                         2, 30);
}

TEST(DeployEvalTest, TheCornerOfALayerOfOnesCountsItsValidTaps) {
  SmallGraph small(ValueType::kF32, 4, 4, 8, 5);
  Graph graph = small.Sign()
                    .Conv(WeightKind::kSign, ValueType::kI32, 1, SquareWindow(3, 1, 1))
                    .Affine(1, 1)
                    .graph();
  std::fill(graph.nodes[2].codes.begin(), graph.nodes[2].codes.end(), 1);
  graph.nodes[3].a = {1};
  graph.nodes[3].b = {0};
  const at::Tensor got = DeployedGraph(graph).Run(at::ones({1, 8, 4, 4}));
  const float corner = 4 * 8, edge = 6 * 8, inside = 9 * 8;  // methods.md 9
  ExpectSameBits({corner, edge, edge, corner, edge, inside, inside, edge, edge, inside, inside,
                  edge, corner, edge, edge, corner},
                 got);
}

TEST(DeployEvalTest, SumsOfFixedPointWeightsAreExactAndRoundedOnce) {
  for (const Window& window : kWindows) {
    const int rows = BorderRows(window, 7).classes(), columns = BorderColumns(window, 13).classes();
    ExpectIsTheNaiveLoop(SmallGraph(ValueType::kU8, 7, 13, 3, 6)
                             .Conv(WeightKind::kFixed, ValueType::kI64, 17, window)
                             .Affine(rows, columns)
                             .graph(),
                         2, 7);
  }
}

TEST(DeployEvalTest, ElementwiseNodesRoundOnce) {
  for (const Activation activation :
       {Activation::kRelu, Activation::kHardtanh, Activation::kClipUnit})
    ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 5, 8)
                             .Affine(1, 1)
                             .PRelu()
                             .Activate(activation)
                             .AddTo(0)
                             .Pad(3, 2)
                             .graph(),
                         3, 9);
}

TEST(DeployEvalTest, PoolingAddsTheValidTapsInOrderAndDividesByAll) {
  for (const Window& window : {SquareWindow(2, 2, 0), SquareWindow(3, 2, 1), SquareWindow(7, 1, 0)})
    ExpectIsTheNaiveLoop(SmallGraph(ValueType::kF32, 7, 13, 5, 10).Pool(window).graph(), 2, 11);
  // methods.md 9: 3x3 s2 p1 of ones.
  const Graph pool = SmallGraph(ValueType::kF32, 4, 4, 1, 0).Pool(SquareWindow(3, 2, 1)).graph();
  const float ninth = 1.0f / 9;
  ExpectSameBits({4 * ninth, 6 * ninth, 6 * ninth, 9 * ninth},
                 DeployedGraph(pool).Run(at::ones({1, 1, 4, 4})));
}

// The image that a network was fitted to, as a graph takes it.
at::Tensor InputOf(const FittedNetwork& fitted, const Graph& graph) {
  const Node& node = fitted.network.nodes[0];
  if (graph.node(0).type == ValueType::kU8)
    return at::tensor(fitted.image).reshape({1, node.height, node.width, node.channels});
  return at::tensor(fitted.NormalisedImage(), at::kDouble)
      .to(at::kFloat)
      .reshape({1, node.channels, node.height, node.width});
}

// Stems that lose nothing: the finest a network may be imported with, and floats.
std::set<Stem> ExactStems(const FittedNetwork& fitted) {
  return {fitted.Stems().front(), fitted.Stems().back()};
}

// Import keeps what the network means: to rounding, and to the few codes that rounding moves.
void ExpectIsTheNetworkInDouble(const FittedNetwork& fitted, Stem stem, int width) {
  const std::vector<double> want =
      PlainNetwork(fitted.network, fitted.tensors, width).Run(fitted.NormalisedImage());
  const Graph graph = fitted.Imported(stem, width);
  const at::Tensor got = DeployedGraph(graph).Run(InputOf(fitted, graph))[0];
  ASSERT_EQ(static_cast<int64_t>(want.size()), got.numel());
  double largest = 0;
  for (const double logit : want) largest = std::max(largest, std::fabs(logit));
  ASSERT_GT(largest, 1e-3);
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(want[i], static_cast<double>(got.data_ptr<float>()[i]), 1e-4 * largest)
        << fitted.network.name << " width " << width << " stem " << StemName(stem) << " logit "
        << i;
}

class WholeNetworkTest : public testing::TestWithParam<const char*> {};

TEST_P(WholeNetworkTest, LogitsAreTheNaiveLoops) {
  const FittedNetwork fitted(GetParam());
  for (const Stem stem : ExactStems(fitted))
    for (const int width : fitted.Widths())
      ExpectIsTheNaiveLoop(fitted.Imported(stem, width), 1, 13);
}

TEST_P(WholeNetworkTest, LogitsAreThoseOfTheNetworkInDouble) {
  const FittedNetwork fitted(GetParam());
  for (const Stem stem : ExactStems(fitted))
    for (const int width : fitted.Widths()) ExpectIsTheNetworkInDouble(fitted, stem, width);
}

INSTANTIATE_TEST_SUITE_P(DeployEvalTest, WholeNetworkTest, testing::ValuesIn(kSmallNetworks));

TEST(DeployEvalTest, EveryPairOfQuantizersIsExecuted) {
  for (const std::string& weights : WeightQuantizerNames()) {
    const auto kind = ParseWeightQuantizer(weights);
    if (kind == WeightQuantizer::kFixedPoint) continue;  // not of a network's body
    for (const std::string& activations : ActivationQuantizerNames()) {
      const bool bits = EntryOf(kind).most_bits > 0 ||
                        EntryOf(ParseActivationQuantizer(activations)).most_bits > 0;
      const FittedNetwork fitted("recu/resnet20 blocks=1,1 channels=8,16 size=8 weights=" +
                                 weights + " activations=" + activations +
                                 (bits ? " bits=3/2" : ""));
      SCOPED_TRACE(weights + " " + activations);
      ExpectIsTheNaiveLoop(fitted.Imported(Stem::kAuto, 0), 1, 13);
      ExpectIsTheNetworkInDouble(fitted, Stem::kAuto, 0);
    }
  }
}

// Concatenations, pooled branches and layers of all bits; too large for the naive loops above.
TEST(DeployEvalTest, LogitsOfTheInceptionsAreThoseOfTheNetworkInDouble) {
  for (const char* text : kInceptions)
    ExpectIsTheNetworkInDouble(FittedNetwork(text), Stem::kAuto, 0);
}

TEST(DeployEvalTest, EveryStemGivesTheNaiveLoopsLogits) {
  for (const char* name : {"recu/resnet20 blocks=1,1,1", "mcdonnell/wrn-8-0.5"})
    for (const Stem stem : {Stem::kI24, Stem::kI16, Stem::kI8})
      ExpectIsTheNaiveLoop(FittedNetwork(name).Imported(stem, 0), 1, 13);
}

TEST(DeployEvalTest, LogitsDoNotDependOnThreadsOrBatch) {
  const char* network = "any-precision/resnet20 expansion=1 blocks=1,1 channels=8,16 size=8";
  const Graph graph = FittedNetwork(network).Imported(Stem::kAuto, 2);
  Randomness random(14);
  const Images images = RandomImages(graph.node(0), 5, random);
  at::set_num_threads(1);
  const at::Tensor one = DeployedGraph(graph).Run(images.tensor);
  at::set_num_threads(2);
  EXPECT_TRUE(at::equal(one, DeployedGraph(graph).Run(images.tensor)));
  EXPECT_TRUE(at::equal(one[4], DeployedGraph(graph).Run(images.tensor.slice(0, 4))[0]));
}

}  // namespace
}  // namespace lbrt
