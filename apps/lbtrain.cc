// lbtrain: trains a network by a recipe, and evaluates checkpoints.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <malloc.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <sstream>

#include "apps/command_line.h"
#include "apps/progress.h"
#include "apps/table.h"
#include "images/dataset.h"
#include "images/npy.h"
#include "network/bits.h"
#include "network/checkpoint.h"
#include "network/import.h"
#include "trainer/deploy_eval.h"
#include "trainer/evaluate.h"
#include "trainer/peers.h"
#include "trainer/published.h"
#include "trainer/recipe.h"
#include "trainer/report.h"
#include "trainer/run.h"
#include "trainer/search.h"
#include "trainer/step_time.h"

namespace lbrt {
namespace {

volatile std::sig_atomic_t g_signal = 0;

struct Flags {
  std::string recipe, data, out = ".", device = "cpu", precision, resume, init;
  std::string eval, stem, fp32_layers, logits, bench, report;
  std::string teacher, teacher_network = "ternary/resnet34", latencies;
  RecipeFlags changes;  // of the recipe
  bool list = false, deploy = false, no_graph = false;
  std::optional<uint64_t> seed;
  int threads = 0, width = 0, repeat = 1, replicas = 1, peer_timeout = 600;
  size_t limit = 0;
};

int UsableCpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::string Duration(double seconds) {
  const long s = static_cast<long>(seconds + 0.5);
  char text[48];
  if (s < 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  return text;
}

// The first line in which two recipes differ, for a message.
std::string FirstDifference(const std::string& a, const std::string& b) {
  std::istringstream as(a), bs(b);
  std::string x, y;
  while (std::getline(as, x) && std::getline(bs, y) && x == y) {
  }
  return "has " + x + ", asked for " + y;
}

RunOptions Options(const Flags& flags) {
  RunOptions options;
  options.data = flags.data;
  options.out = flags.out;
  options.device = flags.device;
  options.init = flags.init;
  options.resume = flags.resume;
  options.teacher = flags.teacher;
  options.teacher_network = flags.teacher_network;
  options.latencies = flags.latencies;
  options.replicas = flags.replicas;
  options.graph = !flags.no_graph;
  if (flags.resume.empty()) {
    options.recipe = flags.changes.Read(flags.recipe);
    options.seed = flags.seed.value_or(1);
    if (!flags.precision.empty()) options.precision = flags.precision;
    return options;
  }
  // A resumed run goes on as it began. Flags may say so again, but not something else.
  const Checkpoint checkpoint = ReadCheckpoint(flags.resume);
  options.recipe = RecipeOf(checkpoint, flags.resume);
  options.seed = SeedOf(checkpoint, flags.resume);
  options.precision = PrecisionOf(checkpoint);
  const std::string begun = RecipeText(options.recipe);
  Recipe again = flags.recipe.empty() ? flags.changes.Parse(begun, flags.resume)
                                      : flags.changes.Read(flags.recipe);
  again.ReadFiles();
  const std::string asked = RecipeText(again);
  if (begun != asked) throw InputError(flags.resume, FirstDifference(begun, asked));
  if (flags.seed && *flags.seed != options.seed)
    throw InputError(flags.resume, "has seed " + std::to_string(options.seed) + ", asked for " +
                                       std::to_string(*flags.seed));
  if (!flags.precision.empty() && flags.precision != options.precision)
    throw InputError(flags.resume,
                     "has precision " + options.precision + ", asked for " + flags.precision);
  return options;
}

void PrintEpoch(const EpochResult& r, int epochs) {
  std::printf(
      "epoch %*d/%d  lr %-9.4g train %.4f %6.2f %%  test %.4f %6.2f %%  best %6.2f %%  "
      "%.1f s  %.0f images/s  data %.1f %%  %s left\n",
      static_cast<int>(std::to_string(epochs).size()), r.epoch + 1, epochs, r.lr, r.train_loss,
      r.train_accuracy, r.test_loss, r.test_accuracy, r.best_accuracy, r.seconds,
      r.images_per_second, 100 * r.data_share,
      Duration(r.whole_seconds * (epochs - r.epoch - 1)).c_str());
  if (r.widths.size() > 1) {
    std::string text;
    for (const WidthResult& w : r.widths) {
      char part[48];
      std::snprintf(part, sizeof part, "  %d bits %.2f %%", w.width, w.test_accuracy);
      text += part;
    }
    std::printf("      test%s\n", text.c_str());
  }
  if (r.widths[0].test_top5) std::printf("      test top-5 %.2f %%\n", *r.widths[0].test_top5);
  if (r.complexity > 0) std::printf("      complexity %.3f\n", r.complexity);
  std::fflush(stdout);
}

// Of several processes, rank 0 speaks and writes.
bool Leads(const RunOptions& options) {
  return options.peers == nullptr || options.peers->rank() == 0;
}

// The search's result, as its last checkpoint has it.
void PrintArchitecture(const RunOptions& options) {
  const Checkpoint checkpoint = ReadCheckpoint(options.out + "/last.pt");
  std::printf("%swritten to %s/architecture.txt: train it with --arch\n",
              ArchitectureTable(NetworkOf(checkpoint, ""), checkpoint.state).c_str(),
              options.out.c_str());
}

// The test accuracies of the last epoch of a run that ended, as its last checkpoint has them.
std::vector<WidthResult> ResultsOf(const std::string& path) {
  const Checkpoint checkpoint = ReadCheckpoint(path);
  std::vector<int> widths = NetworkOf(checkpoint, "").widths;
  if (widths.empty()) widths = {0};
  std::vector<WidthResult> results;
  for (size_t i = widths.size(); i-- > 0;) {
    const std::string name =
        widths[i] == 0 ? "last_accuracy" : "last_accuracy_w" + std::to_string(widths[i]);
    const auto found = checkpoint.numbers.find(name);
    if (found == checkpoint.numbers.end())
      throw InputError(path, "has no " + name + ", expected the last.pt of a run that ended");
    WidthResult& result = results.emplace_back();
    result.width = widths[i];
    result.test_accuracy = found->second;
  }
  return results;
}

// One run; the test accuracies of its last epoch, the widest width first, or nothing where a signal
// stopped it.
std::vector<WidthResult> TrainOnce(const RunOptions& options) {
  const int epochs = options.recipe.rate.epochs;
  std::printf("%s %s: %d epochs of batches of %d, seed %llu, %s, %s, %d threads%s\n",
              options.recipe.network.c_str(), ArgumentsText(options.recipe.arguments).c_str(),
              epochs, options.recipe.batch, static_cast<unsigned long long>(options.seed),
              options.device.c_str(), options.precision.c_str(), at::get_num_threads(),
              options.peers == nullptr
                  ? ""
                  : (" in each of " + std::to_string(options.peers->size()) + " processes")
                        .c_str());
  std::fflush(stdout);

  std::optional<Progress> bar;
  int epoch = -1;
  size_t done = 0;
  std::vector<WidthResult> last;
  RunEvents events;
  events.step = [&](int e, size_t images, size_t total, double loss) {
    if (e != epoch && Leads(options))
      bar.emplace("epoch " + std::to_string(e + 1) + "/" + std::to_string(epochs), total, images);
    epoch = e;
    done = images;
    if (!bar) return;
    char text[32] = "";
    if (!std::isnan(loss)) std::snprintf(text, sizeof text, "loss %.4f", loss);
    bar->Show(images, text);
  };
  events.epoch = [&](const EpochResult& r) {
    bar.reset();
    PrintEpoch(r, epochs);
    done = 0;
    last = r.widths;
  };
  events.note = [](const std::string& text) {
    std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  };
  events.stop = [] { return g_signal != 0; };
  const bool finished = Train(options, events);
  bar.reset();
  if (finished && last.empty()) {
    std::printf("%s has all its %d epochs\n", options.resume.c_str(), epochs);
    return ResultsOf(options.resume);
  }
  if (finished) {
    if (Leads(options)) WriteReport(options.out);
    if (Leads(options) && IsSearch(options.recipe.Build())) PrintArchitecture(options);
    return last;
  }
  const std::string signal =
      g_signal != 0 ? "signal " + std::to_string(g_signal) : "a signal to a peer";
  std::printf("stopped by %s in epoch %d after %zu images; go on with --resume %s/last.pt\n",
              signal.c_str(), epoch + (done == 0 ? 2 : 1), done, options.out.c_str());
  return {};
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Of a sample: divided by n - 1.
double Deviation(const std::vector<double>& values) {
  const double mean = Mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

// With --resume FOLDER, the --out of such a command that was stopped: goes on where that was.
int RepeatCommand(const Flags& flags, const Peers* peers) {
  const uint64_t first = flags.seed.value_or(1);
  std::vector<std::vector<double>> accuracies;
  std::vector<int> widths;
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(flags.repeat); ++seed) {
    Flags one = flags;
    one.seed = seed;
    const std::string folder = "/seed-" + std::to_string(seed);
    one.out = flags.out + folder;
    if (!flags.resume.empty()) {
      one.resume = flags.resume + folder + "/last.pt";
      if (std::filesystem::exists(one.resume))
        one.init.clear();
      else
        one.resume.clear();
    }
    RunOptions options = Options(one);
    options.peers = peers;
    const std::vector<WidthResult> last = TrainOnce(options);
    if (last.empty()) return 0;
    accuracies.resize(last.size());
    widths.clear();
    for (size_t i = 0; i < last.size(); ++i) {
      accuracies[i].push_back(last[i].test_accuracy);
      widths.push_back(last[i].width);
    }
  }
  for (size_t i = 0; i < widths.size(); ++i)
    std::printf("%s%d runs, last epoch: mean %.2f %%, standard deviation %.2f\n",
                widths[i] == 0 ? "" : (std::to_string(widths[i]) + " bits: ").c_str(), flags.repeat,
                Mean(accuracies[i]), Deviation(accuracies[i]));
  return 0;
}

int TrainCommand(const Flags& flags) {
  if (flags.repeat > 1 && flags.recipe.empty())
    throw UsageError("--repeat needs --recipe, also with --resume");
  if (flags.repeat == 1 && !flags.resume.empty() && !flags.init.empty())
    throw UsageError("--init is for a run's start, expected no --resume");
  RunOptions options;
  if (flags.repeat == 1) options = Options(flags);
  const Launch launch = LaunchFrom([](const char* name) { return std::getenv(name); });
  std::optional<Peers> peers;
  if (launch.size > 1) {
    peers.emplace(launch, flags.device, std::chrono::seconds(flags.peer_timeout));
    options.peers = &*peers;
    if (!Leads(options) && std::freopen("/dev/null", "w", stdout) == nullptr)
      throw InputError("/dev/null: cannot be opened");
  }
  // Now that nothing waits for peers that may never come.
  std::signal(SIGINT, [](int signal) { g_signal = signal; });
  std::signal(SIGTERM, [](int signal) { g_signal = signal; });
  if (flags.repeat > 1) return RepeatCommand(flags, options.peers);
  TrainOnce(options);
  return 0;
}

void PrintEvaluation(const std::string& what, const Evaluation& e) {
  std::string top5;
  if (e.classes >= kTop5Classes) {
    char text[32];
    std::snprintf(text, sizeof text, ", top-5 %.2f %%", e.top5());
    top5 = text;
  }
  std::printf("%s: %zu images, %zu correct, top-1 %.2f %%%s, loss %.4f\n", what.c_str(), e.images,
              e.correct, e.accuracy(), top5.c_str(), e.loss());
}

// How far deployment is from the plain float network it was made from.
void PrintAgreement(const Evaluation& deployed, const Evaluation& plain) {
  const Agreement a = Compare(deployed, plain);
  std::printf(
      "the same class on %zu of %zu images (%.2f %%), logits of up to %.4g differ by at most "
      "%.4g\n",
      a.same_class, plain.images,
      100.0 * static_cast<double>(a.same_class) / static_cast<double>(plain.images),
      a.largest_logit, a.largest_difference);
}

template <typename Run>
Evaluation WithBar(const std::string& what, const Samples& samples, const Run& run) {
  Progress bar(what, samples.size());
  return run([&](size_t done) { bar.Show(done); });
}

int EvalCommand(const Flags& flags) {
  if (!flags.deploy && !flags.stem.empty()) throw UsageError("--stem needs --deploy");
  if (!flags.deploy && !flags.fp32_layers.empty())
    throw UsageError("--fp32-layers needs --deploy");
  const Checkpoint checkpoint = ReadCheckpoint(flags.eval);
  Network network = NetworkOf(checkpoint, "");
  const auto text = checkpoint.text.find("preprocessing");
  const Preprocessing preprocessing =
      text == checkpoint.text.end() ? FromText(DefaultsOf(network).preprocessing, network.name)
                                    : FromText(text->second, flags.eval + ", its preprocessing");
  network.input_std = preprocessing.std;
  const int width = flags.width != 0 ? flags.width : network.widest();
  if (width != 0 &&
      std::find(network.widths.begin(), network.widths.end(), width) == network.widths.end())
    throw InputError(flags.eval, "has no width " + std::to_string(width) + " (its arguments: " +
                                     ArgumentsText(network.arguments) + ")");
  const Node& input = network.nodes.front();
  const Samples samples = Prepare(OpenDataset({flags.data}, Split::kTest), preprocessing,
                                  input.height, input.width, network.classes(), flags.limit);
  // First, what cannot be deployed is told.
  const std::string fp32_layers = flags.fp32_layers.empty() ? "f32" : flags.fp32_layers;
  const ImportOptions options{ParseStem(flags.stem.empty() ? "auto" : flags.stem),
                              preprocessing.mean, preprocessing.std, width,
                              ParseFloatLimbs(fp32_layers)};
  std::optional<Graph> graph;
  ImportReport report;
  if (flags.deploy) graph = Import(network, checkpoint.state, options, &report);
  TrainerModel model(network, at::kFloat, ParseDevice(flags.device));
  model.Load(checkpoint.state);
  Evaluation result = WithBar("float network", samples, [&](const auto& progress) {
    return Evaluate(model, width, samples, preprocessing, progress);
  });
  PrintEvaluation(flags.eval + (width == 0 ? "" : ", " + std::to_string(width) + " bits"), result);
  if (graph) {
    const Evaluation plain = std::move(result);
    result = WithBar("deployed", samples, [&](const auto& progress) {
      return EvaluateGraph(*graph, samples, preprocessing, progress);
    });
    PrintEvaluation(flags.eval + " deployed, stem " + StemName(options.stem) +
                        (options.float_limbs != 0 ? ", fp32 layers " + fp32_layers : ""),
                    result);
    PrintAgreement(result, plain);
  }
  if (!flags.logits.empty()) WriteNpy(flags.logits, result.logits, result.images, result.classes);
  return 0;
}

int BenchCommand(const Flags& flags) {
  const Recipe recipe = flags.changes.Read(flags.bench);
  Recipe plain = recipe;
  for (const char* key : {"mode", "bits", "weight_bits", "activation_bits"})
    plain.arguments.erase(key);
  plain.arguments["form"] = "full-precision";
  plain.tau_min = plain.tau_max = 0;
  const at::Device device = ParseDevice(flags.device);
  constexpr int kSteps = 15;
  const std::string precision_name = flags.precision.empty() ? "fp32" : flags.precision;
  const Precision precision = ParsePrecision(precision_name, device);
  const double quantized = MillisecondsPerStep(recipe, device, precision, kSteps, /*fuse=*/true);
  const double full = MillisecondsPerStep(plain, device, precision, kSteps, /*fuse=*/true);
  const double libtorch = MillisecondsPerStep(plain, device, precision, kSteps, /*fuse=*/false);
  std::printf("%s, batch %d, %s, %s, %d threads, median of %d steps\n", recipe.network.c_str(),
              recipe.batch, flags.device.c_str(), precision_name.c_str(), at::get_num_threads(),
              kSteps);
  std::printf(
      "  quantized                                   %8.1f ms a step\n"
      "  full precision                              %8.1f ms, ratio %.2f\n"
      "  full precision, LibTorch's operators alone  %8.1f ms, ratio %.2f\n",
      quantized, full, quantized / full, libtorch, quantized / libtorch);
  return 0;
}

// Published figures and the commands that reproduce them.
int ListCommand() {
  Table table({"system", "data", "network", "what", "published", "settings", "command"});
  for (const PublishedRow& row : PublishedRows())
    table.Add({row.system, row.data, row.model, row.what, row.figure,
               row.ours ? "our settings" : "published", CommandOf(row)});
  std::printf(
      "%s\nEach with --data FOLDER --out FOLDER; names in capitals stand for files. Figures are "
      "top-1 or top-1/top-5\nin percent, of the best epoch, or a search's mean bits; of mcdonnell "
      "means of the last epoch\nof five runs. Our settings: none are published for it.\n",
      table.Text().c_str());
  return 0;
}

int RunMode(const Flags& flags) {
  at::set_num_threads(flags.threads > 0 ? flags.threads : UsableCpus());
  const bool trains = !flags.recipe.empty() || !flags.resume.empty();
  if (trains + !flags.eval.empty() + !flags.bench.empty() + !flags.report.empty() + flags.list != 1)
    throw UsageError("expected one of --recipe or --resume, --eval, --bench, --report, --list");
  if (flags.list) return ListCommand();
  if (!flags.bench.empty()) return BenchCommand(flags);
  if (!flags.report.empty()) {
    WriteReport(flags.report);
    std::printf("%s/report.html\n", flags.report.c_str());
    return 0;
  }
  if (flags.data.empty()) throw UsageError("--data is missing");
  return trains ? TrainCommand(flags) : EvalCommand(flags);
}

int Command(const Flags& flags) {
  try {
    return RunMode(flags);
  } catch (const c10::Error& error) {  // too little memory, a device that fails
    const std::string what = error.what_without_backtrace();
    throw InputError("LibTorch: " + what.substr(0, what.find('\n')));
  }
}

}  // namespace
}  // namespace lbrt

int main(int argc, char** argv) {
  using namespace lbrt;
  // Every step allocates the same tensors again. Memory that the allocator keeps is not cleared by
  // the kernel anew each time, which takes 4 % of a step.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  Flags flags;
  CLI::App app("Trains a quantized network by a recipe, evaluates checkpoints.", "lbtrain");
  app.footer(
      "example: lbtrain --recipe trainer/recipes/mcdonnell-wrn-20-1-cifar10.toml "
      "--data cifar-10-batches-bin --out run --epochs 32\n\n"
      "networks, for --set network=: " +
      Listed(NetworkNames()) + "\nkeys of networks, for --set KEY=VALUE: " +
      Listed(ArgumentNames()));
  app.add_option("--recipe", flags.recipe, "train by this recipe (trainer/recipes/*.toml)");
  app.add_option("--data", flags.data,
                 "folder of CIFAR-10, CIFAR-100, SVHN or (Fashion-)MNIST files, or of class folders "
                 "(ImageNet, Tiny-ImageNet, imagenette)");
  app.add_option("--out", flags.out, "folder for last.pt, best.pt, metrics.csv (default: .)");
  app.add_flag("--list", flags.list,
               "print every published figure with the command that trains its network");
  flags.changes.AddTo(app);
  app.add_option("--seed", flags.seed, "of weights, order and augmentation (default: 1)");
  app.add_option("--device", flags.device, "cpu or cuda (default: cpu)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--precision", flags.precision,
                 "of training's products: fp32, tf32 (CUDA) or bf16 (CUDA; CPUs with instructions "
                 "for it) (default: fp32); evaluation is fp32")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  app.add_flag("--no-graph", flags.no_graph,
               "with --device cuda: launch a step's kernels one by one, not as one CUDA graph");
  app.add_option("--threads", flags.threads, "CPU threads (default: all)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--resume", flags.resume,
                 "go on from this checkpoint, exactly; with --repeat, from those of this folder");
  app.add_option("--init", flags.init, "start from this checkpoint's weights");
  app.add_option("--latency-table", flags.latencies,
                 "of a search: measured latencies (JSON) as its costs");
  app.add_option("--teacher", flags.teacher, "learn this checkpoint's outputs instead of labels");
  app.add_option("--teacher-network", flags.teacher_network,
                 "what a foreign teacher is (default: ternary/resnet34, torchvision's in full "
                 "precision)");
  app.add_option("--repeat", flags.repeat,
                 "train N times with seeds from --seed on; mean and deviation at the end")
      ->check(CLI::Range(1, 1000));
  app.add_option("--replicas", flags.replicas,
                 "parts of a batch with statistics of their own, as on so many devices")
      ->check(CLI::Range(1, 1024));
  app.add_option("--peer-timeout", flags.peer_timeout,
                 "of several processes (started by torchrun, mpirun or srun, each with these flags): "
                 "seconds without an answer until a peer counts as lost (default: 600)")
      ->check(CLI::Range(1, 1000000));
  app.add_option("--eval", flags.eval, "evaluate this checkpoint on the test images of --data");
  app.add_flag("--deploy", flags.deploy,
               "with --eval: also execute what lbconvert makes of it, to the bit as lbrun does");
  app.add_option("--stem", flags.stem,
                 "with --deploy: i24, i16, i8 or f32 (default: what it was trained with, else i24)")
      ->check(CLI::IsMember({"i24", "i16", "i8", "f32"}));
  app.add_option("--fp32-layers", flags.fp32_layers,
                 "with --deploy: weights of the other layers that stay float, as lbconvert takes "
                 "it: f32, i16 or i8")
      ->check(CLI::IsMember({"f32", "i16", "i8"}));
  app.add_option("--width", flags.width, "with --eval: bits (default: the widest)");
  app.add_option("--limit", flags.limit, "with --eval: only the first N images");
  app.add_option(
      "--logits", flags.logits,
      "with --eval: write the logits (with --deploy: the deployed ones) as a NumPy file");
  app.add_option("--report", flags.report,
                 "write report.html from the last.pt and metrics.csv of this folder, also while a "
                 "run is at work");
  app.add_option("--bench", flags.bench, "time a training step of this recipe");
  return RunCommand(app, argc, argv, [&] { return Command(flags); });
}
