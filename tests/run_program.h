// Runs a program and keeps what it says.
#pragma once

#include <gtest/gtest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/image_files.h"

namespace lbrt {

struct ProgramResult {
  int status = -1;  // the exit status; -1 where a signal ended it
  std::string out, error;

  // "" or the only line of `error`; more lines are a failure.
  std::string error_line() const {
    EXPECT_LE(std::count(error.begin(), error.end(), '\n'), 1) << error;
    return error.substr(0, error.find('\n'));
  }
};

inline std::string TextOfFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A program at work. arguments[0] is one of LBRT_BIN_DIR; the emulator runs it where there is one.
class RunningProgram {
 public:
  explicit RunningProgram(std::vector<std::string> arguments) {
    std::istringstream emulator(LBRT_EMULATOR);
    arguments.insert(arguments.begin(), std::istream_iterator<std::string>(emulator), {});
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out_.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, error_.c_str(), O_WRONLY | O_CREAT,
                                     0600);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    const int failed = posix_spawnp(&pid_, argv[0], &files, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    EXPECT_EQ(failed, 0) << arguments[0];
    if (failed != 0) pid_ = -1;
  }
  ~RunningProgram() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void Signal(int signal) const {
    if (pid_ > 0) kill(pid_, signal);
  }
  ProgramResult Wait() {
    ProgramResult result;
    if (pid_ < 0) return result;
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
    result.out = TextOfFile(out_);
    result.error = TextOfFile(error_);
    return result;
  }

 private:
  const TemporaryFolder folder_;
  const std::string out_ = folder_ / "out", error_ = folder_ / "error";
  pid_t pid_ = -1;
};

inline ProgramResult RunProgram(std::vector<std::string> arguments) {
  return RunningProgram(std::move(arguments)).Wait();
}

}  // namespace lbrt
