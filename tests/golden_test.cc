// The training steps of the published implementations, step for step: the folder of cases is
// LBRT_SHARED/golden (environment, else the folder `shared` beside this repository). A case says in
// its case.json what to build and how it was trained, so a further case needs no code here.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "images/error.h"
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

double Difference(const at::Tensor& got, const at::Tensor& want, double* relative) {
  const at::Tensor a = got.detach().to(at::kDouble).flatten(), b = want.to(at::kDouble).flatten();
  *relative = ((a - b).norm() / b.norm()).item<double>();
  return (a - b).abs().max().item<double>();
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
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
    TrainerModel model(network_, type, at::kCPU);
    model.Load(ReadCheckpoint(folder_ / "init.pt").state);
    return model;
  }

  Sgd Optimizer(const TrainerModel& model) const {
    const json& o = case_["optimizer"];
    EXPECT_EQ(o["type"], "SGD");
    EXPECT_EQ(o["nesterov"], false);
    return Sgd(model, {o["momentum"], o["weight_decay"]});
  }

  at::Tensor Item(const std::string& name) const { return FromHost(trace_.at(name)); }

  // Batch `index`, laid out as in lbtrain.
  at::Tensor Input(int64_t index, at::ScalarType type) const {
    return Item("input")[index].to(type).contiguous(at::MemoryFormat::ChannelsLast);
  }
  at::Tensor Target(int64_t index) const { return Item("target")[index]; }

  // Names of the trace's items that begin with `prefix`, without it.
  std::vector<std::string> Items(const std::string& prefix) const {
    std::vector<std::string> names;
    for (const std::string& name : trace_.names())
      if (name.rfind(prefix, 0) == 0) names.push_back(name.substr(prefix.size()));
    return names;
  }

  void ExpectEqual64(const at::Tensor& got, const std::string& item) const {
    double relative;
    const double absolute = Difference(got, Item(item), &relative);
    const double bound = rounded_.count(item) ? 2e-7 : 1e-10;
    EXPECT_TRUE(absolute <= 1e-12 || relative <= bound)
        << item << ": largest difference " << absolute << ", relative " << relative;
  }

  fs::path folder_;
  json case_;
  Network network_;
  StateDict trace_;
  std::set<std::string> rounded_;
};

TEST_P(GoldenTest, StepsInDoubleAreThePublishedOnes) {
  TrainerModel model = InitialModel(at::kDouble);
  Sgd sgd = Optimizer(model);
  const json& rates = case_["optimizer"]["lr_per_step"];
  for (int64_t step = 0; step < case_["steps"].get<int64_t>(); ++step) {
    const StepResult result = TrainStep(model, sgd, Input(step, at::kDouble), Target(step),
                                        rates[static_cast<size_t>(step)]);
    const at::Tensor want = Item("loss64." + std::to_string(step) + ".total");
    EXPECT_NEAR(result.loss, want.item<double>(), 2e-11) << "step " << step;
    if (step != 0) continue;
    const std::vector<std::string> gradients = Items("grad64.");
    const size_t dropped = model.parameters().size() - gradients.size();
    EXPECT_LE(dropped, 3u);
    for (const std::string& name : gradients)
      ExpectEqual64(model.at(name).grad(), "grad64." + name);
  }
  ASSERT_FALSE(Items("after64.").empty());
  for (const std::string& name : Items("after64."))
    ExpectEqual64(model.at(name), "after64." + name);
  at::NoGradGuard no_grad;
  ExpectEqual64(Execute(model, Input(3, at::kDouble), Mode::kEval), "eval_logits64");
}

TEST_P(GoldenTest, FirstStepInFloatIsThePublishedOneUpToRounding) {
  const json& bounds = case_["suggested_tolerances"]["float32"];
  TrainerModel model = InitialModel(at::kFloat);
  Sgd sgd = Optimizer(model);
  const StepResult result =
      TrainStep(model, sgd, Input(0, at::kFloat), Target(0), case_["optimizer"]["lr_per_step"][0]);
  EXPECT_NEAR(result.loss, Item("loss.0.total").item<double>(), bounds["loss_abs_per_step"][0]);
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
