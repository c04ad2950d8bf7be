// A recipe: everything that decides a training run but the data and the seed. TOML files, in
// trainer/recipes; the text goes into every checkpoint.
#pragma once

#include <string>
#include <vector>

#include "images/preprocess.h"
#include "network/network.h"
#include "trainer/samples.h"
#include "trainer/schedule.h"
#include "trainer/step.h"

namespace lbrt {

struct Recipe {
  std::string network;  // as BuildNetwork takes it
  Arguments arguments;
  int batch = 128;
  LearningRate rate;  // has the number of epochs
  SgdOptions sgd;
  double tau_min = 0, tau_max = 0;  // ReCU: 0.5 < tau_min <= tau_max; both 0 for other systems
  Augment augment = Augment::kNone;
  Preprocessing preprocessing;

  // The recipe for another number of epochs: cosine and tau use that number, step milestones scale
  // with it, restart schedules are cut.
  void SetEpochs(int epochs);
};

// `name` stands in messages. Throws InputError for unknown keys and unusable values.
Recipe ParseRecipe(const std::string& text, const std::string& name);
Recipe ReadRecipe(const std::string& path);
// As TOML with every key, numbers exact: ParseRecipe gives the same recipe back.
std::string RecipeText(const Recipe& recipe);

}  // namespace lbrt
