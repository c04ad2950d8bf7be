#include "converter/emit.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <set>

#include "converter/passes.h"
#include "runtime/lbrt.h"
#include "schema/crc32c.h"
#include "schema/features.h"
#include "schema/header.h"
#include "tests/graphs.h"
#include "tests/networks.h"

namespace lbrt {
namespace {

namespace fb = flatbuffers;

ModelTexts SomeTexts() {
  return {"channels = 3\nmean = 0 0 0\nstd = 1 1 1\n",
          {"cat", "dog"},
          {{"network", "hand-made"}},
          {{"top-1", 87.5f}}};
}

LoweredGraph AllPasses(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  return lowered;
}

// A bit of everything: an integer stem, signs, codes, a pooled shortcut, planes, a second stage,
// weights of all kinds, a float head.
Graph EverythingGraph() {
  GraphBuilder g;
  const Window k3x3 = SquareWindow(3, 1, 1);
  const int x = g.Input(ValueType::kU8, 8, 8, 3);
  const int stem = g.Affine(g.Conv(x, WeightKind::kFixed, 4, k3x3, 3), 1e-9f);
  const int z = g.Activate(stem, Activation::kHardtanh);
  const int signs = g.Sign(z);
  const int binary = g.Affine(g.Conv(signs, WeightKind::kSign, 8, SquareWindow(3, 2, 1)), 0.1f);
  const int shortcut = g.PadChannels(g.AvgPool(z, SquareWindow(2, 2, 0)), 2, 2);
  const int stream = g.Add(binary, shortcut);
  const int relu = g.Activate(g.Affine(stream), Activation::kRelu);
  const int sum = g.Add(g.Affine(g.Conv(relu, WeightKind::kSign, 8, k3x3)), stream);

  const int clipped = g.Activate(sum, Activation::kClipUnit);
  const int codes = g.MaxPool(g.Quantize(clipped, 7.0f, 7), SquareWindow(2, 1, 0));
  const int averaged = g.AvgPool(g.Conv(codes, WeightKind::kTernary, 4, k3x3), k3x3);
  const int first = g.Affine(averaged, 0.01f);
  const int planes = g.AffineOnto(g.Conv(codes, WeightKind::kOdd, 4, k3x3, 4), first, 0.01f);
  const int prelu = g.PRelu(planes);
  const int upsampled = g.Upsample(g.MaxPool(g.Threshold(prelu, 5), SquareWindow(1, 3, 0)), 3, 3);
  const int counted = g.Conv(upsampled, WeightKind::kInteger, 16, k3x3, 3, 2);
  g.node(counted).zero = 2;
  const int blocks = g.DepthToSpace(g.Affine(counted, 0.01f), 2, true);
  const int fixed =
      g.Add(g.Affine(g.Conv(g.Sign(prelu), WeightKind::kFixed, 4, k3x3, 1), 0.01f),
            g.AvgPool(blocks, SquareWindow(2, 2, 0)));
  const int joined = g.Concat({g.Add(fixed, g.Decode(g.Quantize(prelu, 2.0f, 3), 0.5f)), prelu});

  const int pooled = g.Affine(g.AvgPool(joined, SquareWindow(3, 1, 0)));
  return g.Finish(g.Affine(g.Conv(pooled, WeightKind::kFloat, 2, Window{})));
}

struct Parsed {
  explicit Parsed(const std::vector<uint8_t>& file) : bytes(file) {
    std::memcpy(&header, file.data(), sizeof header);
    table = lbm::GetModel(file.data() + header.table_offset);
  }
  const uint8_t* data(const lbm::Floats& floats) const {
    return bytes.data() + table->segments()->Get(floats.segment())->offset() + floats.offset();
  }
  const std::vector<uint8_t>& bytes;
  lbm::Header header;
  const lbm::Model* table;
};

TEST(Emit, HeaderTableAndSegmentsAreWhereTheyShouldBe) {
  const Graph graph = EverythingGraph();
  const std::vector<uint8_t> file = Emit(AllPasses(graph), SomeTexts());
  const Parsed parsed(file);
  const lbm::Header& header = parsed.header;
  EXPECT_EQ(std::memcmp(file.data(), "LBM1", 4), 0);
  EXPECT_EQ(header.version, 1u);
  EXPECT_EQ(header.features, lbm::kKnownFeatures & ~(lbm::kFeatureWeightedWeights |
                                                     lbm::kFeaturePrograms | lbm::kFeatureMinimum |
                                                     lbm::kFeatureThreshold |
                                                     lbm::kFeatureLongEpilogues));
  EXPECT_EQ(header.table_offset % 16, 0u);
  EXPECT_EQ(header.header_crc, lbm::Crc32c(&header, 28));
  EXPECT_EQ(header.table_crc, lbm::Crc32c(file.data() + header.table_offset, header.table_size));
  flatbuffers::Verifier verifier(file.data() + header.table_offset, header.table_size);
  ASSERT_TRUE(lbm::VerifyModelBuffer(verifier));

  size_t end = header.table_offset + header.table_size;
  for (const lbm::Segment* segment : *parsed.table->segments()) {
    EXPECT_EQ(segment->offset() % 64, 0u);
    EXPECT_GE(segment->offset(), end);
    EXPECT_LT(segment->offset(), end + 64);
    for (size_t i = end; i < segment->offset(); ++i) EXPECT_EQ(file[i], 0);
    end = segment->offset() + segment->size();
    ASSERT_LE(end, file.size());
    EXPECT_EQ(segment->crc(), lbm::Crc32c(file.data() + segment->offset(), segment->size()));
  }
  EXPECT_EQ(end, file.size());
}

TEST(Emit, TheSameInputGivesTheSameBytes) {
  const Graph graph = EverythingGraph(), again = EverythingGraph();
  EXPECT_EQ(Emit(AllPasses(graph), SomeTexts()), Emit(AllPasses(again), SomeTexts()));
}

TEST(Emit, WhatAModelSaysOfItselfIsInTheTable) {
  const Graph graph = EverythingGraph();
  const std::vector<uint8_t> file = Emit(AllPasses(graph), SomeTexts());
  const lbm::Model& table = *Parsed(file).table;
  EXPECT_EQ(table.inputs()->Get(0)->preprocessing()->str(), SomeTexts().preprocessing);
  EXPECT_EQ(table.labels()->Get(1)->str(), "dog");
  EXPECT_EQ(table.provenance()->Get(0)->key()->str(), "network");
  EXPECT_EQ(table.provenance()->Get(0)->value()->str(), "hand-made");
  EXPECT_EQ(table.accuracy()->Get(0)->percent(), 87.5f);
  ASSERT_EQ(table.widths()->size(), 1u);
  EXPECT_EQ(table.widths()->Get(0), 1);

  ModelTexts texts = SomeTexts();
  texts.widths = {4};
  const std::vector<uint8_t> switched = Emit(AllPasses(graph), texts);
  EXPECT_EQ(Parsed(switched).table->widths()->Get(0), 4);
}

TEST(Emit, TensorsAreTheStoredValuesAndOnlyTheInputHasAShape) {
  const Graph graph = EverythingGraph();
  const LoweredGraph lowered = AllPasses(graph);
  const std::vector<uint8_t> file = Emit(lowered, SomeTexts());
  const lbm::Model& table = *Parsed(file).table;
  const std::vector<int> values = StoredValues(lowered);
  ASSERT_EQ(table.tensors()->size(), values.size());
  for (uint32_t i = 0; i < table.tensors()->size(); ++i) {
    const lbm::Tensor& tensor = *table.tensors()->Get(i);
    EXPECT_EQ(tensor.name()->str(), graph.node(values[i]).name);
    EXPECT_EQ(tensor.shape() != nullptr, i == 0);
    EXPECT_EQ(tensor.type() == lbm::TensorType::Bits,
              graph.node(values[i]).type == ValueType::kSign);
    EXPECT_EQ(tensor.type() == lbm::TensorType::Codes,
              graph.node(values[i]).type == ValueType::kCode);
  }
  EXPECT_EQ(values[table.outputs()->Get(0)->tensor()], graph.output);
}

// The stages of a graph of one convolution and the affine (a, b).
std::vector<uint8_t> EmitAffine(const std::vector<float>& a, const std::vector<float>& b) {
  GraphBuilder g;
  const int conv = g.Conv(g.Input(ValueType::kF32, 1, 1, 3), WeightKind::kSign, 2, Window{});
  const int affine = g.Affine(conv);
  g.node(affine).a = a;
  g.node(affine).b = b;
  const Graph graph = g.Finish(affine);
  return Emit(AllPasses(graph), SomeTexts());
}
const lbm::Stage& StageOf(const Parsed& parsed) {
  return *parsed.table->ops()->Get(0)->body_as_Conv()->stages()->Get(0);
}

TEST(Emit, NumbersThatSayNothingAreLeftOut) {
  const auto scaled = EmitAffine({0.5f, 0.5f}, {0.0f, 0.0f});
  const Parsed parsed(scaled);
  EXPECT_EQ(StageOf(parsed).a()->count(), 1u);
  EXPECT_EQ(StageOf(parsed).b(), nullptr);

  const auto shifted = EmitAffine({1.0f, 1.0f}, {2.0f, 3.0f});
  EXPECT_EQ(StageOf(Parsed(shifted)).a(), nullptr);
  EXPECT_EQ(StageOf(Parsed(shifted)).b()->count(), 2u);
  float b[2];
  std::memcpy(b, Parsed(shifted).data(*StageOf(Parsed(shifted)).b()), sizeof b);
  EXPECT_EQ(b[0], 2.0f);
  EXPECT_EQ(b[1], 3.0f);
}

TEST(Emit, AnAffineThatOnlyTurnsMinusZeroStays) {
  const auto file = EmitAffine({1.0f, 1.0f}, {0.0f, 0.0f});
  EXPECT_NE(StageOf(Parsed(file)).a(), nullptr);
  const auto minus = EmitAffine({1.0f, 1.0f}, {-0.0f, -0.0f});
  EXPECT_NE(StageOf(Parsed(minus)).b(), nullptr);
}

TEST(Emit, AStageSaysWhatItsNodesSay) {
  GraphBuilder g;
  const int x = g.Input(ValueType::kF32, 2, 2, 3);
  const int base = g.Affine(x);
  const int z = g.PRelu(g.AffineOnto(g.Conv(x, WeightKind::kTernary, 3, Window{}), base));
  const int codes = g.Quantize(z, 2.5f, 255);
  const int head = g.Conv(codes, WeightKind::kOdd, 2, Window{}, 5);
  const Graph graph = g.Finish(g.Add(head, g.Conv(z, WeightKind::kFloat, 2, Window{})));
  const LoweredGraph lowered = AllPasses(graph);
  const std::vector<uint8_t> file = Emit(lowered, SomeTexts());
  const Parsed parsed(file);
  const std::vector<int> values = StoredValues(lowered);
  const auto value = [&](int tensor) { return values[static_cast<size_t>(tensor)]; };
  const lbm::Conv& conv = *parsed.table->ops()->Get(1)->body_as_Conv();
  EXPECT_EQ(conv.kind(), lbm::WeightKind::Ternary);
  EXPECT_EQ(conv.planes()->size(), 2u);
  const lbm::Stage& stage = *conv.stages()->Get(0);
  EXPECT_EQ(value(stage.base()), base);
  EXPECT_NE(stage.a(), nullptr);
  EXPECT_EQ(stage.b(), nullptr);
  EXPECT_EQ(stage.activation(), lbm::Activation::PRelu);
  ASSERT_EQ(stage.slopes()->count(), 3u);
  EXPECT_EQ(std::memcmp(parsed.data(*stage.slopes()), graph.node(z).a.data(), 12), 0);
  EXPECT_EQ(value(stage.out_f32()), z);
  EXPECT_EQ(value(stage.out_codes()), codes);
  EXPECT_EQ(stage.codes()->inverse_step(), 2.5f);
  EXPECT_EQ(stage.codes()->levels(), 255);
  EXPECT_EQ(stage.out_sign(), -1);
  EXPECT_EQ(parsed.table->ops()->Get(2)->body_as_Conv()->planes()->size(), 5u);
}

TEST(Emit, ADecodedCodeIsTimesItsStepUnlessThatIsOne) {
  for (const float step : {1.0f, 0.5f}) {
    GraphBuilder g;
    const int codes = g.Quantize(g.Input(ValueType::kF32, 2, 2, 3), 2.0f, 3);
    const Graph graph = g.Finish(g.Decode(codes, step));
    const std::vector<uint8_t> file = Emit(AllPasses(graph), SomeTexts());
    const Parsed parsed(file);
    const lbm::Stage& stage = *parsed.table->ops()->Get(1)->body_as_Eltwise()->stages()->Get(0);
    EXPECT_EQ(stage.b(), nullptr);
    EXPECT_EQ(stage.a() == nullptr, step == 1.0f);
    if (stage.a() == nullptr) continue;
    float a = 0;
    std::memcpy(&a, parsed.data(*stage.a()), sizeof a);
    EXPECT_EQ(a, step);
  }
}

TEST(Emit, TheRuntimeOpensIt) {
  const Graph graph = EverythingGraph();
  std::vector<uint8_t> file = Emit(AllPasses(graph), SomeTexts());
  lbrt_error error = {};
  error.struct_size = sizeof error;
  lbrt_model_options options = {};
  options.struct_size = sizeof options;
  options.error = &error;
  size_t bytes = 0;
  EXPECT_EQ(lbrt_model_bytes(file.data(), file.size(), &options, &bytes), LBRT_OK) << error.what;
}

// Bits that a network's weights take: k for k bits, two planes for each ternary one of t_ex.
double WeightBits(const Network& network, int width) {
  double bits = 0;
  for (const Node& node : network.nodes) {
    if (node.weight.empty()) continue;
    const HostTensor weight = {DType::kF32, TensorNamed(network, node.weight).shape, {}};
    const WeightQuantizer q = AtWidth(node.weights, width);
    const int each = q.kind == WeightQuantizer::kFloat        ? 32
                     : q.kind == WeightQuantizer::kFixedPoint ? 8 * q.limbs
                     : q.kind == WeightQuantizer::kTernary    ? 2 * q.t_ex
                     : q.bits > 0                             ? q.bits
                                                              : 1;
    bits += static_cast<double>(weight.numel()) * each;
  }
  return bits;
}

// design.md section 3: data <= 1.05 x (packed bits + 4 bytes x (fp32 weights and biases + 2 per
// normalised channel)) + 64 bytes per segment; table <= 12 KB for a network of 25 ops.
void ExpectSmall(const std::string& name, const Arguments& arguments, Stem stem, int width) {
  Network network = BuildNetwork(name, arguments);
  int64_t numbers = 0;
  for (const Node& node : network.nodes) {
    const WeightQuantizer q = AtWidth(node.weights, width);
    // A scale and an offset a channel of what is normalised; else a scale of integers and a bias.
    if (node.kind == NodeKind::kBatchNorm) numbers += 2 * node.channels;
    if (node.bias) numbers += node.channels;
    if (node.kind == NodeKind::kPRelu) numbers += node.channels;
    if (node.kind == NodeKind::kBias) numbers += node.channels;
    if (q.kind == WeightQuantizer::kTernary) numbers += int64_t{q.t_ex} * node.channels;
  }
  const Graph graph = Import(network, RandomTensors(network),
                             {stem, {.5, .5, .5}, {.5, .5, .5}, width}, nullptr);
  const LoweredGraph lowered = AllPasses(graph);
  ModelTexts texts = SomeTexts();
  texts.labels.assign(10, "a label");
  const std::vector<uint8_t> file = Emit(lowered, texts);
  const Parsed parsed(file);
  const double data =
      static_cast<double>(file.size() - parsed.header.table_offset - parsed.header.table_size);
  const double needed = WeightBits(network, width) / 8 + 4.0 * static_cast<double>(numbers);
  const std::string where = name + " " + ArgumentsText(arguments) + ", " +
                            std::to_string(lowered.ops.size()) + " ops";
  EXPECT_LE(data, 1.05 * needed + 64.0 * parsed.table->segments()->size()) << where;
  EXPECT_LE(parsed.header.table_size, 12.0 * 1024 / 25 * std::max<size_t>(25, lowered.ops.size()))
      << where;
}

TEST(Emit, AModelIsHardlyLargerThanItsBits) {
  for (const Stem stem : {Stem::kI24, Stem::kI16, Stem::kI8, Stem::kF32}) {
    ExpectSmall("recu/resnet20", {}, stem, 0);
    ExpectSmall("mcdonnell/wrn-20-1", {}, stem, 0);
  }
  ExpectSmall("recu/vgg-small", {}, Stem::kI24, 0);
  for (const int width : {1, 2, 4, 8})
    ExpectSmall("any-precision/resnet20", {{"expansion", "1"}}, Stem::kI24, width);
  for (const char* bits : {"1/2", "3/4"})
    ExpectSmall("edmips/cifar-resnet20", {{"bits", bits}}, Stem::kI24, 0);
  ExpectSmall("edmips/googlenet", {}, Stem::kI24, 0);
  for (const char* t_ex : {"1", "2", "4"})
    ExpectSmall("ternary/resnet20", {{"t_ex", t_ex}}, Stem::kI24, 0);
}

TEST(Emit, AWideModelIsHardlyLargerThanItsBits) {
  ExpectSmall("mcdonnell/wrn-20-10", {}, Stem::kI24, 0);
}

// A network at several widths as one file.
std::vector<uint8_t> EmitWidths(const Network& network, const std::vector<int>& widths) {
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
  const StateDict tensors = RandomTensors(network);
  for (const int width : widths) {
    graphs.push_back(
        Import(network, tensors, {Stem::kI24, {.5, .5, .5}, {.5, .5, .5}, width}, nullptr));
    lowered.push_back(AllPasses(graphs.back()));
  }
  NestPlanes(lowered);
  ModelTexts texts = SomeTexts();
  texts.labels.assign(static_cast<size_t>(network.classes()), "a label");
  texts.widths = widths;
  return Emit(lowered, texts);
}

// The segments that an op's weights and numbers are in.
void AddSegments(const fb::Vector<fb::Offset<lbm::Op>>& ops, std::set<uint32_t>* segments) {
  const auto add_stages = [&](const auto& stages) {
    for (const lbm::Stage* stage : stages)
      for (const lbm::Floats* floats : {stage->a(), stage->b(), stage->slopes()})
        if (floats != nullptr) segments->insert(floats->segment());
  };
  for (const lbm::Op* op : ops) {
    if (const lbm::Conv* conv = op->body_as_Conv()) {
      segments->insert(conv->planes()->begin(), conv->planes()->end());
      add_stages(*conv->stages());
    }
    if (const lbm::Eltwise* eltwise = op->body_as_Eltwise()) add_stages(*eltwise->stages());
  }
}

TEST(Emit, SegmentsLieInTheOrderOfTheWidthsThatNeedThem) {
  const Network network = BuildNetwork("any-precision/resnet20", {{"expansion", "1"}});
  const std::vector<int> widths = {1, 2, 4, 8, 32};
  const std::vector<uint8_t> file = EmitWidths(network, widths);
  const Parsed parsed(file);
  ASSERT_EQ(parsed.table->programs()->size(), 4u);
  EXPECT_EQ(std::vector<int>(parsed.table->widths()->begin(), parsed.table->widths()->end()),
            widths);
  std::set<uint32_t> needed;
  AddSegments(*parsed.table->ops(), &needed);
  uint32_t before = 0;
  for (uint32_t i = 0;; ++i) {
    EXPECT_GT(needed.size(), before);
    EXPECT_EQ(needed.size(), *needed.rbegin() + 1u) << "width " << widths[i];
    before = static_cast<uint32_t>(needed.size());
    if (i == parsed.table->programs()->size()) break;
    AddSegments(*parsed.table->programs()->Get(i)->ops(), &needed);
  }
  EXPECT_EQ(needed.size(), parsed.table->segments()->size()) << "nothing is stored in vain";
}

// The same bound for several widths: ten bits for the weights of 1, 2, 4 and 8, eight for those that
// truncate, and normalisation once a width.
void ExpectSmallWidths(const Arguments& arguments, const std::vector<int>& widths,
                       int bits_of_a_weight) {
  const Network network = BuildNetwork("any-precision/resnet20", arguments);
  double bits = 0, numbers = 0;
  for (const Node& node : network.nodes) {
    if (node.kind == NodeKind::kBatchNorm)
      numbers += 2.0 * node.channels * static_cast<double>(widths.size());
    if (node.bias) numbers += node.channels;
    if (node.weight.empty()) continue;
    const HostTensor weight = {DType::kF32, TensorNamed(network, node.weight).shape, {}};
    bits += static_cast<double>(weight.numel()) *
            (node.weights.kind == WeightQuantizer::kFloat ? 32 : bits_of_a_weight);
  }
  const std::vector<uint8_t> file = EmitWidths(network, widths);
  const Parsed parsed(file);
  const double data =
      static_cast<double>(file.size() - parsed.header.table_offset - parsed.header.table_size);
  EXPECT_LE(data, 1.05 * (bits / 8 + 4 * numbers) + 64.0 * parsed.table->segments()->size());
  EXPECT_LE(parsed.header.table_size, 12.0 * 1024 * static_cast<double>(widths.size()));
}

TEST(Emit, AModelOfSeveralWidthsIsHardlyLargerThanItsPlanes) {
  ExpectSmallWidths({{"expansion", "1"}}, {1, 2, 4, 8}, 10);
  ExpectSmallWidths({{"expansion", "2"}}, {1, 2, 4, 8}, 10);
  ExpectSmallWidths({{"expansion", "1"}}, {1, 2, 4}, 5);
  ExpectSmallWidths({{"expansion", "2"}, {"widths", "1,2,3,4,5,6,7,8"}, {"weights", "truncating"}},
                    {1, 2, 3, 4, 5, 6, 7, 8}, 8);
}

}  // namespace
}  // namespace lbrt
