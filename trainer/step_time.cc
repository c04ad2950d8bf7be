#include "trainer/step_time.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "network/bits.h"
#include "trainer/cuda_graph.h"
#include "trainer/model.h"
#include "trainer/search.h"
#include "trainer/step.h"

namespace lbrt {

using Milliseconds = std::chrono::duration<double, std::milli>;

double MillisecondsPerStep(const Recipe& recipe, at::Device device, Precision precision, int steps,
                           bool fuse) {
  TrainerModel model(recipe.Build(), at::kFloat, device);
  Random random(1);
  model.Initialise(random);
  if (recipe.tau_max > 0) SetTau(model, recipe.tau_min);
  Optimizers optimizers(model, recipe.optimizer, {});
  std::optional<SearchCost> cost;
  if (IsSearch(model.network())) cost.emplace(model, nullptr);
  const Node& input = model.network().nodes.front();
  Batch batch;
  batch.input = at::randn({recipe.batch, input.channels, input.height, input.width})
                    .to(device)
                    .contiguous(at::MemoryFormat::ChannelsLast);
  batch.labels = at::randint(model.network().classes(), {recipe.batch}, at::kLong).to(device);
  StepOptions options;
  options.lr = recipe.rate.At(0);
  options.targets = recipe.targets;
  options.random = &random;
  options.cd = recipe.cd;
  options.cost = cost ? &*cost : nullptr;
  options.fuse = fuse;
  options.precision = precision;
  CudaGraph graph;
  if (fuse && CudaGraph::Takes(model.network())) options.graph = &graph;
  const int warmup = device.is_cpu() ? 2 : CudaGraph::kWarmup + 2;
  std::vector<double> times;
  for (int i = 0; i < steps + warmup; ++i) {
    const auto start = std::chrono::steady_clock::now();
    TrainStep(model, optimizers, batch, options).total.item<double>();
    if (i >= warmup) times.push_back(Milliseconds(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + steps / 2, times.end());
  return times[static_cast<size_t>(steps) / 2];
}

}  // namespace lbrt
