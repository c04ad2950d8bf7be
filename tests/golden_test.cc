// The training steps of the published implementations, step for step: the folder of cases is
// LBRT_SHARED/golden (environment, else the folder `shared` beside this repository). A case says in
// its case.json what to build and how it was trained, so a further case needs no code here but its
// name.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

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

constexpr const char* kCases[] = {
    "ap_resnet20_small", "ap_svhn",     "ap_svhn_hard",       "ed_final_small",
    "ed_search_small",   "rc_resnet20", "rc_two_stage_block", "tn_rel2_small",
    "tn_resnet20",       "wr_wrn20_1",
};

constexpr char kNone[] =
    " does not exist: the published training steps are not compared (set LBRT_SHARED)";

TEST(Golden, TheFolderHoldsEveryCaseAndNoOther) {
  if (!fs::exists(CasesFolder())) GTEST_SKIP() << CasesFolder() << kNone;
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(CasesFolder()))
    if (entry.is_directory()) found.insert(entry.path().filename());
  EXPECT_EQ(found, std::set<std::string>(std::begin(kCases), std::end(kCases)));
}

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

at::Tensor Values(const at::Tensor& t) { return t.detach().to(at::kCPU, at::kDouble).flatten(); }

double Norm(const at::Tensor& t) { return Values(t).norm().item<double>(); }

double Difference(const at::Tensor& got, const at::Tensor& want, double* relative) {
  const at::Tensor a = Values(got), b = Values(want);
  *relative = ((a - b).norm() / b.norm()).item<double>();
  return (a - b).abs().max().item<double>();
}

class GoldenTest : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    static bool registered = false;
    if (!registered) RegisterNetwork(&kThreeLayers);
    registered = true;
  }

  void SetUp() override {
    folder_ = CasesFolder() / GetParam();
    if (!fs::exists(CasesFolder())) GTEST_SKIP() << CasesFolder() << kNone;
    ASSERT_TRUE(fs::exists(folder_ / "case.json")) << folder_;
    case_ = json::parse(std::ifstream(folder_ / "case.json"));
    Arguments arguments;
    for (const auto& [name, value] : case_["args"].items())
      arguments[name] = value.is_string() ? value.get<std::string>() : value.dump();
    // Costs of layers (EdMIPS) follow from the size of the images.
    arguments["size"] = case_["input_shape"][3].dump();
    network_ = BuildNetwork(case_["builder"], arguments);
    for (const auto& name : case_["float64_items_stored_as_float32"]) rounded_.insert(name);
    for (const auto& name : case_["float64_items_dropped"]) dropped_.insert(name);
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

  // Items of a run whose integer sums were exact, where the trace has such a run.
  std::string Exact() const { return trace_.contains("loss64_exact.0.total") ? "64_exact" : "64"; }

  // Whether to compare an item: the large ones that a case leaves out are listed in it.
  bool Has(const std::string& item) const {
    EXPECT_NE(trace_.contains(item), dropped_.count(item) != 0) << item;
    return trace_.contains(item);
  }

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

  // All the losses of a step, "loss64.0." and so on.
  void ExpectLosses(const StepResult& result, const std::string& step, double bound) const {
    const auto expect = [&](const at::Tensor& got, const std::string& term) {
      const double want = Item(step + term).item<double>();
      EXPECT_NEAR(got.item<double>(), want, bound) << step << term;
    };
    expect(result.total, "total");
    for (size_t i = 0; i < network_.widths.size(); ++i)
      expect(result.losses[i],
             "w" + std::to_string(network_.widths[network_.widths.size() - 1 - i]));
    if (!result.complexity.defined()) return;
    expect(result.losses[0], "ce");
    expect(result.complexity, "complexity");
  }

  void ExpectStepsInDouble() const;
  void ExpectGradientsInFloat(const TrainerModel& model) const;
  void ExpectEndInFloat(const TrainerModel& model) const;
  const json& FloatBounds() const { return case_["suggested_tolerances"]["float32"]; }
  bool CodesMayFlipInFirstStep() const;

  at::Device device_ = at::kCPU;
  fs::path folder_;
  json case_;
  Network network_;
  StateDict trace_;
  std::set<std::string> rounded_, dropped_;
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
    ExpectLosses(result, "loss" + run + "." + std::to_string(step) + ".", 1e-10);
    if (step != 0) continue;
    for (const std::string& name : model.parameters())
      if (const std::string item = "grad" + run + "." + name; Has(item))
        ExpectEqual64(model.at(name).grad(), item);
  }
  for (const TensorSpec& spec : network_.tensors)
    if (const std::string item = "after" + run + "." + spec.name; Has(item))
      ExpectEqual64(model.at(spec.name), item);
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

// --- In float32 ----------------------------------------------------------------------------------
// Rounding moves a gradient by about 1e-6, until it moves an activation over the edge of a code or
// of a ReLU: that changes the gradients of the layers before it by 1e-4 to 1e-1. Cases bound the
// difference of all parameters together. One parameter's may be several times as large, by 0.4 of
// it where a code flipped in their own runs; where its true value is 0 or nearly so, what is left
// is dust of sums as large as the whole.
constexpr double kOneParameter = 30;
constexpr double kOneParameterAfterAFlip = 0.7;
constexpr double kOneImageAfterAFlip = 0.05;
constexpr double kDust = 2e-6;

// L2 norms of a tensor's difference from the trace, and of what the difference is a part of.
struct Compared {
  std::string name;
  double difference, norm;
};

Compared Together(const std::vector<Compared>& tensors) {
  Compared all = {"all", 0, 0};
  for (const Compared& t : tensors)
    all = {"all", std::hypot(all.difference, t.difference), std::hypot(all.norm, t.norm)};
  return all;
}

void ExpectWithin(const Compared& tensor, double relative, double absolute = 0) {
  EXPECT_LE(tensor.difference, relative * tensor.norm + absolute)
      << tensor.name << ": norm " << tensor.norm;
}

// Whether it happened when the authors moved the input by rounding errors.
bool GoldenTest::CodesMayFlipInFirstStep() const {
  std::vector<double> measured = case_["noise"]["float32_step0_samples"]["grad_rel_l2"];
  for (const json& variation : case_["noise"]["float32_trace_vs"])
    measured.push_back(variation["grad_step0"]["rel_l2"]);
  return *std::max_element(measured.begin(), measured.end()) >
         FloatBounds()["grad_step0_rel_l2_if_no_flip"];
}

void GoldenTest::ExpectGradientsInFloat(const TrainerModel& model) const {
  std::vector<Compared> gradients;
  for (const std::string& name : model.parameters()) {
    const at::Tensor want = Item("grad." + name);
    gradients.push_back(
        {"grad." + name, Norm(Values(model.at(name).grad()) - Values(want)), Norm(want)});
  }
  const Compared all = Together(gradients);
  const double none = FloatBounds()["grad_step0_rel_l2_if_no_flip"];
  const double some = FloatBounds()["grad_step0_rel_l2_if_some_flip"];
  const bool flipped = CodesMayFlipInFirstStep() && all.difference > none * all.norm;
  ExpectWithin(all, flipped ? some : none);
  for (const Compared& gradient : gradients)
    ExpectWithin(gradient, flipped ? kOneParameterAfterAFlip : kOneParameter * none,
                 kDust * all.norm);
}

void GoldenTest::ExpectEndInFloat(const TrainerModel& model) const {
  const StateDict init = ReadCheckpoint(folder_ / "init.pt").state;
  const double of_update = FloatBounds()["params_after_rel_l2_of_update"];
  const double of_buffer = FloatBounds()["buffers_after_rel_l2"];
  std::vector<Compared> updates;
  for (const TensorSpec& spec : network_.tensors) {
    const at::Tensor want = Values(Item("after." + spec.name));
    const double difference = Norm(Values(model.at(spec.name)) - want);
    if (spec.trains())
      updates.push_back({spec.name, difference, Norm(want - Values(FromHost(init.at(spec.name))))});
    else  // the values that a running mean is of are about 1 large
      ExpectWithin({"after." + spec.name, difference, Norm(want)}, of_buffer, kDust);
  }
  const Compared all = Together(updates);
  ExpectWithin(all, of_update);
  for (const Compared& update : updates)
    ExpectWithin({"after." + update.name, update.difference, update.norm},
                 kOneParameter * of_update,
                 kDust * (all.norm + Norm(Item("after." + update.name))));
  at::NoGradGuard no_grad;
  const at::Tensor want = Item("eval_logits"), got = Execute(model, Input(3, at::kFloat), {});
  const double bound = kOneParameter * FloatBounds()["eval_logits_rel_l2"].get<double>();
  int64_t flipped = 0;  // a code of an image, in evaluation, changes that image's logits alone
  for (int64_t image = 0; image < want.size(0); ++image) {
    const Compared logits = {"eval_logits", Norm(got[image] - want[image]), Norm(want[image])};
    flipped += logits.difference > bound * logits.norm;
    ExpectWithin(logits, kOneImageAfterAFlip);
  }
  EXPECT_LE(flipped, 1);
}

TEST_P(GoldenTest, StepsInFloatAreThePublishedOnesUpToRounding) {
  at::set_num_threads(1);  // as in the published run
  TrainerModel model = InitialModel(at::kFloat);
  Optimizers optimizers = MakeOptimizers(model);
  const std::optional<SearchCost> cost = CostOf(model);
  const bool usable = FloatBounds()["usable_after_last_step"];
  for (int64_t step = 0; step < (usable ? case_["steps"].get<int64_t>() : 1); ++step) {
    const StepResult result = TrainStep(model, optimizers, BatchOf(step, at::kFloat),
                                        Step(step, cost ? &*cost : nullptr));
    ExpectLosses(result, "loss." + std::to_string(step) + ".",
                 FloatBounds()["loss_abs_per_step"][static_cast<size_t>(step)]);
    if (step == 0) ExpectGradientsInFloat(model);
  }
  if (usable) ExpectEndInFloat(model);
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace lbrt
