// The trainer's forward pass and step: normalisation, every kind of node, widths, dropout,
// replicas; and the models they run on. Whole published steps are golden_test.cc's.
#include "trainer/execute.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <map>

#include "tests/image_files.h"
#include "tests/tensors.h"
#include "trainer/normalise.h"
#include "trainer/quantizers.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

// --- Normalisation -------------------------------------------------------------------------------

struct Rectified {
  Rectifier rectifier;
  ClippedRounding rounding;
};

at::Tensor RectifyByLibTorch(const at::Tensor& x, const Rectified& by) {
  switch (by.rectifier) {
    case Rectifier::kNone:
      break;
    case Rectifier::kRelu:
      return at::relu(x);
    case Rectifier::kHardtanh:
      return at::hardtanh(x);
    case Rectifier::kClippedRound:
      return ClippedRoundComposed(x, by.rounding.step, by.rounding.levels);
  }
  return x;
}

struct NormaliseResult {
  at::Tensor y, dx, dresidual, dweight, dbias, running_mean, running_var;
};

NormaliseResult Normalise(bool fused, const std::vector<int64_t>& shape, bool affine, bool residual,
                          const Rectified& by) {
  const int64_t c = shape[1];
  const at::Tensor x = (RandomTensor(shape, 30) * 2 + 3).requires_grad_(true);
  at::Tensor r, w, b;
  if (residual) r = RandomTensor(shape, 31).requires_grad_(true);
  if (affine) {
    w = RandomTensor({c}, 32).requires_grad_(true);
    b = RandomTensor({c}, 33).requires_grad_(true);
  }
  const at::Tensor mean = RandomTensor({c}, 34), var = RandomTensor({c}, 35).abs() + 0.5;
  at::Tensor y;
  if (fused) {
    y = NormaliseAddRectify(x, {w, b, mean, var, 1e-5, 0.1}, r, by.rectifier, by.rounding);
  } else {
    y = at::batch_norm(x, w, b, mean, var, true, 0.1, 1e-5, false);
    y = RectifyByLibTorch(residual ? y + r : y, by);
  }
  (y * RandomTensor(shape, 36)).sum().backward();
  const auto grad = [](const at::Tensor& t) { return t.defined() ? t.grad() : at::zeros({1}); };
  return {y, x.grad(), grad(r), grad(w), grad(b), mean, var};
}

TEST(Normalise, OneFunctionIsBatchNormAdditionAndRectifier) {
  // Channels below, at and above a group of lanes; rows below and above a chunk; after pooling.
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {2, 3, 4, 4}, {3, 16, 11, 13}, {5, 40, 9, 9}, {6, 10}})
    for (const bool affine : {false, true})
      for (const bool residual : {false, true})
        for (const Rectified& by : {Rectified{Rectifier::kNone, {}}, {Rectifier::kRelu, {}},
                                    {Rectifier::kHardtanh, {}},
                                    {Rectifier::kClippedRound, {1.0 / 3, 3}},
                                    {Rectifier::kClippedRound, {0.4, 3}}}) {
          if (residual && by.rectifier == Rectifier::kClippedRound) continue;  // not together
          const NormaliseResult got = Normalise(true, shape, affine, residual, by);
          const NormaliseResult want = Normalise(false, shape, affine, residual, by);
          ExpectClose(got.y, want.y, 1e-12, "y");
          ExpectClose(got.dx, want.dx, 1e-12, "dx");
          ExpectClose(got.dresidual, want.dresidual, 1e-12, "residual");
          ExpectClose(got.dweight, want.dweight, 1e-10, "weight");
          ExpectClose(got.dbias, want.dbias, 1e-10, "bias");
          ExpectClose(got.running_mean, want.running_mean, 1e-13, "running mean");
          ExpectClose(got.running_var, want.running_var, 1e-13, "running variance");
        }
}

TEST(Normalise, GradientIsZeroWhereHardtanhReturnsExactlyOneOrReluZero) {
  for (const Rectifier rectifier : {Rectifier::kHardtanh, Rectifier::kRelu}) {
    // Weight 0 and bias at the edge: every value before the rectifier is the bias.
    const double edge = rectifier == Rectifier::kHardtanh ? 1 : 0;
    const at::Tensor x = RandomTensor({2, 1, 4, 4}, 40).requires_grad_(true);
    const at::Tensor w = at::zeros({1}, at::kDouble).requires_grad_(true);
    const at::Tensor b = at::full({1}, edge, at::kDouble).requires_grad_(true);
    NormaliseAddRectify(x, {w, b, at::zeros({1}, at::kDouble), at::ones({1}, at::kDouble)},
                        at::Tensor(), rectifier)
        .sum()
        .backward();
    EXPECT_EQ(b.grad().item<double>(), 0);
  }
}

TEST(Normalise, ResultsDoNotDependOnThreads) {
  const int before = at::get_num_threads();
  at::Tensor results[2], gradients[2];
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    const at::Tensor x = RandomTensor({4, 24, 16, 16}, 41, at::kFloat).requires_grad_(true);
    const at::Tensor signs = RecuSign(x).signs;
    results[threads - 1] = NormaliseAddRectify(signs * x, {{}, {}, at::zeros({24}), at::ones({24})},
                                               at::Tensor(), Rectifier::kRelu);
    (results[threads - 1] * RandomTensor({4, 24, 16, 16}, 42, at::kFloat)).sum().backward();
    gradients[threads - 1] = x.grad();
  }
  at::set_num_threads(before);
  EXPECT_TRUE(results[0].equal(results[1]));
  EXPECT_TRUE(gradients[0].equal(gradients[1]));
}

// --- Nodes ---------------------------------------------------------------------------------------

Node NodeOf(NodeKind kind, Window window = {}) {
  Node node;
  node.kind = kind;
  node.window = window;
  return node;
}
Node Layer(NodeKind kind, int channels, Window window, const std::string& weight) {
  Node node = NodeOf(kind, window);
  node.channels = channels;
  node.weight = weight;
  return node;
}

at::Tensor Evaluated(const NodeList& nodes, const at::Tensor& x) {
  at::NoGradGuard no_grad;
  return Execute(ModelOf(nodes.network), x, {});
}

TEST(Execute, AveragePoolingCountsPaddingAsZeros) {  // methods.md 9
  const at::Tensor y =
      Evaluated(NodeList(1, 4).Append(NodeOf(NodeKind::kAvgPool, SquareWindow(3, 2, 1))),
                at::ones({1, 1, 4, 4}, at::kDouble));
  ExpectClose(y.flatten(), Doubles({4.0 / 9, 6.0 / 9, 6.0 / 9, 1}), 1e-15);
}

TEST(Execute, ConvolutionsPadWithZeroAfterTheQuantizer) {
  constexpr int kChannels = 5;
  const at::Tensor y =
      Evaluated(NodeList(kChannels, 4)
                    .Append(Layer(NodeKind::kConv, 1, SquareWindow(3, 1, 1), "w"))
                    .Tensor("w", {1, kChannels, 3, 3}, Constant(1)),
                at::ones({1, kChannels, 4, 4}, at::kDouble))[0][0];
  EXPECT_EQ(y[0][0].item<double>(), 4 * kChannels);
  EXPECT_EQ(y[0][1].item<double>(), 6 * kChannels);
  EXPECT_EQ(y[1][1].item<double>(), 9 * kChannels);
}

TEST(Execute, UnevenPaddingIsAppliedWhereItBelongs) {
  const Window window = {2, 2, 1, 1, /*pad_top=*/1, /*pad_left=*/0, /*pad_bottom=*/0,
                         /*pad_right=*/2};
  const at::Tensor y = Evaluated(NodeList(1, 3)
                                     .Append(Layer(NodeKind::kConv, 1, window, "w"))
                                     .Tensor("w", {1, 1, 2, 2}, Constant(1)),
                                 at::ones({1, 1, 3, 3}, at::kDouble))[0][0];
  ExpectClose(y.flatten(), Doubles({2, 2, 1, 0, 4, 4, 2, 0, 4, 4, 2, 0}), 0);
}

TEST(Execute, MaxPoolingIgnoresItsPaddingAlsoThatOfCeilMode) {
  const at::Tensor x = RandomTensor({2, 3, 6, 6}, 50) - 5;  // all below 0: a padded zero would win
  const auto pooled = [&](const Window& window) {
    return Evaluated(NodeList(3, 6).Append(NodeOf(NodeKind::kMaxPool, window)), x);
  };
  ExpectClose(pooled(SquareWindow(3, 2, 1)), at::max_pool2d(x, 3, 2, 1), 0);
  const Window ceil = {3, 3, 2, 2, 0, 0, 1, 1};
  ExpectClose(pooled(ceil), at::max_pool2d(x, 3, 2, 0, 1, /*ceil_mode=*/true), 0);
}

TEST(Execute, PoolingPaddingFlatteningAndConcatenationKeepTheirOrder) {
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 51);
  ExpectClose(Evaluated(NodeList(3, 4).Append(NodeOf(NodeKind::kGlobalAvgPool)), x),
              x.mean({2, 3}), 1e-15);
  ExpectClose(Evaluated(NodeList(3, 4).Append(NodeOf(NodeKind::kFlatten)), x), x.flatten(1), 0);
  Node pad = NodeOf(NodeKind::kPadChannels);
  pad.pad_before = 1;
  pad.pad_after = 2;
  const at::Tensor zeros = at::zeros({2, 3, 4, 4}, at::kDouble);
  ExpectClose(Evaluated(NodeList(3, 4).Append(pad), x),
              at::cat({zeros.slice(1, 0, 1), x, zeros.slice(1, 0, 2)}, 1), 0);
  NodeList nodes(3, 4);
  nodes.Append(NodeOf(NodeKind::kRelu)).Append(NodeOf(NodeKind::kConcat), {1, 0, 1});
  ExpectClose(Evaluated(nodes, x), at::cat({x.relu(), x, x.relu()}, 1), 0);
}

TEST(Execute, RectifiersAndBiases) {
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 52) * 2;
  ExpectClose(Evaluated(NodeList(3, 4).Append(NodeOf(NodeKind::kRelu)), x), x.relu(), 0);
  ExpectClose(Evaluated(NodeList(3, 4).Append(NodeOf(NodeKind::kHardtanh)), x), x.clamp(-1, 1), 0);
  ExpectClose(Evaluated(NodeList(3, 4).Append(NodeOf(NodeKind::kAdd), {0, 0}), x), 2 * x, 0);

  Node prelu = NodeOf(NodeKind::kPRelu), bias = NodeOf(NodeKind::kBias);
  prelu.name = "prelu";
  bias.name = "move";
  const TrainerModel model = ModelOf(NodeList(3, 4)
                                         .Append(prelu)
                                         .Append(bias)
                                         .Tensor("prelu.weight", {3}, {Init::kNormal, 1})
                                         .Tensor("move.bias", {1, 3, 1, 1}, {Init::kNormal, 1})
                                         .network);
  const at::Tensor slope = model.at("prelu.weight").view({1, 3, 1, 1});
  ExpectClose(Execute(model, x, {}), at::where(x > 0, x, x * slope) + model.at("move.bias"), 1e-15);
}

TEST(Execute, AClipEndsAtOneBut32BitsHaveARelu) {  // methods.md 1.4
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 53) * 2;
  NodeList nodes(3, 4);
  nodes.Append(NodeOf(NodeKind::kClip));
  nodes.network.widths = {4, 32};
  const TrainerModel model = ModelOf(nodes.network);
  ExpectClose(Execute(model, x, {Mode::kEval, 4}), x.clamp(0, 1), 0);
  ExpectClose(Execute(model, x, {Mode::kEval, 32}), x.relu(), 0);
  ExpectClose(Execute(model, x, {}), x.relu(), 0);  // the widest
}

TEST(Execute, ABiasCountsOnceAPlaneOfAResidualExpansion) {  // methods.md 5.1
  for (const int t_ex : {1, 2, 4}) {
    Node dense = Layer(NodeKind::kLinear, 4, {}, "fc.weight");
    dense.name = "fc";
    dense.bias = true;
    dense.weights.kind = WeightQuantizer::kTernary;
    dense.weights.t_ex = t_ex;
    const TrainerModel model = ModelOf(NodeList(6, 0)
                                           .Append(dense)
                                           .Tensor("fc.weight", {4, 6}, {Init::kNormal, 0.3})
                                           .Tensor("fc.bias", {4}, {Init::kNormal, 1})
                                           .network);
    const at::Tensor x = RandomTensor({3, 6}, 54);
    ExpectClose(Execute(model, x, {}),
                x.matmul(TernaryWeights(model.at("fc.weight"), t_ex).t()) +
                    t_ex * model.at("fc.bias"),
                1e-14);
  }
}

// In float64 codes are convolved and scaled afterwards, in float32 scaled weights are: the same.
TEST(Execute, CodesFirstIsThePlainProductInDoubleAndInFloat) {
  for (const NodeKind kind : {NodeKind::kConv, NodeKind::kLinear})
    for (const bool alpha : {false, true}) {
      const bool conv = kind == NodeKind::kConv;
      Node quantize = NodeOf(NodeKind::kQuantize);
      quantize.activations = {ActivationQuantizer::kHwgq, 3, false};
      Node layer = Layer(kind, 5, conv ? SquareWindow(3, 2, 1) : Window{}, "w");
      layer.weights.kind = WeightQuantizer::kEdmips;
      layer.weights.bits = 2;
      if (alpha) layer.alpha = "alpha";
      NodeList nodes(4, conv ? 7 : 0);
      nodes.Append(quantize).Append(layer).Tensor("alpha", {5, 1, 1}, {Init::kUniform01});
      nodes.Tensor("w", conv ? std::vector<int64_t>{5, 4, 3, 3} : std::vector<int64_t>{5, 4},
                   {Init::kNormal, 0.5});
      const TrainerModel model = ModelOf(nodes.network);
      const at::Tensor x = conv ? RandomTensor({2, 4, 7, 7}, 55) : RandomTensor({2, 4}, 55);
      const double step = HwgqStep(3);
      const at::Tensor values = (x.clamp(0, 7 * step) / step).round() * step;
      at::Tensor weights = EdmipsWeights(model.at("w"), 2).Value();
      if (alpha)
        weights = weights * model.at("alpha").view(conv ? std::vector<int64_t>{5, 1, 1, 1}
                                                        : std::vector<int64_t>{5, 1});
      const at::Tensor want =
          conv ? at::conv2d(values, weights, {}, 2, 1) : at::linear(values, weights);
      ExpectClose(Execute(model, x, {}), want, 1e-12);
      const TrainerModel floats = ModelOf(nodes.network, at::kFloat);
      ExpectClose(Execute(floats, x.to(at::kFloat), {}).to(at::kDouble), want, 1e-5);
    }
}

TEST(Execute, AFixedPointStemKnowsTheInputsDeviations) {  // methods.md 8a
  Node conv = Layer(NodeKind::kConv, 4, SquareWindow(3, 1, 1), "w");
  conv.weights.kind = WeightQuantizer::kFixedPoint;
  conv.weights.limbs = 1;
  NodeList nodes(3, 5);
  nodes.Append(conv).Tensor("w", {4, 3, 3, 3}, {Init::kNormal, 1});
  nodes.network.input_std = {0.1, 0.2, 0.9};
  const TrainerModel model = ModelOf(nodes.network);
  const at::Tensor x = RandomTensor({2, 3, 5, 5}, 56);
  const auto with = [&](const std::vector<double>& deviations) {
    return at::conv2d(x, FixedPointWeights(model.at("w"), 1, deviations).Value(), {}, 1, 1);
  };
  ExpectClose(Execute(model, x, {}), with({0.1, 0.2, 0.9}), 1e-13);
  EXPECT_FALSE(with({0.1, 0.2, 0.9}).allclose(with({}), 1e-6, 1e-6));
}

// relu(batch norm of x + batch norm of x): the second one is the residual of the first's function.
TEST(Execute, TwoBatchNormsMayMeetInOneAddition) {
  Node norm = NodeOf(NodeKind::kBatchNorm);
  norm.affine = false;
  norm.name = "a";
  NodeList nodes(3, 4);
  nodes.Append(norm, {0});
  norm.name = "b";
  norm.eps = 0.5;
  nodes.Append(norm, {0}).Append(NodeOf(NodeKind::kAdd), {1, 2}).Append(NodeOf(NodeKind::kRelu));
  for (const char* name : {"a", "b"})
    for (const char* statistic : {".running_mean", ".running_var"})
      nodes.Tensor(std::string(name) + statistic, {3}, Constant(0), Role::kBuffer);
  const TrainerModel model = ModelOf(nodes.network);
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 57).requires_grad_(true);
  const at::Tensor y = Execute(model, x, {Mode::kTrain});
  const at::Tensor none;
  const auto normal = [&](double eps) {
    return at::batch_norm(x, none, none, none, none, true, 0.1, eps, false);
  };
  const at::Tensor want = at::relu(normal(1e-5) + normal(0.5));
  ExpectClose(y, want, 1e-12);
  const at::Tensor factors = RandomTensor({2, 3, 4, 4}, 58);
  (y * factors).sum().backward();
  const at::Tensor gradient = x.grad().clone();
  x.mutable_grad() = at::Tensor();
  (want * factors).sum().backward();
  ExpectClose(gradient, x.grad(), 1e-12);
  EXPECT_TRUE(model.at("b.running_mean").ne(0).all().item<bool>());
}

// --- Precision -----------------------------------------------------------------------------------

at::Tensor Trained(const TrainerModel& model, const at::Tensor& x, Precision precision) {
  at::NoGradGuard no_grad;
  Execution execution{Mode::kTrain};
  execution.precision = precision;
  return Execute(model, x, execution);
}

// A layer of codes, and a last one, of weight 1 and never rounded, which hands them on.
TrainerModel CodesLayer(const ActivationQuantizer& activations, WeightQuantizer::Kind weights,
                        int bits, int inputs, const Window& window) {
  Node quantize = NodeOf(NodeKind::kQuantize);
  quantize.activations = activations;
  Node layer = Layer(NodeKind::kConv, 1, window, "w");
  layer.name = "layer";
  layer.weights.kind = weights;
  layer.weights.bits = bits;
  return ModelOf(NodeList(inputs, 6)
                     .Append(quantize)
                     .Append(layer)
                     .Append(Layer(NodeKind::kConv, 1, SquareWindow(1, 1, 0), "one"))
                     .Tensor("w", {1, inputs, window.kernel_h, window.kernel_w},
                             {Init::kNormal, 0.5})
                     .Tensor("layer.tau", {1}, Constant(0.9), Role::kBuffer)
                     .Tensor("one", {1, 1, 1, 1}, Constant(1))
                     .network,
                 at::kFloat);
}

TEST(Precision, SignsSumExactlyInBf16) {  // 72 of them: below 2^8
  const TrainerModel model = CodesLayer({ActivationQuantizer::kSign}, WeightQuantizer::kRecu, 1, 8,
                                        SquareWindow(3, 1, 1));
  const at::Tensor x = RandomTensor({2, 8, 6, 6}, 64, at::kFloat);
  const at::Tensor y = Trained(model, x, Precision::kBf16);
  EXPECT_EQ(y.scalar_type(), at::kFloat);
  EXPECT_TRUE(y.equal(Trained(model, x, Precision::kFp32)));
}

// Of 8-bit codes only the product is rounded, once: by 2^-8 at most. Rounded operands would add to
// that.
TEST(Precision, EightBitCodesAreExactInBf16) {
  const TrainerModel model = CodesLayer({ActivationQuantizer::kAnyPrecision, 8},
                                        WeightQuantizer::kAnyPrecision, 8, 1, SquareWindow(1, 1, 0));
  const at::Tensor x = at::rand({64, 1, 6, 6});
  const at::Tensor fp32 = Trained(model, x, Precision::kFp32);
  const at::Tensor bf16 = Trained(model, x, Precision::kBf16);
  const double off = ((bf16 - fp32).abs() / fp32.abs().clamp_min(1e-9)).max().item<double>();
  EXPECT_LE(off, std::ldexp(1.001, -8));
  EXPECT_GT(off, std::ldexp(1, -10));
}

TEST(Precision, TheLastLayersLogitsAreNotRounded) {
  const TrainerModel model = ModelOf(NodeList(8, 0)
                                         .Append(Layer(NodeKind::kLinear, 4, {}, "fc"))
                                         .Tensor("fc", {4, 8}, {Init::kNormal, 0.3})
                                         .network,
                                     at::kFloat);
  const at::Tensor x = RandomTensor({3, 8}, 65, at::kFloat);
  EXPECT_TRUE(Trained(model, x, Precision::kBf16).equal(Trained(model, x, Precision::kFp32)));
}

TEST(Precision, NamesAreChecked) {
  EXPECT_EQ(ParsePrecision("fp32", at::kCPU), Precision::kFp32);
  EXPECT_EQ(ParsePrecision("bf16", at::kCPU), Precision::kBf16);
  EXPECT_EQ(ParsePrecision("tf32", at::kCUDA), Precision::kTf32);
  ExpectRefusal([] { ParsePrecision("tf32", at::kCPU); }, "--device cuda");
  ExpectRefusal([] { ParsePrecision("fp8", at::kCPU); }, "fp32, tf32 or bf16");
}

TEST(Precision, Tf32IsOnForItsOwnStepsOnly) {
  const TrainerModel model = CodesLayer({ActivationQuantizer::kSign}, WeightQuantizer::kRecu, 1, 8,
                                        SquareWindow(3, 1, 1));
  const at::Tensor x = RandomTensor({2, 8, 6, 6}, 66, at::kFloat);
  const auto allowed = [] {
    return at::globalContext().allowTF32CuDNN() && at::globalContext().allowTF32CuBLAS();
  };
  Trained(model, x, Precision::kTf32);
  EXPECT_TRUE(allowed());
  Execute(model, x, {});
  EXPECT_FALSE(at::globalContext().allowTF32CuDNN() || at::globalContext().allowTF32CuBLAS());
}

// --- Modes, widths and dropout -------------------------------------------------------------------

TEST(Execute, EvaluationLeavesStatisticsAloneAndTrainingMovesThem) {
  const TrainerModel model =
      ModelOf(BuildNetwork("mcdonnell/wrn-8-0.5", {{"size", "8"}}), at::kFloat);
  const at::Tensor x = RandomTensor({4, 3, 8, 8}, 60, at::kFloat);
  const at::Tensor mean = model.at("bn.running_mean");
  const at::Tensor first = Execute(model, x, {});
  EXPECT_TRUE(first.equal(Execute(model, x, {})));
  EXPECT_TRUE(mean.eq(0).all().item<bool>());
  EXPECT_EQ(model.at("bn.num_batches_tracked").item<int64_t>(), 0);
  Execution frozen{Mode::kTrain};
  frozen.update_statistics = false;
  Execute(model, x, frozen);
  EXPECT_TRUE(mean.eq(0).all().item<bool>());
  EXPECT_EQ(model.at("bn.num_batches_tracked").item<int64_t>(), 0);
  Execute(model, x, {Mode::kTrain});
  EXPECT_TRUE(mean.ne(0).any().item<bool>());
  EXPECT_EQ(model.at("bn.num_batches_tracked").item<int64_t>(), 1);
}

const Arguments kSmallAny = {{"expansion", "1"}, {"blocks", "1,1"}, {"channels", "4,8"},
                             {"size", "8"},      {"widths", "2,4,32"}};

TEST(Execute, EveryWidthHasABatchNormOfItsOwnButTheSkipsIsShared) {  // methods.md 1.4
  const TrainerModel model = ModelOf(BuildNetwork("any-precision/resnet20", kSmallAny));
  const at::Tensor x = RandomTensor({4, 3, 8, 8}, 61);
  const auto batches = [&](const std::string& norm) {
    return model.at(norm + ".num_batches_tracked").item<int64_t>();
  };
  Execute(model, x, {Mode::kTrain, 4});
  EXPECT_EQ(batches("layers.0.bn0.bn_dict.4"), 1);
  EXPECT_EQ(batches("layers.0.bn0.bn_dict.2"), 0);
  EXPECT_TRUE(model.at("bn.bn_dict.4.running_mean").ne(0).any().item<bool>());
  EXPECT_TRUE(model.at("bn.bn_dict.32.running_mean").eq(0).all().item<bool>());
  Execute(model, x, {Mode::kTrain, 2});
  EXPECT_EQ(batches("layers.0.bn0.bn_dict.4"), 1);
  EXPECT_EQ(batches("layers.0.bn0.bn_dict.2"), 1);
  EXPECT_EQ(batches("layers.1.skip_bn"), 2);
  // Evaluation reads the width's own, and each width is a network of its own.
  const at::Tensor before = Execute(model, x, {Mode::kEval, 4});
  model.at("bn.bn_dict.2.running_mean").fill_(3);
  EXPECT_TRUE(before.equal(Execute(model, x, {Mode::kEval, 4})));
  EXPECT_FALSE(before.allclose(Execute(model, x, {Mode::kEval, 2}), 1e-3, 1e-3));
  EXPECT_TRUE(Execute(model, x, {}).equal(Execute(model, x, {Mode::kEval, 32})));
}

TEST(Execute, DropoutFollowsTheRandomStateAndKeepsTheMean) {
  Node dropout = NodeOf(NodeKind::kDropout);
  dropout.probability = 0.3;
  const TrainerModel model = ModelOf(NodeList(8, 32).Append(dropout).network);
  const at::Tensor x = at::ones({4, 8, 32, 32}, at::kDouble);
  Random random(62), again(62);
  const at::Tensor first = Execute(model, x, {Mode::kTrain, 0, &random});
  EXPECT_TRUE(first.equal(Execute(model, x, {Mode::kTrain, 0, &again})));
  EXPECT_FALSE(first.equal(Execute(model, x, {Mode::kTrain, 0, &again})));
  EXPECT_NE(random.state(), again.state());
  EXPECT_TRUE(first.eq(0).logical_or(first.eq(1 / 0.7)).all().item<bool>());
  EXPECT_NEAR(first.ne(0).to(at::kDouble).mean().item<double>(), 0.7, 0.01);  // 4 deviations
  EXPECT_TRUE(Execute(model, x, {Mode::kEval, 0, &random}).equal(x));
  EXPECT_TRUE(Execute(model, x, {Mode::kTrain}).equal(x));
}

TEST(Execute, FullPrecisionHasTheSameTopologyAndNoQuantizer) {
  const Arguments small = {{"blocks", "1,1,1"}, {"channels", "4,8,16"}, {"size", "8"}};
  Arguments plain = small;
  plain["form"] = "full-precision";
  const TrainerModel model = ModelOf(BuildNetwork("recu/resnet20", plain));
  const TrainerModel quantized = ModelOf(BuildNetwork("recu/resnet20", small));
  for (const std::string& name : model.parameters()) EXPECT_TRUE(quantized.contains(name)) << name;
  // Without quantizers a small move of the input is a small move of the logits; with them it would
  // be none or a jump.
  const at::Tensor x = RandomTensor({2, 3, 8, 8}, 63);
  const at::Tensor moved = Execute(model, x + 1e-7, {}) - Execute(model, x, {});
  EXPECT_LT(moved.abs().max().item<double>(), 1e-3);
  EXPECT_GT(moved.abs().max().item<double>(), 0);
}

// --- The step ------------------------------------------------------------------------------------

struct StepFixture {
  explicit StepFixture(const Network& network) : model(ModelOf(network)) { SetTau(model, 0.9); }

  StepResult Step(const Batch& batch, StepOptions options) {
    options.lr = options.lr_architecture = 0;  // gradients stay, weights too
    return TrainStep(model, optimizers, batch, options);
  }
  std::map<std::string, at::Tensor> Gradients() const {
    std::map<std::string, at::Tensor> gradients;
    for (const std::string& name : model.parameters()) gradients[name] = model.at(name).grad();
    return gradients;
  }

  TrainerModel model;
  Optimizers optimizers{model, {}, {}};
};

Batch RandomBatch(int64_t n, int size, uint64_t seed) {
  Batch batch;
  batch.input = RandomTensor({n, 3, size, size}, seed);
  Random random(seed);
  batch.labels = at::empty({n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) batch.labels.data_ptr<int64_t>()[i] = random.Below(10);
  return batch;
}

Network SmallRecu() {
  return BuildNetwork("recu/resnet20",
                      {{"blocks", "1,1"}, {"channels", "4,8"}, {"size", "8"}});
}

TEST(TrainStep, ReplicasAverageGradientsOfTheirPartsAndKeepTheFirstOnesStatistics) {
  for (const int64_t n : {8, 7}) {
    const Batch batch = RandomBatch(n, 8, 70);
    const auto part = [&](int64_t begin, int64_t end) {
      return Batch{batch.input.slice(0, begin, end), batch.labels.slice(0, begin, end), {}};
    };
    StepFixture both(SmallRecu()), first(SmallRecu()), second(SmallRecu());
    StepOptions options;
    const StepResult a = first.Step(part(0, n / 2), options);
    const StepResult b = second.Step(part(n / 2, n), options);
    options.replicas = 2;
    const StepResult r = both.Step(batch, options);
    ExpectClose(r.total, (a.total + b.total) / 2, 1e-14);
    ExpectClose(r.losses[0], (a.losses[0] + b.losses[0]) / 2, 1e-14);
    EXPECT_EQ(r.correct.item<int64_t>(), (a.correct + b.correct).item<int64_t>());
    const auto got = both.Gradients(), g1 = first.Gradients(), g2 = second.Gradients();
    for (const auto& [name, gradient] : got)
      ExpectClose(gradient, (g1.at(name) + g2.at(name)) / 2, 1e-14, name);
    for (const TensorSpec& spec : both.model.network().tensors)
      if (spec.role == Role::kBuffer) {
        EXPECT_TRUE(both.model.at(spec.name).equal(first.model.at(spec.name))) << spec.name;
      }
    EXPECT_FALSE(
        both.model.at("bn1.running_mean").allclose(second.model.at("bn1.running_mean"), 1e-6));
  }
}

TEST(TrainStep, GradientsOfAllWidthsAddUpAndTargetsFollowTheKey) {  // methods.md 1.5
  const Batch batch = RandomBatch(6, 8, 71);
  const Network network = BuildNetwork("any-precision/resnet20", kSmallAny);
  const TrainerModel alone = ModelOf(network);
  const auto logits = [&](int width) { return Execute(alone, batch.input, {Mode::kTrain, width}); };
  const auto learns = [&](const at::Tensor& x, const at::Tensor& teacher) {
    return -(teacher.detach().softmax(1) * x.log_softmax(1)).sum(1).mean();
  };
  const auto labels = [&](const at::Tensor& x) { return at::cross_entropy_loss(x, batch.labels); };
  for (const Targets targets : {Targets::kHard, Targets::kSoft, Targets::kRecursive}) {
    const at::Tensor wide = logits(32), middle = logits(4), narrow = logits(2);
    const bool hard = targets == Targets::kHard;
    const std::vector<at::Tensor> losses = {
        labels(wide), hard ? labels(middle) : learns(middle, wide),
        hard ? labels(narrow) : learns(narrow, targets == Targets::kSoft ? wide : middle)};
    for (const std::string& name : alone.parameters()) alone.at(name).mutable_grad() = at::Tensor();
    (losses[0] + losses[1] + losses[2]).backward();

    StepFixture step(network);
    StepOptions options;
    options.targets = targets;
    const StepResult result = step.Step(batch, options);
    ASSERT_EQ(result.losses.size(), 3u);
    for (size_t i = 0; i < 3; ++i) ExpectClose(result.losses[i], losses[i], 1e-13);
    ExpectClose(result.total, losses[0] + losses[1] + losses[2], 1e-13);
    EXPECT_EQ(result.correct.item<int64_t>(),
              wide.argmax(1).eq(batch.labels).sum().item<int64_t>());
    for (const auto& [name, gradient] : step.Gradients())
      ExpectClose(gradient, alone.at(name).grad(), 1e-12, name);
  }
}

TEST(TrainStep, Bf16GradientsPointWhereThoseOfFp32Do) {
  const Arguments small = {{"size", "8"}, {"blocks", "1,1,1"}, {"channels", "8,16,32"}};
  for (const auto& [name, arguments] : {std::pair{"mcdonnell/wrn-8-1", Arguments{{"size", "8"}}},
                                        std::pair{"ternary/resnet20", small}}) {
    const Network network = BuildNetwork(name, arguments);
    Batch batch = RandomBatch(16, 8, 74);
    batch.input = batch.input.to(at::kFloat);
    std::map<std::string, at::Tensor> gradients[2];
    for (const bool half : {false, true}) {
      const TrainerModel model = ModelOf(network, at::kFloat);
      Optimizers optimizers(model, {}, {});
      StepOptions options;
      options.lr = 0;
      if (half) options.precision = Precision::kBf16;
      TrainStep(model, optimizers, batch, options);
      for (const std::string& parameter : model.parameters())
        gradients[half][parameter] = model.at(parameter).grad().to(at::kDouble).flatten();
    }
    for (const auto& [parameter, fp32] : gradients[0]) {
      const at::Tensor& bf16 = gradients[1].at(parameter);
      const double cosine = (fp32.dot(bf16) / (fp32.norm() * bf16.norm())).item<double>();
      EXPECT_GT(cosine, 0.95) << name << " " << parameter;
      EXPECT_FALSE(fp32.equal(bf16)) << name << " " << parameter;
    }
  }
}

TEST(TrainStep, ATeacherReplacesTheLabels) {  // methods.md 4.4
  Batch batch = RandomBatch(6, 8, 72);
  batch.teacher_logits = RandomTensor({6, 10}, 73);
  StepFixture step(SmallRecu());
  const StepResult result = step.Step(batch, {});
  const at::Tensor logits = Execute(StepFixture(SmallRecu()).model, batch.input, {Mode::kTrain});
  ExpectClose(result.total,
              -(batch.teacher_logits.softmax(1) * logits.log_softmax(1)).sum(1).mean(), 1e-13);
}

TEST(TrainStep, TargetsHaveTheNamesOfRecipes) {
  for (const Targets targets : {Targets::kHard, Targets::kSoft, Targets::kRecursive})
    EXPECT_EQ(ParseTargets(TargetsName(targets)), targets);
  ExpectRefusal([] { ParseTargets("hardest"); }, "hard, soft or recursive");
}

// --- Models --------------------------------------------------------------------------------------

TEST(Model, InitialWeightsFollowTheSystemsRules) {
  const TrainerModel model = ModelOf(BuildNetwork("recu/resnet20", {}), at::kFloat, 4);
  const at::Tensor conv = model.at("layer3.1.conv1.weight");  // 64x64x3x3: fan-in 576
  EXPECT_NEAR(conv.std().item<double>(), std::sqrt(2.0 / 576), 1e-3);
  EXPECT_NEAR(conv.mean().item<double>(), 0, 1e-3);
  const at::Tensor alpha = model.at("layer3.1.conv1.alpha");
  EXPECT_TRUE(alpha.ge(0).all().item<bool>() && alpha.lt(1).all().item<bool>());
  EXPECT_NEAR(alpha.mean().item<double>(), 0.5, 0.15);
  const double bound = 1 / std::sqrt(64.0);  // torch's default for Linear, its bias too
  for (const char* name : {"linear.weight", "linear.bias"}) {
    const at::Tensor t = model.at(name);
    EXPECT_LE(t.abs().max().item<double>(), bound) << name;
    EXPECT_GT(t.abs().max().item<double>(), 0.7 * bound) << name;
  }
  EXPECT_TRUE(model.at("bn1.weight").eq(1).all().item<bool>());
  // McDonnell's is by outputs: a strided convolution of group 1 has 32 of them, 9 taps each.
  const TrainerModel wide = ModelOf(BuildNetwork("mcdonnell/wrn-20-1", {}), at::kFloat);
  EXPECT_NEAR(wide.at("group1.block0.conv0").std().item<double>(), std::sqrt(2.0 / (32 * 9)), 4e-3);
}

TEST(Model, EveryKindOfInitialValueIsDrawnAsItSays) {
  const std::vector<int64_t> shape = {32, 16, 5, 5};  // fan-in 400, fan-out 800
  NodeList nodes(1, 1);
  const std::vector<std::pair<std::string, Init>> kinds = {
      {"constant", Constant(0.25)},
      {"uniform", {Init::kUniform01}},
      {"normal", {Init::kNormal, 0.01}},
      {"truncated", {Init::kTruncatedNormal, 0.1}},
      {"in", {Init::kKaimingNormalFanIn}},
      {"out", {Init::kKaimingNormalFanOut}},
      {"torch", {Init::kTorchDefault}}};
  for (const auto& [name, init] : kinds) nodes.Tensor(name, shape, init);
  const TrainerModel model = ModelOf(nodes.network);
  const auto deviation = [&](const char* name) { return model.at(name).std().item<double>(); };
  EXPECT_TRUE(model.at("constant").eq(0.25).all().item<bool>());
  EXPECT_NEAR(deviation("uniform"), std::sqrt(1.0 / 12), 0.01);
  EXPECT_NEAR(deviation("normal"), 0.01, 2e-4);
  EXPECT_LE(model.at("truncated").abs().max().item<double>(), 0.2);
  EXPECT_NEAR(deviation("truncated"), 0.088, 2e-3);  // of a normal within two deviations
  EXPECT_NEAR(deviation("in"), std::sqrt(2.0 / 400), 2e-3);
  EXPECT_NEAR(deviation("out"), std::sqrt(2.0 / 800), 2e-3);
  EXPECT_NEAR(deviation("torch"), 0.05 / std::sqrt(3.0), 1e-3);
  EXPECT_LE(model.at("torch").abs().max().item<double>(), 0.05);
}

TEST(Model, TheSameSeedGivesTheSameWeightsInFloatAndDouble) {
  TrainerModel a(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  TrainerModel b(BuildNetwork("recu/resnet20", {}), at::kDouble, at::kCPU);
  Random first(7), second(7);
  a.Initialise(first);
  b.Initialise(second);
  for (const std::string& name : a.parameters())
    EXPECT_TRUE(a.at(name).to(at::kDouble).equal(b.at(name))) << name;
  EXPECT_EQ(first.state(), second.state());
}

TEST(Model, StateGoesOutAndInUnchangedAndAScalarMayHaveOneDimension) {
  const TrainerModel a = ModelOf(SmallRecu(), at::kFloat, 8);
  SetTau(a, 0.9);
  StateDict state = a.ToStateDict();
  const std::string tau = "layer1.0.conv1.tau";
  state[tau].shape = state.at(tau).shape.empty() ? std::vector<int64_t>{1} : std::vector<int64_t>{};
  TrainerModel b(SmallRecu(), at::kFloat, at::kCPU);
  b.Load(state);
  for (const std::string& name : state.names()) EXPECT_TRUE(a.at(name).equal(b.at(name))) << name;
}

TEST(Model, WhatAStateLacksKeepsItsValuesAndIsNamed) {
  const TrainerModel from = ModelOf(SmallRecu(), at::kFloat, 9);
  TrainerModel to = ModelOf(SmallRecu(), at::kFloat, 10);
  StateDict state = from.ToStateDict();
  state.erase("linear.weight");
  state.erase("layer1.0.conv1.alpha");
  const at::Tensor before = to.at("linear.weight").clone();
  EXPECT_EQ(to.LoadMatching(state),
            (std::vector<std::string>{"layer1.0.conv1.alpha", "linear.weight"}));
  EXPECT_TRUE(to.at("linear.weight").equal(before));
  EXPECT_TRUE(to.at("conv1.weight").equal(from.at("conv1.weight")));
}

TEST(Model, CountersOfBatchesMayBeMissing) {  // methods.md 7
  const TrainerModel from = ModelOf(SmallRecu(), at::kFloat, 11);
  from.at("bn1.num_batches_tracked").fill_(7);
  StateDict old = from.ToStateDict(), with = old;
  size_t counters = 0;
  for (const std::string& name : with.names()) {
    if (!IsCounter(name)) continue;
    old.erase(name);
    ++counters;
  }
  ASSERT_EQ(counters, 6u);  // of the stem, of four convolutions and before the head
  TrainerModel to(SmallRecu(), at::kFloat, at::kCPU);
  to.Load(old);
  size_t taken = 0;
  EXPECT_EQ(to.LoadMatching(old, &taken), std::vector<std::string>());
  EXPECT_EQ(taken, old.size());
  for (const std::string& name : with.names())
    if (IsCounter(name))
      EXPECT_EQ(to.at(name).item<int64_t>(), 0) << name;
    else
      EXPECT_TRUE(to.at(name).equal(from.at(name))) << name;
  to.LoadMatching(with, &taken);
  EXPECT_EQ(taken, old.size());
  EXPECT_EQ(to.at("bn1.num_batches_tracked").item<int64_t>(), 7);
  // Counters alone are nothing to start from.
  StateDict alone;
  alone["bn1.num_batches_tracked"] = with.at("bn1.num_batches_tracked");
  EXPECT_EQ(to.LoadMatching(alone, &taken).size(), old.size());
  EXPECT_EQ(taken, 0u);
}

TEST(Model, ATensorThatDoesNotFitIsNamed) {
  TrainerModel model(SmallRecu(), at::kFloat, at::kCPU);
  StateDict state = model.ToStateDict();
  state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {17});
  ExpectRefusal([&] { model.Load(state); }, "tensor \"bn1.weight\": has shape 17");
  state.erase("bn1.weight");
  ExpectRefusal([&] { model.Load(state); }, "bn1.weight");
}

TEST(SetTau, EveryLayerGetsItAndTheGoldenFloatIsHit) {
  const TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  SetTau(model, 0.8647766709327698);  // of epoch 100 of 600
  int layers = 0;
  for (const Node& node : model.network().nodes)
    if (node.weights.kind == WeightQuantizer::kRecu) {
      ++layers;
      EXPECT_EQ(model.at(node.name + ".tau").item<float>(), 0.8647766709327698f) << node.name;
    }
  EXPECT_EQ(layers, 18);
}

}  // namespace
}  // namespace lbrt
