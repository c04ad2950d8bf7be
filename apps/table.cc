#include "apps/table.h"

#include <algorithm>
#include <cstdio>

#include "apps/utf8.h"

namespace lbrt {
namespace {

bool IsNumber(std::string_view cell) {
  return cell.find_first_not_of("0123456789.,%+- ") == std::string_view::npos;
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text.substr(i));
    const unsigned char c = static_cast<unsigned char>(text[i]);
    // U+0080..U+009F (0xc2 0x80..0x9f) control terminals too.
    const bool control =
        c < 0x20 || c == 0x7f ||
        (c == 0xc2 && length == 2 && static_cast<unsigned char>(text[i + 1]) < 0xa0);
    if (length == 0 || control)
      result += '?';
    else
      result += text.substr(i, length);
    i += std::max<size_t>(length, 1);
  }
  return result;
}

std::string Grouped(int64_t n) {
  std::string text = std::to_string(n);
  const size_t digits = n < 0 ? 1 : 0;  // where they begin
  for (size_t at = text.size(); at > digits + 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

std::string Fixed(double value, int decimals) {
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

std::string Table::Text() const {
  size_t columns = 0;
  for (const auto& row : rows_) columns = std::max(columns, row.size());
  std::vector<size_t> width(columns, 0);
  std::vector<char> number(columns, true);
  for (size_t r = 0; r < rows_.size(); ++r)
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      width[c] = std::max(width[c], Utf8Characters(rows_[r][c]));
      if (r >= headings_ && !IsNumber(rows_[r][c])) number[c] = false;
    }

  std::string text;
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) {
      const size_t spaces = width[c] - Utf8Characters(row[c]);
      if (c > 0) text += "  ";
      if (number[c]) text.append(spaces, ' ');
      text += row[c];
      if (!number[c]) text.append(spaces, ' ');
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string KeyText(const std::string& key, const std::string& value) {
  const std::string trimmed = value.substr(0, value.find_last_not_of('\n') + 1);
  if (trimmed.find('\n') == std::string::npos)
    return Printable(key) + ": " + Printable(trimmed) + "\n";
  std::string text = Printable(key) + ":\n";
  for (size_t begin = 0; begin < trimmed.size();) {
    const size_t end = std::min(trimmed.find('\n', begin), trimmed.size());
    text += "  " + Printable(trimmed.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return text;
}

}  // namespace lbrt
