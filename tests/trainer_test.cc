// What training is made of: quantizers and their gradients, normalisation, schedules, augmentation,
// models, the optimizer. The whole step is golden_test.cc's.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <set>

#include "images/error.h"
#include "network/quantizers.h"
#include "trainer/evaluate.h"
#include "trainer/execute.h"
#include "trainer/normalise.h"
#include "trainer/quantizers.h"
#include "trainer/samples.h"
#include "trainer/schedule.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

at::Tensor RandomTensor(at::IntArrayRef shape, uint64_t seed, at::ScalarType type = at::kDouble) {
  Random random(seed);
  at::Tensor t = at::empty(shape, at::kDouble);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<double>()[i] = random.Normal();
  return t.to(type);
}

at::Tensor Doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

void ExpectClose(const at::Tensor& got, const at::Tensor& want, double tolerance,
                 const std::string& what = "") {
  ASSERT_EQ(got.sizes(), want.sizes()) << what;
  EXPECT_LE((got.detach() - want.detach()).abs().max().item<double>(), tolerance) << what;
}

// d f / d x by central differences, x double.
at::Tensor Slopes(const at::Tensor& x, const std::function<double(const at::Tensor&)>& f) {
  constexpr double kStep = 1e-6;
  at::Tensor moved = x.detach().clone().contiguous(), slopes = at::empty_like(moved);
  for (int64_t i = 0; i < x.numel(); ++i) {
    double& value = moved.data_ptr<double>()[i];
    const double saved = value;
    value = saved + kStep;
    const double up = f(moved);
    value = saved - kStep;
    slopes.data_ptr<double>()[i] = (up - f(moved)) / (2 * kStep);
    value = saved;
  }
  return slopes;
}

// --- Weight quantizers -------------------------------------------------------------------------

template <typename T>
std::vector<int> CodesOf(const at::Tensor& quantized) {
  std::vector<int> codes;
  const at::Tensor flat = quantized.detach().contiguous().flatten();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const T v = flat.data_ptr<T>()[i];
    codes.push_back((v > 0) - (v < 0));
  }
  return codes;
}

template <typename T>
void ExpectCodesOfTheNetwork(at::ScalarType type) {
  const at::Tensor w = RandomTensor({16, 8, 3, 3}, 3, type) * 0.1;
  const at::Tensor alpha = at::rand({16, 1, 1}, type) + 0.1;
  const at::Tensor tau = at::full({1}, 0.9, type);
  const SignCodes recu = RecuCodes(w.data_ptr<T>(), 16, 72);
  ASSERT_EQ(recu.zero_weights, 0);
  EXPECT_EQ(CodesOf<T>(RecuWeights(w, alpha, tau)),
            std::vector<int>(recu.codes.begin(), recu.codes.end()));
  const SignCodes mcdonnell = McDonnellCodes(w.data_ptr<T>(), 16, 72);
  EXPECT_EQ(CodesOf<T>(McDonnellWeights(w)),
            std::vector<int>(mcdonnell.codes.begin(), mcdonnell.codes.end()));
}

TEST(WeightQuantizers, CodesAreThoseOfTheNetworkLibraryInFloatAndDouble) {
  ExpectCodesOfTheNetwork<float>(at::kFloat);
  ExpectCodesOfTheNetwork<double>(at::kDouble);
}

TEST(WeightQuantizers, ValuesAreAlphaAndTheHeScale) {
  const at::Tensor w = RandomTensor({4, 2, 3, 3}, 5);
  const at::Tensor alpha = Doubles({0.5, -2, 3, 0.25}).view({4, 1, 1});
  const at::Tensor q = RecuWeights(w, alpha, Doubles({0.85}));
  for (int64_t o = 0; o < 4; ++o)
    EXPECT_TRUE(q[o].abs().eq(alpha[o].abs().item<double>()).all().item<bool>());
  // A published width: WRN-20-10's first group has 160 inputs.
  const at::Tensor wide = McDonnellWeights(RandomTensor({2, 160, 3, 3}, 6));
  EXPECT_NEAR(wide.abs().max().item<double>(), 0.0372678, 1e-7);
  EXPECT_NEAR(wide.abs().min().item<double>(), 0.0372678, 1e-7);
}

TEST(WeightQuantizers, SignOfZeroIsZeroInTraining) {
  at::Tensor w = RandomTensor({2, 1, 2, 2}, 7);
  w[0].fill_(0.25);  // every weight is its channel's mean
  const at::Tensor q = RecuWeights(w, at::ones({2, 1, 1}, at::kDouble), Doubles({0.9}));
  EXPECT_TRUE(q[0].eq(0).all().item<bool>());
  EXPECT_TRUE(q[1].ne(0).all().item<bool>());
  w[1][0][0][0] = 0;
  EXPECT_EQ(McDonnellWeights(w)[1][0][0][0].item<double>(), 0);
}

// What RecuWeights would be without its sign: the clipped, standardised weights times alpha. Its
// slope is the gradient that methods.md 4.1 asks for; Q is a plain number.
double RecuSurrogate(const at::Tensor& weight, const at::Tensor& alpha, double q,
                     const at::Tensor& factors) {
  const at::Tensor w = weight.flatten(1);
  const at::Tensor w0 = w - w.mean(1, true);
  const at::Tensor w1 = w0 / ((w0.var(1, true, true) + 1e-5).sqrt() / (2 * std::numbers::sqrt2));
  return (w1.clamp(-q, q) * alpha.view({-1, 1}) * factors.flatten(1)).sum().item<double>();
}

TEST(WeightQuantizers, RecuGradientPassesTheSignAndFlowsThroughClipMeanAndVariance) {
  const at::Tensor w = RandomTensor({3, 2, 3, 3}, 11).requires_grad_(true);
  const at::Tensor alpha = Doubles({0.7, -0.3, 1.9}).view({3, 1, 1}).requires_grad_(true);
  const at::Tensor factors = RandomTensor({3, 2, 3, 3}, 12);
  const double tau = 0.8;
  (RecuWeights(w, alpha, Doubles({tau})) * factors).sum().backward();

  const at::Tensor flat = w.detach().flatten(1), w0 = flat - flat.mean(1, true);
  const at::Tensor w1 = w0 / ((w0.var(1, true, true) + 1e-5).sqrt() / (2 * std::numbers::sqrt2));
  const double q = -w1.abs().mean().item<double>() * std::log(2 - 2 * tau);
  const int64_t clipped = w1.abs().gt(q).sum().item<int64_t>();
  ASSERT_GT(clipped, 5);  // both sides of the clip are tried
  ASSERT_LT(clipped, 50);
  ExpectClose(
      w.grad(),
      Slopes(w, [&](const at::Tensor& moved) { return RecuSurrogate(moved, alpha, q, factors); }),
      1e-7, "weights");
  const at::Tensor signs = w1.sign().view(w.sizes());
  ExpectClose(alpha.grad().flatten(), (signs * factors).sum({1, 2, 3}), 1e-12, "alpha");
}

TEST(WeightQuantizers, McDonnellGradientIsTheIdentityNotScaled) {
  const at::Tensor w = RandomTensor({2, 3, 3, 3}, 13).requires_grad_(true);
  const at::Tensor factors = RandomTensor({2, 3, 3, 3}, 14);
  (McDonnellWeights(w) * factors).sum().backward();
  ExpectClose(w.grad(), factors, 0);
}

// --- Activation quantizer ----------------------------------------------------------------------

// A function whose slope is max(0, 2 - 2|a|).
at::Tensor TriangleIntegral(const at::Tensor& a) {
  const at::Tensor c = a.clamp(-1, 1);
  return 2 * c - c * c.abs();
}

double SignSurrogate(const at::Tensor& x, const at::Tensor& factors) {
  const at::Tensor a = x / (x.var({1, 2, 3}, true, true) + 1e-5).sqrt();
  return (TriangleIntegral(a) * factors).sum().item<double>();
}

TEST(RecuSign, SignsAreThreeValued) {
  at::Tensor x = RandomTensor({2, 3, 4, 4}, 20);
  x[0][1][2][3] = 0;
  x[1][0][0][0] = -0.0;
  for (const RecuSigns& r : {RecuSign(x), RecuSignComposed(x)}) {
    ExpectClose(r.signs, at::sign(x), 0);
    ExpectClose(r.unchanged, x, 0);
  }
}

TEST(RecuSign, GradientIsTheTriangleThroughTheSampleVariance) {
  const at::Tensor factors = RandomTensor({2, 3, 4, 5}, 21);
  const at::Tensor values = RandomTensor({2, 3, 4, 5}, 22) * 1.7 + 0.4;
  const at::Tensor want =
      Slopes(values, [&](const at::Tensor& x) { return SignSurrogate(x, factors); });
  for (const at::MemoryFormat format :
       {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const at::Tensor x = values.clone(format).requires_grad_(true);
    (RecuSign(x).signs * factors).sum().backward();
    ExpectClose(x.grad(), want, 1e-8);
  }
}

TEST(RecuSign, FusedAndComposedFormsAgreeWithAndWithoutAResidual) {
  for (const bool residual : {false, true})
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      // Sizes that are and are not whole groups of lanes.
      for (const auto& shape : std::vector<std::vector<int64_t>>{{3, 16, 8, 8}, {2, 3, 5, 7}}) {
        const at::Tensor values = RandomTensor(shape, 23, type) + 0.2;
        const at::Tensor f = RandomTensor(shape, 24, type), g = RandomTensor(shape, 25, type);
        at::Tensor gradients[2];
        for (const bool composed : {false, true}) {
          const at::Tensor x = values.clone(at::MemoryFormat::ChannelsLast).requires_grad_(true);
          const RecuSigns r = composed ? RecuSignComposed(x) : RecuSign(x);
          at::Tensor sum = (r.signs * f).sum();
          if (residual) sum = sum + (r.unchanged * g).sum();
          sum.backward();
          gradients[composed] = x.grad();
        }
        ExpectClose(gradients[0], gradients[1], type == at::kDouble ? 1e-13 : 2e-5);
      }
    }
}

TEST(RecuSign, AResidualWithoutSignsPassesItsGradient) {
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 26).requires_grad_(true);
  const at::Tensor f = RandomTensor({2, 3, 4, 4}, 27);
  (RecuSign(x).unchanged * f).sum().backward();
  ExpectClose(x.grad(), f, 0);
}

// --- Normalisation -----------------------------------------------------------------------------

at::Tensor RectifyByLibTorch(const at::Tensor& x, Rectifier rectifier) {
  return rectifier == Rectifier::kRelu       ? at::relu(x)
         : rectifier == Rectifier::kHardtanh ? at::hardtanh(x)
                                             : x;
}

struct NormaliseResult {
  at::Tensor y, dx, dresidual, dweight, dbias, running_mean, running_var;
};

NormaliseResult Normalise(bool fused, const std::vector<int64_t>& shape, bool affine, bool residual,
                          Rectifier rectifier) {
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
    y = NormaliseAddRectify(x, {w, b, mean, var, 1e-5, 0.1}, r, rectifier);
  } else {
    y = at::batch_norm(x, w, b, mean, var, true, 0.1, 1e-5, false);
    y = RectifyByLibTorch(residual ? y + r : y, rectifier);
  }
  (y * RandomTensor(shape, 36)).sum().backward();
  const auto grad = [](const at::Tensor& t) { return t.defined() ? t.grad() : at::zeros({1}); };
  return {y, x.grad(), grad(r), grad(w), grad(b), mean, var};
}

TEST(Normalise, OneFunctionIsBatchNormAdditionAndRectifier) {
  // Channels below, at and above a group of lanes; rows below and above a chunk.
  for (const auto& shape :
       std::vector<std::vector<int64_t>>{{2, 3, 4, 4}, {3, 16, 11, 13}, {5, 40, 9, 9}})
    for (const bool affine : {false, true})
      for (const bool residual : {false, true})
        for (const Rectifier rectifier :
             {Rectifier::kNone, Rectifier::kRelu, Rectifier::kHardtanh}) {
          const NormaliseResult got = Normalise(true, shape, affine, residual, rectifier);
          const NormaliseResult want = Normalise(false, shape, affine, residual, rectifier);
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

// --- Networks ----------------------------------------------------------------------------------

// A network of one node behind its input, without parameters of its own unless given.
Network OneNode(Node node, int channels, int size, std::vector<TensorSpec> tensors = {}) {
  Network network;
  network.name = "test/one-node";
  Node input;
  input.name = "input";
  input.channels = channels;
  input.height = input.width = size;
  node.name = "node";
  node.inputs = {0};
  network.nodes = {input, node};
  network.tensors = std::move(tensors);
  network.output = 1;
  return network;
}

TEST(Execute, AveragePoolingCountsPaddingAsZeros) {
  Node pool;
  pool.kind = NodeKind::kAvgPool;
  pool.window = SquareWindow(3, 2, 1);
  const TrainerModel model(OneNode(pool, 1, 4), at::kDouble, at::kCPU);
  const at::Tensor y = Execute(model, at::ones({1, 1, 4, 4}, at::kDouble), Mode::kEval);
  ExpectClose(y.flatten(), Doubles({4.0 / 9, 6.0 / 9, 6.0 / 9, 1}), 1e-15);
}

TEST(Execute, ConvolutionsPadWithZeroAfterTheQuantizer) {
  Node conv;
  conv.kind = NodeKind::kConv;
  conv.window = SquareWindow(3, 1, 1);
  conv.weight = "node.weight";
  const int channels = 5;
  TrainerModel model(OneNode(conv, channels, 4,
                      {{"node.weight", {1, channels, 3, 3}, DType::kF32, false, Init::kOnes}}),
      at::kDouble, at::kCPU);
  Random random(1);
  model.Initialise(random);
  const at::Tensor y =
      Execute(model, at::ones({1, channels, 4, 4}, at::kDouble), Mode::kEval)[0][0];
  EXPECT_EQ(y[0][0].item<double>(), 4 * channels);
  EXPECT_EQ(y[0][1].item<double>(), 6 * channels);
  EXPECT_EQ(y[1][1].item<double>(), 9 * channels);
}

TEST(Execute, UnevenPaddingIsAppliedWhereItBelongs) {
  Node conv;
  conv.kind = NodeKind::kConv;
  conv.window = {2, 2, 1, 1, /*pad_top=*/1, /*pad_left=*/0, /*pad_bottom=*/0, /*pad_right=*/2};
  conv.weight = "node.weight";
  TrainerModel model(
      OneNode(conv, 1, 3, {{"node.weight", {1, 1, 2, 2}, DType::kF32, false, Init::kOnes}}),
      at::kDouble, at::kCPU);
  Random random(1);
  model.Initialise(random);
  const at::Tensor y = Execute(model, at::ones({1, 1, 3, 3}, at::kDouble), Mode::kEval)[0][0];
  ExpectClose(y.flatten(), Doubles({2, 2, 1, 0, 4, 4, 2, 0, 4, 4, 2, 0}), 0);
}

// relu(batch norm of x + batch norm of x): the second one is the residual of the first's function.
TEST(Execute, TwoBatchNormsMayMeetInOneAddition) {
  Node norm;
  norm.kind = NodeKind::kBatchNorm;
  norm.affine = false;
  Network network = OneNode(norm, 3, 4);
  network.nodes[1].name = "a";
  network.nodes.push_back(network.nodes[1]);
  network.nodes[2].name = "b";
  network.nodes[2].eps = 0.5;
  Node add, relu;
  add.kind = NodeKind::kAdd;
  add.inputs = {1, 2};
  relu.kind = NodeKind::kRelu;
  relu.inputs = {3};
  network.nodes.insert(network.nodes.end(), {add, relu});
  network.output = 4;
  for (const char* name : {"a", "b"}) {
    network.tensors.push_back({std::string(name) + ".running_mean", {3}, DType::kF32, true});
    network.tensors.push_back({std::string(name) + ".running_var", {3}, DType::kF32, true});
  }
  const TrainerModel model(network, at::kDouble, at::kCPU);
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 52).requires_grad_(true);
  const at::Tensor y = Execute(model, x, Mode::kTrain);
  const at::Tensor none;
  const auto normal = [&](double eps) {
    return at::batch_norm(x, none, none, none, none, true, 0.1, eps, false);
  };
  const at::Tensor want = at::relu(normal(1e-5) + normal(0.5));
  ExpectClose(y, want, 1e-12);
  const at::Tensor factors = RandomTensor({2, 3, 4, 4}, 53);
  (y * factors).sum().backward();
  const at::Tensor gradient = x.grad().clone();
  x.mutable_grad() = at::Tensor();
  (want * factors).sum().backward();
  ExpectClose(gradient, x.grad(), 1e-12);
  EXPECT_TRUE(model.at("b.running_mean").ne(0).all().item<bool>());
}

TEST(Execute, EvaluationLeavesStatisticsAloneAndTrainingMovesThem) {
  TrainerModel model(BuildNetwork("mcdonnell/wrn-8-1", {}), at::kFloat, at::kCPU);
  Random random(2);
  model.Initialise(random);
  const at::Tensor x = RandomTensor({4, 3, 32, 32}, 50, at::kFloat);
  const at::Tensor mean = model.at("bn.running_mean");
  const at::Tensor first = Execute(model, x, Mode::kEval);
  EXPECT_TRUE(first.equal(Execute(model, x, Mode::kEval)));
  EXPECT_TRUE(mean.eq(0).all().item<bool>());
  EXPECT_EQ(model.at("bn.num_batches_tracked").item<int64_t>(), 0);
  Execute(model, x, Mode::kTrain);
  EXPECT_TRUE(mean.ne(0).any().item<bool>());
  EXPECT_EQ(model.at("bn.num_batches_tracked").item<int64_t>(), 1);
}

TEST(Execute, ThePlainFloatFormHasTheSameTopologyAndNoQuantizer) {
  TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kDouble, at::kCPU);
  Random random(3);
  model.Initialise(random);
  SetTau(model, 0.9);
  const at::Tensor x = RandomTensor({2, 3, 32, 32}, 51);
  const at::Tensor quantized = Execute(model, x, Mode::kEval);
  const at::Tensor plain = Execute(model, x, Mode::kEval, Precision::kFloat);
  ASSERT_EQ(plain.sizes(), quantized.sizes());
  EXPECT_FALSE(plain.allclose(quantized));
  // Without quantizers a small move of the input is a small move of the logits; with them it would
  // be none or a jump.
  const at::Tensor moved = Execute(model, x + 1e-7, Mode::kEval, Precision::kFloat);
  EXPECT_LT((moved - plain).abs().max().item<double>(), 1e-3);
  EXPECT_GT((moved - plain).abs().max().item<double>(), 0);
}

TEST(Model, InitialWeightsFollowTheSystemsRules) {
  TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  Random random(4);
  model.Initialise(random);
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
  TrainerModel wide(BuildNetwork("mcdonnell/wrn-20-1", {}), at::kFloat, at::kCPU);
  wide.Initialise(random);
  EXPECT_NEAR(wide.at("group1.block0.conv0").std().item<double>(), std::sqrt(2.0 / (32 * 9)), 4e-3);
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
  TrainerModel a(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  Random random(8);
  a.Initialise(random);
  SetTau(a, 0.9);
  StateDict state = a.ToStateDict();
  const std::string tau = "layer1.0.conv1.tau";
  state[tau].shape = state.at(tau).shape.empty() ? std::vector<int64_t>{1} : std::vector<int64_t>{};
  TrainerModel b(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  b.Load(state);
  for (const std::string& name : state.names()) EXPECT_TRUE(a.at(name).equal(b.at(name))) << name;
}

std::string MessageOf(const std::function<void()>& function) {
  try {
    function();
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Model, ATensorThatDoesNotFitIsNamed) {
  TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  StateDict state = model.ToStateDict();
  state["bn1.weight"] = HostTensor::Zeros(DType::kF32, {17});
  const std::string message = MessageOf([&] { model.Load(state); });
  EXPECT_NE(message.find("bn1.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("17"), std::string::npos) << message;
  state.erase("bn1.weight");
  EXPECT_NE(MessageOf([&] { model.Load(state); }).find("bn1.weight"), std::string::npos);
}

// --- Optimizer ---------------------------------------------------------------------------------

TEST(Sgd, StepsAreMomentumWithDecay) {
  Node conv;
  conv.kind = NodeKind::kConv;
  conv.weight = "w";
  TrainerModel model(OneNode(conv, 1, 1, {{"w", {1, 1, 1, 1}, DType::kF32, false, Init::kOnes}}),
      at::kDouble, at::kCPU);
  Random random(1);
  model.Initialise(random);
  Sgd sgd(model, {0.9, 0.01});
  double w = 1, m = 0;
  for (const double gradient : {0.5, -0.25, 2.0}) {
    sgd.ClearGradients();
    (model.at("w") * gradient).sum().backward();
    sgd.Step(0.1);
    m = 0.9 * m + (gradient + 0.01 * w);
    w -= 0.1 * m;
    EXPECT_NEAR(model.at("w").item<double>(), w, 1e-15);
  }
  // Momentum survives the checkpoint.
  Sgd resumed(model, {0.9, 0.01});
  resumed.Load(sgd.ToStateDict());
  resumed.ClearGradients();
  (model.at("w") * 1.0).sum().backward();
  resumed.Step(0.1);
  EXPECT_NEAR(model.at("w").item<double>(), w - 0.1 * (0.9 * m + 1 + 0.01 * w), 1e-15);
}

TEST(Sgd, MomentumOfAnotherShapeIsRefused) {
  TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  Sgd sgd(model, {});
  StateDict state;
  state["bn1.bias"] = HostTensor::Zeros(DType::kF32, {3});
  EXPECT_NE(MessageOf([&] { sgd.Load(state); }).find("bn1.bias"), std::string::npos);
}

// --- Schedules ---------------------------------------------------------------------------------

TEST(LearningRate, RestartsAreThePublishedSequence) {
  LearningRate rate{Schedule::kRestarts, 0.1, 1e-4, 256, 0, {}};
  const double want[] = {.05005, .0001, .1, .05005, .1, .08537, .05005, .01473, .1, .0962};
  for (int epoch = 0; epoch < 10; ++epoch) EXPECT_NEAR(rate.At(epoch), want[epoch], 5e-6) << epoch;
  EXPECT_NEAR(rate.At(255), 1.15e-4, 5e-7);
  for (const int start : {16, 32, 64, 128}) EXPECT_DOUBLE_EQ(rate.At(start), 0.1);
}

TEST(LearningRate, CosineWithWarmUpIsThePublishedOne) {
  LearningRate rate{Schedule::kCosine, 0.1, 0, 600, 5, {}};
  EXPECT_DOUBLE_EQ(rate.At(0), 0.02);
  EXPECT_DOUBLE_EQ(rate.At(4), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(5), 0.05 * (1 + std::cos(std::numbers::pi / 596)));
  EXPECT_DOUBLE_EQ(rate.At(599), 0.05 * (1 + std::cos(std::numbers::pi * 595 / 596)));
  rate.warmup = 0;
  EXPECT_DOUBLE_EQ(rate.At(0), 0.1);
  EXPECT_NEAR(rate.At(300), 0.05, 1e-12);
}

TEST(LearningRate, MilestonesActFourEpochsLateAfterAWarmUpOfFive) {
  LearningRate rate{Schedule::kStep, 0.1, 0, 200, 0, {80, 120}};
  EXPECT_DOUBLE_EQ(rate.At(79), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(80), 0.01);
  EXPECT_NEAR(rate.At(120), 0.001, 1e-15);
  rate.warmup = 5;
  EXPECT_DOUBLE_EQ(rate.At(83), 0.1);
  EXPECT_DOUBLE_EQ(rate.At(84), 0.01);
}

TEST(RecuTau, RisesExponentiallyAsPublished) {
  const std::pair<int, double> want[] = {
      {0, 0.85}, {100, 0.86478}, {300, 0.90286}, {500, 0.956}, {599, 0.98963}};
  for (const auto& [epoch, tau] : want)
    EXPECT_NEAR(RecuTau(0.85, 0.99, epoch, 600), tau, 6e-6) << epoch;
}

TEST(RecuTau, EveryLayerGetsItAndTheGoldenFloatIsHit) {
  TrainerModel model(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  SetTau(model, RecuTau(0.85, 0.99, 100, 600));
  int layers = 0;
  for (const Node& node : model.network().nodes)
    if (node.weights == WeightQuantizer::kRecu) {
      ++layers;
      EXPECT_EQ(model.at(node.name + ".tau").item<float>(), 0.8647766709327698f) << node.name;
    }
  EXPECT_EQ(layers, 18);
}

// --- Data --------------------------------------------------------------------------------------

TEST(Crop, ABlackBorderMovesIn) {
  const uint8_t image[] = {1, 2, 3,  //
                           4, 5, 6,  //
                           7, 8, 9};
  uint8_t out[9];
  Crop(image, 3, 3, 1, Augment::kBlack, {-1, 2, false}, out);
  EXPECT_EQ(std::vector<int>(out, out + 9), (std::vector<int>{0, 0, 0, 3, 0, 0, 6, 0, 0}));
}

TEST(Crop, AReflectedBorderDoesNotRepeatTheEdge) {
  const uint8_t image[] = {1, 2, 3,  //
                           4, 5, 6,  //
                           7, 8, 9};
  uint8_t out[9];
  Crop(image, 3, 3, 1, Augment::kReflect, {-2, 1, false}, out);
  EXPECT_EQ(std::vector<int>(out, out + 9), (std::vector<int>{8, 9, 8, 5, 6, 5, 2, 3, 2}));
}

// numpy.pad and slicing, then a flip: the definition, with every pixel of the border written out.
std::vector<uint8_t> CropByPadding(const std::vector<uint8_t>& image, int size, int channels,
                                   bool reflect, const Placement& placement) {
  const int wide = size + 2 * kCropBorder;
  std::vector<uint8_t> padded(static_cast<size_t>(wide * wide * channels), 0), out;
  for (int y = 0; y < wide; ++y)
    for (int x = 0; x < wide; ++x)
      for (int c = 0; c < channels; ++c) {
        int from_y = y - kCropBorder, from_x = x - kCropBorder;
        if (reflect) {
          const int last = size - 1;
          from_y = last - std::abs(last - std::abs(from_y));
          from_x = last - std::abs(last - std::abs(from_x));
        } else if (from_y < 0 || from_y >= size || from_x < 0 || from_x >= size) {
          continue;
        }
        padded[static_cast<size_t>((y * wide + x) * channels + c)] =
            image[static_cast<size_t>((from_y * size + from_x) * channels + c)];
      }
  for (int y = 0; y < size; ++y)
    for (int x = 0; x < size; ++x)
      for (int c = 0; c < channels; ++c) {
        const int column = placement.flip ? size - 1 - x : x;
        const int at = (y + placement.y + kCropBorder) * wide + column + placement.x + kCropBorder;
        out.push_back(padded[static_cast<size_t>(at * channels + c)]);
      }
  return out;
}

TEST(Crop, EveryPlacementIsPaddingSlicingAndFlipping) {
  constexpr int kSize = 7, kChannels = 3;
  std::vector<uint8_t> image(kSize * kSize * kChannels), out(image.size());
  Random random(60);
  for (uint8_t& v : image) v = static_cast<uint8_t>(random.Below(256));
  for (const Augment augment : {Augment::kBlack, Augment::kReflect})
    for (int y = -kCropBorder; y <= kCropBorder; ++y)
      for (int x = -kCropBorder; x <= kCropBorder; ++x)
        for (const bool flip : {false, true}) {
          Crop(image.data(), kSize, kSize, kChannels, augment, {y, x, flip}, out.data());
          ASSERT_EQ(out, CropByPadding(image, kSize, kChannels, augment == Augment::kReflect,
                                       {y, x, flip}))
              << y << " " << x << " " << flip;
        }
}

TEST(RandomPlacement, EveryPlacementComesAboutEquallyOften) {
  Random random(61);
  std::map<std::tuple<int, int, bool>, int> counts;
  constexpr int kEach = 200, kPlacements = 9 * 9 * 2;
  for (int i = 0; i < kEach * kPlacements; ++i) {
    const Placement p = RandomPlacement(random);
    ++counts[{p.y, p.x, p.flip}];
  }
  ASSERT_EQ(counts.size(), static_cast<size_t>(kPlacements));
  for (const auto& [placement, count] : counts) {
    EXPECT_GT(count, kEach / 2);
    EXPECT_LT(count, kEach * 2);
  }
}

Samples NoiseSamples(size_t n) {
  Samples samples{6, 6, 3, {}, {}};
  Random random(62);
  for (size_t i = 0; i < n * samples.image_bytes(); ++i)
    samples.pixels.push_back(static_cast<uint8_t>(random.Below(256)));
  for (size_t i = 0; i < n; ++i) samples.labels.push_back(static_cast<int64_t>(i % 10));
  return samples;
}

TEST(Batcher, ImagesAreNormalisedOnceRoundedInChannelsLastOrder) {
  const Samples samples = NoiseSamples(3);
  const Preprocessing preprocessing{
      .channels = 3, .mean = {.485, .456, .406}, .std = {.229, .224, .225}};
  Batcher batcher(samples, preprocessing);
  const at::Tensor images = batcher.Images(1, 2);
  EXPECT_EQ(images.sizes(), (std::vector<int64_t>{2, 3, 6, 6}));
  EXPECT_TRUE(images.is_contiguous(at::MemoryFormat::ChannelsLast));
  for (int64_t c = 0; c < 3; ++c) {
    const double byte = samples.image(2)[(4 * 6 + 5) * 3 + c];
    const size_t k = static_cast<size_t>(c);
    EXPECT_EQ(images[1][c][4][5].item<float>(),
              static_cast<float>((byte / 255 - preprocessing.mean[k]) / preprocessing.std[k]));
  }
}

TEST(Batcher, TheBorderIsBlackBeforeNormalisation) {
  Samples samples = NoiseSamples(1);
  std::fill(samples.pixels.begin(), samples.pixels.end(), 200);
  const Preprocessing preprocessing{.channels = 3, .mean = {.5, .4, .3}, .std = {.25, .2, .1}};
  Batcher batcher(samples, preprocessing);
  Random random(63);
  const std::vector<uint32_t> first(200, 0);  // the one image in 200 placements
  const at::Tensor images = batcher.Images(first, Augment::kBlack, random);
  std::set<float> reds;
  const at::Tensor red = images.select(1, 0).contiguous();
  for (int64_t i = 0; i < red.numel(); ++i) reds.insert(red.data_ptr<float>()[i]);
  EXPECT_EQ(reds, (std::set<float>{-2, static_cast<float>((200.0 / 255 - .5) / .25)}));
}

TEST(Batcher, TheSameStateMakesTheSameBatch) {
  const Samples samples = NoiseSamples(9);
  const Preprocessing preprocessing{.channels = 3, .mean = {.5, .5, .5}, .std = {.5, .5, .5}};
  Batcher batcher(samples, preprocessing);
  Random random(64);
  const std::vector<uint32_t> order = ShuffledOrder(9, random);
  EXPECT_EQ(std::set<uint32_t>(order.begin(), order.end()).size(), 9u);
  Random again(random.state());
  const at::Tensor a = batcher.Images(order, Augment::kReflect, random);
  EXPECT_TRUE(a.equal(batcher.Images(order, Augment::kReflect, again)));
  EXPECT_FALSE(a.equal(batcher.Images(order, Augment::kReflect, again)));
  const at::Tensor labels = batcher.Labels(order);
  for (size_t i = 0; i < order.size(); ++i)
    EXPECT_EQ(labels[static_cast<int64_t>(i)].item<int64_t>(), samples.labels[order[i]]);
}

// --- Evaluation --------------------------------------------------------------------------------

TEST(Judge, CountsTheLargestLogitAndTiesGoToTheLowerIndex) {
  const Evaluation e = Judge({1, 3, 3, 0, 0, 5, 2, 1, 0}, {1, 2, 2});
  EXPECT_EQ(e.images, 3u);
  EXPECT_EQ(e.classes, 3u);
  EXPECT_EQ(e.correct, 2u);
  EXPECT_NEAR(e.accuracy(), 200.0 / 3, 1e-12);
  const double want = (std::log(std::exp(-2) + 2) + std::log(2 * std::exp(-5) + 1) +
                       std::log(std::exp(2) + std::exp(1) + 1)) /
                      3;
  EXPECT_NEAR(e.loss, want, 1e-12);
}

TEST(Compare, CountsEqualClassesAndTheLargestDifference) {
  const Evaluation a = Judge({1, 2, 4, 3}, {0, 0}), b = Judge({1, 2.5, 3, 8}, {0, 0});
  const Agreement agreement = Compare(a, b);
  EXPECT_EQ(agreement.same_class, 1u);
  EXPECT_EQ(agreement.largest_logit, 8);
  EXPECT_EQ(agreement.largest_difference, 5);
}

}  // namespace
}  // namespace lbrt
