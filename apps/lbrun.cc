// lbrun: classifies images with a `.lbm` model, evaluates it, times it, tells how it runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include <CLI/CLI.hpp>

#include "apps/anytime.h"
#include "apps/command_line.h"
#include "apps/explain.h"
#include "apps/json.h"
#include "apps/model_runner.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "images/decode.h"
#include "images/npy.h"

namespace lbrt {
namespace {

using Clock = std::chrono::steady_clock;

double Microseconds(Clock::duration d) {
  return std::chrono::duration<double, std::micro>(d).count();
}

struct Flags {
  std::string model;
  std::vector<std::string> inputs;
  int top = 5, threads = 1;
  std::string width;            // a number or "auto"; empty: the most the model has
  std::optional<float> margin;  // of --width auto
  std::string isa;
  bool explain = false, profile = false, json = false, bench = false;
  std::string logits;
  std::vector<std::string> eval;  // a data set's path, or two
  size_t limit = 0;               // 0: all
  int runs = 100;

  bool any_width() const { return width == "auto"; }
};

// ---------------------------------------------------------------------------------- output

// `width`: of several, "auto".
void BeginJson(Json& json, const Flags& flags, const ModelRunner& runner) {
  json.BeginObject();
  json.Key("model").String(runner.name());
  if (flags.any_width())
    json.Key("width").String(flags.width);
  else
    json.Key("width").Integer(runner.width());
  json.Key("isa").String(runner.info().isa);
  json.Key("threads").Integer(runner.threads());
}

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }
void Print(Json& json) {
  json.EndObject();
  Print(json.text() + "\n");
}

// ---------------------------------------------------------------------------------- classifying

bool IsArray(const std::string& path) { return path.ends_with(".npy"); }

// Prints each result as soon as it is there; in JSON, collects them.
class Results {
 public:
  Results(const Flags& flags, const ModelRunner& runner) : flags_(flags), runner_(runner) {
    if (!flags.json) return;
    BeginJson(json_, flags, runner);
    if (flags.margin) json_.Key("margin").Number(*flags.margin, 9);
    json_.Key("results").BeginArray();
  }

  void Add(const std::string& name, std::span<const float> logits) {
    logits_.insert(logits_.end(), logits.begin(), logits.end());
    ++images_;
    const std::vector<int> best = Ranked(logits, static_cast<size_t>(flags_.top));
    const std::vector<double> probabilities = Softmax(logits);
    if (flags_.json) {
      AddJson(name, logits, best, probabilities);
      return;
    }
    Table table;
    for (int i : best)
      table.Add({"  " + Printable(runner_.label(i)),
                 Fixed(100 * probabilities[static_cast<size_t>(i)], 2) + " %"});
    const std::string at =
        flags_.any_width() ? " (at width " + std::to_string(runner_.width()) + ")" : "";
    Print(Printable(name) + at + "\n" + table.Text());
  }

  void AddError(const std::string& name, const InputError& error) {
    ++errors_;
    std::fflush(stdout);
    std::fprintf(stderr, "lbrun: %s\n", error.what());
    if (!flags_.json) return;
    json_.BeginObject();
    json_.Key("image").String(name).Key("error").String(error.what());
    json_.EndObject();
  }

  int Finish() {
    if (flags_.json) {
      json_.EndArray();
      Print(json_);
    }
    if (!flags_.logits.empty()) {
      if (errors_ > 0)
        throw InputError(flags_.logits, "not written, since " + std::to_string(errors_) +
                                            " of the inputs could not be read");
      WriteNpy(flags_.logits, logits_, images_, static_cast<size_t>(runner_.classes()));
    }
    return errors_ > 0 ? 1 : 0;
  }

 private:
  void AddJson(const std::string& name, std::span<const float> logits, const std::vector<int>& best,
               const std::vector<double>& probabilities) {
    json_.BeginObject();
    json_.Key("image").String(name);
    if (flags_.any_width()) json_.Key("width").Integer(runner_.width());
    json_.Key("classes").BeginArray();
    for (int i : best) {
      json_.BeginObject();
      json_.Key("index").Integer(i).Key("label").String(runner_.label(i));
      json_.Key("probability").Number(probabilities[static_cast<size_t>(i)], 6);
      json_.Key("logit").Number(logits[static_cast<size_t>(i)], 9);
      json_.EndObject();
    }
    json_.EndArray().EndObject();
  }

  const Flags& flags_;
  const ModelRunner& runner_;
  Json json_;
  std::vector<float> logits_;
  size_t images_ = 0, errors_ = 0;
};

int Classify(const Flags& flags, ModelRunner& runner, Profile* profile) {
  Results results(flags, runner);
  const auto run = [&] {
    return flags.margin ? RunAnytime(runner, *flags.margin) : Run(runner, profile);
  };
  for (const std::string& input : flags.inputs) {
    try {
      if (!IsArray(input)) {
        runner.SetImage(DecodeFile(input), input);
        results.Add(input, run());
        continue;
      }
      const Dataset data = OpenArray(input);
      for (size_t i = 0; i < data.size(); ++i) {
        runner.SetSample(data, i);
        results.Add(data.name(i), run());
      }
    } catch (const InputError& error) {
      results.AddError(input, error);
    }
  }
  return results.Finish();
}

// ---------------------------------------------------------------------------------- evaluating

// A labelled data set that fits the model, and how many images of it are wanted.
struct Evaluation {
  Dataset data;
  size_t images;
};
Evaluation OpenEvaluation(const Flags& flags, const ModelRunner& runner) {
  Dataset data = OpenDataset(flags.eval, Split::kTest, runner.labels());
  const size_t images = flags.limit == 0 ? data.size() : std::min(flags.limit, data.size());
  if (images == 0) throw InputError(flags.eval[0], "it has no images");
  const int classes = runner.classes();
  for (size_t i = 0; i < images; ++i)
    if (data.labels[i] < 0 || data.labels[i] >= classes)
      throw InputError(data.name(i), "its label is " + std::to_string(data.labels[i]) + ", but " +
                                         runner.name() + " has " + std::to_string(classes) +
                                         " classes");
  return {std::move(data), images};
}

int Evaluate(const Flags& flags, ModelRunner& runner, Profile* profile) {
  const auto [data, images] = OpenEvaluation(flags, runner);
  const int classes = runner.classes();
  std::vector<float> logits;
  logits.reserve(images * static_cast<size_t>(classes));
  size_t correct = 0, correct5 = 0;
  const Clock::time_point start = Clock::now();
  {
    Progress progress("evaluating", images);
    for (size_t i = 0; i < images; ++i) {
      runner.SetSample(data, i);
      const std::span<const float> result = Run(runner, profile);
      const int rank = RankOf(result, data.labels[i]);
      correct += rank < 1;
      correct5 += rank < 5 && rank < classes;
      logits.insert(logits.end(), result.begin(), result.end());
      progress.Show(i + 1);
    }
  }
  const double seconds = Microseconds(Clock::now() - start) * 1e-6;
  if (!flags.logits.empty()) WriteNpy(flags.logits, logits, images, static_cast<size_t>(classes));

  const double count = static_cast<double>(images);
  const auto percent = [&](size_t n) { return 100.0 * static_cast<double>(n) / count; };
  const double rate = count / seconds;
  if (flags.json) {
    Json json;
    BeginJson(json, flags, runner);
    json.Key("images").Integer(static_cast<int64_t>(images));
    json.Key("correct").Integer(static_cast<int64_t>(correct));
    json.Key("top1").Number(percent(correct), 9);
    json.Key("top5").Number(percent(correct5), 9);
    json.Key("images_per_second").Number(rate, 6);
    Print(json);
  } else {
    Print(Grouped(static_cast<int64_t>(images)) + " images: top-1 " + Fixed(percent(correct), 2) +
          " % (" + Grouped(static_cast<int64_t>(correct)) + " correct), top-5 " +
          Fixed(percent(correct5), 2) + " %, " + Fixed(rate, 0) + " images/s\n");
  }
  return 0;
}

// Every width on every image; of each image its widths' logits, one after the other.
WidthResults RunEveryWidth(const Evaluation& evaluation, ModelRunner& runner,
                           std::vector<float>* logits) {
  WidthResults results(runner.widths());
  Progress progress("evaluating", evaluation.images);
  for (size_t image = 0; image < evaluation.images; ++image) {
    runner.SetSample(evaluation.data, image);
    for (size_t i = 0; i < results.widths().size(); ++i) {
      runner.SetWidth(results.widths()[i]);
      const Clock::time_point start = Clock::now();
      const std::span<const float> result = runner.Run();
      const double us = Microseconds(Clock::now() - start);
      results.Add(i, result, RankOf(result, evaluation.data.labels[image]), us);
      logits->insert(logits->end(), result.begin(), result.end());
    }
    progress.Show(image + 1);
  }
  return results;
}

void PrintWidths(const WidthResults& results, const std::vector<WidthResults::Row>& rows) {
  Table alone({"width", "top-1 %", "top-5 %", "us an image"});
  std::vector<std::string> headings = {"margin", "top-1 %", "top-5 %", "runs an image",
                                       "us an image"};
  for (size_t i = 0; i < results.widths().size(); ++i) {
    const WidthResults::Row row = results.Alone(i);
    const std::string width = std::to_string(results.widths()[i]);
    alone.Add({width, Fixed(row.top1, 2), Fixed(row.top5, 2), Fixed(row.us, 1)});
    headings.push_back("% at " + width);
  }
  Table table(headings);
  for (const WidthResults::Row& row : rows) {
    char margin[32];
    std::snprintf(margin, sizeof margin, "%.6g", static_cast<double>(row.margin));
    std::vector<std::string> cells = {margin, Fixed(row.top1, 2), Fixed(row.top5, 2),
                                      Fixed(row.runs, 2), Fixed(row.us, 1)};
    for (const double percent : row.answered) cells.push_back(Fixed(percent, 1));
    table.Add(cells);
  }
  Print(Grouped(static_cast<int64_t>(results.images())) + " images, each width alone:\n" +
        alone.Text() +
        "the next width only where the margin between the two best classes is smaller:\n" +
        table.Text());
}

void AddJson(Json& json, const WidthResults::Row& row) {
  json.Key("top1").Number(row.top1, 9).Key("top5").Number(row.top5, 9);
  json.Key("us").Number(row.us, 6);
}

// Accuracy against cost, at the margin given or at some that tell apart.
int EvaluateAnytime(const Flags& flags, ModelRunner& runner) {
  const Evaluation evaluation = OpenEvaluation(flags, runner);
  std::vector<float> logits;
  const WidthResults results = RunEveryWidth(evaluation, runner, &logits);
  std::vector<WidthResults::Row> rows;
  for (const float margin : flags.margin ? std::vector{*flags.margin} : results.SomeMargins())
    rows.push_back(results.At(margin));
  if (!flags.logits.empty()) {
    const auto classes = static_cast<ptrdiff_t>(runner.classes());
    std::vector<float> chosen;
    for (size_t image = 0; image < results.images(); ++image) {
      const size_t at = image * results.widths().size() + rows[0].chosen[image];
      const auto first = logits.begin() + static_cast<ptrdiff_t>(at) * classes;
      chosen.insert(chosen.end(), first, first + classes);
    }
    WriteNpy(flags.logits, chosen, results.images(), static_cast<size_t>(classes));
  }
  if (!flags.json) {
    PrintWidths(results, rows);
    return 0;
  }
  Json json;
  BeginJson(json, flags, runner);
  json.Key("images").Integer(static_cast<int64_t>(results.images()));
  json.Key("widths").BeginArray();
  for (size_t i = 0; i < results.widths().size(); ++i) {
    json.BeginObject();
    json.Key("width").Integer(results.widths()[i]);
    AddJson(json, results.Alone(i));
    json.EndObject();
  }
  json.EndArray().Key("margins").BeginArray();
  for (const WidthResults::Row& row : rows) {
    json.BeginObject();
    json.Key("margin").Number(static_cast<double>(row.margin), 9);
    AddJson(json, row);
    json.Key("runs").Number(row.runs, 6).Key("answered").BeginArray();
    for (const double percent : row.answered) json.Number(percent, 6);
    json.EndArray().EndObject();
  }
  json.EndArray();
  Print(json);
  return 0;
}

// ---------------------------------------------------------------------------------- timing

// The first input, or noise.
void SetTimedInput(const Flags& flags, ModelRunner& runner) {
  if (flags.inputs.empty()) {
    runner.SetNoise();
  } else if (IsArray(flags.inputs[0])) {
    runner.SetSample(OpenArray(flags.inputs[0]), 0);
  } else {
    runner.SetImage(DecodeFile(flags.inputs[0]), flags.inputs[0]);
  }
}

void RunRepeatedly(const Flags& flags, ModelRunner& runner, Profile& profile) {
  SetTimedInput(flags, runner);
  runner.Run();  // caches and clock
  for (std::vector<double>& us : profile.us) us.clear();
  for (int i = 0; i < flags.runs; ++i) Run(runner, &profile);
}

struct Times {
  int width = 0;
  double median = 0, min = 0, p90 = 0;  // us
};
Times TimeRuns(const Flags& flags, ModelRunner& runner) {
  for (int i = 0; i < std::min(flags.runs, 10); ++i) runner.Run();
  std::vector<double> us;
  for (int i = 0; i < flags.runs; ++i) {
    const Clock::time_point start = Clock::now();
    runner.Run();
    us.push_back(Microseconds(Clock::now() - start));
  }
  std::ranges::sort(us);
  const auto quantile = [&](size_t percent) { return us[(us.size() - 1) * percent / 100]; };
  return {runner.width(), quantile(50), us[0], quantile(90)};
}

// Microseconds that it takes to set another width, on average.
double TimeSwitch(ModelRunner& runner, const std::vector<int>& widths) {
  constexpr int kRounds = 1000;
  const Clock::time_point start = Clock::now();
  for (int i = 0; i < kRounds; ++i)
    for (const int width : widths) runner.SetWidth(width);
  return Microseconds(Clock::now() - start) / static_cast<double>(kRounds * widths.size());
}

void AddJson(Json& json, const Times& times) {
  json.Key("median_us").Number(times.median, 6);
  json.Key("min_us").Number(times.min, 6);
  json.Key("p90_us").Number(times.p90, 6);
}

// Of the width given, or of each the model has.
int Bench(const Flags& flags, ModelRunner& runner) {
  SetTimedInput(flags, runner);
  const std::vector<int> widths = runner.widths();
  std::vector<Times> times;
  for (const int width : widths) {
    runner.SetWidth(width);
    times.push_back(TimeRuns(flags, runner));
  }
  const bool several = widths.size() > 1;
  const double switch_us = several ? TimeSwitch(runner, widths) : 0;
  if (flags.json) {
    Json json;
    BeginJson(json, flags, runner);
    json.Key("runs").Integer(flags.runs);
    AddJson(json, times.back());
    if (several) {
      json.Key("switch_us").Number(switch_us, 6).Key("widths").BeginArray();
      for (const Times& t : times) {
        json.BeginObject();
        json.Key("width").Integer(t.width);
        AddJson(json, t);
        json.EndObject();
      }
      json.EndArray();
    }
    Print(json);
    return 0;
  }
  for (const Times& t : times)
    Print("width " + std::to_string(t.width) + ", isa " + runner.info().isa + ", " +
          std::to_string(runner.threads()) + (runner.threads() == 1 ? " thread: " : " threads: ") +
          "median " + Fixed(t.median, 1) + " us an image, min " + Fixed(t.min, 1) +
          ", 90th percentile " + Fixed(t.p90, 1) + ", " + std::to_string(flags.runs) + " runs\n");
  if (several) Print("setting another width: " + Fixed(switch_us, 3) + " us\n");
  return 0;
}

// ---------------------------------------------------------------------------------- the command

int ListIsas() {
  for (size_t i = 0; lbrt_isa_name(i) != nullptr; ++i) Print(std::string(lbrt_isa_name(i)) + "\n");
  return 0;
}

void CheckWidth(const Flags& flags) {
  if (!flags.any_width()) {
    if (flags.margin) throw UsageError("--margin goes with --width auto");
    return;
  }
  if (flags.explain || flags.profile)
    throw UsageError("--width auto excludes --explain and --profile");
  if (flags.bench) {
    if (flags.margin) throw UsageError("--bench excludes --margin");
    return;
  }
  if (!flags.margin && flags.eval.empty())
    throw UsageError("--width auto needs --margin (--eval without it shows what some margins do)");
  if (!flags.margin && !flags.logits.empty())
    throw UsageError("--logits with --width auto needs --margin");
}

void CheckFlags(const Flags& flags) {
  CheckWidth(flags);
  if (flags.model.empty()) throw UsageError("MODEL is missing (see --help)");
  if (flags.eval.size() > 2) throw UsageError("--eval takes one path, or images and labels");
  if (!flags.eval.empty() && !flags.inputs.empty())
    throw UsageError("INPUT and --eval exclude each other: " + flags.inputs[0]);
  if (flags.bench && (!flags.eval.empty() || !flags.logits.empty()))
    throw UsageError("--bench excludes --eval and --logits");
  if (flags.eval.empty() && flags.limit != 0) throw UsageError("--limit goes with --eval");
  if (flags.json && (flags.explain || flags.profile))
    throw UsageError("--json excludes --explain and --profile");
  if (flags.bench && flags.profile) throw UsageError("--bench excludes --profile");
  if (flags.inputs.empty() && flags.eval.empty()) {
    if (!flags.bench && !flags.explain && !flags.profile)
      throw UsageError("INPUT is missing (see --help)");
    if (!flags.logits.empty()) throw UsageError("--logits needs INPUT or --eval");
  }
}

int Command(const Flags& flags) {
  if (flags.isa == "list") return ListIsas();
  CheckFlags(flags);
  Profile profile;
  RunnerOptions options;
  options.isa = flags.isa;
  options.threads = flags.threads;
  if (!flags.any_width() && !flags.width.empty()) options.width = std::stoi(flags.width);
  options.all_widths =
      flags.any_width() || flags.explain || (flags.bench && flags.width.empty());
  if (flags.profile) {
    options.observer = Profile::Observe;
    options.observer_context = &profile;
  }
  ModelRunner runner(flags.model, options);
  if (flags.any_width() && runner.widths().size() < 2)
    throw UsageError("--width auto: " + runner.name() + " has one width");
  profile.us.resize(runner.info().ops);
  Profile* const observed = flags.profile ? &profile : nullptr;
  if (flags.explain) Print(Summary(runner) + OpTable(runner, nullptr));

  int status = 0;
  if (flags.bench) {
    status = Bench(flags, runner);
  } else if (!flags.eval.empty()) {
    status = flags.any_width() ? EvaluateAnytime(flags, runner)
                               : Evaluate(flags, runner, observed);
  } else if (!flags.inputs.empty()) {
    status = Classify(flags, runner, observed);
  } else if (flags.profile) {
    RunRepeatedly(flags, runner, profile);
  }
  if (flags.profile) Print(OpTable(runner, observed));
  return status;
}

}  // namespace
}  // namespace lbrt

int main(int argc, char** argv) {
  lbrt::Flags flags;
  CLI::App app(
      "Classifies images with a .lbm model; evaluates and times it.\n\n"
      "example: lbrun models/recu-resnet20-cifar10.lbm cat.png --top 3",
      "lbrun");
  app.add_option("MODEL", flags.model, "the model, made by lbconvert");
  app.add_option(
      "INPUT", flags.inputs,
      "images (PNG, JPEG, BMP, PPM), or .npy arrays: u8 images [n h w c], or the network's "
      "own input in f32 ([n c h w])");
  app.add_option("--top", flags.top, "print the N best classes")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option(
         "--eval", flags.eval,
         "accuracy on a data set: a folder of class folders, a CIFAR .bin, or two paths, images "
         "and labels (IDX or .npy)")
      ->expected(1, 2);
  app.add_option("--limit", flags.limit, "evaluate the first N images only")
      ->check(CLI::PositiveNumber);
  app.add_option("--logits", flags.logits, "write the logits as a .npy file, f32 [images classes]");
  app.add_flag("--bench", flags.bench, "time single runs, on INPUT or on noise");
  app.add_option("--runs", flags.runs, "of --bench, and of --profile without INPUT")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--explain", flags.explain,
               "print what runs: kernel, precision, MACs and bytes of each op");
  app.add_flag("--profile", flags.profile, "print microseconds per op");
  app.add_option("--threads", flags.threads, "worker threads")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--isa", flags.isa,
                 "instruction set to use instead of the best; `--isa list` lists them");
  app.add_option("--width", flags.width,
                 "bits per weight, of a model that has several (default: the most); auto: the "
                 "fewest, and more where the margin is below --margin")
      ->check(CLI::Range(1, 32) | CLI::IsMember({"auto"}));
  app.add_option("--margin", flags.margin,
                 "of --width auto: how far apart the two largest logits must be to be the answer");
  app.add_flag("--json", flags.json, "print one JSON object instead of text");
  return lbrt::RunCommand(app, argc, argv, [&flags] { return lbrt::Command(flags); });
}
