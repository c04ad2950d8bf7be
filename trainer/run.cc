#include "trainer/run.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "images/dataset.h"
#include "images/error.h"
#include "images/file.h"
#include "trainer/evaluate.h"
#include "trainer/samples.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

constexpr char kMetricsHeader[] =
    "epoch,lr,tau,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n";

std::string MetricsLine(const EpochResult& r) {
  char line[256];
  std::snprintf(line, sizeof line, "%d,%.9g,%.9g,%.6f,%.3f,%.6f,%.3f,%.2f\n", r.epoch, r.lr, r.tau,
                r.train_loss, r.train_accuracy, r.test_loss, r.test_accuracy, r.seconds);
  return line;
}

// metrics.csv with the lines of epochs before `epoch` and `added` behind them: a run that died
// between this file and its checkpoint does an epoch twice, the file shows it once.
void WriteMetrics(const std::string& path, int epoch, const std::string& added) {
  std::string text = kMetricsHeader;
  if (epoch > 0 && std::filesystem::exists(path)) {
    const std::vector<uint8_t> bytes = ReadFile(path);
    std::istringstream lines(std::string(bytes.begin(), bytes.end()));
    for (std::string line; std::getline(lines, line);) {
      int of = -1;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), of);
      if (error == std::errc() && of < epoch) text += line + "\n";
    }
  }
  AtomicFile file(path);
  file.Write(text + added);
  file.Commit();
}

std::string Labels(const Dataset& dataset, const Network& network) {
  const size_t classes = static_cast<size_t>(network.node(network.output).channels);
  if (dataset.class_names.size() != classes) return DefaultsOf(network).labels;
  std::string text;
  for (const std::string& name : dataset.class_names) text += name + "\n";
  return text;
}

// The network of a recipe; throws InputError where the two do not fit.
Network NetworkFor(const Recipe& recipe) {
  Network network = BuildNetwork(recipe.network, recipe.arguments);
  const int channels = network.nodes.front().channels;
  if (channels != recipe.preprocessing.channels)
    throw InputError("recipe", "channels = " + std::to_string(recipe.preprocessing.channels) +
                                   ", " + network.name + " takes " + std::to_string(channels));
  const bool clips = std::any_of(network.nodes.begin(), network.nodes.end(), [](const Node& node) {
    return node.weights == WeightQuantizer::kRecu;
  });
  if (clips != (recipe.tau_max > 0))
    throw InputError("recipe", network.name + (clips ? " needs tau-min and tau-max"
                                                     : " has no use for tau-min and tau-max"));
  return network;
}

// Everything that one run changes, and what it goes on from.
class Run {
 public:
  Run(const RunOptions& options, const RunEvents& events)
      : options_(options),
        events_(events),
        recipe_(options.recipe),
        model_(NetworkFor(recipe_), at::kFloat, ParseDevice(options.device)),
        sgd_(model_, recipe_.sgd),
        random_(options.seed) {
    Start();
    Open();
  }

  bool Epochs() {
    for (; epoch_ < recipe_.rate.epochs; ++epoch_)
      if (!Epoch()) return false;
    return true;
  }

 private:
  void Start() {
    if (!options_.resume.empty()) {
      const Checkpoint checkpoint = ReadCheckpoint(options_.resume);
      RecipeOf(checkpoint, options_.resume);
      model_.Load(checkpoint.state);
      if (checkpoint.groups.count("optimizer")) sgd_.Load(checkpoint.groups.at("optimizer"));
      epoch_ = static_cast<int>(Integer(checkpoint, "epoch"));
      random_ = Random(static_cast<uint64_t>(Integer(checkpoint, "random_state")));
      best_epoch_ = Integer(checkpoint, "best_epoch");
      if (checkpoint.numbers.count("best_accuracy"))
        best_accuracy_ = checkpoint.numbers.at("best_accuracy");
      return;
    }
    model_.Initialise(random_);
    if (!options_.init.empty()) model_.Load(ReadCheckpoint(options_.init).state);
  }

  int64_t Integer(const Checkpoint& checkpoint, const std::string& name) const {
    const auto found = checkpoint.integers.find(name);
    if (found == checkpoint.integers.end())
      throw InputError(options_.resume, "has no " + name + ", expected a checkpoint of lbtrain");
    return found->second;
  }

  void Open() {
    const Network& network = model_.network();
    const Node& input = network.nodes.front();
    const int classes = network.node(network.output).channels;
    const Dataset train = OpenDataset({options_.data}, Split::kTrain);
    labels_ = Labels(train, network);
    train_ = Prepare(train, recipe_.preprocessing, input.height, input.width, classes, 0);
    test_ = Prepare(OpenDataset({options_.data}, Split::kTest), recipe_.preprocessing, input.height,
                    input.width, classes, 0);
    if (train_.size() < 2)
      throw InputError(options_.data, "holds one training image, expected more");
    std::error_code error;
    std::filesystem::create_directories(options_.out, error);
    if (error) throw InputError(options_.out, "cannot be made: " + error.message());
  }

  bool Epoch() {
    const Clock::time_point start = Clock::now();
    EpochResult r;
    r.epoch = epoch_;
    r.lr = recipe_.rate.At(epoch_);
    if (recipe_.tau_max > 0) {
      r.tau = RecuTau(recipe_.tau_min, recipe_.tau_max, epoch_, recipe_.rate.epochs);
      SetTau(model_, r.tau);
    }
    if (!Steps(r)) return false;
    const Evaluation test = Evaluate(model_, test_, recipe_.preprocessing, [](size_t) {});
    r.test_loss = test.loss;
    r.test_accuracy = test.accuracy();
    const bool best = best_epoch_ == 0 || r.test_accuracy > best_accuracy_;
    if (best) {
      best_accuracy_ = r.test_accuracy;
      best_epoch_ = epoch_ + 1;
    }
    r.best_accuracy = best_accuracy_;
    r.seconds = Seconds(start);
    Save(r, best);
    events_.epoch(r);
    return !events_.stop() || epoch_ + 1 == recipe_.rate.epochs;
  }

  bool Steps(EpochResult& r) {
    Batcher batcher(train_, recipe_.preprocessing);
    const std::vector<uint32_t> order = ShuffledOrder(train_.size(), random_);
    const std::span<const uint32_t> all(order);
    double loss = 0;
    int64_t correct = 0;
    for (size_t first = 0; first < all.size();) {
      const size_t count = BatchSize(all.size() - first);
      const std::span<const uint32_t> chosen = all.subspan(first, count);
      const at::Tensor images = batcher.Images(chosen, recipe_.augment, random_);
      const StepResult step = TrainStep(model_, sgd_, images.to(model_.device()),
                                        batcher.Labels(chosen).to(model_.device()), r.lr);
      if (!std::isfinite(step.loss))
        throw InputError("epoch " + std::to_string(epoch_ + 1) + ", image " + std::to_string(first),
                         "the loss is no longer finite; a lower lr may help");
      loss += step.loss * static_cast<double>(count);
      correct += step.correct;
      first += count;
      events_.step(epoch_, first, all.size());
      if (first < all.size() && events_.stop()) return false;
    }
    r.train_loss = loss / static_cast<double>(all.size());
    r.train_accuracy = 100.0 * static_cast<double>(correct) / static_cast<double>(all.size());
    return true;
  }

  // Nothing is dropped: the last batch of an epoch is smaller, and a single image that would be
  // left over (a batch norm cannot use it) joins the batch before.
  size_t BatchSize(size_t left) const {
    const size_t batch = static_cast<size_t>(recipe_.batch);
    return left <= batch + 1 ? left : batch;
  }

  void Save(const EpochResult& r, bool best) const {
    const Network& network = model_.network();
    Checkpoint c;
    c.state = model_.ToStateDict();
    c.groups["optimizer"] = sgd_.ToStateDict();
    c.text["network"] = network.name;
    c.text["arguments"] = ArgumentsText(network.arguments);
    c.text["recipe"] = RecipeText(recipe_);
    c.text["preprocessing"] = ToText(recipe_.preprocessing);
    c.text["labels"] = labels_;
    c.text["seed"] = std::to_string(options_.seed);
    c.text["device"] = options_.device;
    c.integers["epoch"] = r.epoch + 1;
    c.integers["best_epoch"] = best_epoch_;
    c.integers["random_state"] = static_cast<int64_t>(random_.state());
    c.numbers["best_accuracy"] = best_accuracy_;
    c.numbers["last_accuracy"] = r.test_accuracy;
    // last.pt goes last: a run that dies before it does this epoch again and writes the same.
    WriteMetrics(options_.out + "/metrics.csv", r.epoch, MetricsLine(r));
    if (best) WriteCheckpoint(options_.out + "/best.pt", c);
    WriteCheckpoint(options_.out + "/last.pt", c);
  }

  const RunOptions& options_;
  const RunEvents& events_;
  const Recipe recipe_;
  TrainerModel model_;
  Sgd sgd_;
  Random random_;
  Samples train_, test_;
  std::string labels_;
  int epoch_ = 0;
  int64_t best_epoch_ = 0;  // a count, like "epoch"; 0: none yet
  double best_accuracy_ = 0;
};

}  // namespace

at::Device ParseDevice(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  if (text != "cuda") throw InputError("unknown device \"" + text + "\", expected cpu or cuda");
#ifdef LBRT_CUDA
  if (at::hasCUDA()) return at::kCUDA;
  throw InputError("device cuda: this machine has no usable CUDA device");
#else
  throw InputError("device cuda: this program was built with a LibTorch that has no CUDA");
#endif
}

bool Train(const RunOptions& options, const RunEvents& events) {
  return Run(options, events).Epochs();
}

static const std::string& Text(const Checkpoint& checkpoint, const std::string& path,
                               const std::string& name) {
  const auto found = checkpoint.text.find(name);
  if (found == checkpoint.text.end())
    throw InputError(path, "has no " + name + ", expected a checkpoint of lbtrain");
  return found->second;
}

Recipe RecipeOf(const Checkpoint& checkpoint, const std::string& path) {
  return ParseRecipe(Text(checkpoint, path, "recipe"), path + ", its recipe");
}

uint64_t SeedOf(const Checkpoint& checkpoint, const std::string& path) {
  const std::string& text = Text(checkpoint, path, "seed");
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error != std::errc() || end != text.data() + text.size())
    throw InputError(path, "has seed \"" + text + "\", expected a number");
  return seed;
}

double MillisecondsPerStep(const Recipe& recipe, Precision precision, at::Device device,
                           int steps) {
  TrainerModel model(NetworkFor(recipe), at::kFloat, device);
  Random random(1);
  model.Initialise(random);
  if (recipe.tau_max > 0) SetTau(model, recipe.tau_min);
  Sgd sgd(model, recipe.sgd);
  const Node& input = model.network().nodes.front();
  const int classes = model.network().node(model.network().output).channels;
  const at::Tensor images = at::randn({recipe.batch, input.channels, input.height, input.width})
                                .to(device)
                                .contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor labels = at::randint(classes, {recipe.batch}, at::kLong).to(device);
  constexpr int kWarmup = 2;
  std::vector<double> times;
  for (int i = 0; i < steps + kWarmup; ++i) {
    const Clock::time_point start = Clock::now();
    TrainStep(model, sgd, images, labels, recipe.rate.At(0), precision);
    if (i >= kWarmup) times.push_back(1000 * Seconds(start));
  }
  std::nth_element(times.begin(), times.begin() + steps / 2, times.end());
  return times[static_cast<size_t>(steps) / 2];
}

}  // namespace lbrt
