// Bad input, told in one line.
#pragma once

#include <stdexcept>
#include <string>

namespace lbrt {

// what() is one line, lower case, "where: what is wrong, what was expected":
//   cat.png: truncated PNG: 812 bytes end inside the pixels
// Programs print it after their own name and exit with status 1. Control characters (a file name
// may hold them) become '?', so that it stays one line.
class InputError : public std::runtime_error {
 public:
  explicit InputError(std::string line) : std::runtime_error(OneLine(std::move(line))) {}
  InputError(const std::string& where, const std::string& what) : InputError(where + ": " + what) {}

 private:
  static std::string OneLine(std::string line) {
    for (char& c : line)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    return line;
  }
};

}  // namespace lbrt
