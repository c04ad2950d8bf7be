#include "trainer/cuda_graph.h"

#include <ATen/ATen.h>

#include <algorithm>

#ifdef LBRT_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/Event.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include <optional>
#endif

#include "images/error.h"

namespace lbrt {

#ifdef LBRT_CUDA
namespace {

// What `stream` gets from now on waits for what `other` has got so far.
void Wait(c10::Stream stream, c10::Stream other) {
  c10::Event event(c10::DeviceType::CUDA);
  event.record(other);
  event.block(stream);
}

bool SameShape(const Batch& a, const Batch& b) {
  return a.input.sizes() == b.input.sizes() &&
         a.teacher_logits.defined() == b.teacher_logits.defined();
}

// The same tensors' memory holds the next replay's results.
StepResult Copy(const StepResult& result) {
  StepResult copy;
  for (const at::Tensor& loss : result.losses) copy.losses.push_back(loss.clone());
  copy.total = result.total.clone();
  if (result.complexity.defined()) copy.complexity = result.complexity.clone();
  copy.correct = result.correct.clone();
  return copy;
}

}  // namespace

// Warm-up steps run on the stream that is captured then, since what libraries take is a stream's.
struct CudaGraph::State {
  c10::cuda::CUDAStream stream = c10::cuda::getStreamFromPool();
  int steps = 0;  // of the shape of `batch`
  Batch batch;    // in capture and after: the graph's own; before, one of the shape that is counted
  StepResult result;                  // the graph's own
  std::vector<at::Tensor> gradients;  // of model.parameters(); the graph's own
  std::optional<at::cuda::CUDAGraph> graph;

  StepResult Run(const TrainerModel& model, const Batch& given, const Gradients& compute) {
    if (!batch.input.defined() || !SameShape(batch, given)) {
      if (graph) return compute(given);
      batch = given;
      steps = 0;
    }
    if (!graph && ++steps <= kWarmup) return WarmUp(given, compute);
    if (!graph) Capture(model, given, compute);
    return Replay(model, given);
  }

  StepResult WarmUp(const Batch& given, const Gradients& compute) const {
    const c10::cuda::CUDAStream main = c10::cuda::getCurrentCUDAStream();
    Wait(stream, main);
    StepResult r;
    {
      const c10::cuda::CUDAStreamGuard guard(stream);
      r = compute(given);
    }
    Wait(main, stream);
    return r;
  }

  void Capture(const TrainerModel& model, const Batch& given, const Gradients& compute) {
    batch.input = at::empty_like(given.input);
    batch.labels = at::empty_like(given.labels);
    if (given.teacher_logits.defined())
      batch.teacher_logits = at::empty_like(given.teacher_logits);
    // The graph's memory is its own: it cannot use what the warm-up steps have left.
    c10::cuda::device_synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard guard(stream);
    graph.emplace();
    try {
      graph->capture_begin();
      result = compute(batch);
      graph->capture_end();
    } catch (const c10::Error& error) {
      const std::string message = error.what_without_backtrace();
      throw InputError("training step",
                       "cannot be a CUDA graph (--no-graph goes without): " +
                           message.substr(0, message.find('\n')));
    }
    for (const std::string& name : model.parameters()) gradients.push_back(model.at(name).grad());
  }

  StepResult Replay(const TrainerModel& model, const Batch& given) {
    batch.input.copy_(given.input);
    batch.labels.copy_(given.labels);
    if (batch.teacher_logits.defined()) batch.teacher_logits.copy_(given.teacher_logits);
    graph->replay();
    for (size_t i = 0; i < gradients.size(); ++i)
      model.at(model.parameters()[i]).mutable_grad() = gradients[i];
    return Copy(result);
  }
};

StepResult CudaGraph::Run(const TrainerModel& model, const Batch& batch,
                          const Gradients& gradients) {
  if (!batch.input.is_cuda()) return gradients(batch);
  if (!state_) state_ = std::make_unique<State>();
  return state_->Run(model, batch, gradients);
}

bool CudaGraph::captured() const { return state_ && state_->graph.has_value(); }
#else
struct CudaGraph::State {};

StepResult CudaGraph::Run(const TrainerModel&, const Batch& batch, const Gradients& gradients) {
  return gradients(batch);
}

bool CudaGraph::captured() const { return false; }
#endif

bool CudaGraph::Takes(const Network& network) {
  return std::ranges::none_of(
      network.nodes, [](const Node& node) { return node.kind == NodeKind::kDropout; });
}

CudaGraph::CudaGraph() = default;
CudaGraph::~CudaGraph() = default;

}  // namespace lbrt
