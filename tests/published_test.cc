// The list of published figures is complete, its commands are those of lbtrain, and every one of
// them works: on a small form of its network, a step is taken, evaluated, saved and resumed, and
// what comes out is executed as deployed.
#include "trainer/published.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
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

// The five tables, a row each: what it is of, and the figure.
struct Figure {
  const char *system, *data, *model, *what, *figure;
};
constexpr Figure kFigures[] = {
    // methods.md 1.6
    {"any-precision", "CIFAR-10", "resnet20", "1 bit alone", "91.50"},
    {"any-precision", "CIFAR-10", "resnet20", "2 bit alone", "93.26"},
    {"any-precision", "CIFAR-10", "resnet20", "4 bit alone", "93.62"},
    {"any-precision", "CIFAR-10", "resnet20", "8 bit alone", "93.42"},
    {"any-precision", "CIFAR-10", "resnet20", "32 bit alone", "93.58"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, hard",
     "91.48 93.74 93.87 93.92 93.71"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, soft",
     "91.18 93.51 93.21 93.13 93.63"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, recursive",
     "91.89 93.90 93.86 93.75 94.11"},
    {"any-precision", "SVHN", "svhn", "1 bit alone", "90.94"},
    {"any-precision", "SVHN", "svhn", "2 bit alone", "96.45"},
    {"any-precision", "SVHN", "svhn", "4 bit alone", "97.04"},
    {"any-precision", "SVHN", "svhn", "8 bit alone", "97.04"},
    {"any-precision", "SVHN", "svhn", "32 bit alone", "97.10"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, hard", "88.98 95.54 96.71 96.72 96.60"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, soft", "88.49 94.62 96.13 96.20 96.17"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, recursive",
     "88.21 94.94 96.19 96.22 96.29"},
    {"any-precision", "ImageNet", "resnet50", "1 bit alone", "57.83"},
    {"any-precision", "ImageNet", "resnet50", "2 bit alone", "68.74"},
    {"any-precision", "ImageNet", "resnet50", "4 bit alone", "74.12"},
    {"any-precision", "ImageNet", "resnet50", "8 bit alone", "74.96"},
    {"any-precision", "ImageNet", "resnet50", "32 bit alone", "75.95"},
    {"any-precision", "ImageNet", "resnet50", "1, 2, 4, 8, 32 bit, recursive",
     "58.77 71.66 73.84 74.07 74.63"},
    // 2.6
    {"edmips", "ImageNet", "resnet18", "uniform, 2 bit", "65.1/86.2"},
    {"edmips", "ImageNet", "resnet18", "search", "1.992 bit"},
    {"edmips", "ImageNet", "resnet18", "mixed, published bits", "65.9/86.5"},
    {"edmips", "ImageNet", "resnet50", "uniform, 2 bit", "70.6/89.8"},
    {"edmips", "ImageNet", "resnet50", "search", "2.007 bit"},
    {"edmips", "ImageNet", "resnet50", "mixed, published bits", "72.1/90.6"},
    {"edmips", "ImageNet", "googlenet", "uniform, 2 bit", "64.8/86.3"},
    {"edmips", "ImageNet", "googlenet", "search", "1.994 bit"},
    {"edmips", "ImageNet", "googlenet", "mixed, published bits", "67.8/88.0"},
    {"edmips", "ImageNet", "inception-v3", "uniform, 2 bit", "71.0/89.9"},
    {"edmips", "ImageNet", "inception-v3", "search", "1.982 bit"},
    {"edmips", "ImageNet", "inception-v3", "mixed, published bits", "72.4/90.7"},
    // 3.5
    {"mcdonnell", "CIFAR-100", "wrn-20-10", "1 bit", "80.0 ± 0.26"},
    {"mcdonnell", "CIFAR-100", "wrn-20-10", "full precision", "80.5 ± 0.24"},
    // 4.5
    {"recu", "CIFAR-10", "resnet18", "vanilla", "92.8"},
    {"recu", "CIFAR-10", "resnet18", "finetune", "93.2"},
    {"recu", "CIFAR-10", "resnet20", "vanilla", "87.5"},
    {"recu", "CIFAR-10", "resnet20", "finetune", "88.0"},
    {"recu", "CIFAR-10", "vgg-small", "vanilla", "92.2"},
    {"recu", "CIFAR-10", "vgg-small", "finetune", "93.3"},
    {"recu", "ImageNet", "imagenet-resnet18", "vanilla", "60.98/82.57"},
    {"recu", "ImageNet", "imagenet-resnet18", "finetune", "61.20/82.93"},
    {"recu", "ImageNet", "imagenet-resnet34", "vanilla", "65.10/85.78"},
    {"recu", "ImageNet", "imagenet-resnet34", "finetune", "65.25/85.98"},
    {"recu", "ImageNet", "two-stage-resnet18", "stage 2 (ReActNet: 65.9)", "66.4"},
    // 5.5
    {"ternary", "CIFAR-10", "resnet20", "full precision", "91.70"},
    {"ternary", "CIFAR-10", "resnet20", "ternary", "91.65"},
    {"ternary", "CIFAR-10", "resnet32", "full precision", "92.36"},
    {"ternary", "CIFAR-10", "resnet32", "ternary", "92.48"},
    {"ternary", "CIFAR-10", "resnet44", "full precision", "92.47"},
    {"ternary", "CIFAR-10", "resnet44", "ternary", "92.71"},
    {"ternary", "CIFAR-10", "resnet56", "full precision", "92.68"},
    {"ternary", "CIFAR-10", "resnet56", "ternary", "92.86"},
    {"ternary", "ImageNet", "resnet18", "full precision", "69.75/89.07"},
    {"ternary", "ImageNet", "resnet18", "ternary", "66.01/86.78"},
    {"ternary", "ImageNet", "resnet34", "full precision", "73.31/91.42"},
    {"ternary", "ImageNet", "resnet34", "ternary", "70.95/89.89"},
    {"ternary", "ImageNet", "resnet50", "full precision", "76.13/92.86"},
    {"ternary", "ImageNet", "resnet50", "ternary", "74.00/91.77"},
    {"ternary", "ImageNet", "resnet18", "ternary, all layers, t_ex 2", "68.35/88.20"},
    {"ternary", "ImageNet", "resnet18", "ternary, all layers, t_ex 4", "69.44/88.91"},
    {"ternary", "ImageNet", "alexnet", "full precision", "61.78/82.87"},
    {"ternary", "ImageNet", "alexnet", "ternary but first and last", "58.59/80.44"},
    {"ternary", "ImageNet", "alexnet", "ternary, all layers", "57.21/79.41"},
};

TEST(Published, EveryFigureOfTheFiveTablesIsListedOnce) {
  using Row = std::array<std::string, 5>;
  std::vector<Row> expected, listed;
  for (const Figure& f : kFigures)
    expected.push_back({f.system, f.data, f.model, f.what, f.figure});
  for (const PublishedRow& row : PublishedRows())
    if (std::string(row.figure) != "-")
      listed.push_back({row.system, row.data, row.model, row.what, row.figure});
  std::sort(expected.begin(), expected.end());
  std::sort(listed.begin(), listed.end());
  EXPECT_EQ(listed, expected);
}

// What a row says of its network is what its flags make of it.
TEST(Published, CommandsTrainWhatTheirRowsSay) {
  for (const PublishedRow& row : PublishedRows()) {
    SCOPED_TRACE(CommandOf(row));
    const std::string what = row.what;
    const Recipe recipe = RecipeOf(row);
    const auto argument = [&](const char* key, const char* otherwise) {
      const auto found = recipe.arguments.find(key);
      return found == recipe.arguments.end() ? std::string(otherwise) : found->second;
    };
    const auto says = [&](const char* words) { return what.find(words) != std::string::npos; };
    EXPECT_EQ(argument("form", "quantized") == "full-precision", says("full precision"));
    EXPECT_EQ(argument("form", "quantized") == "binary-activations", says("stage 1"));
    EXPECT_EQ(argument("weights", "") == "truncating", says("truncating"));
    EXPECT_EQ(argument("stem", "") == "i8", says("8-bit stem"));
    EXPECT_EQ(argument("expansion", "") == "1", says("expansion 1"));
    EXPECT_EQ(argument("mode", "final") == "search", what == "search");
    EXPECT_EQ(argument("bits", "") == "2/2",
              says("uniform, 2 bit") && row.data != std::string("CIFAR-10"));
    EXPECT_EQ(argument("bits", "") == "architecture.txt", says("bits of a search"));
    EXPECT_EQ(argument("first_last", "float") == "ternary", says("all layers"));
    EXPECT_EQ(argument("t_ex", "1"), says("t_ex 2") ? "2" : says("t_ex 4") ? "4" : "1");
    EXPECT_EQ(recipe.targets == Targets::kHard, says("hard"));
    EXPECT_EQ(recipe.targets == Targets::kSoft, says("soft"));
    const std::string run = row.run_flags;
    EXPECT_EQ(run.find("--teacher") != std::string::npos, says("stage "));
    EXPECT_EQ(run.find("--init VANILLA.pt") != std::string::npos, what == "finetune");
    EXPECT_EQ(run.find("--repeat 5") != std::string::npos, row.model == std::string("wrn-20-10"));
    // Batch norms over parts of a batch, as on so many GPUs (methods.md 1.5, 4.4).
    EXPECT_EQ(run.find("--replicas ") != std::string::npos,
              row.data == std::string("ImageNet") && (row.system == std::string("any-precision") ||
                                                      row.system == std::string("recu")));
  }
}

TEST(Published, ARunStandsBesideTheRowsThatTrainTheSame) {
  const auto rows = [](const Recipe& recipe) {
    std::vector<std::string> list;
    for (const PublishedRow* row : RowsOf(recipe)) list.push_back(row->what);
    return list;
  };
  using List = std::vector<std::string>;
  const auto with = [](const char* recipe, const char* flags) {
    return ParseRecipeFlags(flags).Read(std::string(kRecipes) + "/" + recipe + ".toml");
  };
  EXPECT_EQ(rows(with("recu-resnet20-cifar10", "--epochs 3 --batch 7")),
            (List{"vanilla", "finetune"}));
  EXPECT_EQ(rows(with("recu-resnet20-cifar10", "--set stem=i8")), List{});
  EXPECT_EQ(rows(with("recu-resnet20-fashion-mnist", "")), List{});
  EXPECT_EQ(rows(with("recu-resnet18-cifar100", "")), List{});
  EXPECT_EQ(rows(with("any-precision-resnet20-cifar10", "")),
            List{"1, 2, 4, 8, 32 bit, recursive"});
  EXPECT_EQ(rows(with("any-precision-resnet20-cifar10", "--set targets=soft")),
            List{"1, 2, 4, 8, 32 bit, soft"});
  EXPECT_EQ(rows(with("any-precision-resnet20-cifar10", "--widths 4 --set targets=soft")),
            List{"4 bit alone"});
  EXPECT_EQ(rows(with("any-precision-resnet20-cifar10", "--set expansion=1")), List{});
  EXPECT_EQ(rows(with("ternary-resnet18-imagenet-float", "")), List{"full precision"});
  EXPECT_EQ(rows(with("ternary-resnet18-imagenet", "--set t_ex=4 --set first_last=ternary")),
            List{"ternary, all layers, t_ex 4"});
  EXPECT_EQ(rows(with("edmips-resnet18-imagenet", "")), List{"mixed, published bits"});
  EXPECT_EQ(rows(with("edmips-resnet18-imagenet", "--search --epochs 25 --step-epoch 10")),
            List{"search"});
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

// Classes and normalisation (methods.md 1.5, 2.3, 3.4, 4.4, 5.4).
struct Data {
  const char* name;
  int classes;
  std::vector<double> mean, std;
};
const Data kData[] = {
    {"CIFAR-10", 10, {125.3 / 255, 123.0 / 255, 113.9 / 255}, {63.0 / 255, 62.1 / 255, 66.7 / 255}},
    {"SVHN", 10, {.5, .5, .5}, {.5, .5, .5}},
    {"Fashion-MNIST", 10, {.5, .5, .5}, {.5, .5, .5}},
    {"Tiny-ImageNet", 200, {.4802, .4481, .3975}, {.2302, .2265, .2262}},
    {"ImageNet", 1000, {.485, .456, .406}, {.229, .224, .225}},
};
Data DataOf(const PublishedRow& row) {
  const std::string system = row.system, name = row.data;
  const auto named = [](const std::string& of) {
    return *std::ranges::find(kData, of, [](const Data& d) { return std::string(d.name); });
  };
  Data data = named(name == "CIFAR-100" ? "CIFAR-10" : name);
  if (name == "CIFAR-100") data.classes = 100;
  if (system != "recu") return data;
  if (name == "CIFAR-100") {
    data.mean = {.507, .487, .441};
    data.std = {.267, .256, .276};
  } else if (name == "CIFAR-10") {  // ImageNet's, as published
    data.mean = named("ImageNet").mean;
    data.std = named("ImageNet").std;
  }
  return data;
}

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
    const Data data = DataOf(row);
    EXPECT_EQ(network.classes(), data.classes);
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_DOUBLE_EQ(p.mean.at(c), data.mean[c]);
      EXPECT_DOUBLE_EQ(p.std.at(c), data.std[c]);
    }
    const std::pair<int, int> sizes{p.resize, p.crop_height};
    const std::string set = row.data;
    EXPECT_EQ(sizes, set == "SVHN"                              ? std::pair(40, 40)
                     : set == "Fashion-MNIST"                   ? std::pair(28, 28)
                     : set == "Tiny-ImageNet"                   ? std::pair(224, 224)
                     : set != "ImageNet"                        ? std::pair(32, 32)
                     : row.model == std::string("inception-v3") ? std::pair(342, 299)
                                                                : std::pair(256, 224));
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
  if (r.cd > 0) text << ", cd " << r.cd << ", lra " << r.lra;
  if (r.rate.lr_min > 0) text << ", to " << r.rate.lr_min;
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
      {"edmips-resnet18-imagenet", "--search --epochs 25 --step-epoch 10 --cd 0.00335",
       "sgd, lr 0.1 step 10:0.1 20:0.1, warm-up 0, 25 epochs of 256, decay 0.0001, tau 0 0, "
       "imagenet, cd 0.00335, lra 0.01"},
      // 3.4
      {"mcdonnell-wrn-20-1-cifar10", "",
       "sgd, lr 0.1 restarts, warm-up 0, 256 epochs of 128, decay 0.0005, tau 0 0, reflect, to "
       "0.0001"},
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

// What a row's own flags say of its training (methods.md 1.5, 2.5, 4.4).
TEST(Published, RowsWithSettingsOfTheirOwnHaveThem) {
  const std::map<std::string, double> cds = {{"resnet18", 0.00335},
                                             {"resnet50", 0.00015},
                                             {"googlenet", 0.00045},
                                             {"inception-v3", 0.0015}};
  for (const PublishedRow& row : PublishedRows()) {
    SCOPED_TRACE(CommandOf(row));
    const Recipe recipe = RecipeOf(row);
    const std::string what = row.what, model = row.model;
    if (row.system == std::string("edmips") && row.data == std::string("ImageNet") &&
        what == "search") {
      EXPECT_EQ(recipe.cd, cds.at(model));
      EXPECT_EQ(recipe.lra, 0.01);
    }
    if (model == "resnet50" && what.ends_with("bit alone")) {
      const bool narrow = what == "1 bit alone" || what == "2 bit alone";
      EXPECT_EQ(recipe.optimizer.weight_decay, narrow ? 1e-5 : 1e-4);
    }
    if (what == "stage 1") {
      EXPECT_EQ(recipe.optimizer.weight_decay, 1e-5);
      EXPECT_EQ(recipe.rate.schedule, Schedule::kLinear);
      EXPECT_EQ(recipe.rate.warmup, 0);
    }
    if (model == "alexnet" && what == "full precision") {
      EXPECT_EQ(recipe.rate.lr, 0.01);
    }
    if (model == "svhn") {
      EXPECT_EQ(recipe.arguments.at("dropout"), "0.5");
    }
  }
}

TEST(Published, LbtrainPrintsTheListAndKnowsItsFlags) {
  const std::string program = LBRT_BIN_DIR "/lbtrain";
  const ProgramResult list = RunProgram({program, "--list"});
  EXPECT_EQ(list.status, 0) << list.error;
  const ProgramResult help = RunProgram({program, "--help"});
  EXPECT_EQ(help.status, 0) << help.error;
  EXPECT_NE(help.out.find("--list"), std::string::npos);
  for (const std::string& name : NetworkNames())
    EXPECT_NE(help.out.find(name), std::string::npos) << name;
  for (const std::string& key : ArgumentNames())
    EXPECT_NE(help.out.find(key), std::string::npos) << key;
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
