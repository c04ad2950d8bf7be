// lbtrain: trains a network by a recipe, and evaluates checkpoints.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <malloc.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <limits>
#include <optional>
#include <sstream>

#include "apps/command_line.h"
#include "apps/progress.h"
#include "images/dataset.h"
#include "images/npy.h"
#include "network/checkpoint.h"
#include "network/import.h"
#include "trainer/deploy_eval.h"
#include "trainer/evaluate.h"
#include "trainer/recipe.h"
#include "trainer/run.h"

namespace lbrt {
namespace {

volatile std::sig_atomic_t g_signal = 0;

struct Flags {
  std::string recipe, data, out = ".", device = "cpu", resume, init, eval, stem, logits, bench;
  bool deploy = false;
  std::optional<int> epochs, batch;
  std::optional<uint64_t> seed;
  int threads = 0;
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

Recipe WithOverrides(Recipe recipe, const Flags& flags) {
  if (flags.epochs) recipe.SetEpochs(*flags.epochs);
  if (flags.batch) recipe.batch = *flags.batch;
  return recipe;
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
  if (flags.resume.empty()) {
    options.recipe = WithOverrides(ReadRecipe(flags.recipe), flags);
    options.seed = flags.seed.value_or(1);
    return options;
  }
  // A resumed run goes on as it began. Flags may say so again, but not something else.
  const Checkpoint checkpoint = ReadCheckpoint(flags.resume);
  options.recipe = RecipeOf(checkpoint, flags.resume);
  options.seed = SeedOf(checkpoint, flags.resume);
  const std::string begun = RecipeText(options.recipe);
  const std::string asked = RecipeText(
      WithOverrides(flags.recipe.empty() ? options.recipe : ReadRecipe(flags.recipe), flags));
  if (begun != asked) throw InputError(flags.resume, FirstDifference(begun, asked));
  if (flags.seed && *flags.seed != options.seed)
    throw InputError(flags.resume, "has seed " + std::to_string(options.seed) + ", asked for " +
                                       std::to_string(*flags.seed));
  return options;
}

int TrainCommand(const Flags& flags) {
  const RunOptions options = Options(flags);
  const int epochs = options.recipe.rate.epochs;
  std::printf("%s %s: %d epochs of batches of %d, seed %llu, %s, %d threads\n",
              options.recipe.network.c_str(), ArgumentsText(options.recipe.arguments).c_str(),
              epochs, options.recipe.batch, static_cast<unsigned long long>(options.seed),
              options.device.c_str(), at::get_num_threads());
  std::fflush(stdout);
  std::signal(SIGINT, [](int signal) { g_signal = signal; });
  std::signal(SIGTERM, [](int signal) { g_signal = signal; });

  std::optional<Progress> bar;
  int epoch = -1;
  size_t done = 0;
  bool saved = !flags.resume.empty();
  RunEvents events;
  events.step = [&](int e, size_t images, size_t total) {
    if (e != epoch)
      bar.emplace("epoch " + std::to_string(e + 1) + "/" + std::to_string(epochs), total);
    epoch = e;
    done = images;
    bar->Show(images);
  };
  events.epoch = [&](const EpochResult& r) {
    bar.reset();
    std::printf(
        "epoch %*d/%d  lr %-9.4g train %.4f %6.2f %%  test %.4f %6.2f %%  best %6.2f %%  "
        "%.1f s  %s left\n",
        static_cast<int>(std::to_string(epochs).size()), r.epoch + 1, epochs, r.lr, r.train_loss,
        r.train_accuracy, r.test_loss, r.test_accuracy, r.best_accuracy, r.seconds,
        Duration(r.seconds * (epochs - r.epoch - 1)).c_str());
    std::fflush(stdout);
    done = 0;
    saved = true;
  };
  events.stop = [] { return g_signal != 0; };
  const bool finished = Train(options, events);
  bar.reset();
  if (finished) return 0;
  const std::string next =
      saved ? "go on with --resume " + options.out + "/last.pt" : "before the first checkpoint";
  std::fprintf(stderr, "lbtrain: stopped by signal %d in epoch %d after %zu images; %s\n",
               static_cast<int>(g_signal), epoch + (done == 0 ? 2 : 1), done, next.c_str());
  return 128 + static_cast<int>(g_signal);
}

void PrintEvaluation(const std::string& what, const Evaluation& e) {
  std::printf("%s: %zu images, %zu correct, top-1 %.2f %%, loss %.4f\n", what.c_str(), e.images,
              e.correct, e.accuracy(), e.loss);
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
  const Checkpoint checkpoint = ReadCheckpoint(flags.eval);
  const Network network = NetworkOf(checkpoint, "");
  const auto text = checkpoint.text.find("preprocessing");
  const Preprocessing preprocessing =
      text == checkpoint.text.end() ? FromText(DefaultsOf(network).preprocessing, network.name)
                                    : FromText(text->second, flags.eval + ", its preprocessing");
  const Node& input = network.nodes.front();
  const Samples samples =
      Prepare(OpenDataset({flags.data}, Split::kTest), preprocessing, input.height, input.width,
              network.node(network.output).channels, flags.limit);
  TrainerModel model(network, at::kFloat, ParseDevice(flags.device));
  model.Load(checkpoint.state);
  Evaluation result = WithBar("float network", samples, [&](const auto& progress) {
    return Evaluate(model, samples, preprocessing, progress);
  });
  PrintEvaluation(flags.eval, result);
  if (flags.deploy) {
    ImportOptions options{ParseStem(flags.stem.empty() ? "i24" : flags.stem), preprocessing.mean,
                          preprocessing.std};
    ImportReport report;
    const Graph graph = Import(network, checkpoint.state, options, &report);
    const Evaluation plain = std::move(result);
    result = WithBar("deployed", samples, [&](const auto& progress) {
      return EvaluateGraph(graph, samples, preprocessing, progress);
    });
    PrintEvaluation(flags.eval + " deployed, stem " + StemName(options.stem), result);
    PrintAgreement(result, plain);
  }
  if (!flags.logits.empty()) WriteNpy(flags.logits, result.logits, result.images, result.classes);
  return 0;
}

int BenchCommand(const Flags& flags) {
  const Recipe recipe = WithOverrides(ReadRecipe(flags.bench), flags);
  const at::Device device = ParseDevice(flags.device);
  constexpr int kSteps = 15;
  const double quantized = MillisecondsPerStep(recipe, Precision::kQuantized, device, kSteps);
  const double plain = MillisecondsPerStep(recipe, Precision::kFloat, device, kSteps);
  std::printf("%s, batch %d, %s, %d threads, median of %d steps\n", recipe.network.c_str(),
              recipe.batch, flags.device.c_str(), at::get_num_threads(), kSteps);
  std::printf(
      "  quantized    %8.1f ms a step\n  plain float  %8.1f ms a step\n  ratio        %8.2f\n",
      quantized, plain, quantized / plain);
  return 0;
}

int RunMode(const Flags& flags) {
  at::set_num_threads(flags.threads > 0 ? flags.threads : UsableCpus());
  const bool trains = !flags.recipe.empty() || !flags.resume.empty();
  if (trains + !flags.eval.empty() + !flags.bench.empty() != 1)
    throw UsageError("expected one of --recipe or --resume, --eval, --bench");
  if (!flags.bench.empty()) return BenchCommand(flags);
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
      "--data cifar-10-batches-bin --out run --epochs 32");
  app.add_option("--recipe", flags.recipe, "train by this recipe (trainer/recipes/*.toml)");
  app.add_option("--data", flags.data, "folder of CIFAR-10, CIFAR-100 or (Fashion-)MNIST files");
  app.add_option("--out", flags.out, "folder for last.pt, best.pt, metrics.csv (default: .)");
  app.add_option("--epochs", flags.epochs, "another number of epochs than the recipe's")
      ->check(CLI::Range(1, 100000));
  app.add_option("--batch", flags.batch, "another batch size than the recipe's")
      ->check(CLI::Range(2, 100000));
  app.add_option("--seed", flags.seed, "of weights, order and augmentation (default: 1)");
  app.add_option("--device", flags.device, "cpu or cuda (default: cpu)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--threads", flags.threads, "CPU threads (default: all)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--resume", flags.resume, "go on from this checkpoint, exactly");
  app.add_option("--init", flags.init, "start from this checkpoint's weights");
  app.add_option("--eval", flags.eval, "evaluate this checkpoint on the test images of --data");
  app.add_flag("--deploy", flags.deploy,
               "with --eval: also execute what lbconvert makes of it, to the bit as lbrun does");
  app.add_option("--stem", flags.stem, "with --deploy: i24, i16, i8 or f32 (default: i24)")
      ->check(CLI::IsMember({"i24", "i16", "i8", "f32"}));
  app.add_option("--limit", flags.limit, "with --eval: only the first N images");
  app.add_option(
      "--logits", flags.logits,
      "with --eval: write the logits (with --deploy: the deployed ones) as a NumPy file");
  app.add_option("--bench", flags.bench, "time a training step of this recipe");
  return RunCommand(app, argc, argv, [&] { return Command(flags); });
}
