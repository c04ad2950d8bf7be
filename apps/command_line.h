// What all command-line tools share: how errors are told, and what the exit status means.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "images/error.h"

namespace CLI {
class App;
}

namespace lbrt {

// 0 done, 1 the input was refused (InputError), 2 wrong usage (UsageError, what CLI11 finds).
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "a, b, c", for help.
std::string Listed(const std::vector<std::string>& names);

// What a repeated flag of KEY=VALUE says; UsageError for other text and for a key given twice.
std::map<std::string, std::string> KeyValues(const std::string& flag,
                                             const std::vector<std::string>& texts);

// Parses the command line, runs `command`, and returns the exit status it returns. Every error is
// one line on stderr, "tool: where: what, what was expected".
int RunCommand(CLI::App& app, int argc, char** argv, int (*command)(void* context), void* context);

template <typename Command>
int RunCommand(CLI::App& app, int argc, char** argv, Command command) {
  return RunCommand(
      app, argc, argv, [](void* context) { return (*static_cast<Command*>(context))(); }, &command);
}

}  // namespace lbrt
