// Text for terminals: aligned tables, readable numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lbrt {

// Text from a file, fit for a terminal: control characters and bytes that are not UTF-8 become '?'.
std::string Printable(std::string_view text);
// "key: value" and an end of line; a value of several lines begins below its key. Printable.
std::string KeyText(const std::string& key, const std::string& value);

// 1234567 -> "1,234,567".
std::string Grouped(int64_t n);
// With that many decimals.
std::string Fixed(double value, int decimals);

// Columns as wide as their widest cell, two spaces apart; numbers (cells of digits and ".,%+- ") to
// the right, where all cells of the column but the heading are numbers.
class Table {
 public:
  Table() = default;
  explicit Table(std::vector<std::string> headings) : headings_(1) { Add(std::move(headings)); }
  void Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  std::string Text() const;  // ends in a line break; no trailing spaces

 private:
  size_t headings_ = 0;  // rows of them
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace lbrt
