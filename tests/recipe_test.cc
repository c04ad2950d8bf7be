// Recipes: text goes out and in unchanged, keys can be replaced, and what does not fit is refused in
// one line. What the shipped ones say is published_test.cc's.
#include "trainer/recipe.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/image_files.h"
#include "trainer/samples.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

Recipe Shipped(const std::string& name) {
  return ReadRecipe(LBRT_SOURCE_DIR "/trainer/recipes/" + name + ".toml");
}

constexpr char kMinimal[] =
    "network = \"recu/resnet20\"\n"
    "epochs = 10\nbatch = 32\nlr = 0.1\nschedule = \"cosine\"\n"
    "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n";

Recipe Parse(const std::string& more, const Overrides& overrides = {}) {
  return ParseRecipe(kMinimal + more, "some.toml", overrides);
}

// The message names `some.toml` first and says `part`.
void ExpectRefused(const std::string& text, const std::string& part,
                   const Overrides& overrides = {}) {
  const std::string line = Refusal([&] { ParseRecipe(text, "some.toml", overrides); });
  EXPECT_EQ(line.rfind("some.toml: ", 0), 0u) << text << "\nsays: " << line;
  EXPECT_NE(line.find(part), std::string::npos) << text << "\nsays: " << line;
}

TEST(Recipe, EveryShippedOneNamesANetworkAndItsTextReadsBackTheSame) {
  int recipes = 0;
  for (const auto& entry : fs::directory_iterator(LBRT_SOURCE_DIR "/trainer/recipes")) {
    const std::string name = entry.path().stem();
    const Recipe recipe = Shipped(name);
    const Network network = recipe.Build();
    EXPECT_EQ(network.nodes.front().channels, recipe.preprocessing.channels) << name;
    EXPECT_EQ(network.input_std, recipe.preprocessing.std) << name;
    const std::string text = RecipeText(recipe);
    EXPECT_EQ(RecipeText(ParseRecipe(text, name)), text) << name;
    ++recipes;
  }
  EXPECT_GT(recipes, 0);
}

TEST(Recipe, NumbersSurviveTheTextExactly) {
  const Recipe r = Parse("weight-decay = 0.1\ncd = 0.00335\nlra = 0.3\ntau-min = 0.85\n"
                         "tau-max = 0.99\n");
  const Recipe again = ParseRecipe(RecipeText(r), "text");
  EXPECT_EQ(again.optimizer.weight_decay, 0.1);
  EXPECT_EQ(again.cd, 0.00335);
  EXPECT_EQ(again.lra, 0.3);
  EXPECT_EQ(again.tau_max, 0.99);
  EXPECT_EQ(again.preprocessing, r.preprocessing);
}

TEST(Recipe, McDonnellsNormalisationIsThePublishedOne) {  // methods.md 3.4
  const Recipe r = Shipped("mcdonnell-wrn-20-1-cifar10");
  EXPECT_EQ(r.preprocessing.mean, (std::vector<double>{125.3 / 255, 123.0 / 255, 113.9 / 255}));
  EXPECT_EQ(r.preprocessing.std, (std::vector<double>{63.0 / 255, 62.1 / 255, 66.7 / 255}));
}

TEST(Recipe, FashionMnistBecomesThreeChannelsInABlackFrameOfTwoPixels) {
  const Recipe r = Shipped("recu-resnet20-fashion-mnist");
  EXPECT_EQ(r.preprocessing.mean, (std::vector<double>{.5, .5, .5}));
  EXPECT_EQ(r.preprocessing.std, (std::vector<double>{.5, .5, .5}));
  Dataset data;
  data.height = data.width = 28;
  data.channels = 1;
  data.labels = {7};
  for (int i = 0; i < 28 * 28; ++i) data.pixels.push_back(static_cast<uint8_t>(1 + i % 255));
  const Samples samples = Prepare(data, r.preprocessing, 32, 32, 10, 0);
  ASSERT_EQ(samples.size(), 1u);
  for (int y = 0; y < 32; ++y)
    for (int x = 0; x < 32; ++x) {
      const bool frame = y < 2 || y >= 30 || x < 2 || x >= 30;
      const int want = frame ? 0 : data.pixels[static_cast<size_t>((y - 2) * 28 + x - 2)];
      for (int c = 0; c < 3; ++c)
        ASSERT_EQ(samples.pixels[static_cast<size_t>((y * 32 + x) * 3 + c)], want) << y << " " << x;
    }
}

TEST(Recipe, CifarImagesAreUsedAsTheyAre) {
  Dataset data;
  data.height = data.width = 32;
  data.channels = 3;
  data.labels = {0};
  for (int i = 0; i < 32 * 32 * 3; ++i) data.pixels.push_back(static_cast<uint8_t>(i * 37));
  for (const char* name : {"recu-resnet20-cifar10", "mcdonnell-wrn-20-1-cifar10"})
    EXPECT_EQ(Prepare(data, Shipped(name).preprocessing, 32, 32, 10, 0).pixels, data.pixels)
        << name;
}

TEST(Recipe, AnotherNumberOfEpochsScalesMilestonesAndWarmUpsAndCutsRestarts) {
  Recipe r = Parse("milestones = [5, 8]\n", {{"schedule", "step"}});
  r.SetEpochs(40);
  EXPECT_EQ(r.rate.milestones, (std::vector<int>{20, 32}));
  EXPECT_EQ(r.rate.epochs, 40);
  Recipe warmed = Shipped("recu-resnet20-cifar10");
  ASSERT_EQ(warmed.rate.warmup, 5);
  for (const auto& [epochs, warmup] :
       {std::pair(360, 3), std::pair(361, 4), std::pair(5, 1), std::pair(600, 5)}) {
    Recipe shorter = warmed;
    shorter.SetEpochs(epochs);
    EXPECT_EQ(shorter.rate.warmup, warmup) << epochs;
    EXPECT_LT(shorter.rate.At(epochs - 1), 0.1 * shorter.rate.lr) << epochs;
  }
  Recipe restarts = Shipped("mcdonnell-wrn-20-1-cifar10");
  const double before = restarts.rate.At(9);
  restarts.SetEpochs(32);
  EXPECT_EQ(restarts.rate.At(9), before);
}

TEST(Recipe, LeftOutKeysHaveTheirDefaults) {
  const Recipe r = Parse("");
  EXPECT_EQ(r.augment, Augmentation::kNone);
  EXPECT_EQ(r.targets, Targets::kRecursive);
  EXPECT_EQ(r.optimizer.kind, OptimizerOptions::kSgd);
  EXPECT_EQ(r.optimizer.momentum, 0.9);
  EXPECT_FALSE(r.optimizer.nesterov);
  EXPECT_EQ(r.optimizer.weight_decay, 0);
  EXPECT_EQ(r.rate.warmup, 0);
  EXPECT_EQ(r.tau_max, 0);
  EXPECT_EQ(r.lra, 0.01);
  EXPECT_EQ(r.cd, 0);
  EXPECT_EQ(r.preprocessing.channels, 3);
  EXPECT_TRUE(r.arguments.empty());
}

TEST(Recipe, KeysSayWhatTheyMean) {
  const Recipe r = Parse(
      "optimizer = \"adam\"\nnesterov = true\ntargets = \"soft\"\naugment = \"reflect\"\n"
      "milestones = [3, 5]\nfactors = [0.5]\ncrop = [28, 32]\nresize = 40\npad = 2\n"
      "blocks = [1, 2, 1]\nchannels = \"8,16,32\"\nclasses = 10\nbits = \"2/2\"\nstem = \"i8\"\n");
  EXPECT_EQ(r.optimizer.kind, OptimizerOptions::kAdam);
  EXPECT_TRUE(r.optimizer.nesterov);
  EXPECT_EQ(r.targets, Targets::kSoft);
  EXPECT_EQ(r.augment, Augmentation::kReflect);
  EXPECT_EQ(r.rate.milestones, (std::vector<int>{3, 5}));
  EXPECT_EQ(r.rate.factors, (std::vector<double>{0.5}));
  EXPECT_EQ(r.preprocessing.crop_height, 28);
  EXPECT_EQ(r.preprocessing.crop_width, 32);
  EXPECT_EQ(r.preprocessing.resize, 40);
  EXPECT_EQ(r.preprocessing.pad, 2);
  EXPECT_EQ(ArgumentsText(r.arguments),
            "bits=2/2 blocks=1,2,1 channels=8,16,32 classes=10 stem=i8");
}

TEST(Recipe, KeysCanBeReplacedAsOnACommandLine) {
  const std::string text =
      "milestones = [3, 5]\nweight_bits = \"1,2\"\nactivation_bits = \"2,3\"\n";
  const Recipe r = Parse(text, {{"milestones", "30,50,70"},
                                {"mean", "0.1,0.2,0.3"},
                                {"crop", "24,28"},
                                {"blocks", "1,1,1"},
                                {"lr", "0.5"},
                                {"lr", "0.25"},
                                {"augment", "black"}});
  EXPECT_EQ(r.rate.milestones, (std::vector<int>{30, 50, 70}));
  EXPECT_EQ(r.preprocessing.mean, (std::vector<double>{0.1, 0.2, 0.3}));
  EXPECT_EQ(r.preprocessing.crop_width, 28);
  EXPECT_EQ(r.arguments.at("blocks"), "1,1,1");
  EXPECT_EQ(r.arguments.at("weight_bits"), "1,2");
  EXPECT_EQ(r.rate.lr, 0.25);  // the last one counts
  EXPECT_EQ(r.augment, Augmentation::kBlack);
  // Bits for all stand for the lists of them.
  EXPECT_EQ(ArgumentsText(Parse(text, {{"bits", "2/2"}}).arguments), "bits=2/2");
  // A search has no bits of its own.
  EXPECT_EQ(ArgumentsText(Parse(text, {{"mode", "search"}}).arguments), "mode=search");
  EXPECT_EQ(ArgumentsText(Parse("bits = \"2/2\"\n", {{"mode", "search"}}).arguments),
            "mode=search");
  ExpectRefused(kMinimal, "has the unknown key \"colour\"", {{"colour", "red"}});
  ExpectRefused(kMinimal, "much", {{"lr", "much"}});
}

TEST(Recipe, AFileOfBitsIsReadOnce) {
  const TemporaryFolder folder;
  const std::string path = folder / "architecture.txt";
  std::ofstream(path) << "weight_bits=1,2,3,4,1\nactivation_bits=2,3,4,2,3\n";
  Recipe r = ParseRecipe(kMinimal, "some.toml",
                         {{"network", "edmips/cifar-resnet20"},
                          {"blocks", "1,1"},
                          {"channels", "4,8"},
                          {"bits", path}});
  EXPECT_EQ(r.Build().arguments.at("weight_bits"), "1,2,3,4,1");
  r.ReadFiles();
  fs::remove(path);
  EXPECT_EQ(RecipeText(r).find(path), std::string::npos);
  const Recipe again = ParseRecipe(RecipeText(r), "text");
  EXPECT_EQ(again.Build().arguments.at("activation_bits"), "2,3,4,2,3");
}

TEST(Recipe, FlagsChangeARecipe) {
  const std::string text = std::string(kMinimal) + "milestones = [5, 8]\n";
  const auto with = [&](const std::string& flags) {
    return ParseRecipeFlags(flags).Parse(text, "some.toml");
  };
  EXPECT_EQ(with("--epochs 20").rate.milestones, (std::vector<int>{10, 16}));
  EXPECT_EQ(with("--batch 7").batch, 7);
  EXPECT_EQ(with("--set lr=0.5 warmup=2").rate.lr, 0.5);
  EXPECT_EQ(with("--set lr=0.5 --set warmup=2").rate.warmup, 2);
  EXPECT_EQ(with("--widths 1,2").arguments.at("widths"), "1,2");
  EXPECT_EQ(with("--search --lra 0.25 --cd 0.5").arguments.at("mode"), "search");
  EXPECT_EQ(with("--search --lra 0.25 --cd 0.5").cd, 0.5);
  EXPECT_EQ(with("--arch here.txt").arguments.at("bits"), "here.txt");
  const Recipe steps = with("--epochs 25 --step-epoch 10");
  EXPECT_EQ(steps.rate.schedule, Schedule::kStep);
  EXPECT_EQ(steps.rate.milestones, (std::vector<int>{10, 20}));
}

TEST(Recipe, WhatDoesNotFitIsRefusedInOneLineThatNamesIt) {
  const std::pair<std::string, std::string> cases[] = {
      {"learning-rate = 0.1\n", "learning-rate"},     // unknown
      {"arguments = \"classes=10\"\n", "arguments"},  // of no builder
      {"batch = 1\n", "has \"batch\" twice"},
      {"tau-min = 0.4\ntau-max = 0.9\n", "tau-min"},  // the clip would break
      {"tau-max = 0.9\n", "tau-min"},
      {"momentum = 1\n", "momentum"},
      {"weight-decay = -1\n", "weight-decay"},
      {"lr-min = 0.2\n", "lr-min"},
      {"warmup = -3\n", "warmup"},
      {"milestones = [1]\nfactors = [0.1, 0.2]\n", "factors"},
      {"cd = -1\n", "cd"},
      {"augment = \"mirror\"\n", "mirror"},
      {"targets = \"hardest\"\n", "hardest"},
      {"optimizer = \"lion\"\n", "lion"},
      {"pad = -1\n", "pad"},
      {"momentum = \"much\"\n", "much"},
      {"milestones = [1, x]\n", "milestones"},
      {"crop = [1, 2, 3]\n", "crop"},
  };
  for (const auto& [line, part] : cases) ExpectRefused(kMinimal + line, part);
}

TEST(Recipe, UnusableValuesOfRequiredKeysAreRefused) {
  const struct {
    const char *from, *to, *part;
  } cases[] = {
      {"epochs = 10", "epochs = 0", "epochs"},
      {"batch = 32", "batch = 1", "batch"},
      {"lr = 0.1", "lr = 0", "lr"},
      {"lr = 0.1", "lr = nan", "lr"},
      {"\"cosine\"", "\"cosinus\"", "cosinus"},
      {"mean = [0.5, 0.5, 0.5]", "mean = [0.5]", "one number a channel"},
      {"mean = [0.5, 0.5, 0.5]", "mean = [0.5, 0.5]", "1 or 3"},
      {"std = [0.5, 0.5, 0.5]", "std = [0.5, 0, 0.5]", "std"},
      {"std = [0.5, 0.5, 0.5]", "", "std"},
      {"network = \"recu/resnet20\"", "", "network"},
      {"epochs = 10", "", "epochs"},
  };
  for (const auto& c : cases) {
    std::string text = kMinimal;
    text.replace(text.find(c.from), std::string(c.from).size(), c.to);
    ExpectRefused(text, c.part);
  }
}

}  // namespace
}  // namespace lbrt
