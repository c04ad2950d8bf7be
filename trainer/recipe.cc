#include "trainer/recipe.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <set>
#include <sstream>

#include "images/error.h"
#include "images/file.h"

namespace lbrt {
namespace {

void Require(bool good, const std::string& name, const std::string& what) {
  if (!good) throw InputError(name, what);
}

void Check(const Recipe& r, const std::string& name) {
  Require(r.rate.epochs >= 1, name, "epochs must be at least 1");
  Require(r.batch >= 2, name, "batch must be at least 2 (batch norms need it)");
  Require(r.rate.lr > 0 && std::isfinite(r.rate.lr), name, "lr must be above 0");
  Require(r.rate.lr_min >= 0 && r.rate.lr_min <= r.rate.lr, name, "lr-min must be in 0 .. lr");
  Require(r.rate.warmup >= 0, name, "warmup must be at least 0");
  Require(r.sgd.momentum >= 0 && r.sgd.momentum < 1, name, "momentum must be in 0 .. 1");
  Require(r.sgd.weight_decay >= 0, name, "weight-decay must be at least 0");
  Require((r.tau_min == 0 && r.tau_max == 0) ||
              (r.tau_min > 0.5 && r.tau_min <= r.tau_max && r.tau_max <= 1),
          name, "tau-min and tau-max must satisfy 0.5 < tau-min <= tau-max <= 1");
  const Preprocessing& p = r.preprocessing;
  const size_t channels = static_cast<size_t>(p.channels);
  Require(p.channels == 1 || p.channels == 3, name, "channels must be 1 or 3");
  Require(p.resize >= 0 && p.pad >= 0 && p.crop_height >= 0 && p.crop_width >= 0, name,
          "resize, crop and pad must be at least 0");
  Require(p.mean.size() == channels && p.std.size() == channels, name,
          "mean and std need one number a channel");
  for (double s : p.std) Require(s > 0, name, "std must be above 0");
}

std::string Number(double value) {
  char text[32];
  // The shortest form that reads back the same.
  for (int digits = 1; digits <= 17; ++digits) {
    std::snprintf(text, sizeof text, "%.*g", digits, value);
    if (std::strtod(text, nullptr) == value) break;
  }
  return text;
}

template <typename T>
std::string List(const std::vector<T>& values) {
  std::string text;
  for (const T& v : values) text += (text.empty() ? "" : ", ") + Number(static_cast<double>(v));
  return "[" + text + "]";
}

}  // namespace

Recipe ParseRecipe(const std::string& text, const std::string& name) {
  Recipe r;
  std::string arguments, schedule = "cosine", augment = "none";
  std::vector<int> crop;
  CLI::App app;
  app.set_help_flag();
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--network", r.network)->required();
  app.add_option("--arguments", arguments);
  app.add_option("--epochs", r.rate.epochs)->required();
  app.add_option("--batch", r.batch)->required();
  app.add_option("--lr", r.rate.lr)->required();
  app.add_option("--lr-min", r.rate.lr_min);
  app.add_option("--schedule", schedule)->required();
  app.add_option("--warmup", r.rate.warmup);
  app.add_option("--milestones", r.rate.milestones);
  app.add_option("--momentum", r.sgd.momentum);
  app.add_option("--weight-decay", r.sgd.weight_decay);
  app.add_option("--tau-min", r.tau_min);
  app.add_option("--tau-max", r.tau_max);
  app.add_option("--augment", augment);
  app.add_option("--channels", r.preprocessing.channels);
  app.add_option("--resize", r.preprocessing.resize);
  app.add_option("--crop", crop)->expected(1, 2);
  app.add_option("--pad", r.preprocessing.pad);
  app.add_option("--mean", r.preprocessing.mean)->required();
  app.add_option("--std", r.preprocessing.std)->required();
  std::istringstream stream(text);
  try {
    // CLI11 would silently take the first of two.
    std::set<std::string> keys;
    for (const CLI::ConfigItem& item : app.get_config_formatter()->from_config(stream))
      Require(keys.insert(item.fullname()).second, name, "has \"" + item.name + "\" twice");
    stream = std::istringstream(text);
    app.parse_from_stream(stream);
  } catch (const CLI::Error& error) {
    throw InputError(name, error.what());
  }
  try {
    r.arguments = ParseArguments(arguments);
    r.rate.schedule = ParseSchedule(schedule);
    r.augment = ParseAugment(augment);
  } catch (const InputError& error) {
    throw InputError(name, error.what());
  }
  if (!crop.empty()) {
    r.preprocessing.crop_height = crop.front();
    r.preprocessing.crop_width = crop.back();
  }
  Check(r, name);
  return r;
}

Recipe ReadRecipe(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  return ParseRecipe(std::string(bytes.begin(), bytes.end()), path);
}

std::string RecipeText(const Recipe& r) {
  std::ostringstream t;
  t << "network = \"" << r.network << "\"\n"
    << "arguments = \"" << ArgumentsText(r.arguments) << "\"\n"
    << "epochs = " << r.rate.epochs << "\n"
    << "batch = " << r.batch << "\n"
    << "lr = " << Number(r.rate.lr) << "\n"
    << "lr-min = " << Number(r.rate.lr_min) << "\n"
    << "schedule = \"" << ScheduleName(r.rate.schedule) << "\"\n"
    << "warmup = " << r.rate.warmup << "\n";
  if (!r.rate.milestones.empty()) t << "milestones = " << List(r.rate.milestones) << "\n";
  t << "momentum = " << Number(r.sgd.momentum) << "\n"
    << "weight-decay = " << Number(r.sgd.weight_decay) << "\n"
    << "tau-min = " << Number(r.tau_min) << "\n"
    << "tau-max = " << Number(r.tau_max) << "\n"
    << "augment = \"" << AugmentName(r.augment) << "\"\n";
  const Preprocessing& p = r.preprocessing;
  t << "channels = " << p.channels << "\n"
    << "resize = " << p.resize << "\n"
    << "crop = " << List(std::vector<int>{p.crop_height, p.crop_width}) << "\n"
    << "pad = " << p.pad << "\n"
    << "mean = " << List(p.mean) << "\n"
    << "std = " << List(p.std) << "\n";
  return t.str();
}

void Recipe::SetEpochs(int epochs) {
  for (int& milestone : rate.milestones)
    milestone =
        static_cast<int>(std::lround(static_cast<double>(milestone) * epochs / rate.epochs));
  rate.epochs = epochs;
}

}  // namespace lbrt
