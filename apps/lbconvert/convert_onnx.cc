#include "apps/lbconvert/convert_onnx.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "apps/lbconvert/describe.h"
#include "apps/lbconvert/verify.h"
#include "apps/model_runner.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "converter/emit.h"
#include "converter/onnx/interpret.h"
#include "converter/onnx/lower.h"
#include "converter/passes.h"
#include "images/error.h"
#include "images/file.h"
#include "images/preprocess.h"

namespace lbrt {
namespace {

std::string TextOf(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  return std::string(bytes.begin(), bytes.end());
}

std::string PreprocessingOf(const std::string& path, const GraphNode& input) {
  const Preprocessing p = FromText(TextOf(path), path);
  const bool sized = p.crop_height != 0;
  if (p.channels != input.channels || (sized && (p.crop_height + 2 * p.pad != input.height ||
                                                 p.crop_width + 2 * p.pad != input.width)))
    throw InputError(path, "makes other images than the graph's input, " +
                               std::to_string(input.height) + "x" + std::to_string(input.width) +
                               " pixels of " + std::to_string(input.channels) + " channels");
  return ToText(p);
}

std::vector<std::string> LabelsOf(const std::string& path, int classes) {
  std::vector<std::string> labels;
  std::istringstream text(TextOf(path));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    labels.push_back(line);
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  if (labels.size() != static_cast<size_t>(classes))
    throw InputError(path, std::to_string(labels.size()) + " labels, expected " +
                               std::to_string(classes) + ", one a line");
  return labels;
}

// What the runner was given, as ONNX has it.
onnx::Array InputOf(const ModelRunner& runner, const onnx::Model& model) {
  onnx::Array input;
  input.shape = model.inputs[0].shape;
  input.shape[0] = 1;
  const auto* values = static_cast<const float*>(runner.input().data);
  const auto channels = static_cast<size_t>(runner.input().shape[3]);
  const size_t count = onnx::Count(input.shape), pixels = count / channels;
  for (size_t i = 0; i < count; ++i)
    input.values.push_back(static_cast<double>(values[i % pixels * channels + i / pixels]));
  return input;
}

// The model beside the semantics of ONNX, which know nothing of the conversion.
std::string CompareWithOnnx(const onnx::Model& model, const std::vector<uint8_t>& file,
                            const Dataset& data, size_t images) {
  ModelRunner runner(file, "the converted model", {});
  const std::string logits = onnx::LogitsOf(model);
  size_t same = 0;
  double largest = 0;
  Progress progress("comparing", images);
  for (size_t i = 0; i < images; ++i) {
    runner.SetSample(data, i);
    const std::vector<double> want =
        onnx::Interpret(model, InputOf(runner, model)).at(logits).values;
    const auto got = runner.Run();
    for (size_t c = 0; c < want.size(); ++c)
      largest = std::max(largest, std::fabs(want[c] - static_cast<double>(got[c])));
    const std::vector<float> wanted(want.begin(), want.end());
    same += Ranked(wanted, 1) == Ranked(got, 1);
    progress.Show(i + 1);
  }
  char difference[32];
  std::snprintf(difference, sizeof difference, "%.3g", largest);
  return "ONNX semantics: top-1 agrees on " + std::to_string(same) + " of " +
         Counted(static_cast<int64_t>(images), "sample") +
         ", the largest difference of a logit is " + difference + "\n";
}

std::string VerifyReport(const OnnxConversion& conversion, const onnx::Model& model,
                         const LoweredGraph& lowered, const std::vector<uint8_t>& file) {
  const Dataset data = OpenImages(conversion.verify);
  const size_t images = std::min(conversion.limit, data.size());
  if (images == 0) throw InputError(conversion.verify[0], "no samples");
  const Verification result = Verify(lowered, file, data, images);
  std::string text = "verified: " + Counted(static_cast<int64_t>(result.images), "image") + ", " +
                     Counted(static_cast<int64_t>(result.ops), "op") + ", on ";
  for (const std::string& column : result.columns) text += column + ", ";
  return text + "equal to the interpreter bit by bit\n" +
         CompareWithOnnx(model, file, data, images);
}

}  // namespace

bool IsOnnx(const std::string& path) { return std::filesystem::path(path).extension() == ".onnx"; }

std::string ConvertOnnx(const OnnxConversion& conversion) {
  const onnx::Model model = onnx::ReadModel(ReadFile(conversion.graph), conversion.graph);
  ImportReport report;
  const Graph graph = [&] {
    try {
      return onnx::Lower(model, &report.lines);
    } catch (const InputError& error) {
      throw InputError(conversion.graph, error.what());
    }
  }();
  ModelTexts texts;
  if (!conversion.preprocess.empty())
    texts.preprocessing = PreprocessingOf(conversion.preprocess, graph.node(0));
  if (!conversion.labels.empty())
    texts.labels = LabelsOf(conversion.labels, graph.node(graph.output).channels);
  texts.provenance = {{"graph", std::filesystem::path(conversion.graph).filename().string()},
                      {"producer", model.producer},
                      {"converter", "lbconvert " LBRT_VERSION}};
  LoweredGraph lowered = Lower(graph);
  for (const Pass& pass : Passes()) pass.run(lowered);
  const std::vector<uint8_t> file = Emit(lowered, texts);
  RunnerOptions scalar;
  scalar.isa = "scalar";
  const ModelRunner opened(file, "the converted model", scalar);  // as every reader will
  std::string checked;
  if (!conversion.verify.empty()) checked = VerifyReport(conversion, model, lowered, file);
  WriteFile(conversion.model, file);
  return ConversionReport(lowered, report) + "\n" + Printable(conversion.model) + ": " +
         Grouped(static_cast<int64_t>(file.size())) + " bytes, " +
         Grouped(static_cast<int64_t>(lowered.ops.size())) + " ops made of " +
         Grouped(static_cast<int64_t>(model.nodes.size())) + " nodes\n" + checked;
}

}  // namespace lbrt
