// The list of published figures is complete, its commands are those of lbtrain, and every one of
// them works: on a small form of its network, a step is taken, evaluated, saved and resumed, and
// what comes out is executed as deployed.
#include "trainer/published.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>

#include "images/error.h"
#include "network/bits.h"
#include "network/checkpoint.h"
#include "network/import.h"
#include "tests/run_program.h"
#include "trainer/deploy_eval.h"
#include "trainer/evaluate.h"
#include "trainer/run.h"
#include "trainer/search.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

constexpr char kRecipes[] = LBRT_SOURCE_DIR "/trainer/recipes";

std::vector<std::string> Words(const std::string& text) {
  std::istringstream words(text);
  return {std::istream_iterator<std::string>(words), {}};
}

// --- The list ------------------------------------------------------------------------------------

// The five tables: the figures of a network, in any order.
struct Figures {
  const char *system, *data, *model, *figures;
};
constexpr Figures kFigures[] = {
    // methods.md 1.6
    {"any-precision", "CIFAR-10", "resnet20",
     "91.50 93.26 93.62 93.42 93.58  91.48 93.74 93.87 93.92 93.71  91.18 93.51 93.21 93.13 93.63 "
     "91.89 93.90 93.86 93.75 94.11"},
    {"any-precision", "SVHN", "svhn",
     "90.94 96.45 97.04 97.04 97.10  88.98 95.54 96.71 96.72 96.60  88.49 94.62 96.13 96.20 96.17 "
     "88.21 94.94 96.19 96.22 96.29"},
    {"any-precision", "ImageNet", "resnet50",
     "57.83 68.74 74.12 74.96 75.95  58.77 71.66 73.84 74.07 74.63"},
    // 2.6
    {"edmips", "ImageNet", "resnet18", "65.1/86.2 65.9/86.5 1.992 bit"},
    {"edmips", "ImageNet", "resnet50", "70.6/89.8 72.1/90.6 2.007 bit"},
    {"edmips", "ImageNet", "googlenet", "64.8/86.3 67.8/88.0 1.994 bit"},
    {"edmips", "ImageNet", "inception-v3", "71.0/89.9 72.4/90.7 1.982 bit"},
    // 3.5
    {"mcdonnell", "CIFAR-100", "wrn-20-10", "80.5 ± 0.24 80.0 ± 0.26"},
    // 4.5
    {"recu", "CIFAR-10", "resnet18", "92.8 93.2"},
    {"recu", "CIFAR-10", "resnet20", "87.5 88.0"},
    {"recu", "CIFAR-10", "vgg-small", "92.2 93.3"},
    {"recu", "ImageNet", "imagenet-resnet18", "60.98/82.57 61.20/82.93"},
    {"recu", "ImageNet", "imagenet-resnet34", "65.10/85.78 65.25/85.98"},
    {"recu", "ImageNet", "two-stage-resnet18", "66.4"},
    // 5.5
    {"ternary", "CIFAR-10", "resnet20", "91.70 91.65"},
    {"ternary", "CIFAR-10", "resnet32", "92.36 92.48"},
    {"ternary", "CIFAR-10", "resnet44", "92.47 92.71"},
    {"ternary", "CIFAR-10", "resnet56", "92.68 92.86"},
    {"ternary", "ImageNet", "resnet18",
     "69.75/89.07 66.01/86.78 68.35/88.20 69.44/88.91"},
    {"ternary", "ImageNet", "resnet34", "73.31/91.42 70.95/89.89"},
    {"ternary", "ImageNet", "resnet50", "76.13/92.86 74.00/91.77"},
    {"ternary", "ImageNet", "alexnet", "61.78/82.87 58.59/80.44 57.21/79.41"},
};

TEST(Published, EveryFigureOfTheFiveTablesIsListedOnce) {
  std::map<std::string, std::vector<std::string>> expected, listed;
  for (const Figures& f : kFigures)
    expected[std::string(f.system) + " " + f.data + " " + f.model] = Words(f.figures);
  for (const PublishedRow& row : PublishedRows()) {
    if (std::string(row.figure) == "-") continue;
    auto& figures = listed[std::string(row.system) + " " + row.data + " " + row.model];
    for (const std::string& figure : Words(row.figure)) figures.push_back(figure);
  }
  for (auto* figures : {&expected, &listed})
    for (auto& [network, values] : *figures) std::sort(values.begin(), values.end());
  EXPECT_EQ(listed, expected);
}

TEST(Published, AFigureOfSeveralWidthsHasOneEach) {
  for (const PublishedRow& row : PublishedRows()) {
    if (std::string(row.system) != "any-precision" || std::string(row.figure) == "-") continue;
    const Network network = RecipeOf(row).Build();
    EXPECT_EQ(Words(row.figure).size(), network.widths.size()) << CommandOf(row);
    const std::string what = row.what;
    EXPECT_EQ(what.find(network.widths.size() == 1
                            ? std::to_string(network.widths[0]) + " bit alone"
                            : "1, 2, 4, 8, 32 bit"),
              0u)
        << CommandOf(row);
  }
}

TEST(Published, WhatNobodyPublishedIsMarkedAsOurs) {
  // methods.md 1.5, 4.4, 5.7: widths alone but on ImageNet, fine-tuning, stage 1, full precision.
  for (const PublishedRow& row : PublishedRows()) {
    const std::string what = row.what, data = row.data;
    const bool ours = (what.ends_with("alone") && data != "ImageNet") || what == "finetune" ||
                      what == "stage 1" || what == "full precision";
    if (!ours && std::string(row.figure) == "-") continue;
    EXPECT_EQ(row.ours, ours) << CommandOf(row);
  }
}

TEST(Published, EveryRecipeIsListed) {
  std::set<std::string> files, listed;
  for (const auto& entry : fs::directory_iterator(kRecipes))
    files.insert(entry.path().stem().string());
  for (const PublishedRow& row : PublishedRows()) listed.insert(row.recipe);
  EXPECT_EQ(files, listed);
}

// What tells a row's data from another's.
struct Data {
  const char* name;
  int classes;
  std::vector<double> mean;  // empty: of any kind
};
const Data kData[] = {
    {"CIFAR-10", 10, {}},
    {"CIFAR-100", 100, {}},
    {"SVHN", 10, {.5, .5, .5}},
    {"Fashion-MNIST", 10, {.5, .5, .5}},
    {"Tiny-ImageNet", 200, {.4802, .4481, .3975}},
    {"ImageNet", 1000, {.485, .456, .406}},
};

// An architecture file of 3 bits in every layer, for the commands that name one.
void WriteArchitecture(const Recipe& recipe, const std::string& path) {
  Arguments arguments = recipe.arguments;
  arguments["bits"] = "2/2";
  const size_t layers = QuantizedLayers(BuildNetwork(recipe.network, arguments)).size();
  const std::vector<int> bits(layers, 3);
  std::ofstream(path) << ArchitectureText({bits, bits});
}

TEST(Published, EveryCommandBuildsItsNetwork) {
  const TemporaryFolder folder;
  for (const PublishedRow& row : PublishedRows()) {
    SCOPED_TRACE(CommandOf(row));
    Recipe recipe = RecipeOf(row);
    EXPECT_EQ(recipe.network, std::string(row.system) + "/" + row.model);
    EXPECT_EQ(RecipeText(recipe), RecipeText(ParseRecipeFlags(row.flags).Read(
                                      std::string(kRecipes) + "/" + row.recipe + ".toml")))
        << "built of other recipes";
    if (const auto bits = recipe.arguments.find("bits");
        bits != recipe.arguments.end() && bits->second == "architecture.txt") {
      bits->second = folder / bits->second;
      WriteArchitecture(recipe, bits->second);
    }
    const Network network = recipe.Build();
    EXPECT_EQ(IsSearch(network), std::string(row.what) == "search");
    const Node& input = network.nodes[0];
    const Preprocessing& p = recipe.preprocessing;
    EXPECT_EQ(input.channels, p.channels);
    EXPECT_EQ(input.height, p.crop_height + 2 * p.pad);
    EXPECT_EQ(input.width, p.crop_width + 2 * p.pad);
    const auto data = std::find_if(std::begin(kData), std::end(kData),
                                   [&](const Data& d) { return row.data == std::string(d.name); });
    ASSERT_NE(data, std::end(kData));
    EXPECT_EQ(network.classes(), data->classes);
    EXPECT_TRUE(data->mean.empty() || p.mean == data->mean);
    const std::string text = RecipeText(recipe);
    EXPECT_EQ(RecipeText(ParseRecipe(text, "text")), text);
  }
}

// How a command trains, in one line.
std::string SettingsOf(const Recipe& r) {
  std::ostringstream text;
  text << OptimizerName(r.optimizer.kind) << (r.optimizer.nesterov ? " nesterov" : "") << ", lr "
       << r.rate.lr << " " << ScheduleName(r.rate.schedule);
  for (size_t i = 0; i < r.rate.milestones.size(); ++i)
    text << " " << r.rate.milestones[i] << ":"
         << (i < r.rate.factors.size() ? r.rate.factors[i] : 0.1);
  text << ", warm-up " << r.rate.warmup << ", " << r.rate.epochs << " epochs of " << r.batch
       << ", decay " << r.optimizer.weight_decay << ", tau " << r.tau_min << " " << r.tau_max
       << ", " << AugmentationName(r.augment);
  EXPECT_TRUE(r.optimizer.kind == OptimizerOptions::kAdam || r.optimizer.momentum == 0.9);
  return text.str();
}

TEST(Published, CommandsTrainAsPublished) {
  const struct {
    const char *recipe, *flags, *settings;
  } cases[] = {
      // methods.md 1.5
      {"any-precision-resnet20-cifar10", "",
       "adam, lr 0.001 step 100:0.1 150:0.1 180:0.1, warm-up 0, 200 epochs of 128, decay 0, "
       "tau 0 0, black"},
      {"any-precision-svhn", "",
       "adam, lr 0.001 step 50:0.1 75:0.1 90:0.1, warm-up 0, 100 epochs of 128, decay 0, "
       "tau 0 0, none"},
      {"any-precision-resnet50-imagenet", "",
       "sgd, lr 0.5 step 45:0.1 60:0.1 70:0.1, warm-up 0, 80 epochs of 256, decay 1e-05, "
       "tau 0 0, imagenet"},
      {"any-precision-resnet50-imagenet-one-width", "",
       "sgd, lr 0.1 step 30:0.1 60:0.1 85:0.1 95:0.1 105:0.1, warm-up 0, 120 epochs of 256, "
       "decay 0.0001, tau 0 0, imagenet"},
      // 2.3
      {"edmips-resnet18-imagenet", "",
       "sgd, lr 0.1 step 30:0.1 60:0.1 90:0.1, warm-up 0, 95 epochs of 256, decay 0.0001, "
       "tau 0 0, imagenet"},
      {"edmips-resnet18-imagenet", "--search --epochs 25 --step-epoch 10",
       "sgd, lr 0.1 step 10:0.1 20:0.1, warm-up 0, 25 epochs of 256, decay 0.0001, tau 0 0, "
       "imagenet"},
      // 3.4
      {"mcdonnell-wrn-20-1-cifar10", "",
       "sgd, lr 0.1 restarts, warm-up 0, 256 epochs of 128, decay 0.0005, tau 0 0, reflect"},
      // 4.4
      {"recu-resnet20-cifar10", "",
       "sgd, lr 0.1 cosine, warm-up 5, 600 epochs of 256, decay 0.0005, tau 0.85 0.99, black"},
      {"recu-resnet18-cifar100", "",
       "sgd, lr 0.1 cosine, warm-up 5, 600 epochs of 256, decay 0.0005, tau 0.85 0.99, black"},
      {"recu-resnet18-imagenet", "",
       "sgd, lr 0.1 cosine, warm-up 5, 200 epochs of 512, decay 0.0001, tau 0.85 0.99, "
       "recu-imagenet"},
      {"recu-two-stage-resnet18-imagenet", "",
       "adam, lr 0.001 cosine, warm-up 5, 256 epochs of 512, decay 0, tau 0.85 0.99, "
       "recu-imagenet"},
      // 5.4
      {"ternary-resnet20-cifar10", "",
       "sgd nesterov, lr 0.1 step 80:0.1 120:0.1 160:0.5, warm-up 0, 200 epochs of 128, "
       "decay 0.0003, tau 0 0, black"},
      {"ternary-resnet18-imagenet", "",
       "adam, lr 0.0001 step 30:0.2 40:0.2 45:0.5, warm-up 0, 50 epochs of 256, decay 5e-06, "
       "tau 0 0, imagenet"},
  };
  for (const auto& c : cases) {
    const std::string path = std::string(kRecipes) + "/" + c.recipe + ".toml";
    EXPECT_EQ(SettingsOf(ParseRecipeFlags(c.flags).Read(path)), c.settings) << c.recipe;
  }
}

TEST(Published, LbtrainPrintsTheListAndKnowsItsFlags) {
  const std::string program = LBRT_BIN_DIR "/lbtrain";
  const ProgramResult list = RunProgram({program, "--list"});
  EXPECT_EQ(list.status, 0) << list.error;
  const ProgramResult help = RunProgram({program, "--help"});
  EXPECT_EQ(help.status, 0) << help.error;
  EXPECT_NE(help.out.find("--list"), std::string::npos);
  std::istringstream lines(list.out);
  std::string line;
  std::getline(lines, line);  // the headings
  for (const PublishedRow& row : PublishedRows()) {
    std::getline(lines, line);
    EXPECT_TRUE(line.ends_with("  " + CommandOf(row))) << line;
    EXPECT_TRUE(line.starts_with(row.system)) << line;
    EXPECT_NE(line.find(row.figure), std::string::npos) << line;
    EXPECT_EQ(line.find("our settings") != std::string::npos, row.ours) << line;
    for (const std::string& word : Words(CommandOf(row)))
      EXPECT_TRUE(!word.starts_with("--") || help.out.find(word) != std::string::npos) << word;
  }
}

TEST(Published, FlagsThatAreNoneAreRefused) {
  for (const char* text :
       {"--width 4", "--set classes", "--set =4", "--set x=", "--batch 1", "--epochs 0", "x"})
    EXPECT_THROW(ParseRecipeFlags(text), InputError) << text;
}

// --- Every command at work -----------------------------------------------------------------------

// What makes a row's network small: few channels and blocks, small images. The rest, i.e.
// operators, quantizers, losses and optimizer, stays.
std::vector<std::string> Smaller(const PublishedRow& row) {
  const std::string system = row.system, model = row.model, data = row.data;
  std::vector<std::string> set;
  if (system == "mcdonnell")
    set = {"network=mcdonnell/wrn-8-0.5"};
  else if (model == "svhn")
    set = {"expansion=1"};
  else if (model == "alexnet")
    set = {"channels=8,16,16,16,16,32,32"};
  else if (model == "vgg-small")
    set = {"channels=8,16,16", "blocks=2,2,1"};
  else if (data == "ImageNet" || data == "Tiny-ImageNet" || model == "resnet18")
    set = {"channels=8,16,16,32", "blocks=1,1,1,1"};
  else
    set = {"channels=8,16,32", "blocks=1,1,1"};
  if (model == "googlenet" || model == "inception-v3") set.clear();
  // EdMIPS's bits are a list of layers, which are fewer now.
  const bool search = std::string(row.flags).find("--search") != std::string::npos;
  if (system == "edmips" && !search && !set.empty()) set.push_back("bits=1/3");
  if (data == "ImageNet" || data == "Tiny-ImageNet") {
    const std::string size = model == "inception-v3" ? "75" : model == "alexnet" ? "64" : "32";
    for (const char* key : {"size=", "resize=", "crop="}) set.push_back(key + size);
    set.push_back("classes=10");
  }
  return set;
}

Recipe SmallRecipe(const PublishedRow& row) {
  RecipeFlags flags = ParseRecipeFlags(row.flags);
  flags.arch.clear();
  for (const std::string& setting : Smaller(row)) flags.set.push_back(setting);
  return flags.Read(std::string(kRecipes) + "/" + row.recipe + ".toml");
}

constexpr size_t kImages = 6;

// Noise of the data's own shape: arrays of CIFAR's and its kind, files of ImageNet's.
Dataset NoiseOf(const PublishedRow& row, const TemporaryFolder& folder) {
  const std::string data = row.data;
  Dataset dataset;
  dataset.source = data;
  for (size_t i = 0; i < kImages; ++i) dataset.labels.push_back(static_cast<int>(i % 10));
  if (data == "ImageNet" || data == "Tiny-ImageNet") {
    const bool tiny = data == "Tiny-ImageNet";
    const size_t width = tiny ? 64 : 90, height = tiny ? 64 : 80;
    for (size_t i = 0; i < kImages; ++i) {
      dataset.files.push_back(folder / (std::to_string(i) + ".ppm"));
      const std::vector<uint8_t> noise = Noise(width * height * 3, static_cast<uint32_t>(i));
      std::ofstream(dataset.files.back(), std::ios::binary)
          << "P6 " << width << " " << height << " 255\n"
          << std::string(noise.begin(), noise.end());
    }
    return dataset;
  }
  dataset.height = dataset.width = data == "Fashion-MNIST" ? 28 : 32;
  dataset.channels = data == "Fashion-MNIST" ? 1 : 3;
  dataset.pixels = Noise(kImages * static_cast<size_t>(dataset.height * dataset.width) *
                         static_cast<size_t>(dataset.channels));
  return dataset;
}

// A model and its optimizers, as a run has them.
struct Training {
  Recipe recipe;
  TrainerModel model;
  Optimizers optimizers;
  std::optional<SearchCost> cost;
  Random random{3};

  explicit Training(const Recipe& r)
      : recipe(r),
        model(r.Build(), at::kFloat, at::kCPU),
        optimizers(model, r.optimizer,
                   {.momentum = r.optimizer.momentum, .weight_decay = r.optimizer.weight_decay}) {
    model.Initialise(random);
    if (recipe.tau_max > 0) SetTau(model, recipe.tau_min);
    if (IsSearch(model.network())) cost.emplace(model, nullptr);
  }

  StepResult Step(const Batch& batch) {
    StepOptions options;
    options.lr = recipe.rate.At(0);
    options.targets = recipe.targets;
    options.lr_architecture = recipe.lra * recipe.rate.FactorAt(0);
    options.cd = recipe.cd;
    options.cost = cost ? &*cost : nullptr;
    options.random = &random;
    return TrainStep(model, optimizers, batch, options);
  }

  void Save(const std::string& path) const {
    Checkpoint c;
    c.state = model.ToStateDict();
    c.groups["optimizer"] = optimizers.weights.ToStateDict();
    if (!optimizers.architecture.empty())
      c.groups["arch_optimizer"] = optimizers.architecture.ToStateDict();
    c.text["network"] = model.network().name;
    c.text["arguments"] = ArgumentsText(model.network().arguments);
    c.text["recipe"] = RecipeText(recipe);
    c.integers["random_state"] = static_cast<int64_t>(random.state());
    WriteCheckpoint(path, c);
  }

  static Training Resumed(const std::string& path) {
    const Checkpoint c = ReadCheckpoint(path);
    Training t(RecipeOf(c, path));
    t.model.Load(c.state);
    t.optimizers.weights.Load(c.groups.at("optimizer"));
    if (!t.optimizers.architecture.empty())
      t.optimizers.architecture.Load(c.groups.at("arch_optimizer"));
    t.random = Random(static_cast<uint64_t>(c.integers.at("random_state")));
    return t;
  }
};

void ExpectSameTensors(const StateDict& a, const StateDict& b) {
  ASSERT_EQ(a.names(), b.names());
  for (const std::string& name : a.names()) EXPECT_EQ(a.at(name).bytes, b.at(name).bytes) << name;
}

void ExpectFinite(const Evaluation& e, const Network& network) {
  EXPECT_EQ(e.images, kImages);
  EXPECT_EQ(e.classes, static_cast<size_t>(network.classes()));
  EXPECT_TRUE(std::ranges::all_of(e.logits, [](float x) { return std::isfinite(x); }));
}

void ExpectDeploys(const Training& t, const Samples& samples) {
  const Network& network = t.model.network();
  const Preprocessing& p = t.recipe.preprocessing;
  const auto quiet = [](size_t) {};
  std::set<int> widths = {network.widest()};
  if (!network.widths.empty()) widths.insert(network.widths.front());
  for (const int width : widths) {
    const Evaluation plain = Evaluate(t.model, width, samples, p, quiet);
    ExpectFinite(plain, network);
    ImportReport report;
    const ImportOptions options{Stem::kAuto, p.mean, p.std, width};
    if (IsSearch(network)) {
      try {
        Import(network, t.model.ToStateDict(), options, &report);
        ADD_FAILURE() << "a search deploys";
      } catch (const InputError& error) {
        EXPECT_NE(std::string(error.what()).find("search"), std::string::npos) << error.what();
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      }
      return;
    }
    const Graph graph = Import(network, t.model.ToStateDict(), options, &report);
    const Evaluation deployed = EvaluateGraph(graph, samples, p, quiet);
    ExpectFinite(deployed, network);
    // But for a code in thousands whose value lies at a threshold: through a deep network of random
    // weights it reaches the logits.
    const Agreement agreement = Compare(deployed, plain);
    EXPECT_LE(agreement.largest_difference, 0.3 * agreement.largest_logit) << width << " bits";
  }
}

TEST(Published, EveryCommandTrainsEvaluatesSavesResumesAndDeploys) {
  at::set_num_threads(1);  // tests share the machine
  const TemporaryFolder folder;
  std::set<std::string> done;
  for (const PublishedRow& row : PublishedRows()) {
    SCOPED_TRACE(CommandOf(row));
    const Recipe recipe = SmallRecipe(row);
    const bool teacher = std::string(row.run_flags).find("--teacher") != std::string::npos;
    if (!done.insert(RecipeText(recipe) + (teacher ? "teacher" : "")).second) continue;

    Training t(recipe);
    const Node& input = t.model.network().nodes[0];
    const Samples samples = Prepare(NoiseOf(row, folder), recipe.preprocessing, input.height,
                                    input.width, t.model.network().classes(), 0);
    Batcher batcher(samples, recipe.preprocessing, at::kCPU);
    batcher.Start({5, 4, 3, 2, 1, 0}, 0, recipe.augment, 7);
    for (int step = 0; step < 2; ++step) {
      Batch batch = batcher.Next(kImages / 2);
      if (teacher) batch.teacher_logits = at::randn({kImages / 2, t.model.network().classes()});
      Training resumed = step == 0 ? Training(recipe) : Training::Resumed(folder / "last.pt");
      const StateDict before = t.model.ToStateDict();
      const StepResult result = t.Step(batch);
      EXPECT_TRUE(std::isfinite(result.total.item<double>()));
      EXPECT_EQ(result.complexity.defined(), IsSearch(t.model.network()));
      const std::string& weight = t.model.parameters()[0];
      EXPECT_NE(before.at(weight).bytes, t.model.ToStateDict().at(weight).bytes) << weight;
      resumed.Step(batch);
      ExpectSameTensors(resumed.model.ToStateDict(), t.model.ToStateDict());
      if (step == 0) t.Save(folder / "last.pt");
    }
    ExpectDeploys(t, samples);
  }
  EXPECT_GE(done.size(), 50u);
}

}  // namespace
}  // namespace lbrt
