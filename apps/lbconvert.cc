// lbconvert: makes a `.lbm` model of a checkpoint, checks it, and describes both.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <optional>

#include "apps/command_line.h"
#include "apps/explain.h"
#include "apps/lbconvert/calibrate.h"
#include "apps/lbconvert/convert_onnx.h"
#include "apps/lbconvert/describe.h"
#include "apps/lbconvert/emit_c.h"
#include "apps/lbconvert/verify.h"
#include "apps/model_runner.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "converter/emit.h"
#include "converter/passes.h"
#include "images/file.h"
#include "images/preprocess.h"
#include "network/architecture.h"
#include "network/checkpoint.h"
#include "network/import.h"
#ifdef LBRT_FLOAT_CHECK
#include "apps/lbconvert/float_check.h"
#endif

namespace lbrt {
namespace {

struct Flags {
  std::string checkpoint, model;
  std::string network, stem = "auto", fp32_layers = "f32", activations = "f32";
  std::vector<std::string> set;  // KEY=VALUE
  std::string bits, arch;
  std::string preprocess, labels;
  std::string describe, emit_c;
  std::vector<std::string> calibrate, verify, measure;  // a data set's path or paths
  size_t limit = 16;
  double max_drop = 1;  // points
  std::vector<int> widths;  // none: all but 32
  int truncate = 0;         // to this width
};

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// What the checkpoint says under `key`, else `fallback`; a file the user names wins over both.
std::string TextOf(const std::string& file, const Checkpoint& checkpoint, const std::string& key,
                   const std::string& fallback) {
  if (!file.empty()) {
    const std::vector<uint8_t> bytes = ReadFile(file);
    return std::string(bytes.begin(), bytes.end());
  }
  const auto found = checkpoint.text.find(key);
  return found != checkpoint.text.end() ? found->second : fallback;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

Preprocessing PreprocessingOf(const Flags& flags, const Checkpoint& checkpoint,
                              const Network& network) {
  const std::string name =
      flags.preprocess.empty() ? flags.checkpoint + ": preprocessing" : flags.preprocess;
  const Preprocessing p = FromText(
      TextOf(flags.preprocess, checkpoint, "preprocessing", DefaultsOf(network).preprocessing),
      name);
  const Node& input = network.nodes[0];
  if (p.channels != input.channels)
    throw InputError(name, "makes " + std::to_string(p.channels) + " channels, expected " +
                               std::to_string(input.channels) + " as " + network.name + " has");
  if (p.crop_height != 0 &&
      (p.crop_height + 2 * p.pad != input.height || p.crop_width + 2 * p.pad != input.width))
    throw InputError(name, "makes images of " + std::to_string(p.crop_width + 2 * p.pad) + "x" +
                               std::to_string(p.crop_height + 2 * p.pad) + " pixels, expected " +
                               std::to_string(input.width) + "x" + std::to_string(input.height) +
                               " as " + network.name + " has");
  return p;
}

// The deviations that the network was trained with, which --preprocess does not change.
std::vector<double> TrainedStd(const Flags& flags, const Checkpoint& checkpoint,
                               const Network& network) {
  const std::string text =
      TextOf("", checkpoint, "preprocessing", DefaultsOf(network).preprocessing);
  const Preprocessing p = FromText(text, flags.checkpoint + ": preprocessing");
  return p.channels == network.nodes[0].channels ? p.std : std::vector<double>();
}

std::vector<std::string> LabelsOf(const Flags& flags, const Checkpoint& checkpoint,
                                  const Network& network) {
  std::vector<std::string> labels =
      Lines(TextOf(flags.labels, checkpoint, "labels", DefaultsOf(network).labels));
  const size_t classes = static_cast<size_t>(network.node(network.output).channels);
  if (!labels.empty() && labels.size() != classes)
    throw InputError(flags.labels.empty() ? flags.checkpoint : flags.labels,
                     std::to_string(labels.size()) + " labels, expected " +
                         std::to_string(classes) + ", one a line");
  return labels;
}

// What the user says of the network beside its name.
Arguments ArgumentsOf(const Flags& flags) {
  Arguments arguments = KeyValues("--set", flags.set);
  const std::string& bits = flags.arch.empty() ? flags.bits : flags.arch;
  if (bits.empty()) return arguments;
  for (const char* key : {"bits", "weight_bits", "activation_bits"})
    if (arguments.count(key) != 0)
      throw UsageError(std::string("--set ") + key + ": the bits are given twice");
  if (flags.arch.empty()) {
    arguments["bits"] = bits;
    return WithBitsRead(arguments);
  }
  arguments.merge(ParseArguments(ArchitectureText(ReadArchitecture(flags.arch))));
  return arguments;
}

// Of a network that can be switched: those the user wants, or all but 32, which is another network;
// one 0 of any other.
std::vector<int> WidthsOf(const Flags& flags, const Network& network) {
  std::vector<int> widths = flags.widths;
  if (widths.empty()) widths = network.widths;
  if (widths.empty()) return {0};
  if (flags.widths.empty() && widths.size() > 1) std::erase(widths, 32);
  std::ranges::sort(widths);
  widths.erase(std::unique(widths.begin(), widths.end()), widths.end());
  return widths;
}
std::string ListText(const std::vector<int>& widths) {
  std::string text;
  for (const int width : widths) text += (text.empty() ? "" : ",") + std::to_string(width);
  return text;
}

// What the checkpoint says of itself, and how it was converted.
std::vector<std::pair<std::string, std::string>> ProvenanceOf(const Flags& flags,
                                                              const Checkpoint& checkpoint,
                                                              const Network& network) {
  std::vector<std::pair<std::string, std::string>> notes = {
      {"network", network.name},
      {"arguments", ArgumentsText(network.arguments)},
      {"stem", StemName(ResolvedStem(network, ParseStem(flags.stem)))},
      {"converter", "lbconvert " LBRT_VERSION}};
  if (flags.fp32_layers != "f32") notes.emplace_back("fp32_layers", flags.fp32_layers);
  if (flags.activations != "f32") notes.emplace_back("activations", flags.activations);
  if (!network.widths.empty()) notes.emplace_back("widths", ListText(WidthsOf(flags, network)));
  for (const auto& [key, value] : checkpoint.text)
    if (key != "network" && key != "arguments" && key != "preprocessing" && key != "labels")
      notes.emplace_back(key, value);
  for (const auto& [key, value] : checkpoint.integers)
    if (key != "random_state") notes.emplace_back(key, std::to_string(value));
  for (const auto& [key, value] : checkpoint.numbers) notes.emplace_back(key, Fixed(value, 4));
  return notes;
}

// A network at its widths: the graph of each and what it is lowered to.
struct Conversion {
  std::vector<int> widths;  // one 0: it has none
  std::deque<Graph> graphs;
  std::vector<LoweredGraph> lowered;
  std::vector<ImportReport> reports;

  bool switches() const { return widths.size() > 1; }
};

// With `calibration`, activations become codes by these images.
Conversion LowerAll(const Network& network, const Checkpoint& checkpoint, ImportOptions options,
                    const std::vector<int>& widths, const Calibration* calibration) {
  Conversion conversion;
  conversion.widths = widths;
  for (const int width : widths) {
    options.width = width;
    ImportReport& report = conversion.reports.emplace_back();
    Graph& graph =
        conversion.graphs.emplace_back(Import(network, checkpoint.state, options, &report));
    if (calibration != nullptr) graph = Calibrate(graph, *calibration, &report.lines);
    LoweredGraph& lowered = conversion.lowered.emplace_back(Lower(graph));
    for (const Pass& pass : Passes()) pass.run(lowered);
  }
  NestPlanes(conversion.lowered);
  return conversion;
}

// Top-1 accuracy of a model on a labelled data set, at each of its widths; `how` it was converted.
std::vector<std::pair<std::string, float>> Measure(const std::vector<std::string>& paths,
                                                   const std::string& how,
                                                   const std::vector<uint8_t>& file) {
  RunnerOptions options;
  options.all_widths = true;
  ModelRunner runner(file, "the converted model", options);
  const Dataset data = OpenDataset(paths, Split::kTest, runner.labels());
  const std::vector<int> widths = runner.widths();
  std::vector<size_t> correct(widths.size());
  Progress progress("measuring", data.size());
  for (size_t i = 0; i < data.size(); ++i) {
    if (data.labels[i] >= runner.classes())
      throw InputError(data.name(i), "label " + std::to_string(data.labels[i]) +
                                         ", but there are " + std::to_string(runner.classes()) +
                                         " classes");
    runner.SetSample(data, i);
    for (size_t w = 0; w < widths.size(); ++w) {
      runner.SetWidth(widths[w]);
      correct[w] += RankOf(runner.Run(), data.labels[i]) == 0;
    }
    progress.Show(i + 1);
  }
  const std::string source = std::filesystem::path(data.source).filename().string();
  std::vector<std::pair<std::string, float>> results;
  for (size_t w = 0; w < widths.size(); ++w)
    results.emplace_back(
        "top-1 on " + Counted(static_cast<int64_t>(data.size()), "image") + " of " + source +
            ", " + how +
            (widths.size() > 1 ? ", width " + std::to_string(widths[w]) : ""),
        static_cast<float>(100.0 * static_cast<double>(correct[w]) /
                           static_cast<double>(data.size())));
  return results;
}

std::string VerifyReport(const Flags& flags, const Checkpoint& checkpoint, const Network& network,
                         const Preprocessing& preprocessing, const Conversion& conversion,
                         const std::vector<uint8_t>& file) {
  const Dataset data = OpenImages(flags.verify);
  const size_t images = std::min(flags.limit, data.size());
  if (images == 0) throw InputError(flags.verify[0], "no images");
  std::string text;
  for (size_t i = 0; i < conversion.widths.size(); ++i) {
    const int width = conversion.widths[i];
    const Verification result = Verify(conversion.lowered[i], width, file, data, images);
    text += "verified" + (conversion.switches() ? ", width " + std::to_string(width) : "") + ": " +
            Counted(static_cast<int64_t>(result.images), "image") + ", " +
            Counted(static_cast<int64_t>(result.ops), "op") + ", on ";
    for (const std::string& column : result.columns) text += column + ", ";
    text += "equal to the interpreter bit by bit\n";
#ifdef LBRT_FLOAT_CHECK
    text += FloatCheck(network, checkpoint.state, width, preprocessing, data, result);
#else
    (void)checkpoint, (void)network, (void)preprocessing;
#endif
  }
  return text;
}

// What each width became, and how large the file is.
std::string Report(const Flags& flags, const Network& network, const Conversion& conversion,
                   const ModelRunner& opened) {
  std::string text;
  for (size_t i = 0; i < conversion.widths.size(); ++i)
    text += (conversion.switches() ? "width " + std::to_string(conversion.widths[i]) + ":\n" : "") +
            ConversionReport(conversion.lowered[i], conversion.reports[i]) + "\n";
  const NetworkCounts counts = Count(network);
  return text + Printable(flags.model) + ": " +
         Grouped(static_cast<int64_t>(opened.file_bytes())) + " bytes for " +
         Grouped(counts.parameters) + " parameters of " + network.name + ", " +
         Grouped(static_cast<int64_t>(conversion.lowered.back().ops.size())) + " ops made of " +
         Grouped(static_cast<int64_t>(conversion.graphs.back().nodes.size()) - 1) +
         " nodes; multiply-adds an image: " + Grouped(counts.quantized_macs) +
         " with quantized weights, " + Grouped(counts.float_macs) + " others\n" +
         WidthTable(opened);
}

// What accuracy is measured on: what the user says or, to see what lossy choices cost, a labelled
// data set that is verified on anyway.
std::vector<std::string> Labelled(const Flags& flags, bool lossy) {
  if (!flags.measure.empty() || !lossy || flags.verify.empty()) return flags.measure;
  return OpenImages(flags.verify).labels.empty() ? flags.measure : flags.verify;
}

// Throws where a width has lost more than the user allows.
void ExpectKept(const Flags& flags, const std::vector<std::pair<std::string, float>>& before,
                const std::vector<std::pair<std::string, float>>& after) {
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].second - after[i].second <= flags.max_drop) continue;
    throw InputError(flags.model, "is not written: " + after[i].first + " is " +
                                      Fixed(after[i].second, 2) + " %, before " +
                                      Fixed(before[i].second, 2) + " %, expected at most " +
                                      Fixed(flags.max_drop, 2) + " points less (--max-drop)");
  }
}

int Convert(const Flags& flags) {
  Checkpoint checkpoint = ReadCheckpoint(flags.checkpoint);
  Network network = FitToNetwork(&checkpoint, flags.network, ArgumentsOf(flags));
  network.input_std = TrainedStd(flags, checkpoint, network);
  const Preprocessing preprocessing = PreprocessingOf(flags, checkpoint, network);
  const std::vector<int> widths = WidthsOf(flags, network);
  ModelTexts texts;
  texts.preprocessing = ToText(preprocessing);
  texts.labels = LabelsOf(flags, checkpoint, network);
  texts.provenance = ProvenanceOf(flags, checkpoint, network);
  if (widths[0] != 0) texts.widths = widths;

  const Stem stem = ResolvedStem(network, ParseStem(flags.stem));
  const Stem fine = ResolvedStem(network, Stem::kAuto);
  const auto how_with = [](Stem s) { return std::string(StemName(s)) + " stem"; };
  ImportOptions options = {fine, preprocessing.mean, preprocessing.std, 0, 0};
  const bool lossy = flags.fp32_layers != "f32" || flags.activations != "f32" ||
                     (stem != fine && stem != Stem::kF32);
  const std::vector<std::string> labelled = Labelled(flags, lossy);
  if (lossy && !labelled.empty()) {  // what it was before
    const Conversion before = LowerAll(network, checkpoint, options, widths, nullptr);
    texts.accuracy = Measure(labelled, how_with(fine), Emit(before.lowered, texts));
  }
  options.stem = stem;
  std::string how = how_with(stem);
  if (flags.fp32_layers != "f32") {
    options.float_limbs = ParseFloatLimbs(flags.fp32_layers);
    how += ", " + flags.fp32_layers + " fp32 layers";
  }
  std::optional<Calibration> calibration;
  if (flags.activations != "f32") {
    calibration = Calibration{OpenImages(flags.calibrate, Split::kTrain), texts.preprocessing};
    texts.provenance.emplace_back("calibration", calibration->Text());
    how += ", " + flags.activations + " activations";
  }
  const Conversion conversion =
      LowerAll(network, checkpoint, options, widths, calibration ? &*calibration : nullptr);
  std::vector<uint8_t> file = Emit(conversion.lowered, texts);
  if (!labelled.empty()) {
    const auto measured = Measure(labelled, how, file);
    ExpectKept(flags, texts.accuracy, measured);
    texts.accuracy.insert(texts.accuracy.end(), measured.begin(), measured.end());
    file = Emit(conversion.lowered, texts);
  }
  std::string checked;
  if (!flags.verify.empty())
    checked = VerifyReport(flags, checkpoint, network, preprocessing, conversion, file);
  RunnerOptions scalar;
  scalar.isa = "scalar";
  scalar.all_widths = true;
  const ModelRunner opened(file, "the converted model", scalar);  // as every reader will
  WriteFile(flags.model, file);
  Print(Report(flags, network, conversion, opened) + checked);
  for (const auto& [what, percent] : texts.accuracy)
    Print("measured: " + Printable(what) + ": " + Fixed(percent, 2) + " %\n");
  return 0;
}

// A model's file up to where it has one of its widths and those before.
int Truncate(const Flags& flags) {
  RunnerOptions options;
  options.isa = "scalar";
  options.width = flags.truncate;
  options.all_widths = true;
  const ModelRunner model(flags.checkpoint, options);
  if (model.widths().size() < 2)
    throw InputError(flags.checkpoint, "it has one width, nothing can be cut off");
  std::vector<uint8_t> file = ReadFile(flags.checkpoint);
  const size_t whole = file.size();
  file.resize(model.info().width_file_bytes);
  options.width = 0;
  const ModelRunner opened(file, "the shorter model", options);
  WriteFile(flags.model, file);
  Print(Printable(flags.model) + ": " + Grouped(static_cast<int64_t>(file.size())) + " bytes of " +
        Grouped(static_cast<int64_t>(whole)) + ", widths " + ListText(opened.widths()) + "\n");
  return 0;
}

int ConvertGraph(const Flags& flags) {
  if (!flags.network.empty() || !flags.measure.empty() || flags.stem != "auto" ||
      flags.activations != "f32")
    throw UsageError(
        "--network, --stem, --activations and --measure are for checkpoints, not for .onnx files");
  Print(ConvertOnnx({flags.checkpoint, flags.model, flags.preprocess, flags.labels, flags.verify,
                     flags.limit}));
  return 0;
}

int EmitSource(const Flags& flags, const std::string& model) {
  EmitC(ReadFile(model), std::filesystem::path(model).filename().string(), flags.emit_c);
  Print(Printable(flags.emit_c) + ": model.h, model.c and main.c, which says how to build it\n");
  return 0;
}

int Command(const Flags& flags) {
  if (!flags.describe.empty()) {
    if (!flags.checkpoint.empty()) throw UsageError("--describe excludes CKPT and MODEL");
    Print(Describe(flags.describe, flags.network, ArgumentsOf(flags)));
    return 0;
  }
  if (!flags.emit_c.empty() && flags.model.empty() && !flags.checkpoint.empty())
    return EmitSource(flags, flags.checkpoint);
  const std::string input = flags.truncate != 0 ? "the model to cut" : "CKPT";
  if (flags.checkpoint.empty()) throw UsageError(input + " is missing (see --help)");
  if (flags.model.empty()) throw UsageError("MODEL is missing (see --help)");
  std::error_code ignored;
  if (std::filesystem::equivalent(flags.checkpoint, flags.model, ignored))
    throw UsageError("MODEL is " + input + ": " + flags.model + " would be overwritten");
  if ((flags.activations == "f32") != flags.calibrate.empty())
    throw UsageError("--activations u8 and --calibrate IMAGES are given together");
  const int status = IsOnnx(flags.checkpoint) ? ConvertGraph(flags)
                     : flags.truncate != 0    ? Truncate(flags)
                                              : Convert(flags);
  return status != 0 || flags.emit_c.empty() ? status : EmitSource(flags, flags.model);
}

}  // namespace
}  // namespace lbrt

int main(int argc, char** argv) {
  lbrt::Flags flags;
  CLI::App app(
      "Makes a .lbm model, which devices run, of a checkpoint.\n\n"
      "example: lbconvert best.pt cifar10.lbm --verify cat.png",
      "lbconvert");
  app.add_option("CKPT", flags.checkpoint,
                 "the checkpoint: lbtrain's, or a published one (then with --network); or a QONNX "
                 "graph (.onnx)");
  app.add_option("MODEL", flags.model, "the model to write");
  app.add_option("--network", flags.network,
                 "the network of a checkpoint that does not say it: " +
                     lbrt::Listed(lbrt::NetworkNames()));
  app.add_option("--set", flags.set,
                 "an argument of the network that the checkpoint does not show, KEY=VALUE: one of " +
                     lbrt::Listed(lbrt::ArgumentNames()))
      ->allow_extra_args(false);
  app.add_option("--bits", flags.bits,
                 "bits of weights and activations, e.g. 2/2, which EdMIPS's checkpoints do not "
                 "hold (default: the published ones); or a file as --arch takes it");
  app.add_option("--arch", flags.arch,
                 "bits of every layer: a search's architecture.txt or its checkpoint")
      ->excludes("--bits");
  app.add_option("--stem", flags.stem,
                 "the first layer's weights as fixed-point numbers: i24, or i16 and i8, which are "
                 "faster and lossy; f32 keeps them floats; auto is what the network was trained "
                 "with, or i24")
      ->check(CLI::IsMember({"auto", "i24", "i16", "i8", "f32"}))
      ->capture_default_str();
  app.add_option("--fp32-layers", flags.fp32_layers,
                 "weights of the other layers that stay float: i16 and i8 are integers with a scale "
                 "an output channel, smaller and lossy; with --measure the accuracy before and "
                 "after is stored")
      ->check(CLI::IsMember({"f32", "i16", "i8"}))
      ->capture_default_str();
  app.add_option("--activations", flags.activations,
                 "activations that a network of quantized weights has as floats: u8 rounds those "
                 "behind a ReLU to 8-bit codes of steps that --calibrate finds, so that layers "
                 "compute with integers, faster and lossy; with --measure the accuracy before and "
                 "after is stored")
      ->check(CLI::IsMember({"f32", "u8"}))
      ->capture_default_str();
  app.add_option("--calibrate", flags.calibrate,
                 "find the steps of --activations u8, those of least squared error, with these "
                 "images, at most " +
                     std::to_string(lbrt::kMostCalibrationImages) +
                     " of them, evenly spaced: images, a folder of them, or a data set, of which "
                     "the training images")
      ->expected(1, -1);
  app.add_option("--widths,--width", flags.widths,
                 "bits per weight that the model can be switched to, of an any-precision network, "
                 "e.g. 1,2,4 (default: all it has but 32)")
      ->delimiter(',')
      ->check(CLI::Range(1, 32));
  app.add_option("--truncate", flags.truncate,
                 "instead of converting: cut the model given as CKPT behind the weights of so many "
                 "bits and write it to MODEL")
      ->check(CLI::Range(1, 32))
      ->excludes("--widths");
  app.add_option("--preprocess", flags.preprocess,
                 "file of `key = value` lines to use instead of the checkpoint's preprocessing");
  app.add_option("--labels", flags.labels,
                 "file of class names, one a line, to use instead of the checkpoint's");
  app.add_option("--verify", flags.verify,
                 "compare the model with the interpreter on these images, op by op and bit by bit, "
                 "on every instruction set of this CPU: images, a folder of them, or a data set")
      ->expected(1, -1);
  app.add_option("--limit", flags.limit, "verify the first N images only")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--measure", flags.measure,
                 "measure the accuracy on a labelled data set and store it in the model")
      ->expected(1, 2);
  app.add_option("--max-drop", flags.max_drop,
                 "refuse to write a model whose lossy choices (--stem, --fp32-layers, "
                 "--activations) cost more points of accuracy on the labelled data of --measure or "
                 "--verify")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--emit-c", flags.emit_c,
                 "also write the model as C source with an example to this folder; alone with a "
                 "model in place of CKPT, do only that");
  app.add_option("--describe", flags.describe, "print what a checkpoint or a model holds");
  return lbrt::RunCommand(app, argc, argv, [&flags] { return lbrt::Command(flags); });
}
