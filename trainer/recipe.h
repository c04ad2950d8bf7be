// A recipe: everything that decides a training run but the data and the seed. TOML files, in
// trainer/recipes; the text goes into every checkpoint.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "images/augment.h"
#include "images/preprocess.h"
#include "network/network.h"
#include "trainer/optimizer.h"
#include "trainer/schedule.h"
#include "trainer/step.h"

namespace CLI {
class App;
}

namespace lbrt {

struct Recipe {
  std::string network;  // as BuildNetwork takes it
  Arguments arguments;  // the keys that are builder arguments
  int batch = 128;
  LearningRate rate;  // has the number of epochs
  OptimizerOptions optimizer;
  Targets targets = Targets::kRecursive;  // of networks with widths
  double tau_min = 0, tau_max = 0;  // ReCU: 0.5 < tau_min <= tau_max; both 0 for other systems
  double lra = 0.01, cd = 0;        // a search's alphas: learning rate, weight of the complexity
  Augmentation augment = Augmentation::kNone;
  Preprocessing preprocessing;

  // The recipe for another number of epochs: cosine and tau use that number, step milestones and
  // the warm-up scale with it, restart schedules are cut.
  void SetEpochs(int epochs);
  // Arguments that name files become what these say: the recipe's text needs the files no more.
  void ReadFiles();
  // The network, with the files that its arguments name read, and the input's deviations. Throws
  // InputError where it and the recipe do not fit.
  Network Build() const;
};

// Keys and values that replace those of a recipe's text, in order; values as on a command line.
using Overrides = std::vector<std::pair<std::string, std::string>>;

// `name` stands in messages. Throws InputError for unknown keys and unusable values.
Recipe ParseRecipe(const std::string& text, const std::string& name,
                   const Overrides& overrides = {});
Recipe ReadRecipe(const std::string& path, const Overrides& overrides = {});
// As TOML with every key, numbers exact: ParseRecipe gives the same recipe back.
std::string RecipeText(const Recipe& recipe);

// The flags of a command line that change a recipe.
struct RecipeFlags {
  std::string widths;
  bool search = false;
  std::string arch;              // a file of bits
  std::vector<std::string> set;  // KEY=VALUE
  std::optional<double> lra, cd;
  std::optional<int> epochs, batch, step_epoch;

  void AddTo(CLI::App& app);
  // ReadRecipe and ParseRecipe with what the flags say.
  Recipe Read(const std::string& path) const;
  Recipe Parse(const std::string& text, const std::string& name) const;
};
// "--widths 4 --epochs 10"; throws InputError for anything but these flags.
RecipeFlags ParseRecipeFlags(const std::string& text);

}  // namespace lbrt
