#include "apps/command_line.h"

#include <cstdio>
#include <new>

#include <CLI/CLI.hpp>

namespace lbrt {
namespace {

int Fail(const CLI::App& app, const std::string& message, int status) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s: %s\n", app.get_name().c_str(), InputError(message).what());
  return status;
}

}  // namespace

std::string Listed(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  return list;
}

std::map<std::string, std::string> KeyValues(const std::string& flag,
                                             const std::vector<std::string>& texts) {
  std::map<std::string, std::string> values;
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      throw UsageError(flag + " " + text + ": expected KEY=VALUE");
    if (!values.emplace(text.substr(0, equals), text.substr(equals + 1)).second)
      throw UsageError(flag + ": " + text.substr(0, equals) + " is given twice");
  }
  return values;
}

int RunCommand(CLI::App& app, int argc, char** argv, int (*command)(void* context), void* context) {
  try {
    app.parse(argc, argv);
    const int status = command(context);
    if (std::fflush(stdout) != 0) return Fail(app, "standard output: cannot be written", 1);
    return status;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return Fail(app, std::string(error.what()) + " (see --help)", 2);
  } catch (const UsageError& error) {
    return Fail(app, error.what(), 2);
  } catch (const InputError& error) {
    return Fail(app, error.what(), 1);
  } catch (const std::bad_alloc&) {
    return Fail(app, "out of memory", 1);
  }
}

}  // namespace lbrt
