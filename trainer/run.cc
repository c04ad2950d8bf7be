#include "trainer/run.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>

#include "images/dataset.h"
#include "images/error.h"
#include "images/file.h"
#include "network/bits.h"
#include "trainer/batch_shares.h"
#include "trainer/cuda_graph.h"
#include "trainer/evaluate.h"
#include "trainer/peers.h"
#include "trainer/run_state.h"
#include "trainer/samples.h"
#include "trainer/search.h"
#include "trainer/step.h"

namespace lbrt {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

std::string Labels(const Dataset& dataset, const Network& network) {
  const size_t classes = static_cast<size_t>(network.node(network.output).channels);
  if (dataset.class_names.size() != classes) return DefaultsOf(network).labels;
  std::string text;
  for (const std::string& name : dataset.class_names) text += name + "\n";
  return text;
}

// The widths of a network, the widest first; a 0 where it has none.
std::vector<int> Descending(const Network& network) {
  if (network.widths.empty()) return {0};
  return {network.widths.rbegin(), network.widths.rend()};
}

// The losses of an epoch's steps that were read.
struct ReadLosses {
  double sum = 0;
  int64_t steps = 0;

  void Add(double loss) { sum += loss, ++steps; }
  double Mean() const { return sum / static_cast<double>(steps); }  // of none: NaN
};

// Everything that one run changes, and what it goes on from.
class Run {
 public:
  Run(const RunOptions& options, const RunEvents& events)
      : options_(options),
        events_(events),
        recipe_(WithoutFiles(options.recipe)),
        model_(recipe_.Build(), at::kFloat, ParseDevice(options.device)),
        precision_(ParsePrecision(options.precision, model_.device())),
        optimizers_(model_, recipe_.optimizer, ArchitectureOptimizer(recipe_)),
        widths_(Descending(model_.network())),
        peers_(options.peers),
        rank_(peers_ != nullptr ? peers_->rank() : 0),
        processes_(peers_ != nullptr ? peers_->size() : 1),
        shares_(recipe_.batch, options.replicas, rank_, processes_),
        state_(options.seed),
        files_({{"teacher", File(options.teacher)}, {"latency_table", File(options.latencies)}}) {
    if (IsSearch(model_.network())) {
      if (!options.latencies.empty()) latencies_ = LatencyTable::Read(options.latencies);
      cost_.emplace(model_, latencies_ ? &*latencies_ : nullptr);
    } else if (!options.latencies.empty()) {
      throw InputError(options.latencies, "is for a search, expected a recipe with mode=search");
    }
    if (options.graph && shares_.parts() == 1 && CudaGraph::Takes(model_.network()))
      graph_.emplace();
    Start();
    Open();
  }

  bool Epochs() {
    while (state_.epoch < recipe_.rate.epochs)
      if (!Epoch()) return false;
    return true;
  }

 private:
  struct File {
    explicit File(const std::string& file) : path(file) {
      if (!path.empty()) crc32 = ChecksumOfFile(path);
    }
    std::string path;
    int64_t crc32 = 0;
  };

  static Recipe WithoutFiles(Recipe recipe) {
    recipe.ReadFiles();
    return recipe;
  }
  static OptimizerOptions ArchitectureOptimizer(const Recipe& recipe) {
    OptimizerOptions options;  // SGD of the same momentum and decay (methods.md 2.3)
    options.momentum = recipe.optimizer.momentum;
    options.weight_decay = recipe.optimizer.weight_decay;
    return options;
  }

  void Start() {
    if (!options_.teacher.empty()) StartTeacher();
    if (!options_.resume.empty()) return Resume();
    model_.Initialise(state_.random);
    if (options_.init.empty()) return;
    StateDict state = ReadCheckpoint(options_.init).state;
    FitTensors(model_.network(), &state);
    size_t taken = 0;
    const std::vector<std::string> lacking = model_.LoadMatching(state, &taken);
    if (taken == 0)
      throw InputError(options_.init, "has no tensor of " + model_.network().name +
                                          ", expected some, e.g. " + model_.parameters().front());
    NoteInitial(state, lacking);
  }

  // What a checkpoint that a run starts from lacks, and what it has and the network does not.
  void NoteInitial(const StateDict& state, const std::vector<std::string>& lacking) const {
    std::vector<std::string> unused;
    for (const std::string& name : state.names())
      if (!model_.contains(name)) unused.push_back(name);
    const auto some = [](const std::vector<std::string>& names, const std::string& what) {
      return std::to_string(names.size()) + " tensors, " + what + ": " + names[0] +
             (names.size() > 1 ? ", ..." : "");
    };
    std::string text;
    if (!lacking.empty()) text = " lacks " + some(lacking, "which start anew");
    if (!unused.empty())
      text += (text.empty() ? "" : ";") + std::string(" has ") +
              some(unused, "which the network does not");
    if (!text.empty() && events_.note) events_.note(options_.init + text);
  }

  void Resume() {
    const Checkpoint checkpoint = ReadCheckpoint(options_.resume);
    RecipeOf(checkpoint, options_.resume);
    ExpectAsBegun(checkpoint);
    model_.Load(checkpoint.state);
    for (const auto& [name, optimizer] : {std::pair{"optimizer", &optimizers_.weights},
                                          std::pair{"arch_optimizer", &optimizers_.architecture}})
      if (checkpoint.groups.count(name)) optimizer->Load(checkpoint.groups.at(name));
    state_ = RunState::ReadFrom(checkpoint, options_.resume, widths_.size(), model_.device());
  }

  // What the run goes by and its recipe does not say.
  void ExpectAsBegun(const Checkpoint& checkpoint) const {
    const auto found = checkpoint.integers.find("replicas");
    const int64_t replicas = found == checkpoint.integers.end() ? 1 : found->second;
    if (replicas != shares_.parts())
      throw InputError(options_.resume, "has " + std::to_string(replicas) +
                                            " replicas, asked for " +
                                            std::to_string(shares_.parts()));
    for (const auto& [name, asked] : files_) {
      const auto begun = checkpoint.text.find(name);
      if (begun == checkpoint.text.end()) {
        if (asked.path.empty()) continue;
        throw InputError(options_.resume, "has no " + name + ", asked for " + asked.path);
      }
      if (asked.path.empty())
        throw InputError(options_.resume,
                         "has the " + name + " " + begun->second + ", expected it again");
      const auto crc = checkpoint.integers.find(name + "_crc32");
      if (crc != checkpoint.integers.end() && crc->second != asked.crc32)
        throw InputError(asked.path, "is not the " + name + " that " + options_.resume + " has, " +
                                         begun->second);
    }
  }

  // The teacher of methods.md 4.4: a network in full precision, in evaluation.
  void StartTeacher() {
    Checkpoint checkpoint = ReadCheckpoint(options_.teacher);
    Network network =
        checkpoint.text.count("network")
            ? NetworkOf(checkpoint, "")
            : BuildNetwork(options_.teacher_network,
                           {{"form", "full-precision"},
                            {"classes", std::to_string(model_.network().classes())},
                            {"size", std::to_string(model_.network().nodes[0].height)}});
    if (network.classes() != model_.network().classes())
      throw InputError(options_.teacher, "knows " + std::to_string(network.classes()) +
                                             " classes, expected " +
                                             std::to_string(model_.network().classes()));
    const Node &own = model_.network().nodes[0], &input = network.nodes[0];
    if (input.channels != own.channels || input.height != own.height || input.width != own.width)
      throw InputError(options_.teacher, "takes images of " + std::to_string(input.width) + " x " +
                                             std::to_string(input.height) + " pixels, expected " +
                                             std::to_string(own.width) + " x " +
                                             std::to_string(own.height));
    network.input_std = recipe_.preprocessing.std;
    FitTensors(network, &checkpoint.state);
    teacher_.emplace(network, at::kFloat, model_.device());
    teacher_->Load(checkpoint.state);
  }

  void Open() {
    const Network& network = model_.network();
    const Node& input = network.nodes.front();
    Dataset train = OpenDataset({options_.data}, Split::kTrain);
    if (train.whole)
      throw InputError(
          options_.data,
          "has no test images apart from the training images, expected train/ and val/ "
          "below it, or a public data set's files of both");
    labels_ = Labels(train, network);
    train_ = Prepare(std::move(train), recipe_.preprocessing, input.height, input.width,
                     network.classes(), 0);
    test_ = Prepare(OpenDataset({options_.data}, Split::kTest), recipe_.preprocessing, input.height,
                    input.width, network.classes(), 0);
    if (train_.size() < 2)
      throw InputError(options_.data, "holds one training image, expected more");
    if (state_.position > train_.size())
      throw InputError(options_.resume, "is at image " + std::to_string(state_.position) +
                                            ", the data has " + std::to_string(train_.size()));
    batcher_.emplace(train_, recipe_.preprocessing, model_.device());
    test_batcher_.emplace(test_, recipe_.preprocessing, model_.device());
    if (rank_ != 0) return;
    std::error_code error;
    std::filesystem::create_directories(options_.out, error);
    if (error) throw InputError(options_.out, "cannot be made: " + error.message());
  }

  bool Epoch() {
    const Clock::time_point start = Clock::now();
    const size_t done_before = state_.position;
    EpochResult r;
    r.epoch = state_.epoch;
    r.lr = recipe_.rate.At(state_.epoch);
    if (recipe_.tau_max > 0) {
      r.tau = RecuTau(recipe_.tau_min, recipe_.tau_max, state_.epoch, recipe_.rate.epochs);
      SetTau(model_, r.tau);
    }
    if (!Steps(r) || !Test(r)) {
      Save(ToCheckpoint(), /*best=*/false);
      return false;
    }
    state_.sums = EpochSums();
    state_.position = 0;
    ++state_.epoch;
    const bool best = state_.best_epoch == 0 || r.test_accuracy > state_.best_accuracy;
    if (best) {
      state_.best_accuracy = r.test_accuracy;
      state_.best_epoch = state_.epoch;
    }
    r.best_accuracy = state_.best_accuracy;
    r.seconds = Seconds(start);
    r.whole_seconds = r.seconds;
    if (r.images_per_second > 0)
      r.whole_seconds += static_cast<double>(done_before) / r.images_per_second;
    Finish(r, best);
    events_.epoch(r);
    return !AnyStops() || state_.epoch == recipe_.rate.epochs;
  }

  bool AnyStops() const {
    const bool stop = events_.stop();
    if (peers_ == nullptr) return stop;
    return peers_->Sum(at::scalar_tensor(stop ? 1 : 0)).item<float>() > 0;
  }

  // The running statistics are those of the first part of each batch: rank 0's. Weights go with
  // them, should machines of several kinds have rounded differently.
  void TakeStatistics() {
    if (peers_ == nullptr) return;
    for (const TensorSpec& tensor : model_.network().tensors)
      peers_->Broadcast(model_.at(tensor.name));
  }

  // Each process evaluates its share. False: a signal came first.
  bool Test(EpochResult& r) {
    TakeStatistics();
    const auto go_on = [&] { return peers_ != nullptr || !events_.stop(); };
    std::vector<Evaluation> tests =
        EvaluateWidths(model_, widths_, test_, *test_batcher_, {rank_, processes_}, go_on);
    if (tests.empty()) return false;
    for (size_t i = 0; i < tests.size(); ++i) {
      Evaluation& test = tests[i];
      if (peers_ != nullptr) AddPeers(test);
      WidthResult& w = r.widths[i];
      w.test_loss = test.loss();
      w.test_accuracy = test.accuracy();
      if (model_.network().classes() >= static_cast<int>(kTop5Classes)) w.test_top5 = test.top5();
      if (!std::isfinite(w.test_loss)) RefuseWeights();
    }
    r.test_loss = r.widths[0].test_loss;
    r.test_accuracy = r.widths[0].test_accuracy;
    return true;
  }

  void AddPeers(Evaluation& test) const {
    const at::Tensor sums =
        peers_->Sum(at::tensor({static_cast<double>(test.images), static_cast<double>(test.correct),
                                static_cast<double>(test.correct_of_five), test.loss_sum},
                               at::kDouble));
    test.images = static_cast<size_t>(sums[0].item<double>());
    test.correct = static_cast<size_t>(sums[1].item<double>());
    test.correct_of_five = static_cast<size_t>(sums[2].item<double>());
    test.loss_sum = sums[3].item<double>();
  }

  // The last step's update, which no loss of the epoch has seen.
  [[noreturn]] void RefuseWeights() const {
    std::string first;
    for (const TensorSpec& tensor : model_.network().tensors)
      if (first.empty() && !at::isfinite(model_.at(tensor.name)).all().item<bool>())
        first = tensor.name;
    throw InputError("epoch " + std::to_string(state_.epoch + 1) + ", test images",
                     "the loss is not finite" + (first.empty() ? "" : ", nor is " + first) +
                         "; a lower lr may help");
  }

  // The order of the images and each image's augmentation follow from one number an epoch, so a
  // run can be taken up at any position of it.
  bool Steps(EpochResult& r) {
    if (state_.position == 0) state_.order_seed = state_.random.Next();
    Random order_random(state_.order_seed);
    std::vector<uint32_t> order = ShuffledOrder(train_.size(), order_random);
    const size_t all = order.size();
    const Clock::time_point start = Clock::now();
    batcher_->Start(std::move(order), shares_.Positions(state_.position, all), recipe_.augment,
                    order_random.Next());
    double data_seconds = Seconds(start);
    read_ = ReadLosses();
    const size_t first = state_.position;
    while (state_.position < all) {
      const size_t count = shares_.Batch(all - state_.position);
      const Clock::time_point data_start = Clock::now();
      Batch batch = batcher_->Next(shares_.Own(count));
      batch.whole = static_cast<int64_t>(count);
      data_seconds += Seconds(data_start);
      if (teacher_) {
        at::NoGradGuard no_grad;
        batch.teacher_logits = Execute(*teacher_, batch.input, {});
      }
      ++steps_;
      const bool last = state_.position + count == all;
      const StepOptions options = Options(r.lr, last);
      const StepResult step = TrainStep(model_, optimizers_, batch, options);
      unread_.emplace_back(state_.position / static_cast<size_t>(recipe_.batch) + 1, step.total);
      if (options.keep_finite) CheckFinite(batch, options);
      state_.sums.Add(step, count);
      state_.position += count;
      events_.step(state_.epoch, state_.position, all, read_.Mean());
      if (last || !Stops(step)) continue;
      CheckFinite(batch, options);  // before a checkpoint keeps what it does
      return false;
    }
    Report(r);  // waits for the device
    const double seconds = Seconds(start);
    r.images_per_second = static_cast<double>(all - first) / seconds;
    r.data_share = data_seconds / seconds;
    return true;
  }

  bool Stops(const StepResult& step) const {
    return peers_ != nullptr ? Looks() && step.stop.item<double>() > 0 : events_.stop();
  }

  StepOptions Options(double lr, bool last) {
    StepOptions options;
    options.lr = lr;
    options.targets = recipe_.targets;
    options.lr_architecture = recipe_.lra * recipe_.rate.FactorAt(state_.epoch);
    options.cd = recipe_.cd;
    options.cost = cost_ ? &*cost_ : nullptr;
    options.random = &state_.random;
    options.replicas = options_.replicas;
    options.precision = precision_;
    options.peers = peers_;
    options.graph = graph_ ? &*graph_ : nullptr;
    options.stop = events_.stop();
    options.keep_finite = last || Looks();
    return options;
  }

  // The sums of the whole epoch as means.
  void Report(EpochResult& r) {
    const double images = static_cast<double>(train_.size());
    for (size_t i = 0; i < widths_.size(); ++i) {
      WidthResult& w = r.widths.emplace_back();
      w.width = widths_[i];
      w.train_loss = state_.sums.losses[i].item<double>() / images;
      r.train_loss += w.train_loss;
    }
    r.train_accuracy = 100.0 * static_cast<double>(state_.sums.correct.item<int64_t>()) / images;
    if (state_.sums.complexity.defined()) r.complexity = state_.sums.complexity.item<double>();
  }

  // Reading a number waits for a GPU; there, not every step is looked at.
  bool Looks() const {
    constexpr int kEvery = 50;
    return model_.device().is_cpu() || steps_ % kEvery == 0;
  }

  // Of the steps since the last look. A step that is looked at leaves the weights as they were
  // where its loss is not finite, so that the layer can be found.
  void CheckFinite(const Batch& batch, const StepOptions& options) {
    for (const auto& [step, total] : unread_) {
      const double loss = total.item<double>();
      read_.Add(loss);
      if (std::isfinite(loss)) continue;
      const std::string layer = FirstNotFinite(model_, batch, options);
      throw InputError(
          "epoch " + std::to_string(state_.epoch + 1) + ", step " + std::to_string(step),
          "the loss is no longer finite" + (layer.empty() ? "" : ", first in " + layer) +
              "; a lower lr may help");
    }
    unread_.clear();
  }

  Checkpoint ToCheckpoint() const {
    const Network& network = model_.network();
    Checkpoint c;
    c.state = model_.ToStateDict();
    c.groups["optimizer"] = optimizers_.weights.ToStateDict();
    if (!optimizers_.architecture.empty())
      c.groups["arch_optimizer"] = optimizers_.architecture.ToStateDict();
    c.text["network"] = network.name;
    c.text["arguments"] = ArgumentsText(network.arguments);
    c.text["recipe"] = RecipeText(recipe_);
    c.text["preprocessing"] = ToText(recipe_.preprocessing);
    c.text["labels"] = labels_;
    c.text["seed"] = std::to_string(options_.seed);
    c.text["device"] = options_.device;
    c.text["precision"] = options_.precision;
    c.integers["replicas"] = shares_.parts();
    for (const auto& [name, file] : files_) {
      if (file.path.empty()) continue;
      c.text[name] = file.path;
      c.integers[name + "_crc32"] = file.crc32;
    }
    state_.WriteTo(&c);
    return c;
  }

  // last.pt goes last: a run that dies before it does this epoch again and writes the same.
  void Save(const Checkpoint& checkpoint, bool best) const {
    if (rank_ != 0) return;
    if (best) WriteCheckpoint(options_.out + "/best.pt", checkpoint);
    WriteCheckpoint(options_.out + "/last.pt", checkpoint);
  }

  void Finish(const EpochResult& r, bool best) const {
    if (rank_ != 0) return;
    Checkpoint c = ToCheckpoint();
    c.numbers["last_accuracy"] = r.test_accuracy;
    for (const WidthResult& w : r.widths)
      if (w.width != 0)
        c.numbers["last_accuracy_w" + std::to_string(w.width)] = w.test_accuracy;
    WriteMetrics(options_.out + "/metrics.csv", r);
    if (cost_) {
      AtomicFile file(options_.out + "/architecture.txt");
      file.Write(ArchitectureText(ArchitectureOf(c.state)));
      file.Commit();
    }
    Save(c, best);
  }

  const RunOptions& options_;
  const RunEvents& events_;
  const Recipe recipe_;
  TrainerModel model_;
  const Precision precision_;
  std::optional<TrainerModel> teacher_;
  Optimizers optimizers_;
  std::optional<CudaGraph> graph_;
  std::optional<LatencyTable> latencies_;
  std::optional<SearchCost> cost_;
  const std::vector<int> widths_;  // the widest first
  const Peers* const peers_;       // nullptr: alone
  const int rank_, processes_;
  const BatchShares shares_;
  RunState state_;
  // What it goes by beside the recipe, by the names in checkpoints; without a path: nothing.
  const std::map<std::string, File> files_;
  Samples train_, test_;
  std::optional<Batcher> batcher_, test_batcher_;  // of train_ and test_
  std::string labels_;
  ReadLosses read_;  // of the epoch
  int64_t steps_ = 0;
  std::vector<std::pair<size_t, at::Tensor>> unread_;  // losses not read yet; their steps
};

}  // namespace

at::Device ParseDevice(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  if (text != "cuda") throw InputError("unknown device \"" + text + "\", expected cpu or cuda");
#ifdef LBRT_CUDA
  // Shapes are few and repeat: trying the ways to convolve them once finds the fastest.
  at::globalContext().setBenchmarkCuDNN(true);
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

std::string PrecisionOf(const Checkpoint& checkpoint) {
  const auto found = checkpoint.text.find("precision");
  return found == checkpoint.text.end() ? "fp32" : found->second;
}

}  // namespace lbrt
