#include "trainer/recipe.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>

#include "images/error.h"
#include "images/file.h"
#include "network/architecture.h"

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
  Require(r.rate.warmup >= 0 && r.rate.warmup < 2 * r.rate.epochs, name,
          "warmup must be at least 0 and below twice the epochs");
  Require(r.rate.factors.size() <= r.rate.milestones.size(), name,
          "factors must not be more than milestones");
  Require(r.optimizer.momentum >= 0 && r.optimizer.momentum < 1, name,
          "momentum must be in 0 .. 1");
  Require(r.optimizer.weight_decay >= 0, name, "weight-decay must be at least 0");
  Require((r.tau_min == 0 && r.tau_max == 0) ||
              (r.tau_min > 0.5 && r.tau_min <= r.tau_max && r.tau_max <= 1),
          name, "tau-min and tau-max must satisfy 0.5 < tau-min <= tau-max <= 1");
  Require(r.lra >= 0 && r.cd >= 0, name, "lra and cd must be at least 0");
  const Preprocessing& p = r.preprocessing;
  Require(p.channels == 1 || p.channels == 3, name, "mean needs 1 or 3 numbers, one a channel");
  Require(p.resize >= 0 && p.pad >= 0 && p.crop_height >= 0 && p.crop_width >= 0, name,
          "resize, crop and pad must be at least 0");
  Require(p.std.size() == p.mean.size(), name, "mean and std need one number a channel");
  for (const double s : p.std) Require(s > 0, name, "std must be above 0");
}

// The shortest text that reads back the same.
std::string Number(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

template <typename T>
std::string List(const std::vector<T>& values) {
  std::string text;
  for (const T& v : values) text += (text.empty() ? "" : ", ") + Number(static_cast<double>(v));
  return "[" + text + "]";
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

// The text of a recipe with some keys replaced: those of the overrides come last, once.
std::string Replaced(const std::string& text, const std::string& name,
                     const Overrides& overrides, const CLI::App& app) {
  std::istringstream stream(text);
  std::map<std::string, std::vector<std::string>> values;
  std::vector<std::string> order;
  const auto set = [&](const std::string& key, std::vector<std::string> inputs) {
    Require(app.get_option_no_throw("--" + key) != nullptr, name,
            "has the unknown key \"" + key + "\"");
    if (values.count(key) == 0) order.push_back(key);
    values[key] = std::move(inputs);
  };
  for (const CLI::ConfigItem& item : app.get_config_formatter()->from_config(stream)) {
    // CLI11 would silently take the first of two.
    Require(values.count(item.fullname()) == 0, name, "has \"" + item.name + "\" twice");
    set(item.fullname(), item.inputs);
  }
  for (const auto& [key, value] : overrides) {
    // One bit list for all, or one for each: the later key is meant. A search takes none.
    const bool search = key == "mode" && value == "search";
    if (search) values.erase("bits");
    if (search || key == "bits") {
      values.erase("weight_bits");
      values.erase("activation_bits");
    }
    set(key, {value});
  }
  std::string result;
  for (const std::string& key : order) {
    if (values.count(key) == 0) continue;
    result += key + " = [";
    for (const std::string& value : values[key])
      result += (result.ends_with('[') ? "\"" : ", \"") + value + "\"";
    result += "]\n";
  }
  return result;
}

Overrides OverridesOf(const RecipeFlags& flags) {
  Overrides overrides;
  if (!flags.widths.empty()) overrides.emplace_back("widths", flags.widths);
  if (flags.search) overrides.emplace_back("mode", "search");
  if (!flags.arch.empty()) {
    overrides.emplace_back("mode", "final");
    overrides.emplace_back("bits", flags.arch);
  }
  if (flags.lra) overrides.emplace_back("lra", Number(*flags.lra));
  if (flags.cd) overrides.emplace_back("cd", Number(*flags.cd));
  for (const std::string& setting : flags.set) {
    const size_t equals = setting.find('=');
    overrides.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
  }
  return overrides;
}

Recipe WithLengths(Recipe recipe, const RecipeFlags& flags) {
  if (flags.epochs) recipe.SetEpochs(*flags.epochs);
  if (flags.batch) recipe.batch = *flags.batch;
  if (flags.step_epoch) {
    recipe.rate.schedule = Schedule::kStep;
    recipe.rate.milestones.clear();
    recipe.rate.factors.clear();
    for (int e = *flags.step_epoch; e < recipe.rate.epochs; e += *flags.step_epoch)
      recipe.rate.milestones.push_back(e);
  }
  return recipe;
}

}  // namespace

Recipe ParseRecipe(const std::string& text, const std::string& name, const Overrides& overrides) {
  Recipe r;
  std::string schedule = "cosine", augment = "none", optimizer = "sgd", targets = "recursive";
  std::vector<int> crop;
  std::map<std::string, std::vector<std::string>> arguments;
  CLI::App app;
  app.set_help_flag();
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.add_option("--network", r.network)->required();
  for (const std::string& argument : ArgumentNames())
    app.add_option("--" + argument, arguments[argument]);
  app.add_option("--epochs", r.rate.epochs)->required();
  app.add_option("--batch", r.batch)->required();
  app.add_option("--optimizer", optimizer);
  app.add_option("--lr", r.rate.lr)->required();
  app.add_option("--lr-min", r.rate.lr_min);
  app.add_option("--schedule", schedule)->required();
  app.add_option("--warmup", r.rate.warmup);
  app.add_option("--milestones", r.rate.milestones)->delimiter(',');
  app.add_option("--factors", r.rate.factors)->delimiter(',');
  app.add_option("--momentum", r.optimizer.momentum);
  app.add_option("--nesterov", r.optimizer.nesterov);
  app.add_option("--weight-decay", r.optimizer.weight_decay);
  app.add_option("--targets", targets);
  app.add_option("--tau-min", r.tau_min);
  app.add_option("--tau-max", r.tau_max);
  app.add_option("--lra", r.lra);
  app.add_option("--cd", r.cd);
  app.add_option("--augment", augment);
  app.add_option("--resize", r.preprocessing.resize);
  app.add_option("--crop", crop)->expected(1, 2)->delimiter(',');
  app.add_option("--pad", r.preprocessing.pad);
  app.add_option("--mean", r.preprocessing.mean)->required()->delimiter(',');
  app.add_option("--std", r.preprocessing.std)->required()->delimiter(',');
  try {
    std::istringstream stream(Replaced(text, name, overrides, app));
    app.parse_from_stream(stream);
  } catch (const CLI::Error& error) {
    throw InputError(name, error.what());
  }
  try {
    for (const auto& [argument, values] : arguments)
      if (!values.empty()) r.arguments[argument] = Joined(values);
    r.rate.schedule = ParseSchedule(schedule);
    r.augment = ParseAugmentation(augment);
    r.targets = ParseTargets(targets);
    r.optimizer.kind = ParseOptimizer(optimizer);
  } catch (const InputError& error) {
    throw InputError(name, error.what());
  }
  if (!crop.empty()) {
    r.preprocessing.crop_height = crop.front();
    r.preprocessing.crop_width = crop.back();
  }
  r.preprocessing.channels = static_cast<int>(r.preprocessing.mean.size());
  Check(r, name);
  return r;
}

Recipe ReadRecipe(const std::string& path, const Overrides& overrides) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  return ParseRecipe(std::string(bytes.begin(), bytes.end()), path, overrides);
}

std::string RecipeText(const Recipe& r) {
  std::ostringstream t;
  t << "network = \"" << r.network << "\"\n";
  for (const auto& [name, value] : r.arguments) t << name << " = \"" << value << "\"\n";
  t << "epochs = " << r.rate.epochs << "\n"
    << "batch = " << r.batch << "\n"
    << "optimizer = \"" << OptimizerName(r.optimizer.kind) << "\"\n"
    << "lr = " << Number(r.rate.lr) << "\n"
    << "lr-min = " << Number(r.rate.lr_min) << "\n"
    << "schedule = \"" << ScheduleName(r.rate.schedule) << "\"\n"
    << "warmup = " << r.rate.warmup << "\n";
  if (!r.rate.milestones.empty()) t << "milestones = " << List(r.rate.milestones) << "\n";
  if (!r.rate.factors.empty()) t << "factors = " << List(r.rate.factors) << "\n";
  t << "momentum = " << Number(r.optimizer.momentum) << "\n"
    << "nesterov = " << (r.optimizer.nesterov ? "true" : "false") << "\n"
    << "weight-decay = " << Number(r.optimizer.weight_decay) << "\n"
    << "targets = \"" << TargetsName(r.targets) << "\"\n"
    << "tau-min = " << Number(r.tau_min) << "\n"
    << "tau-max = " << Number(r.tau_max) << "\n"
    << "lra = " << Number(r.lra) << "\n"
    << "cd = " << Number(r.cd) << "\n"
    << "augment = \"" << AugmentationName(r.augment) << "\"\n";
  const Preprocessing& p = r.preprocessing;
  t << "resize = " << p.resize << "\n"
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
  rate.warmup =
      static_cast<int>(std::ceil(static_cast<double>(rate.warmup) * epochs / rate.epochs));
  rate.epochs = epochs;
}

void Recipe::ReadFiles() { arguments = WithBitsRead(arguments); }

Network Recipe::Build() const {
  Network built = BuildNetwork(network, WithBitsRead(arguments));
  const int channels = built.nodes.front().channels;
  Require(channels == preprocessing.channels, "recipe",
          "mean has " + std::to_string(preprocessing.channels) + " channels, " + built.name +
              " takes " + std::to_string(channels));
  const bool clips = std::ranges::any_of(built.nodes, [](const Node& node) {
    return node.weights.kind == WeightQuantizer::kRecu;
  });
  Require(!clips || tau_max > 0, "recipe", built.name + " needs tau-min and tau-max");
  built.input_std = preprocessing.std;
  return built;
}

void RecipeFlags::AddTo(CLI::App& app) {
  app.add_option("--epochs", epochs, "another number of epochs than the recipe's")
      ->check(CLI::Range(1, 100000));
  app.add_option("--batch", batch, "another batch size than the recipe's")
      ->check(CLI::Range(2, 100000));
  app.add_option("--set", set, "another value for a key of the recipe: KEY=VALUE")
      ->take_all()
      ->check([](const std::string& text) {
        const size_t equals = text.find('=');
        const bool good = equals != std::string::npos && equals != 0 && equals + 1 != text.size();
        return good ? "" : text + ": expected KEY=VALUE";
      });
  app.add_option("--widths", widths, "any-precision: train these bit widths, e.g. 4 or 1,2,4");
  app.add_flag("--search", search, "EdMIPS: search for bits instead of training with given ones");
  app.add_option("--lra", lra, "of a search: learning rate of the architecture");
  app.add_option("--cd", cd, "of a search: weight of the complexity");
  app.add_option("--step-epoch", step_epoch, "lower the learning rates tenfold every N epochs")
      ->check(CLI::Range(1, 100000));
  app.add_option("--arch", arch,
                 "EdMIPS: train with the bits of this architecture.txt or search checkpoint");
}

Recipe RecipeFlags::Read(const std::string& path) const {
  return WithLengths(ReadRecipe(path, OverridesOf(*this)), *this);
}

Recipe RecipeFlags::Parse(const std::string& text, const std::string& name) const {
  return WithLengths(ParseRecipe(text, name, OverridesOf(*this)), *this);
}

RecipeFlags ParseRecipeFlags(const std::string& text) {
  RecipeFlags flags;
  CLI::App app;
  flags.AddTo(app);
  try {
    app.parse(text);
  } catch (const CLI::Error& error) {
    throw InputError(text, error.what());
  }
  return flags;
}

}  // namespace lbrt
