// The published figures of the five systems (methods.md 1.6, 2.6, 3.5, 4.5, 5.5), and runs of ours,
// each with the command that trains its network: what `lbtrain --list` prints.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "trainer/recipe.h"

namespace lbrt {

struct PublishedRow {
  const char* system;  // the network is <system>/<model>
  const char* data;
  const char* model;
  const char* what;    // the table's row and column, e.g. "4 bit alone", "vanilla"
  // As published: top-1, or top-1/top-5, in percent; of several widths in the order of `what`; "-"
  // where there is none.
  const char* figure;
  bool ours;           // no settings were published for it
  const char* recipe;  // of the file <recipe>.toml
  const char* flags = "";      // as ParseRecipeFlags takes them
  const char* run_flags = "";  // that leave the recipe as it is; files are in capitals
};

std::span<const PublishedRow> PublishedRows();
// "lbtrain --recipe trainer/recipes/... FLAGS", without --data and --out.
std::string CommandOf(const PublishedRow& row);
// The recipe with its flags.
Recipe RecipeOf(const PublishedRow& row);

// The rows that have a figure and train what `recipe` does: the same network with the same
// quantizers, widths and targets, on images of the same size and normalisation. What a row starts
// from (--init, --teacher) no recipe says, so there may be several.
std::vector<const PublishedRow*> RowsOf(const Recipe& recipe);

}  // namespace lbrt
