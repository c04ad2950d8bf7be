// The training steps of the published implementations, step for step: the folder of cases is
// LBRT_SHARED/golden (environment, else the folder `shared` beside this repository). A case says in
// its case.json what to build and how it was trained, so a further case needs no code here.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "images/error.h"
#include "network/builder.h"
#include "network/checkpoint.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

fs::path CasesFolder() {
  const char* shared = std::getenv("LBRT_SHARED");
  return fs::path(shared ? shared : LBRT_SOURCE_DIR "/../shared") / "golden";
}

std::vector<std::string> Cases() {
  std::set<std::string> names;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(CasesFolder(), missing))
    if (fs::exists(entry.path() / "case.json")) names.insert(entry.path().filename());
  if (names.empty()) return {"no_case_found"};  // one test that says so by skipping
  return {names.begin(), names.end()};
}

constexpr char kUnknown[] = "unknown network";

// The three-layer network of the case tn_rel2_small.
Network BuildThreeLayers(const std::string& name, const std::vector<std::string>&,
                         const Arguments& given) {
  QuantizationDefaults defaults;
  defaults.weights = WeightQuantizer::kTernary;
  defaults.first_last_quantized = true;
  NetworkBuilder b(name, given, defaults, 32, 10);
  using Part = NetworkBuilder::Part;
  Value x = b.Conv("conv1", b.Input(3), 16, SquareWindow(3, 1, 1), {.part = Part::kStem});
  x = b.Relu("relu1", b.BatchNorm("bn1", x));
  x = b.Conv("conv2", x, 32, SquareWindow(3, 2, 1), {});
  x = b.Relu("relu2", b.BatchNorm("bn2", x));
  return b.Finish(b.Linear("fc", b.GlobalAvgPool("pool", x), b.classes(),
                           {.part = Part::kHead, .bias = true}));
}
constexpr NetworkEntry kThreeLayers = {"test/three-layer-ternary", BuildThreeLayers, nullptr};

double Difference(const at::Tensor& got, const at::Tensor& want, double* relative) {
  const at::Tensor a = got.detach().to(at::kCPU, at::kDouble).flatten(), b = want.to(at::kDouble).flatten();
  *relative = ((a - b).norm() / b.norm()).item<double>();
  return (a - b).abs().max().item<double>();
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    static bool registered = false;
    if (!registered) RegisterNetwork(&kThreeLayers);
    registered = true;
  }

  void SetUp() override {
    folder_ = CasesFolder() / GetParam();
    if (!fs::exists(folder_ / "case.json"))
      GTEST_SKIP() << CasesFolder()
                   << " holds no golden training steps: the published training "
                      "steps are not compared (set LBRT_SHARED)";
    case_ = json::parse(std::ifstream(folder_ / "case.json"));
    Arguments arguments;
    for (const auto& [name, value] : case_["args"].items())
      arguments[name] = value.is_string() ? value.get<std::string>() : value.dump();
    // Costs of layers (EdMIPS) follow from the size of the images.
    arguments["size"] = case_["input_shape"][3].dump();
    try {
      network_ = BuildNetwork(case_["builder"], arguments);
    } catch (const InputError& error) {
      if (std::string(error.what()).rfind(kUnknown, 0) != 0) throw;
      GTEST_SKIP() << GetParam() << ": no builder " << case_["builder"] << " here";
    }
    for (const auto& name : case_["float64_items_stored_as_float32"]) rounded_.insert(name);
    trace_ = ReadCheckpoint(folder_ / "trace.pt").state;
  }

  TrainerModel InitialModel(at::ScalarType type) const {
    TrainerModel model(network_, type, device_);
    model.Load(ReadCheckpoint(folder_ / "init.pt").state);
    return model;
  }

  // Which parameter decays is the network's own rule; the case says by how much.
  static OptimizerOptions Options(const json& o) {
    OptimizerOptions options;
    options.kind = o["type"] == "Adam" ? OptimizerOptions::kAdam : OptimizerOptions::kSgd;
    options.momentum = o.value("momentum", 0.0);
    options.nesterov = o.value("nesterov", false);
    options.weight_decay = o.contains("groups") ? o["groups"][0]["weight_decay"].get<double>()
                                                : o["weight_decay"].get<double>();
    return options;
  }
  Optimizers MakeOptimizers(const TrainerModel& model) const {
    const json& o = case_["optimizer"];
    return o.contains("weights")
               ? Optimizers(model, Options(o["weights"]), Options(o["alphas"]))
               : Optimizers(model, Options(o), {});
  }

  StepOptions Step(int64_t step, const SearchCost* cost) const {
    const json& o = case_["optimizer"];
    StepOptions options;
    options.lr = o["lr_per_step"][static_cast<size_t>(step)];
    if (o.contains("lra_per_step"))
      options.lr_architecture = o["lra_per_step"][static_cast<size_t>(step)];
    options.cd = case_.value("cd", 0.0);
    options.cost = cost;
    if (case_.contains("targets")) {
      const std::string text = case_["targets"];
      options.targets = ParseTargets(text.substr(0, text.find(' ')));
    }
    return options;
  }

  at::Tensor Item(const std::string& name) const { return FromHost(trace_.at(name)); }

  // Batch `index`, laid out as in lbtrain.
  at::Tensor Input(int64_t index, at::ScalarType type) const {
    return Item("input")[index].to(device_, type).contiguous(at::MemoryFormat::ChannelsLast);
  }
  Batch BatchOf(int64_t index, at::ScalarType type) const {
    Batch batch{Input(index, type), Item("target")[index].to(device_), {}};
    if (trace_.contains("teacher_logits"))
      batch.teacher_logits = Item("teacher_logits")[index].to(device_, type);
    return batch;
  }

  // Names of the trace's items that begin with `prefix`, without it.
  std::vector<std::string> Items(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const std::string& name : trace_.names())
      if (name.rfind(prefix, 0) == 0) names.push_back(name.substr(prefix.size()));
    return names;
  }

  // Items of a run whose integer sums were exact, where the trace has such a run.
  std::string Exact() const { return Items("loss64_exact.").empty() ? "64" : "64_exact"; }

  void ExpectEqual64(const at::Tensor& got, const std::string& item) const {
    const at::Tensor want = Item(item);
    double relative;
    const double absolute = Difference(got, want, &relative);
    const bool rounded = rounded_.count(item) != 0 || want.scalar_type() == at::kFloat;
    EXPECT_TRUE(absolute <= AbsoluteBound(item) || relative <= (rounded ? 2e-7 : 1e-10))
        << item << ": largest difference " << absolute << ", relative " << relative;
  }

  // Where the true gradient is 0 (a bias that only feeds another batch norm), both sides have the
  // dust of their sums. Adam divides by the gradient's size + 1e-8: dust of 1e-14 moves a weight by
  // 1e-6 of the learning rate.
  double AbsoluteBound(const std::string& item) const {
    if (item.rfind("after", 0) != 0 || case_["optimizer"].value("type", "") != "Adam") return 1e-12;
    const std::string gradient = "grad" + item.substr(5);
    if (!trace_.contains(gradient)) return 1e-12;
    return Item(gradient).abs().max().item<double>() < 1e-14 ? 1e-9 : 1e-12;
  }

  void ExpectLoss(const at::Tensor& got, const std::string& item) const {
    const at::Tensor want = Item(item);
    const double value = want.item<double>();
    const double bound = want.scalar_type() == at::kFloat ? 2e-7 * std::abs(value) : 1e-10;
    EXPECT_NEAR(got.item<double>(), value, bound) << item;
  }

  void ExpectStepsInDouble() const;

  at::Device device_ = at::kCPU;
  fs::path folder_;
  json case_;
  Network network_;
  StateDict trace_;
  std::set<std::string> rounded_;
};

std::optional<SearchCost> CostOf(const TrainerModel& model) {
  for (const TensorSpec& spec : model.network().tensors)
    if (spec.role == Role::kArchitecture) return SearchCost(model, nullptr);
  return std::nullopt;
}

void GoldenTest::ExpectStepsInDouble() const {
  TrainerModel model = InitialModel(at::kDouble);
  Optimizers optimizers = MakeOptimizers(model);
  const std::optional<SearchCost> cost = CostOf(model);
  const std::string run = Exact();
  for (int64_t step = 0; step < case_["steps"].get<int64_t>(); ++step) {
    const StepResult result =
        TrainStep(model, optimizers, BatchOf(step, at::kDouble),
                  Step(step, cost ? &*cost : nullptr));
    const std::string losses = "loss" + run + "." + std::to_string(step) + ".";
    ExpectLoss(result.total, losses + "total");
    for (size_t i = 0; i < network_.widths.size(); ++i) {
      const int width = network_.widths[network_.widths.size() - 1 - i];
      ExpectLoss(result.losses[i], losses + "w" + std::to_string(width));
    }
    if (cost) ExpectLoss(result.complexity, losses + "complexity");
    if (step != 0) continue;
    const std::vector<std::string> gradients = Items("grad" + run + ".");
    ASSERT_FALSE(gradients.empty());
    EXPECT_LE(model.parameters().size() - gradients.size(), 3u);
    for (const std::string& name : gradients)
      ExpectEqual64(model.at(name).grad(), "grad" + run + "." + name);
  }
  const std::vector<std::string> after = Items("after" + run + ".");
  ASSERT_FALSE(after.empty());
  for (const std::string& name : after) ExpectEqual64(model.at(name), "after" + run + "." + name);
  at::NoGradGuard no_grad;
  if (network_.widths.empty())
    ExpectEqual64(Execute(model, Input(3, at::kDouble), {}), "eval_logits" + run);
  for (const int width : network_.widths)
    ExpectEqual64(Execute(model, Input(3, at::kDouble), {Mode::kEval, width}),
                  "eval_logits" + run + ".w" + std::to_string(width));
}

TEST_P(GoldenTest, StepsInDoubleAreThePublishedOnes) { ExpectStepsInDouble(); }

TEST_P(GoldenTest, StepsInDoubleOnAGpuAreThePublishedOnes) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device here";
  device_ = at::kCUDA;
  ExpectStepsInDouble();
}

TEST_P(GoldenTest, FirstStepInFloatIsThePublishedOneUpToRounding) {
  const json& bounds = case_["suggested_tolerances"]["float32"];
  TrainerModel model = InitialModel(at::kFloat);
  Optimizers optimizers = MakeOptimizers(model);
  const std::optional<SearchCost> cost = CostOf(model);
  const StepResult result =
      TrainStep(model, optimizers, BatchOf(0, at::kFloat), Step(0, cost ? &*cost : nullptr));
  EXPECT_NEAR(result.total.item<double>(), Item("loss.0.total").item<double>(),
              bounds["loss_abs_per_step"][0]);
  std::vector<at::Tensor> got, want;
  for (const std::string& name : Items("grad.")) {
    got.push_back(model.at(name).grad().flatten());
    want.push_back(Item("grad." + name).flatten());
  }
  ASSERT_FALSE(got.empty());
  double relative;
  Difference(at::cat(got), at::cat(want), &relative);
  EXPECT_LE(relative, bounds["grad_step0_rel_l2_if_some_flip"].get<double>());
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace lbrt
