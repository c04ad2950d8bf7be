// The differentiable quantizers: golden values of methods.md 9, the same codes as the network
// library's, gradients against the formulas and, where a function is smooth, its slopes.
#include "trainer/quantizers.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tests/tensors.h"

namespace lbrt {
namespace {

using Codes = std::vector<double>;

std::vector<double> ValuesOf(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

WeightTensors TensorsOf(const at::Tensor& weight, const at::Tensor& tau,
                        const at::Tensor& mixture) {
  WeightTensors tensors;
  tensors.weight = weight;
  tensors.tau = tau;
  tensors.mixture = mixture;
  return tensors;
}

// d sum(quantized * factors) / d weight.
at::Tensor GradientOf(const at::Tensor& weight, const at::Tensor& factors,
                      const std::function<at::Tensor(const at::Tensor&)>& quantize) {
  const at::Tensor w = weight.detach().clone().requires_grad_(true);
  (quantize(w) * factors).sum().backward();
  return w.grad();
}

// --- Weights: what all quantizers have -----------------------------------------------------------

// Every quantizer of a network's body, with every number of bits.
std::vector<WeightQuantizer> BodyQuantizers() {
  std::vector<WeightQuantizer> quantizers;
  for (const std::string& name : WeightQuantizerNames()) {
    WeightQuantizer q;
    q.kind = ParseWeightQuantizer(name);
    if (q.kind == WeightQuantizer::kFixedPoint) continue;
    if (q.kind == WeightQuantizer::kTernary) {
      for (const int t_ex : {1, 2, 4}) {
        q.t_ex = t_ex;
        quantizers.push_back(q);
      }
    } else if (EntryOf(q.kind).most_bits == 0) {
      quantizers.push_back(q);
    }
    for (q.bits = 1; q.bits <= EntryOf(q.kind).most_bits; ++q.bits) quantizers.push_back(q);
  }
  return quantizers;
}

// What the network library makes of the weights: the sum of its planes.
template <typename T>
std::vector<double> Inferred(const WeightCodes& codes, const T* weights, int64_t count,
                             int64_t taps) {
  std::vector<double> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    if (codes.planes.empty()) values[i] = static_cast<double>(weights[i]);
    for (const WeightPlane& plane : codes.planes)
      values[i] += plane.scale[i / static_cast<size_t>(taps)] * plane.codes[i];
  }
  return values;
}

template <typename T>
void ExpectCodesOfTheNetwork(at::ScalarType type, double tolerance) {
  constexpr int64_t kOutputs = 16, kTaps = 72;
  const at::Tensor w = RandomTensor({kOutputs, 8, 3, 3}, 3, type) * 0.1;
  for (const WeightQuantizer& q : BodyQuantizers()) {
    SCOPED_TRACE(EntryOf(q.kind).name + std::string(" bits ") + std::to_string(q.bits) + " t_ex " +
                 std::to_string(q.t_ex));
    const WeightCodes want = QuantizeWeights(q, w.data_ptr<T>(), kOutputs, kTaps);
    ASSERT_EQ(want.cases, 0);
    const Quantized got = QuantizeWeights(q, TensorsOf(w, at::full({1}, 0.9, type), {}));
    EXPECT_EQ(got.codes.scalar_type(), type);
    // A ternary sum of planes has no codes of its own.
    if (want.planes.size() == 1 && q.kind != WeightQuantizer::kTernary) {
      const Codes codes(want.planes[0].codes.begin(), want.planes[0].codes.end());
      EXPECT_EQ(ValuesOf(got.codes), codes);
    }
    const std::vector<double> values = ValuesOf(got.Value());
    const std::vector<double> inferred = Inferred(want, w.data_ptr<T>(), w.numel(), kTaps);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(values[i], inferred[i], tolerance * std::abs(inferred[i])) << i;
  }
}

TEST(WeightQuantizers, CodesAreThoseOfTheNetworkLibraryInFloatAndDouble) {
  ExpectCodesOfTheNetwork<float>(at::kFloat, 1e-6);
  ExpectCodesOfTheNetwork<double>(at::kDouble, 1e-14);
}

TEST(WeightQuantizers, FloatWeightsStayAsTheyAre) {
  const at::Tensor w = RandomTensor({2, 3}, 4);
  const Quantized q = QuantizeWeights(WeightQuantizer(), TensorsOf(w, {}, {}));
  EXPECT_TRUE(q.codes.is_same(w));
  EXPECT_FALSE(q.scale.defined());
}

// --- ReCU ----------------------------------------------------------------------------------------

TEST(RecuWeights, AnEqualWeightIsZeroInTraining) {  // methods.md 4.2
  at::Tensor w = RandomTensor({2, 1, 2, 2}, 7);
  w[0].fill_(0.25);  // every weight is its channel's mean
  const at::Tensor q = RecuWeights(w, Doubles({0.9})).Value();
  EXPECT_TRUE(q[0].eq(0).all().item<bool>());
  EXPECT_TRUE(q[1].abs().eq(1).all().item<bool>());
}

// The weights before their sign and clip; methods.md 4.1.
at::Tensor Standardised(const at::Tensor& weight) {
  const at::Tensor w = weight.flatten(1);
  const at::Tensor w0 = w - w.mean(1, true);
  return w0 / ((w0.var(1, true, true) + 1e-5).sqrt() / (2 * std::numbers::sqrt2));
}

TEST(RecuWeights, GradientPassesTheSignAndFlowsThroughClipMeanAndVariance) {
  const at::Tensor w = RandomTensor({3, 2, 3, 3}, 11), factors = RandomTensor({3, 2, 3, 3}, 12);
  const double tau = 0.8;
  const at::Tensor w1 = Standardised(w);
  const double q = -w1.abs().mean().item<double>() * std::log(2 - 2 * tau);  // a plain number
  const int64_t clipped = w1.abs().gt(q).sum().item<int64_t>();
  ASSERT_GT(clipped, 5);  // both sides of the clip are tried
  ASSERT_LT(clipped, 50);
  ExpectClose(
      GradientOf(w, factors,
                 [&](const at::Tensor& x) { return RecuWeights(x, Doubles({tau})).Value(); }),
      Slopes(w,
             [&](const at::Tensor& x) {
               return (Standardised(x).clamp(-q, q) * factors.flatten(1)).sum().item<double>();
             }),
      1e-7);
}

// --- McDonnell -----------------------------------------------------------------------------------

TEST(McDonnellWeights, ScaleIsTheHeDeviationAndZeroStaysZero) {
  // WRN-20-10's first group has 160 inputs (methods.md 3.1).
  at::Tensor w = RandomTensor({2, 160, 3, 3}, 6);
  w[1][0][0][0] = 0;
  const at::Tensor q = McDonnellWeights(w).Value();
  EXPECT_NEAR(q.abs().max().item<double>(), 0.0372678, 5e-8);
  EXPECT_TRUE(q.div(q.abs().max()).equal(w.sign()));
  EXPECT_EQ(q[1][0][0][0].item<double>(), 0);
}

TEST(McDonnellWeights, GradientIsTheIdentityNotScaled) {
  const at::Tensor w = RandomTensor({2, 3, 3, 3}, 13) * 3, factors = RandomTensor({2, 3, 3, 3}, 14);
  ExpectClose(
      GradientOf(w, factors, [](const at::Tensor& x) { return McDonnellWeights(x).Value(); }),
      factors, 1e-15);
}

// --- Any-precision -------------------------------------------------------------------------------

Codes AnyPrecisionCodes(const std::vector<double>& weights, int bits, bool truncating) {
  return ValuesOf(AnyPrecisionWeights(Doubles(weights), bits, truncating).codes);
}

TEST(AnyPrecisionWeights, LevelsAndTheZeroWeightAreTheReferences) {
  // methods.md 9: u = 0.5 gives q = 0, 2, 8 and 128 of 1, 2, 4 and 8 bits, of codes 2q - n.
  const std::vector<double> weights = {-3, 0, 3, 0};
  EXPECT_EQ(AnyPrecisionCodes(weights, 1, false), (Codes{-1, -1, 1, -1}));
  EXPECT_EQ(AnyPrecisionCodes(weights, 2, false), (Codes{-3, 1, 3, 1}));
  EXPECT_EQ(AnyPrecisionCodes(weights, 4, false), (Codes{-15, 1, 15, 1}));
  EXPECT_EQ(AnyPrecisionCodes(weights, 8, false), (Codes{-255, 1, 255, 1}));
  // 2 bits are -E, -E/3, E/3 and E; E is the mean of |W|.
  const double third = std::atanh(std::tanh(1.0) / 3);
  const at::Tensor w = Doubles({-1, -third, third, 1});
  const double mean = (2 + 2 * third) / 4;
  ExpectClose(AnyPrecisionWeights(w, 2, false).Value(),
              Doubles({-mean, -mean / 3, mean / 3, mean}), 1e-15);
}

TEST(AnyPrecisionWeights, NarrowTruncatedCodesArePrefixes) {  // methods.md 1.3 e
  std::vector<double> weights;
  for (int i = -50; i <= 50; ++i) weights.push_back(i / 20.0);
  const Codes eight = AnyPrecisionCodes(weights, 8, true);
  for (int bits = 1; bits <= 8; ++bits) {
    const Codes narrow = AnyPrecisionCodes(weights, bits, true);
    const int levels = (1 << bits) - 1;
    for (size_t i = 0; i < weights.size(); ++i)
      EXPECT_EQ((static_cast<int>(eight[i]) + 255) / 2 >> (8 - bits),
                (static_cast<int>(narrow[i]) + levels) / 2)
          << bits << " " << weights[i];
  }
}

// E tanh(W) / max|tanh(W)|, E a number: what all widths are to the gradient, and 32 bits in value.
at::Tensor TanhWeights(const at::Tensor& w, double mean) {
  const at::Tensor t = w.tanh();
  return mean * t / t.abs().max();
}

TEST(AnyPrecisionWeights, GradientFlowsThroughTanhAndTheLargestButNotThroughTheMean) {
  const at::Tensor w = RandomTensor({3, 2, 3, 3}, 15), factors = RandomTensor({3, 2, 3, 3}, 16);
  const double mean = w.abs().mean().item<double>();
  const at::Tensor slopes = Slopes(w, [&](const at::Tensor& x) {
    return (TanhWeights(x, mean) * factors).sum().item<double>();
  });
  ASSERT_GT(slopes.flatten()[w.flatten().abs().argmax()].abs().item<double>(), 0.01);
  ExpectClose(AnyPrecisionWeights(w, 32, false).Value(), TanhWeights(w, mean), 1e-15);
  for (const bool truncating : {false, true})
    for (const int bits : {1, 2, 3, 4, 8, 32})
      ExpectClose(GradientOf(w, factors,
                             [&](const at::Tensor& x) {
                               return AnyPrecisionWeights(x, bits, truncating).Value();
                             }),
                  slopes, 1e-8, std::to_string(bits));
}

TEST(AnyPrecisionWeights, EqualLargestWeightsShareTheGradientOfTheLargest) {  // methods.md 1.1
  const at::Tensor w = Doubles({1, -1, 0.5}), f = Doubles({3, 0, 2});
  const double mean = 2.5 / 3, largest = std::tanh(1.0);
  const at::Tensor t = w.tanh(), slope = 1 - t * t;
  const double through = mean * (f * t).sum().item<double>() / (largest * largest);
  const at::Tensor want = mean * f * slope / largest - through * Doubles({0.5, -0.5, 0}) * slope;
  const at::Tensor got = GradientOf(
      w, f, [](const at::Tensor& x) { return AnyPrecisionWeights(x, 2, false).Value(); });
  ExpectClose(got, want, 1e-14);
}

// --- EdMIPS --------------------------------------------------------------------------------------

// These weights with two more, +-x, that make the deviation of all of them, zeros up to 20
// included, exactly 1 in float: then steps are the published constants.
at::Tensor OfDeviationOne(std::vector<double> weights) {
  double sum = 0, squares = 0;
  for (const double w : weights) sum += w;
  weights.push_back(-sum);
  for (const double w : weights) squares += w * w;
  const double x = std::sqrt((19 - squares) / 2);
  weights.insert(weights.end(), {x, -x});
  weights.resize(20, 0);
  const at::Tensor result = Doubles(weights).to(at::kFloat);
  EXPECT_EQ(result.std().item<float>(), 1.0f);
  return result;
}

Codes FirstEdmipsCodes(const at::Tensor& weights, int bits, size_t count) {
  Codes codes = ValuesOf(EdmipsWeights(weights, bits).codes);
  codes.resize(count);
  return codes;
}

TEST(EdmipsWeights, GoldenValuesAreThePublishedOnes) {
  // methods.md 9: levels / step (-1.5, -1.5, -0.5, 0.5, 1.5, 1.5); codes are twice as large.
  const at::Tensor w = OfDeviationOne({-2.6, -1, 0, .3, .996, 3});
  EXPECT_EQ(FirstEdmipsCodes(w, 2, 6), (Codes{-3, -3, -1, 1, 3, 3}));
  EXPECT_NEAR(EdmipsWeights(w, 2).scale.item<double>(), 0.996 / 2, 1e-7);
  // Ties, methods.md 2.1: 0, +step, -step, +2 step, -2 step of 3 bits.
  const double step = 0.586;
  EXPECT_EQ(FirstEdmipsCodes(OfDeviationOne({0, step, -step, 2 * step, -2 * step}), 3, 5),
            (Codes{-1, 3, -1, 3, -5}));
  // 1 bit is +-0.798 deviations.
  EXPECT_NEAR(EdmipsWeights(w, 1).Value().abs().min().item<double>(), 0.798, 1e-6);
  EXPECT_NEAR(EdmipsWeights(w, 1).Value().abs().max().item<double>(), 0.798, 1e-6);
}

TEST(EdmipsWeights, GradientIsTheIdentityForAllWeights) {
  const at::Tensor w = RandomTensor({4, 5}, 17) * 4, factors = RandomTensor({4, 5}, 18);
  for (int bits = 1; bits <= 4; ++bits)
    ExpectClose(GradientOf(w, factors,
                           [&](const at::Tensor& x) { return EdmipsWeights(x, bits).Value(); }),
                factors, 1e-15, std::to_string(bits));
}

// d sum(factors * sum_i softmax(alphas)_i parts_i) / d alphas.
at::Tensor MixtureGradient(const at::Tensor& alphas, const std::vector<at::Tensor>& parts,
                           const at::Tensor& factors) {
  std::vector<double> values;
  for (const at::Tensor& part : parts) values.push_back((part * factors).sum().item<double>());
  const at::Tensor v = Doubles(values), shares = alphas.detach().softmax(0);
  return shares * (v - (shares * v).sum());
}

TEST(EdmipsWeights, AMixtureIsTheSharesSumOfAllBitsOfOneWeight) {  // methods.md 2.3
  const at::Tensor w = RandomTensor({4, 5}, 19).requires_grad_(true);
  const at::Tensor alphas = Doubles({0.3, -1, 0.5, 0.01}).requires_grad_(true);
  const at::Tensor factors = RandomTensor({4, 5}, 20);
  WeightQuantizer quantizer;
  quantizer.kind = WeightQuantizer::kEdmips;
  quantizer.mixture = true;
  const at::Tensor mixed = QuantizeWeights(quantizer, TensorsOf(w, {}, alphas)).Value();
  (mixed * factors).sum().backward();
  std::vector<at::Tensor> parts;
  at::Tensor want = at::zeros_like(w);
  const at::Tensor shares = alphas.detach().softmax(0);
  for (int bits = 1; bits <= 4; ++bits) {
    parts.push_back(EdmipsWeights(w.detach(), bits).Value());
    want = want + parts.back() * shares[bits - 1];
  }
  ExpectClose(mixed, want, 1e-15, "value");
  ExpectClose(w.grad(), factors, 1e-14, "weights");
  ExpectClose(alphas.grad(), MixtureGradient(alphas, parts, factors), 1e-14, "alphas");
}

// --- Ternary -------------------------------------------------------------------------------------

TEST(TernaryWeights, GoldenValuesAreThePublishedOnes) {  // methods.md 9
  const at::Tensor w = Doubles({1, -.05, .05, -1});
  ExpectClose(TernaryWeights(w, 1), Doubles({.525, 0, .525, -.525}), 1e-15);
  // Residual expansion: the sum over t of one weight (methods.md 5.1).
  const at::Tensor more = Doubles({1, 0.18, 0.12, -0.07, 0.02});
  const double w1 = 1.37 / 4, w2 = 1.3 / 3, w3 = 1.18 / 2, w4 = 1;
  ExpectClose(TernaryWeights(more, 2), Doubles({w1 + w2, w1 + w2, w1 + w2, -w1, 0}), 1e-15);
  ExpectClose(TernaryWeights(more, 4),
              Doubles({w1 + w2 + w3 + w4, w1 + w2 + w3, w1 + w2, -w1, 0}), 1e-15);
}

TEST(TernaryWeights, GradientIsTExTimesTheIdentityInsideOfOneAndZeroElsewhere) {
  const at::Tensor w = Doubles({-1.5, -1, -0.999, -0.01, 0, 0.4, 0.999, 1, 2});
  const at::Tensor inside = Doubles({0, 0, 1, 1, 1, 1, 1, 0, 0}), factors = RandomTensor({9}, 21);
  for (const int t_ex : {1, 2, 4})
    ExpectClose(
        GradientOf(w, factors, [&](const at::Tensor& x) { return TernaryWeights(x, t_ex); }),
        t_ex * inside * factors, 1e-15, std::to_string(t_ex));
}

// --- Fixed point ---------------------------------------------------------------------------------

TEST(FixedPointWeights, CodesAreTheNetworkLibrarysOfTheFoldedWeights) {  // methods.md 8a
  const std::vector<double> deviations = {.229, .224, .225};
  for (const at::ScalarType type : {at::kFloat, at::kDouble})
    for (const bool stem : {false, true})
      for (const int limbs : {1, 2}) {
        at::Tensor w = RandomTensor({5, 3, 3, 3}, 22, type);
        w[4].fill_(0);
        const at::Tensor fold =
            stem ? (Doubles(deviations) * 255).view({1, 3, 1, 1}) : at::ones({1}, at::kDouble);
        const at::Tensor folded = (w.to(at::kDouble) / fold).contiguous();
        const FixedCodes codes = FixedPointCodes(folded.data_ptr<double>(), 5, 27, limbs);
        const at::Tensor want = at::tensor(codes.codes).to(at::kDouble).view({5, 3, 3, 3}) *
                                Doubles(codes.scale).view({5, 1, 1, 1}) * fold;
        const Quantized got =
            FixedPointWeights(w, limbs, stem ? deviations : std::vector<double>());
        const double tolerance = type == at::kDouble ? 1e-15 : 1e-6;
        ExpectClose(got.Value().to(at::kDouble), want, tolerance * 4);
        ASSERT_LT(tolerance * 8, w.abs().amax().item<double>() / LimbMaximum(limbs));
        if (!stem) {
          EXPECT_EQ(ValuesOf(got.codes), Codes(codes.codes.begin(), codes.codes.end()));
        }
        EXPECT_TRUE(got.Value()[4].eq(0).all().item<bool>());
      }
}

TEST(FixedPointWeights, GradientIsTheIdentity) {
  const at::Tensor w = RandomTensor({5, 3, 3, 3}, 23), factors = RandomTensor({5, 3, 3, 3}, 24);
  for (const auto& deviations : {std::vector<double>(), std::vector<double>{.2, .3, .4}}) {
    const at::Tensor got = GradientOf(w, factors, [&](const at::Tensor& x) {
      return FixedPointWeights(x, 1, deviations).Value();
    });
    ExpectClose(got, factors, 1e-14);
  }
}

TEST(FixedPointWeights, EvaluationKeepsNoGraph) {
  const at::Tensor w = RandomTensor({2, 3, 1, 1}, 25).requires_grad_(true);
  at::NoGradGuard no_grad;
  EXPECT_FALSE(FixedPointWeights(w, 1, {.2, .3, .4}).Value().requires_grad());
}

// --- Activations: codes --------------------------------------------------------------------------

using RoundFunction = at::Tensor (*)(const at::Tensor&, double, int);
const std::pair<const char*, RoundFunction> kRoundFunctions[] = {
    {"one pass", ClippedRound}, {"composed", ClippedRoundComposed}};

TEST(ClippedRound, GoldenValuesAreThePublishedOnes) {
  for (const auto& [name, round] : kRoundFunctions)
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const at::Tensor hwgq = Doubles({.2, .269, .27, .9, 5}).to(type);  // methods.md 9
      EXPECT_EQ(ValuesOf(round(hwgq, HwgqStep(2), 3)), (Codes{0, 0, 1, 2, 3})) << name;
      const at::Tensor any = Doubles({1.0 / 6, .5, 5.0 / 6, -1, 7, 1}).to(type);
      EXPECT_EQ(ValuesOf(round(any, 1.0 / 3, 3)), (Codes{0, 2, 2, 0, 3, 3})) << name;
      // 1 bit is 0 or 1, above 0.5 (methods.md 1.1).
      EXPECT_EQ(ValuesOf(round(Doubles({.5, .51}).to(type), 1, 1)), (Codes{0, 1})) << name;
    }
}

TEST(ClippedRound, GradientIsOneOnTheClosedIntervalAndZeroOutside) {
  for (const auto& [name, round] : kRoundFunctions)
    for (const auto& [step, levels] :
         std::vector<std::pair<double, int>>{{1.0 / 3, 3}, {1, 1}, {HwgqStep(3), 7}}) {
      const double top = step * levels;
      const at::Tensor x =
          Doubles({-1e-9, 0, 1e-9, top / 2, top, std::nextafter(top, 9), 2 * top});
      const auto value = [round = round, step = step, levels = levels](const at::Tensor& t) {
        return round(t, step, levels) * step;
      };
      const at::Tensor gradient = GradientOf(x, at::ones({7}, at::kDouble), value);
      ExpectClose(gradient, Doubles({0, 1, 1, 1, 1, 0, 0}), 1e-15, name);
    }
}

TEST(ClippedRound, BothFormsAgreeInAnyOrderOfMemoryAndOnAnyNumberOfThreads) {
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  for (const at::ScalarType type : {at::kFloat, at::kDouble})
    for (const at::MemoryFormat format :
         {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      const at::Tensor x = RandomTensor({3, 16, 40, 40}, 26, type).clone(format);
      const at::Tensor factors = RandomTensor({3, 16, 40, 40}, 27, type);
      for (const auto& [step, levels] :
           std::vector<std::pair<double, int>>{{1.0 / 255, 255}, {HwgqStep(2), 3}}) {
        EXPECT_TRUE(ClippedRound(x, step, levels).equal(ClippedRoundComposed(x, step, levels)));
        at::Tensor gradients[2];
        for (const int form : {0, 1})
          gradients[form] = GradientOf(
              x, factors,
              [&, round = kRoundFunctions[form].second, step = step, levels = levels](
                  const at::Tensor& t) { return round(t, step, levels); });
        ExpectClose(gradients[0], gradients[1], 0);
      }
    }
  at::set_num_threads(before);
}

TEST(QuantizeActivations, CodesTimesTheStepAreTheValuesAnd32BitsAreRelu) {
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 28) * 2;
  const at::Tensor none;
  for (const bool training : {false, true}) {
    at::Tensor input = x;
    const auto quantize = [&](ActivationQuantizer::Kind kind, int bits) {
      return QuantizeActivations({kind, bits, false}, input, training, none);
    };
    EXPECT_TRUE(quantize(ActivationQuantizer::kNone, 0).codes.equal(x));
    EXPECT_TRUE(quantize(ActivationQuantizer::kSign, 0).codes.equal(x.sign()));
    EXPECT_TRUE(quantize(ActivationQuantizer::kAnyPrecision, 32).codes.equal(x.relu()));
    for (int bits = 1; bits <= 8; ++bits) {
      const QuantizedActivations q = quantize(ActivationQuantizer::kAnyPrecision, bits);
      const int n = (1 << bits) - 1;
      ExpectClose(q.codes * q.scale, (x.clamp(0, 1) * n).round() / n, 1e-15);
    }
    for (int bits = 1; bits <= 4; ++bits) {
      const QuantizedActivations q = quantize(ActivationQuantizer::kHwgq, bits);
      const double step = HwgqStep(bits), n = (1 << bits) - 1;
      ExpectClose(q.codes * q.scale, (x.clamp(0, step * n) / step).round() * step, 1e-15);
    }
    EXPECT_TRUE(input.equal(x));
  }
}

TEST(QuantizeActivations, AMixtureIsTheSharesSumOfAllBits) {  // methods.md 2.3
  at::Tensor x = RandomTensor({2, 3, 4, 4}, 29) * 2;
  x.requires_grad_(true);
  const at::Tensor leaf = x, alphas = Doubles({0.3, -1, 0.5}).requires_grad_(true);
  const at::Tensor factors = RandomTensor({2, 3, 4, 4}, 30), shares = alphas.detach().softmax(0);
  const QuantizedActivations q =
      QuantizeActivations({ActivationQuantizer::kHwgq, 0, true}, x, true, alphas);
  (q.codes * q.scale * factors).sum().backward();
  at::Tensor want = at::zeros_like(leaf.detach()), gradient = want;
  std::vector<at::Tensor> parts;
  for (const int bits : {2, 3, 4}) {
    const double step = HwgqStep(bits), top = step * ((1 << bits) - 1);
    const at::Tensor v = leaf.detach(), share = shares[bits - 2];
    parts.push_back((v.clamp(0, top) / step).round() * step);
    want = want + parts.back() * share;
    gradient = gradient + factors * v.ge(0).logical_and(v.le(top)) * share;
  }
  ExpectClose(q.codes * q.scale, want, 1e-15, "value");
  ExpectClose(leaf.grad(), gradient, 1e-14, "x");
  ExpectClose(alphas.grad(), MixtureGradient(alphas, parts, factors), 1e-13, "alphas");
}

// --- Activations: ReCU's signs -------------------------------------------------------------------

// A function whose slope is max(0, 2 - 2|a|).
at::Tensor TriangleIntegral(const at::Tensor& a) {
  const at::Tensor c = a.clamp(-1, 1);
  return 2 * c - c * c.abs();
}

// RecuSign made of LibTorch's own operators: its gradient with another value.
at::Tensor SignSurrogate(const at::Tensor& x) {
  return TriangleIntegral(x / (x.var({1, 2, 3}, true, true) + 1e-5).sqrt());
}

TEST(RecuSign, SignsAreThreeValued) {
  at::Tensor x = RandomTensor({2, 3, 4, 4}, 31);
  x[0][1][2][3] = 0;
  x[1][0][0][0] = -0.0;
  const RecuSigns r = RecuSign(x);
  ExpectClose(r.signs, at::sign(x), 0);
  ExpectClose(r.unchanged, x, 0);
}

TEST(RecuSign, GradientIsTheTriangleThroughTheSampleVariance) {
  const at::Tensor factors = RandomTensor({2, 3, 4, 5}, 32);
  const at::Tensor values = RandomTensor({2, 3, 4, 5}, 33) * 1.7 + 0.4;
  const at::Tensor want = Slopes(values, [&](const at::Tensor& x) {
    return (SignSurrogate(x) * factors).sum().item<double>();
  });
  for (const at::MemoryFormat format :
       {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const at::Tensor x = values.clone(format).requires_grad_(true);
    (RecuSign(x).signs * factors).sum().backward();
    ExpectClose(x.grad(), want, 1e-8);
  }
}

TEST(RecuSign, GradientIsThatOfLibTorchsOperatorsWithAndWithoutAResidual) {
  for (const bool residual : {false, true})
    for (const at::ScalarType type : {at::kDouble, at::kFloat}) {
      // Sizes that are and are not whole groups of lanes.
      for (const auto& shape : std::vector<std::vector<int64_t>>{{3, 16, 8, 8}, {2, 3, 5, 7}}) {
        const at::Tensor values = RandomTensor(shape, 34, type) + 0.2;
        const at::Tensor f = RandomTensor(shape, 35, type), g = RandomTensor(shape, 36, type);
        at::Tensor gradients[2];
        for (const bool composed : {false, true}) {
          const at::Tensor x = values.clone(at::MemoryFormat::ChannelsLast).requires_grad_(true);
          const RecuSigns r = composed ? RecuSigns{SignSurrogate(x), x} : RecuSign(x);
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
  const at::Tensor x = RandomTensor({2, 3, 4, 4}, 37), f = RandomTensor({2, 3, 4, 4}, 38);
  ExpectClose(GradientOf(x, f, [](const at::Tensor& t) { return RecuSign(t).unchanged; }), f, 0);
}

}  // namespace
}  // namespace lbrt
