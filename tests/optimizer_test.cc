// SGD and Adam against numbers worked out one after another.
#include "trainer/optimizer.h"

#include <cmath>

#include "tests/image_files.h"
#include "tests/tensors.h"

namespace lbrt {
namespace {

// w and v of one element, 1 and -2; v does not decay. alpha is an architecture's.
Network ThreeNumbers() {
  Network network = NodeList(1, 1)
                        .Tensor("w", {1}, Constant(1))
                        .Tensor("v", {1}, Constant(-2))
                        .Tensor("alpha", {1}, Constant(3), Role::kArchitecture)
                        .network;
  network.tensors[1].decay = false;
  return network;
}

struct Numbers {
  explicit Numbers(const OptimizerOptions& options)
      : optimizer(model, Role::kParameter, options) {}

  // One step in which `gradient` is that of w, and twice as much that of v.
  void Step(double gradient, double lr) {
    optimizer.ClearGradients();
    (model.at("w") * gradient + model.at("v") * (2 * gradient)).sum().backward();
    optimizer.Step(lr);
  }
  double operator[](const char* name) const { return model.at(name).item<double>(); }

  TrainerModel model = ModelOf(ThreeNumbers());
  Optimizer optimizer;
};

const double kGradients[] = {0.5, -0.25, 2.0, 0.125};

OptimizerOptions Sgd(double momentum, bool nesterov, double decay) {
  OptimizerOptions options;
  options.momentum = momentum;
  options.nesterov = nesterov;
  options.weight_decay = decay;
  return options;
}

TEST(Optimizer, SgdIsMomentumWithDecayOfThoseThatDecay) {
  for (const bool nesterov : {false, true}) {
    Numbers numbers(Sgd(0.9, nesterov, 0.01));
    double w = 1, mw = 0, v = -2, mv = 0;
    for (const double gradient : kGradients) {
      numbers.Step(gradient, 0.1);
      const double dw = gradient + 0.01 * w, dv = 2 * gradient;
      mw = 0.9 * mw + dw;
      mv = 0.9 * mv + dv;
      w -= 0.1 * (nesterov ? dw + 0.9 * mw : mw);
      v -= 0.1 * (nesterov ? dv + 0.9 * mv : mv);
      EXPECT_NEAR(numbers["w"], w, 1e-15);
      EXPECT_NEAR(numbers["v"], v, 1e-15);
    }
    EXPECT_EQ(numbers["alpha"], 3);
  }
}

TEST(Optimizer, SgdWithoutMomentumKeepsNoAverages) {
  Numbers numbers(Sgd(0, false, 0));
  numbers.Step(0.5, 0.1);
  numbers.Step(0.25, 0.1);
  EXPECT_NEAR(numbers["w"], 1 - 0.05 - 0.025, 1e-15);
  EXPECT_EQ(numbers.optimizer.ToStateDict().size(), 0u);
}

OptimizerOptions Adam(double decay) {
  OptimizerOptions options;
  options.kind = OptimizerOptions::kAdam;
  options.weight_decay = decay;
  return options;
}

struct AdamNumber {
  double w, decay, m = 0, s = 0;
  int steps = 0;
  void Step(double gradient, double lr) {
    const double d = gradient + decay * w;
    ++steps;
    m = 0.9 * m + 0.1 * d;
    s = 0.999 * s + 0.001 * d * d;
    const double mean = m / (1 - std::pow(0.9, steps));
    const double square = s / (1 - std::pow(0.999, steps));
    w -= lr * mean / (std::sqrt(square) + 1e-8);
  }
};

TEST(Optimizer, AdamIsBiasCorrectedWithDecayInTheGradient) {
  Numbers numbers(Adam(0.01));
  AdamNumber w{1, 0.01}, v{-2, 0};
  for (const double gradient : kGradients) {
    numbers.Step(gradient, 0.1);
    w.Step(gradient, 0.1);
    v.Step(2 * gradient, 0.1);
    EXPECT_NEAR(numbers["w"], w.w, 1e-14);
    EXPECT_NEAR(numbers["v"], v.w, 1e-14);
  }
}

TEST(Optimizer, StateSurvivesTheCheckpoint) {
  for (const OptimizerOptions& options : {Sgd(0.9, true, 0.01), Adam(0.01)}) {
    Numbers whole(options), resumed(options);
    for (const double gradient : kGradients) whole.Step(gradient, 0.1);
    resumed.Step(kGradients[0], 0.1);
    resumed.Step(kGradients[1], 0.1);
    const StateDict state = resumed.optimizer.ToStateDict();
    EXPECT_EQ(state.contains("steps"), options.kind == OptimizerOptions::kAdam);
    EXPECT_EQ(state.contains("w.square"), options.kind == OptimizerOptions::kAdam);
    EXPECT_TRUE(state.contains("v"));
    Optimizer next(resumed.model, Role::kParameter, options);
    next.Load(state);
    std::swap(resumed.optimizer, next);
    resumed.Step(kGradients[2], 0.1);
    resumed.Step(kGradients[3], 0.1);
    EXPECT_EQ(resumed["w"], whole["w"]);
    EXPECT_EQ(resumed["v"], whole["v"]);
  }
}

TEST(Optimizer, OnlyTensorsOfItsRoleWithAGradientMove) {
  for (const OptimizerOptions& options : {Sgd(0.9, false, 0.01), Adam(0.01)}) {
    const TrainerModel model = ModelOf(ThreeNumbers());
    Optimizer weights(model, Role::kParameter, options);
    Optimizer architecture(model, Role::kArchitecture, options);
    EXPECT_FALSE(architecture.empty());
    (model.at("w") * 2 + model.at("alpha")).sum().backward();
    weights.Step(0.1);
    EXPECT_NE(model.at("w").item<double>(), 1);
    EXPECT_EQ(model.at("v").item<double>(), -2);  // no gradient: no decay either
    EXPECT_EQ(model.at("alpha").item<double>(), 3);
    architecture.Step(0.1);
    EXPECT_NE(model.at("alpha").item<double>(), 3);
    weights.ClearGradients();
    EXPECT_FALSE(model.at("w").grad().defined());
    EXPECT_TRUE(model.at("alpha").grad().defined());
  }
  const TrainerModel recu(BuildNetwork("recu/resnet20", {}), at::kFloat, at::kCPU);
  EXPECT_TRUE(Optimizer(recu, Role::kArchitecture, {}).empty());
}

TEST(Optimizer, AnAverageOfAnotherShapeIsRefused) {
  Numbers numbers(Sgd(0.9, false, 0));
  StateDict state;
  state["v"] = HostTensor::Zeros(DType::kF64, {3});
  ExpectRefusal([&] { numbers.optimizer.Load(state); }, "optimizer tensor \"v\": has shape 3");
}

TEST(Optimizer, KindsHaveTheNamesOfRecipes) {
  for (const char* name : {"sgd", "adam"}) EXPECT_STREQ(OptimizerName(ParseOptimizer(name)), name);
  ExpectRefusal([] { ParseOptimizer("lion"); }, "sgd or adam");
}

}  // namespace
}  // namespace lbrt
