// QONNX networks through the converter and the runtime, against the ONNX semantics.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "converter/emit.h"
#include "converter/interpret.h"
#include "converter/onnx/interpret.h"
#include "converter/onnx/lower.h"
#include "converter/passes.h"
#include "images/error.h"
#include "runtime/lbrt.hpp"
#include "tests/graphs.h"
#include "tests/onnx_networks.h"

namespace lbrt {
namespace {

// A network converted, and its parts.
struct Converted {
  explicit Converted(const std::vector<uint8_t>& bytes)
      : model(onnx::ReadModel(bytes, "test.onnx")), graph(onnx::Lower(model, &lines)) {
    LoweredGraph lowered = Lower(graph);
    for (const Pass& pass : Passes()) pass.run(lowered);
    file = Emit(lowered, {});
  }
  bool Says(const std::string& part) const {
    return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.find(part) != std::string::npos;
    });
  }
  std::vector<std::string> lines;
  onnx::Model model;
  Graph graph;
  std::vector<uint8_t> file;
};

// What ONNX has as [1, c, h, w] or [1, c, w], as the graph has it.
std::vector<double> ChannelsLast(const std::vector<double>& x, const onnx::Shape& shape,
                                 bool already) {
  if (shape.size() < 3 || already) return x;
  std::vector<double> y;
  const auto c = static_cast<size_t>(shape[1]), pixels = x.size() / c;
  for (size_t p = 0; p < pixels; ++p)
    for (size_t i = 0; i < c; ++i) y.push_back(x[i * pixels + p]);
  return y;
}

onnx::Array RandomImage(const Converted& converted, OnnxNetworks& random) {
  onnx::Array image;
  image.shape = converted.model.inputs[0].shape;
  image.shape[0] = 1;
  for (const float x : random.Normal(onnx::Count(image.shape)))
    image.values.push_back(static_cast<double>(x));
  return image;
}

// The logits of every instruction set.
std::vector<std::vector<float>> RunEverywhere(const std::vector<uint8_t>& file,
                                              const std::vector<float>& input) {
  std::vector<std::vector<float>> results;
  for (size_t i = 0; lbrt_isa_name(i) != nullptr; ++i) {
    ModelOptions options;
    options.isa = lbrt_isa_name(i);
    const Model model(file, options);
    Session session(model);
    std::copy(input.begin(), input.end(), session.input().f32());
    session.Run();
    const Tensor output = session.output();
    results.emplace_back(output.f32(), output.f32() + output.size());
  }
  return results;
}

// Codes that are the same but for the code of 0. Returns how many values were compared.
size_t ExpectSameCodes(const Converted& converted, const std::map<std::string, onnx::Value>& want,
                       const std::vector<PlainValue>& got) {
  size_t compared = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const GraphNode& node = converted.graph.nodes[i];
    const auto found = want.find(node.name);
    const bool quantizer = node.op == GraphOp::kSign || node.op == GraphOp::kQuantize ||
                           node.op == GraphOp::kThreshold;
    if (!quantizer) continue;
    const bool last = node.height * node.width > 1 && found->second.shape.size() == 4 &&
                      found->second.shape[3] == node.channels;
    const std::vector<double> codes = ChannelsLast(found->second.codes, found->second.shape, last);
    const std::vector<float> own = AsFloats(got[i]);
    EXPECT_EQ(codes.size(), own.size()) << node.name;
    if (codes.size() != own.size()) continue;
    const double zero = static_cast<double>(own[0]) - codes[0];
    size_t different = 0;
    for (size_t k = 0; k < codes.size(); ++k)
      if (static_cast<double>(own[k]) - zero != codes[k]) ++different;
    EXPECT_EQ(different, 0u) << node.name << " of " << codes.size();
    EXPECT_TRUE(node.op != GraphOp::kSign || zero == 0);
    compared += codes.size();
  }
  return compared;
}

// Three random inputs: all codes equal, logits to the last bit where scales are powers of two, else
// but for the rounding of one affine; the runtime's equal to the graph's, everywhere.
void ExpectConverts(const std::vector<uint8_t>& bytes, bool exact, size_t least_codes) {
  const Converted converted(bytes);
  OnnxNetworks random(true, 99);
  for (int sample = 0; sample < 3; ++sample) {
    const onnx::Array image = RandomImage(converted, random);
    const auto want = onnx::Interpret(converted.model, image);
    const GraphNode& in = converted.graph.node(0);
    const std::vector<double> ordered =
        ChannelsLast(image.values, image.shape, in.height * in.width == 1);
    const std::vector<float> input(ordered.begin(), ordered.end());
    const std::vector<PlainValue> got = Interpret(converted.graph, input);
    EXPECT_GE(ExpectSameCodes(converted, want, got), least_codes);

    const std::vector<float> logits = AsFloats(got[static_cast<size_t>(converted.graph.output)]);
    const std::vector<double>& wanted = want.at(onnx::LogitsOf(converted.model)).values;
    ASSERT_EQ(wanted.size(), logits.size());
    for (size_t i = 0; i < logits.size(); ++i) {
      const double got_logit = static_cast<double>(logits[i]);
      EXPECT_NEAR(got_logit, wanted[i], exact ? 0 : 4e-6 * (1 + std::fabs(wanted[i]))) << i;
    }
    for (const std::vector<float>& result : RunEverywhere(converted.file, input))
      EXPECT_TRUE(SameBits(result, logits));
  }
}

class OnnxNetworkTest : public testing::TestWithParam<bool> {
 protected:
  OnnxNetworkTest() : networks_(GetParam()) {}
  bool exact() const { return !GetParam(); }
  OnnxNetworks networks_;
};

TEST_P(OnnxNetworkTest, Dense1w1a) { ExpectConverts(networks_.Dense(1, 1), exact(), 800); }
TEST_P(OnnxNetworkTest, Dense1w2a) { ExpectConverts(networks_.Dense(1, 2), exact(), 800); }
TEST_P(OnnxNetworkTest, Dense3w3a) { ExpectConverts(networks_.Dense(3, 3), exact(), 800); }
TEST_P(OnnxNetworkTest, ValidConvolutions1w1a) {
  ExpectConverts(networks_.Convolutions(1, 1), exact(), 1500);
}
TEST_P(OnnxNetworkTest, ValidConvolutions2w2a) {
  ExpectConverts(networks_.Convolutions(2, 2), exact(), 1500);
}
TEST_P(OnnxNetworkTest, ValidConvolutions8w4a) {
  ExpectConverts(networks_.Convolutions(8, 4), exact(), 1500);
}
TEST_P(OnnxNetworkTest, MultiThreshold) { ExpectConverts(networks_.Thresholds(), false, 500); }
TEST_P(OnnxNetworkTest, BlocksAndGroups) { ExpectConverts(networks_.Blocks(), exact(), 1500); }
TEST_P(OnnxNetworkTest, SignalsOfOneDimension) {
  ExpectConverts(networks_.Signal(), false, 300);
}
TEST_P(OnnxNetworkTest, EverythingElse) { ExpectConverts(networks_.Everything(), false, 500); }

INSTANTIATE_TEST_SUITE_P(Scales, OnnxNetworkTest, testing::Bool(), [](const auto& info) {
  return info.param ? std::string("Any") : std::string("PowersOfTwo");
});

// ------------------------------------------------------------------------------------ semantics

// The values of the definition's own table of rounding modes.
TEST(OnnxSemantics, RoundingModes) {
  const std::vector<float> x = {5.5f, 2.5f, 1.6f, 1.1f, 1.0f, -1.0f, -1.1f, -1.6f, -2.5f, -5.5f};
  const std::pair<const char*, std::vector<double>> modes[] = {
      {"ROUND", {6, 2, 2, 1, 1, -1, -1, -2, -2, -6}},
      {"CEIL", {6, 3, 2, 2, 1, -1, -1, -1, -2, -5}},
      {"FLOOR", {5, 2, 1, 1, 1, -1, -2, -2, -3, -6}},
      {"UP", {6, 3, 2, 2, 1, -1, -2, -2, -3, -6}},
      {"DOWN", {5, 2, 1, 1, 1, -1, -1, -1, -2, -5}},
      {"HALF_UP", {6, 3, 2, 1, 1, -1, -1, -2, -3, -6}},
      {"HALF_DOWN", {5, 2, 2, 1, 1, -1, -1, -2, -2, -5}},
  };
  for (const auto& [mode, want] : modes) {
    OnnxWriter w;
    const std::string in = w.Input("x", {1, 10});
    w.Output(w.Quant(in, w.Scalar(1), 0, 8, true, false, mode));
    const onnx::Model model = onnx::ReadModel(w.Bytes(), "x");
    onnx::Array input;
    input.shape = {1, 10};
    input.values.assign(x.begin(), x.end());
    EXPECT_EQ(onnx::Interpret(model, input).at(model.outputs[0].name).values, want) << mode;
  }
}

struct QuantCase {
  float scale, zero, bits;
  bool is_signed, narrow;
  std::vector<double> want;  // of -100, -0.3, 0, 0.26, 100
};
TEST(OnnxSemantics, RangesOfQuant) {
  const QuantCase cases[] = {
      {0.5f, 0, 3, true, false, {-2, -0.5, 0, 0.5, 1.5}},
      {0.5f, 0, 3, true, true, {-1.5, -0.5, 0, 0.5, 1.5}},
      {0.5f, 0, 2, false, false, {0, 0, 0, 0.5, 1.5}},
      {0.5f, 0, 2, false, true, {0, 0, 0, 0.5, 1}},
      {0.5f, 1, 2, false, false, {-0.5, -0.5, 0, 0.5, 1}},
      {0.5f, 0, 1, true, false, {-0.5, -0.5, 0.5, 0.5, 0.5}},
      {1.0f, 0, 8, true, false, {-100, 0, 0, 0, 100}},
  };
  for (const QuantCase& c : cases) {
    OnnxWriter w;
    const std::string in = w.Input("x", {1, 5});
    w.Output(w.Quant(in, w.Scalar(c.scale), c.zero, c.bits, c.is_signed, c.narrow));
    const onnx::Model model = onnx::ReadModel(w.Bytes(), "x");
    onnx::Array input;
    input.shape = {1, 5};
    input.values = {-100, static_cast<double>(-0.3f), 0, static_cast<double>(0.26f), 100};
    EXPECT_EQ(onnx::Interpret(model, input).at(model.outputs[0].name).values, c.want)
        << c.bits << c.is_signed << c.narrow << c.zero;
  }
}

TEST(OnnxSemantics, MultiThresholdCountsWhatIsReached) {
  OnnxWriter w;
  const std::string in = w.Input("x", {1, 2});
  w.Output(w.Node("MultiThreshold", {in, w.Constant({2, 3}, {-1, 0, 1, 5, 6, 7})},
                  {Real("out_scale", 2), Real("out_bias", -3)}, "finn.custom_op.general"));
  const onnx::Model model = onnx::ReadModel(w.Bytes(), "x");
  onnx::Array input;
  input.shape = {1, 2};
  input.values = {0, 6.5};
  EXPECT_EQ(onnx::Interpret(model, input).at(model.outputs[0].name).values,
            (std::vector<double>{1, 1}));
}

// ------------------------------------------------------------------------------------- the report

TEST(OnnxLowering, SaysWhatFoldsAndWhatDoesNot) {
  const Converted plain(OnnxNetworks(false).Dense(3, 3));
  EXPECT_TRUE(plain.Says("its scales fold exactly"));
  EXPECT_TRUE(plain.Says("real numbers are compared with thresholds"));  // the input's
  OnnxWriter w;
  std::string x = w.Input("x", {1, 4});
  x = w.Node("MatMul", {x, w.Constant({4, 3}, OnnxNetworks(true).Normal(12))});
  w.Output(x);
  EXPECT_TRUE(Converted(w.Bytes()).Says("computed in float32, for its weights are not quantized"));
}

TEST(OnnxLowering, QuantizedWeightsTakeAsFewBitsAsTheirCodesNeed) {
  const Graph binary = Converted(OnnxNetworks(true).Dense(1, 2)).graph;
  const Graph ternary = Converted(OnnxNetworks(true).Dense(2, 2)).graph;
  const auto kind = [](const Graph& graph) {
    for (const GraphNode& node : graph.nodes)
      if (node.op == GraphOp::kConv) return node.weight_kind;
    return WeightKind::kFloat;
  };
  EXPECT_EQ(kind(binary), WeightKind::kSign);
  EXPECT_EQ(kind(ternary), WeightKind::kTernary);
  // A row of integers, its kind and bits.
  const auto of = [](const std::vector<float>& weights) {
    OnnxWriter w;
    const std::string x = w.Quant(w.Input("x", {1, 2}), w.Scalar(1), 0, 4, true, false);
    w.Output(w.Node("MatMul", {x, w.Constant({2, 1}, weights)}));
    const Graph graph = Converted(w.Bytes()).graph;
    for (const GraphNode& node : graph.nodes)
      if (node.op == GraphOp::kConv)
        return std::make_pair(node.weight_kind, node.bits + node.limbs);
    return std::make_pair(WeightKind::kFloat, 0);
  };
  EXPECT_EQ(of({1, -2}), std::make_pair(WeightKind::kInteger, 2));
  EXPECT_EQ(of({1, 2}), std::make_pair(WeightKind::kInteger, 3));
  EXPECT_EQ(of({-64, 63}), std::make_pair(WeightKind::kInteger, 7));
  EXPECT_EQ(of({64, 1}), std::make_pair(WeightKind::kFixed, 1));
  EXPECT_EQ(of({-128, 1}), std::make_pair(WeightKind::kInteger, 8));
  EXPECT_EQ(of({128, 1}), std::make_pair(WeightKind::kFixed, 2));
  EXPECT_EQ(of({7, -5}), std::make_pair(WeightKind::kOdd, 3));
}

TEST(OnnxLowering, GroupsAreStoredAsWhatTheyAre) {
  const Graph graph = Converted(OnnxNetworks(true).Blocks()).graph;
  std::vector<std::pair<int, size_t>> found;
  for (const GraphNode& node : graph.nodes)
    if (node.op == GraphOp::kConv) found.emplace_back(node.groups, node.codes.size());
  EXPECT_EQ(found, (std::vector<std::pair<int, size_t>>{
                       {4, 72}, {2, 864}, {1, 12}, {6, 54}, {1, 480}}));
}

// The logits first, then an image of features, and a value that is an output twice.
TEST(OnnxLowering, SeveralOutputsAreSeveralOutputs) {
  OnnxNetworks random(true, 5);
  OnnxWriter w;
  std::string x = w.Quant(w.Input("x", {1, 3, 6, 6}), w.Scalar(0.25f), 0, 4, true, false);
  x = w.Node("Conv", {x, random.Weights(w, {6, 3, 3, 3}, 4)}, {Ints("kernel_shape", {3, 3})});
  const std::string features = w.Node("Relu", {x});
  const std::string codes = w.Quant(features, w.Scalar(0.5f), 0, 3, false, false);
  const std::string pooled = w.Node("Flatten", {w.Node("GlobalAveragePool", {codes})});
  const std::string logits =
      w.Node("Gemm", {pooled, random.Weights(w, {5, 6}, 8)}, {Int("transB", 1)});
  w.Output(logits);
  w.Output(features);
  w.Output(w.Node("Identity", {logits}));
  const Converted converted(w.Bytes());
  const onnx::Array image = RandomImage(converted, random);
  const auto want = onnx::Interpret(converted.model, image);
  const std::vector<double> ordered = ChannelsLast(image.values, image.shape, false);

  const Model model(converted.file);
  Session session(model);
  std::copy(ordered.begin(), ordered.end(), session.input().f32());
  session.Run();
  for (size_t i = 0; i < 3; ++i) {
    const Tensor got = session.output(i);
    const onnx::Value& value = want.at(i == 1 ? features : logits);
    const std::vector<double> wanted = ChannelsLast(value.values, value.shape, false);
    ASSERT_EQ(got.size(), wanted.size()) << i;
    for (size_t k = 0; k < wanted.size(); ++k)
      EXPECT_NEAR(static_cast<double>(got.f32()[k]), wanted[k], 1e-5) << i << ", " << k;
  }
}

// ------------------------------------------------------------------------------------ the runtime

// Why the runtime does not open a graph's file.
std::string RuntimeRefusal(const Graph& graph) {
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  try {
    const Model model(Emit(lowered, {}));
  } catch (const Error& error) {
    return error.what();
  }
  return "opened";
}

// Thresholds of 5 levels, read by a convolution with signed 8-bit weights.
Graph ThresholdGraph(int channels, int zero, void (*change)(std::vector<float>* thresholds)) {
  GraphBuilder g;
  const int codes = g.Threshold(g.Input(ValueType::kF32, 3, 3, channels), 5);
  change(&g.node(codes).thresholds);
  const int conv = g.Conv(codes, WeightKind::kFixed, 2, SquareWindow(3, 1, 0), 1);
  g.node(conv).zero = zero;
  return g.Finish(g.Affine(conv));
}

TEST(OnnxRuntime, RefusesThresholdsAndZerosThatCannotBe) {
  const auto as_they_are = [](std::vector<float>*) {};
  EXPECT_EQ(RuntimeRefusal(ThresholdGraph(4, 2, as_they_are)), "opened");
  EXPECT_NE(RuntimeRefusal(ThresholdGraph(4, 2, [](std::vector<float>* t) { t->back() = -9; }))
                .find("the thresholds of a channel do not ascend"),
            std::string::npos);
  EXPECT_NE(RuntimeRefusal(ThresholdGraph(4, 2, [](std::vector<float>* t) { t->pop_back(); }))
                .find("not one threshold for each level and channel"),
            std::string::npos);
  EXPECT_NE(RuntimeRefusal(ThresholdGraph(4, 2, [](std::vector<float>* t) { (*t)[0] = -INFINITY; }))
                .find("infinite"),
            std::string::npos);
  EXPECT_NE(RuntimeRefusal(ThresholdGraph(7250, 255, as_they_are))
                .find("sums can be too large for 32 bits"),
            std::string::npos);
  GraphBuilder g;
  const int conv = g.Conv(g.Input(ValueType::kF32, 1, 1, 4), WeightKind::kSign, 2, Window{});
  g.node(conv).zero = 1;
  EXPECT_NE(RuntimeRefusal(g.Finish(g.Affine(conv))).find("of an input that has no codes"),
            std::string::npos);
}

// --------------------------------------------------------------------------------------- refusals

std::string Refusal(const std::vector<uint8_t>& bytes) {
  try {
    Converted converted(bytes);
  } catch (const InputError& error) {
    return error.what();
  }
  return "converted";
}

// A graph of one node behind a quantized image.
std::string RefusalOf(const std::string& op, const std::vector<OnnxAttribute>& attributes,
                      const std::vector<std::string>& constants = {}, OnnxWriter w = {}) {
  std::string x = w.Input("x", {1, 4, 6, 6});
  std::vector<std::string> inputs = {w.Quant(x, w.Scalar(1), 0, 4, true, false)};
  inputs.insert(inputs.end(), constants.begin(), constants.end());
  w.Output(w.Node(op, inputs, attributes));
  return Refusal(w.Bytes());
}

void ExpectSays(const std::string& line, const std::string& part) {
  EXPECT_NE(line.find(part), std::string::npos) << line;
  EXPECT_EQ(line.find('\n'), std::string::npos) << line;
}

TEST(OnnxRefusals, NameTheNodeAndWhatWasExpected) {
  ExpectSays(RefusalOf("LSTM", {}), "(LSTM): is an operator that is not supported");
  ExpectSays(RefusalOf("MaxPool", {Ints("kernel_shape", {9, 9})}), "larger than its padded input");
  ExpectSays(RefusalOf("MaxPool", {Ints("kernel_shape", {2, 2}), Ints("dilations", {2, 2})}),
             "has a dilation of 2, expected 1");
  ExpectSays(RefusalOf("Transpose", {Ints("perm", {0, 1, 3, 2})}),
             "expected channels to go behind");
  ExpectSays(RefusalOf("Softmax", {}), "expected a row of logits");
  ExpectSays(RefusalOf("DepthToSpace", {Int("blocksize", 3)}), "makes blocks of 3 of 1x4x6x6");
  ExpectSays(RefusalOf("DepthToSpace", {Int("blocksize", 2), Text("mode", "ABC")}),
             "has the mode \"ABC\", expected DCR or CRD");
  for (const auto& [mode, coordinates, factor, says] :
       std::vector<std::tuple<const char*, const char*, float, const char*>>{
           {"linear", "asymmetric", 2, "interpolates, expected the mode nearest"},
           {"nearest", "align_corners", 2, "expected asymmetric and floor"},
           {"nearest", "half_pixel", 1.5f, "expected whole factors of 1 to 64"}}) {
    OnnxWriter resize;
    const std::string scales = resize.Constant({4}, {1, 1, factor, factor});
    ExpectSays(RefusalOf("Resize",
                         {Text("mode", mode), Text("coordinate_transformation_mode", coordinates)},
                         {"", scales}, resize),
               says);
  }
  OnnxWriter deep;
  const std::string scales = deep.Constant({4}, {1, 2, 1, 1});
  ExpectSays(RefusalOf("Upsample", {}, {scales}, deep), "expected more pixels of an image");
  for (const auto& [number, says] :
       std::vector<std::pair<float, const char*>>{{6e31f, "at most 255"},
                                                  {NAN, "reads nan, expected a whole number"},
                                                  {0.5f, "reads 0.5"}}) {
    OnnxWriter padded;
    const std::string pads = padded.Constant({8}, {0, 0, 1, number, 0, 0, 1, 1});
    ExpectSays(RefusalOf("Pad", {}, {pads}, padded), says);
    OnnxWriter mean;
    const std::string axes = mean.Constant({2}, {2, number});
    ExpectSays(RefusalOf("ReduceMean", {}, {axes}, mean),
               number > 1 ? "averages other axes than the pixels" : says);
  }
  OnnxWriter w;
  const std::string weights = w.Constant({4, 3, 3, 3}, std::vector<float>(108, 1));
  ExpectSays(RefusalOf("Conv", {}, {weights}, w),
             "(Conv): has weights of 4x3x3x3 in 1 groups for 4");
}

TEST(OnnxRefusals, OfQuantizers) {
  const auto quant = [](float scale, float bits, const std::string& mode,
                        const std::string& domain) {
    OnnxWriter w;
    w.Output(w.Quant(w.Input("x", {1, 4}), w.Scalar(scale), 0, bits, true, false, mode, domain));
    return Refusal(w.Bytes());
  };
  ExpectSays(quant(1, 16, "ROUND", ""), "makes 65536 different values, expected at most 256");
  ExpectSays(quant(1, 2.5f, "ROUND", ""), "has 2.500000 bits");
  ExpectSays(quant(0, 4, "ROUND", ""), "expected one above 0");
  ExpectSays(quant(1, 4, "DITHER", ""), "has the rounding mode \"DITHER\", expected one of ROUND");
  ExpectSays(quant(1, 4, "ROUND", "com.example"), "of the domain com.example");
  OnnxWriter w;
  const std::string x = w.Input("x", {1, 4});
  w.Output(w.Quant(x, x, 0, 4, true, false));
  ExpectSays(Refusal(w.Bytes()), "expected a constant as input 1");
}

TEST(OnnxRefusals, OfWholeGraphs) {
  OnnxWriter two;
  const std::string a = two.Input("a", {1, 4}), b = two.Input("b", {1, 4});
  two.Output(two.Node("Add", {a, b}));
  ExpectSays(Refusal(two.Bytes()), "has 2 inputs, expected one");
  OnnxWriter batch;
  batch.Output(batch.Node("Relu", {batch.Input("x", {8, 4})}));
  ExpectSays(Refusal(batch.Bytes()), "input \"x\": is 8x4, expected 1xN");
  OnnxWriter bytes;
  bytes.Output(bytes.Node("Relu", {bytes.Input("x", {1, 4}, 2)}));
  ExpectSays(Refusal(bytes.Bytes()), "has the type 2, expected 1 (float32)");
  OnnxWriter unknown;
  unknown.Input("x", {1, 4});
  unknown.Output(unknown.Node("Relu", {"y"}));
  ExpectSays(Refusal(unknown.Bytes()), "reads \"y\", which nothing before it makes");
  OnnxWriter external;
  Message tensor;
  tensor.Integer(1, 4);
  tensor.Integer(2, 1);
  tensor.Text(13, "");
  tensor.Integer(14, 1);
  external.Output(
      external.Node("Mul", {external.Input("x", {1, 4}), external.Initializer(tensor)}));
  ExpectSays(Refusal(external.Bytes()), "its data lie in another file");
  ExpectSays(Refusal({}), "test.onnx: it holds no graph");
  ExpectSays(Refusal({'P', 'K', 3, 4}), "test.onnx: ");
}

TEST(OnnxReader, ReadsEveryNumberType) {
  const auto read = [](int type, int field, const std::string& data, bool raw) {
    OnnxWriter w;
    Message tensor;
    tensor.Integer(1, 1);
    tensor.Integer(2, type);
    tensor.Text(raw ? 9 : field, data);
    const std::string name = w.Initializer(tensor);
    w.Output(w.Node("Relu", {w.Input("x", {1, 4})}));
    return onnx::ReadModel(w.Bytes(), "x").constants.at(name).values.at(0);
  };
  const auto bytes = [](auto value) {
    return std::string(reinterpret_cast<const char*>(&value), sizeof value);
  };
  EXPECT_EQ(read(1, 4, bytes(1.5f), false), 1.5);
  EXPECT_EQ(read(1, 4, bytes(-2.5f), true), -2.5);
  EXPECT_EQ(read(11, 10, bytes(0.5), false), 0.5);
  EXPECT_EQ(read(11, 10, bytes(0.25), true), 0.25);
  EXPECT_EQ(read(2, 5, bytes(uint8_t{200}), true), 200);
  EXPECT_EQ(read(3, 5, bytes(int8_t{-3}), true), -3);
  EXPECT_EQ(read(5, 5, bytes(int16_t{-300}), true), -300);
  EXPECT_EQ(read(6, 5, "\x07", false), 7);
  EXPECT_EQ(read(7, 7, bytes(int64_t{-5}), true), -5);
  EXPECT_EQ(read(9, 5, bytes(uint8_t{1}), true), 1);
  EXPECT_EQ(read(10, 5, bytes(uint16_t{0x3E00}), true), 1.5);
  EXPECT_EQ(read(10, 5, bytes(uint16_t{0x8001}), true), -std::ldexp(1, -24));
  EXPECT_EQ(read(16, 5, bytes(uint16_t{0x3FC0}), true), 1.5);
}

}  // namespace
}  // namespace lbrt
