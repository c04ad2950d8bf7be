#include "apps/lbconvert/calibrate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "apps/lbconvert/describe.h"
#include "apps/model_runner.h"
#include "apps/progress.h"
#include "converter/activation_histogram.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "converter/quantize_activations.h"
#include "images/error.h"

namespace lbrt {
namespace {

// Runs a model and collects the histograms of some of its tensors.
class Collector {
 public:
  // `activations` are in groups; convolutions, poolings and concatenations read them, so that each
  // is a tensor.
  Collector(const LoweredGraph& lowered, const std::string& preprocessing,
            const std::vector<std::vector<int>>& activations)
      : histograms_(activations.size()),
        runner_(Emit(lowered, {preprocessing, {}, {}, {}}), "the model to calibrate", Options()) {
    const std::vector<int> values = StoredValues(lowered);
    of_tensor_.resize(values.size());
    for (size_t group = 0; group < activations.size(); ++group)
      for (const int value : activations[group]) {
        const auto tensor = std::ranges::lower_bound(values, value) - values.begin();
        of_tensor_[static_cast<size_t>(tensor)] = {&histograms_[group], lowered.node(value).name};
      }
  }
  Collector(const Collector&) = delete;  // observed by address
  Collector& operator=(const Collector&) = delete;

  void Run(const Dataset& data, size_t i) {
    runner_.SetSample(data, i);
    runner_.Run();
    if (!not_finite_.empty())
      throw InputError(data.name(i), "value " + not_finite_ + " is not finite");
  }
  const ActivationHistogram& histogram(size_t group) const { return histograms_[group]; }

 private:
  struct Wanted {
    ActivationHistogram* histogram = nullptr;
    std::string name;
  };

  RunnerOptions Options() {
    RunnerOptions options;
    options.observer = Observe;
    options.observer_context = this;
    return options;
  }

  static void Observe(void* context, const lbrt_session* session, size_t op) {
    Collector& collector = *static_cast<Collector*>(context);
    lbrt_op made = {};
    made.struct_size = sizeof made;
    lbrt_model_op(collector.runner_.model(), op, &made);
    for (uint32_t i = 0; i < made.tensor_count; ++i) {
      uint32_t tensor = 0;
      lbrt_op_tensor(collector.runner_.model(), op, i, &tensor);
      if (collector.of_tensor_[tensor].histogram != nullptr) collector.Add(session, tensor);
    }
  }

  void Add(const lbrt_session* session, uint32_t tensor) {
    lbrt_tensor shape = {};
    shape.struct_size = sizeof shape;
    lbrt_model_tensor(runner_.model(), tensor, &shape);
    size_t elements = 1;
    for (const int32_t side : shape.shape) elements *= static_cast<size_t>(side);
    values_.resize(elements);
    lbrt_tensor_read(session, tensor, values_.data(), values_.size());
    if (std::ranges::all_of(values_, [](float value) { return std::isfinite(value); }))
      of_tensor_[tensor].histogram->Add(values_);
    else
      not_finite_ = of_tensor_[tensor].name;
  }

  std::vector<ActivationHistogram> histograms_;  // by group
  std::vector<Wanted> of_tensor_;
  std::vector<float> values_;
  std::string not_finite_;
  ModelRunner runner_;
};

std::string Line(const Graph& graph, const std::vector<int>& activations, double step,
                 const ActivationHistogram& histogram) {
  std::string names;
  for (const int value : activations) names += (names.empty() ? "" : ", ") + graph.node(value).name;
  char text[160];
  std::snprintf(text, sizeof text,
                ": rounded to 0 to 255 times %.4g, values up to %.4g clipped at %.4g; error "
                "(root mean square) %.2f %%",
                step, histogram.largest(), step * kCodedActivationLevels,
                100 * std::sqrt(histogram.Error(step, kCodedActivationLevels)));
  return names + text;
}

}  // namespace

size_t Calibration::images() const { return std::min(data.size(), kMostCalibrationImages); }

std::string Calibration::Text() const {
  return Counted(static_cast<int64_t>(images()), "image") + " of " +
         std::filesystem::path(data.source).filename().string();
}

Graph Calibrate(const Graph& graph, const Calibration& calibration,
                std::vector<std::string>* lines) {
  const Dataset& data = calibration.data;
  const std::vector<std::vector<int>> activations = FloatActivations(graph);
  if (activations.empty())
    throw InputError("--activations u8",
                     "no layer with quantized weights reads float activations behind a ReLU: the "
                     "activations are quantized already, or the weights are not");
  const size_t images = calibration.images();
  if (images == 0) throw InputError(data.source, "no images to calibrate with");
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  Collector collector(lowered, calibration.preprocessing, activations);
  Progress progress("calibrating", images);
  for (size_t i = 0; i < images; ++i) {
    collector.Run(data, i * data.size() / images);
    progress.Show(i + 1);
  }
  std::vector<double> steps;
  for (size_t group = 0; group < activations.size(); ++group) {
    steps.push_back(collector.histogram(group).BestStep(kCodedActivationLevels));
    lines->push_back(Line(graph, activations[group], steps.back(), collector.histogram(group)));
  }
  return QuantizeActivations(graph, steps);
}

}  // namespace lbrt
