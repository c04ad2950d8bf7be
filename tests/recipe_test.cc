// Recipes: the shipped files say what was published, text goes out and in unchanged, and what does
// not fit is refused in one line.
#include "trainer/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "images/error.h"
#include "trainer/samples.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

Recipe Shipped(const std::string& name) {
  return ReadRecipe(LBRT_SOURCE_DIR "/trainer/recipes/" + name + ".toml");
}

std::vector<std::string> ShippedNames() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(LBRT_SOURCE_DIR "/trainer/recipes"))
    names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

std::string ErrorOf(const std::string& text) {
  try {
    ParseRecipe(text, "some.toml");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

constexpr char kMinimal[] =
    "network = \"recu/resnet20\"\n"
    "epochs = 10\nbatch = 32\nlr = 0.1\nschedule = \"cosine\"\n"
    "mean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n";

TEST(Recipe, EveryShippedOneNamesANetworkAndItsTextReadsBackTheSame) {
  ASSERT_FALSE(ShippedNames().empty());
  for (const std::string& name : ShippedNames()) {
    const Recipe recipe = Shipped(name);
    const Network network = BuildNetwork(recipe.network, recipe.arguments);
    EXPECT_EQ(network.nodes.front().channels, recipe.preprocessing.channels) << name;
    const std::string text = RecipeText(recipe);
    EXPECT_EQ(RecipeText(ParseRecipe(text, name)), text) << name;
  }
}

TEST(Recipe, RecuOnCifar10IsThePublishedOne) {
  const Recipe r = Shipped("recu-resnet20-cifar10");
  EXPECT_EQ(r.network, "recu/resnet20");
  EXPECT_EQ(r.rate.epochs, 600);
  EXPECT_EQ(r.batch, 256);
  EXPECT_EQ(r.rate.schedule, Schedule::kCosine);
  EXPECT_EQ(r.rate.lr, 0.1);
  EXPECT_EQ(r.rate.warmup, 5);
  EXPECT_EQ(r.sgd.momentum, 0.9);
  EXPECT_EQ(r.sgd.weight_decay, 5e-4);
  EXPECT_EQ(r.tau_min, 0.85);
  EXPECT_EQ(r.tau_max, 0.99);
  EXPECT_EQ(r.augment, Augment::kBlack);
  EXPECT_EQ(r.preprocessing.mean, (std::vector<double>{.485, .456, .406}));
  EXPECT_EQ(r.preprocessing.std, (std::vector<double>{.229, .224, .225}));
}

TEST(Recipe, McDonnellOnCifar10IsThePublishedOne) {
  const Recipe r = Shipped("mcdonnell-wrn-20-1-cifar10");
  EXPECT_EQ(r.network, "mcdonnell/wrn-20-1");
  EXPECT_EQ(r.rate.epochs, 256);
  EXPECT_EQ(r.batch, 128);
  EXPECT_EQ(r.rate.schedule, Schedule::kRestarts);
  EXPECT_EQ(r.rate.lr, 0.1);
  EXPECT_EQ(r.rate.lr_min, 1e-4);
  EXPECT_EQ(r.sgd.momentum, 0.9);
  EXPECT_EQ(r.sgd.weight_decay, 5e-4);
  EXPECT_EQ(r.augment, Augment::kReflect);
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
        ASSERT_EQ(samples.image(0)[(y * 32 + x) * 3 + c], want) << y << " " << x << " " << c;
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

TEST(Recipe, AnotherNumberOfEpochsScalesMilestonesAndCutsRestarts) {
  Recipe r = ParseRecipe(std::string(kMinimal) + "milestones = [5, 8]\n", "some.toml");
  r.rate.schedule = Schedule::kStep;
  r.SetEpochs(40);
  EXPECT_EQ(r.rate.milestones, (std::vector<int>{20, 32}));
  EXPECT_EQ(r.rate.epochs, 40);
  Recipe restarts = Shipped("mcdonnell-wrn-20-1-cifar10");
  const double before = restarts.rate.At(9);
  restarts.SetEpochs(32);
  EXPECT_EQ(restarts.rate.At(9), before);
}

TEST(Recipe, LeftOutKeysHaveTheirDefaults) {
  const Recipe r = ParseRecipe(kMinimal, "some.toml");
  EXPECT_EQ(r.augment, Augment::kNone);
  EXPECT_EQ(r.sgd.momentum, 0.9);
  EXPECT_EQ(r.sgd.weight_decay, 0);
  EXPECT_EQ(r.rate.warmup, 0);
  EXPECT_EQ(r.tau_max, 0);
  EXPECT_EQ(r.preprocessing.channels, 3);
}

TEST(Recipe, WhatDoesNotFitIsRefusedInOneLineThatNamesIt) {
  const std::pair<std::string, std::string> cases[] = {
      {"learning-rate = 0.1\n", "learning-rate"},     // unknown
      {"batch = 1\n", "batch"},                       // given twice
      {"tau-min = 0.4\ntau-max = 0.9\n", "tau-min"},  // the clip would break
      {"tau-max = 0.9\n", "tau-min"},
      {"momentum = 1\n", "momentum"},
      {"weight-decay = -1\n", "weight-decay"},
      {"lr-min = 0.2\n", "lr-min"},
      {"warmup = -3\n", "warmup"},
      {"augment = \"mirror\"\n", "mirror"},
      {"channels = 2\n", "channels"},
      {"pad = -1\n", "pad"},
      {"arguments = \"classes\"\n", "classes"},
      {"momentum = \"much\"\n", "much"},
      {"milestones = [1, x]\n", "milestones"},
  };
  for (const auto& [line, word] : cases) {
    const std::string error = ErrorOf(kMinimal + line);
    EXPECT_NE(error.find(word), std::string::npos) << line << error;
    EXPECT_EQ(error.rfind("some.toml", 0), 0u) << error;
  }
}

TEST(Recipe, UnusableValuesOfRequiredKeysAreRefused) {
  const std::pair<std::string, std::string> cases[] = {
      {"epochs = 10", "epochs = 0"},
      {"batch = 32", "batch = 1"},
      {"lr = 0.1", "lr = 0"},
      {"lr = 0.1", "lr = nan"},
      {"\"cosine\"", "\"cosinus\""},
      {"mean = [0.5, 0.5, 0.5]", "mean = [0.5]"},
      {"std = [0.5, 0.5, 0.5]", "std = [0.5, 0, 0.5]"},
      {"std = [0.5, 0.5, 0.5]", ""},
      {"network = \"recu/resnet20\"", ""},
      {"epochs = 10", ""},
  };
  for (const auto& [from, to] : cases) {
    std::string text = kMinimal;
    text.replace(text.find(from), from.size(), to);
    EXPECT_NE(ErrorOf(text), "no error") << to;
  }
}

TEST(Prepare, LabelsAndSizesThatDoNotFitAreRefused) {
  Dataset data;
  data.height = data.width = 4;
  data.channels = 3;
  data.labels = {3};
  data.pixels.assign(48, 9);
  data.source = "here.bin";
  const Preprocessing plain{.channels = 3, .mean = {0, 0, 0}, .std = {1, 1, 1}};
  EXPECT_EQ(Prepare(data, plain, 4, 4, 4, 0).size(), 1u);
  EXPECT_THROW(Prepare(data, plain, 4, 4, 3, 0), InputError);
  EXPECT_THROW(Prepare(data, plain, 5, 4, 4, 0), InputError);
  data.labels = {-1};
  EXPECT_THROW(Prepare(data, plain, 4, 4, 4, 0), InputError);
  EXPECT_THROW(Prepare(Dataset(), plain, 4, 4, 4, 0), InputError);
}

}  // namespace
}  // namespace lbrt
