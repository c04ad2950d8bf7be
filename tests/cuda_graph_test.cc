// The training step as a CUDA graph: what it computes is what the step computes without.
#include "trainer/cuda_graph.h"

#include <cmath>
#include <optional>
#include <ostream>

#include "images/error.h"
#include "network/bits.h"
#include "tests/tensors.h"

namespace lbrt {
namespace {

struct Case {
  const char* name;
  const char* network;
  Arguments arguments;
  bool teacher = false;
};
void PrintTo(const Case& c, std::ostream* to) { *to << c.name; }

Batch RandomBatch(int64_t n, const TrainerModel& model, uint64_t seed, bool teacher) {
  Batch batch;
  batch.input = RandomTensor({n, 3, 8, 8}, seed, model.type())
                    .to(model.device())
                    .contiguous(at::MemoryFormat::ChannelsLast);
  batch.labels = at::arange(n, at::kLong).remainder(10).to(model.device());
  if (teacher)
    batch.teacher_logits = RandomTensor({n, 10}, seed + 1000, model.type()).to(model.device());
  return batch;
}

// What training steps on batches of these sizes leave behind.
struct Course {
  std::vector<double> losses;
  StateDict state;
};

Course Train(const Case& c, at::ScalarType type, at::Device device, const std::vector<int>& sizes,
             CudaGraph* graph) {
  Network network = BuildNetwork(c.network, c.arguments);
  network.input_std = {.2, .25, .3};
  TrainerModel model(network, type, device);
  Random random(1);
  model.Initialise(random);
  SetTau(model, 0.9);
  Optimizers optimizers(model, {}, {});
  std::optional<SearchCost> cost;
  if (IsSearch(network)) cost.emplace(model, nullptr);
  StepOptions options;
  options.lr = options.lr_architecture = 0.01;
  options.cd = 0.003;
  options.cost = cost ? &*cost : nullptr;
  options.graph = graph;
  Course course;
  std::vector<StepResult> results;  // read at the end: a step must not change an earlier one's
  uint64_t seed = 0;
  for (const int n : sizes) {
    const Batch batch = RandomBatch(n, model, ++seed, c.teacher);
    results.push_back(TrainStep(model, optimizers, batch, options));
  }
  for (const StepResult& r : results) course.losses.push_back(r.total.item<double>());
  course.state = model.ToStateDict();
  return course;
}

Arguments Small(Arguments more = {}) {
  more.insert({{"size", "8"}, {"blocks", "1,1"}, {"channels", "8,16"}});
  return more;
}

const Case kCases[] = {
    {"recu", "recu/resnet20", Small()},
    {"recu_teacher", "recu/resnet20", Small(), /*teacher=*/true},
    {"recu_i8_stem", "recu/resnet20", Small({{"stem", "i8"}})},
    {"any_precision", "any-precision/resnet20", Small({{"widths", "1,2,32"}})},
    {"edmips_search", "edmips/cifar-resnet20", Small({{"mode", "search"}})},
    {"mcdonnell", "mcdonnell/wrn-8-1", {{"size", "8"}}},
    {"ternary", "ternary/resnet20", Small()},
};

// A program with CUDA, where the device is; else the step itself.
TEST(CudaGraph, OnACpuItIsTheStepItself) {
  const std::vector<int> sizes(CudaGraph::kWarmup + 2, 8);
  for (const Case& c : kCases) {
    CudaGraph graph;
    const Course with = Train(c, at::kFloat, at::kCPU, sizes, &graph);
    const Course without = Train(c, at::kFloat, at::kCPU, sizes, nullptr);
    EXPECT_FALSE(graph.captured());
    EXPECT_EQ(with.losses, without.losses) << c.name;
    for (const std::string& name : with.state.names())
      EXPECT_EQ(with.state.at(name).bytes, without.state.at(name).bytes) << c.name << " " << name;
  }
}

class CudaGraphTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device here";
    at::globalContext().setDeterministicCuDNN(true);
  }
};

// Three steps of the graph, a batch of another size among them.
std::vector<int> Sizes() {
  std::vector<int> sizes(CudaGraph::kWarmup + 1, 8);
  sizes.insert(sizes.end(), {6, 8, 8});
  return sizes;
}

TEST_P(CudaGraphTest, StepsInDoubleAreThoseWithout) {
  CudaGraph graph;
  const Course with = Train(GetParam(), at::kDouble, at::kCUDA, Sizes(), &graph);
  EXPECT_TRUE(graph.captured());
  const Course without = Train(GetParam(), at::kDouble, at::kCUDA, Sizes(), nullptr);
  for (size_t i = 0; i < with.losses.size(); ++i)
    EXPECT_NEAR(with.losses[i], without.losses[i], 1e-10) << "step " << i;
  for (const std::string& name : with.state.names())
    ExpectClose(FromHost(with.state.at(name)).to(at::kDouble),
                FromHost(without.state.at(name)).to(at::kDouble), 1e-9, name);
}

// Rounding may move a code from step to step.
TEST_P(CudaGraphTest, StepsInFloatAreNearThoseWithout) {
  CudaGraph graph;
  const Course with = Train(GetParam(), at::kFloat, at::kCUDA, Sizes(), &graph);
  EXPECT_TRUE(graph.captured());
  const Course without = Train(GetParam(), at::kFloat, at::kCUDA, Sizes(), nullptr);
  for (size_t i = 0; i < with.losses.size(); ++i)
    EXPECT_NEAR(with.losses[i], without.losses[i], 0.02 * without.losses[i]) << "step " << i;
}

INSTANTIATE_TEST_SUITE_P(Networks, CudaGraphTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// The last one, for the process is of no more use then: by ctest, each test has its own.
TEST(CudaGraphErrors, AStepThatWaitsForTheDeviceIsRefused) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no CUDA device here";
  const TrainerModel model(BuildNetwork(kCases[0].network, kCases[0].arguments), at::kFloat,
                           at::kCUDA);
  const Batch batch = RandomBatch(8, model, 1, /*teacher=*/false);
  const auto reads = [](const Batch& b) {
    StepResult result;
    result.total = result.correct = b.input.sum();
    EXPECT_TRUE(std::isfinite(result.total.item<double>()));
    return result;
  };
  CudaGraph graph;
  for (int step = 0; step < CudaGraph::kWarmup; ++step) graph.Run(model, batch, reads);
  try {
    graph.Run(model, batch, reads);
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("--no-graph"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace lbrt
