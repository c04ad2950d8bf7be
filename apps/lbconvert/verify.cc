#include "apps/lbconvert/verify.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "apps/model_runner.h"
#include "apps/progress.h"
#include "converter/interpret.h"
#include "images/error.h"

namespace lbrt {
namespace {

// One instruction set's runs: what the network was given, and every value the ops stored.
class Recorder {
 public:
  Recorder(const std::vector<uint8_t>& file, const std::string& isa, int width)
      : isa_(isa), runner_(file, "the converted model", Options(isa)) {
    if (width != 0) runner_.SetWidth(width);
  }

  void Run(const Dataset& data, size_t i) {
    runner_.SetSample(data, i);
    values_.assign(runner_.info().tensors, {});
    runner_.Run();
  }

  const std::string& isa() const { return isa_; }
  const ModelRunner& runner() const { return runner_; }
  const PlainValue& input() const { return input_; }
  const std::vector<float>& value(size_t tensor) const { return values_[tensor]; }

 private:
  RunnerOptions Options(const std::string& isa) {
    RunnerOptions options;
    options.isa = isa;
    options.all_widths = true;
    options.observer = Observe;
    options.observer_context = this;
    return options;
  }

  static lbrt_tensor Describe(const lbrt_model* model, uint32_t index) {
    lbrt_tensor tensor = {};
    tensor.struct_size = sizeof tensor;
    lbrt_model_tensor(model, index, &tensor);
    return tensor;
  }
  static size_t Elements(const lbrt_tensor& tensor) {
    size_t elements = 1;
    for (const int32_t side : tensor.shape) elements *= static_cast<size_t>(side);
    return elements;
  }

  static void Observe(void* context, const lbrt_session* session, size_t op) {
    Recorder& recorder = *static_cast<Recorder*>(context);
    if (op == 0) recorder.ReadInput(session);
    lbrt_op made = {};
    made.struct_size = sizeof made;
    lbrt_model_op(recorder.runner_.model(), op, &made);
    for (uint32_t i = 0; i < made.tensor_count; ++i) {
      uint32_t index = 0;
      lbrt_op_tensor(recorder.runner_.model(), op, i, &index);
      std::vector<float>& values = recorder.values_[index];
      values.resize(Elements(Describe(recorder.runner_.model(), index)));
      lbrt_tensor_read(session, index, values.data(), values.size());
    }
  }

  void ReadInput(const lbrt_session* session) {
    lbrt_tensor tensor = {};
    tensor.struct_size = sizeof tensor;
    lbrt_input(session, 0, &tensor);
    const auto read = [&]<typename T>(T) {
      const T* data = static_cast<const T*>(tensor.data);
      input_ = std::vector<T>(data, data + Elements(tensor));
    };
    if (tensor.type == LBRT_U8)
      read(uint8_t{});
    else
      read(float{});
  }

  std::string isa_;
  PlainValue input_;
  std::vector<std::vector<float>> values_;  // by tensor
  ModelRunner runner_;
};

std::string Number(float value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.9g (0x%08x)", static_cast<double>(value),
                std::bit_cast<uint32_t>(value));
  return text;
}

// Throws for the first element that differs.
void Compare(const std::string& where, const GraphNode& node, const std::vector<float>& want,
             const std::vector<float>& got) {
  if (SameBits(want, got)) return;
  if (want.size() != got.size())
    throw InputError(
        where, std::to_string(got.size()) + " values, expected " + std::to_string(want.size()));
  size_t first = want.size(), different = 0;
  for (size_t i = want.size(); i-- > 0;)
    if (std::bit_cast<uint32_t>(want[i]) != std::bit_cast<uint32_t>(got[i])) {
      first = i;
      ++different;
    }
  const size_t channels = static_cast<size_t>(node.channels);
  const size_t pixel = first / channels, width = static_cast<size_t>(node.width);
  throw InputError(where, std::to_string(different) + " of " + std::to_string(want.size()) +
                              " values differ, the first at y " + std::to_string(pixel / width) +
                              ", x " + std::to_string(pixel % width) + ", channel " +
                              std::to_string(first % channels) + ": " + Number(got[first]) +
                              ", expected " + Number(want[first]));
}

}  // namespace

Verification Verify(const LoweredGraph& lowered, int width, const std::vector<uint8_t>& file,
                    const Dataset& data, size_t images) {
  Verification result;
  result.images = images;
  result.ops = lowered.ops.size();
  std::vector<std::unique_ptr<Recorder>> recorders;  // observed by address
  for (size_t i = 0; lbrt_isa_name(i) != nullptr; ++i) {
    recorders.push_back(std::make_unique<Recorder>(file, lbrt_isa_name(i), width));
    result.columns.push_back(lbrt_isa_name(i));
  }
  const std::string at_width = width != 0 ? ", width " + std::to_string(width) : "";
  const std::vector<int> values = StoredValues(lowered);
  Progress progress("verifying", images);
  for (size_t image = 0; image < images; ++image) {
    for (const auto& recorder : recorders) recorder->Run(data, image);
    const std::vector<PlainValue> want = Interpret(*lowered.graph, recorders[0]->input());
    for (const auto& recorder : recorders)
      for (size_t op = 0; op < lowered.ops.size(); ++op)
        for (const int value : OutputsOf(lowered.ops[op])) {
          const size_t tensor = static_cast<size_t>(
              std::lower_bound(values.begin(), values.end(), value) - values.begin());
          const GraphNode& node = lowered.node(value);
          Compare(data.name(image) + ": isa " + recorder->isa() + at_width + ", op " + std::to_string(op) +
                      " (" + lowered.node(lowered.ops[op].nodes[0]).name + "), value " + node.name,
                  node, AsFloats(want[static_cast<size_t>(value)]), recorder->value(tensor));
        }
    const std::vector<float> logits = AsFloats(want[static_cast<size_t>(lowered.graph->output)]);
    result.logits.insert(result.logits.end(), logits.begin(), logits.end());
    progress.Show(image + 1);
  }
  return result;
}

}  // namespace lbrt
