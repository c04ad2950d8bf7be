// Whole files: read with a clear error, written all or nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lbrt {

// Throws InputError where the file is missing, a folder, or cannot be read.
std::vector<uint8_t> ReadFile(const std::string& path);

// CRC-32 (zlib's) of a file's bytes; fails as ReadFile does.
uint32_t ChecksumOfFile(const std::string& path);

// A file that appears under its name complete or not at all: written to a temporary name in the
// same folder, then fsync and rename. Without Commit, or after an error (a full disk), the
// temporary file is removed and whatever had the name before is untouched. Symbolic links are
// followed; devices and pipes (/dev/stdout) are written directly. Every failure throws InputError.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(std::span<const uint8_t> bytes);
  void Write(std::string_view text);
  void Commit();

 private:
  std::string path_;       // as the caller named it, for messages
  std::string target_;     // where it goes: links resolved
  std::string temporary_;  // empty when target_ is written directly
  int file_ = -1;
};

// Open, write, commit.
void WriteFile(const std::string& path, std::span<const uint8_t> bytes);

}  // namespace lbrt
