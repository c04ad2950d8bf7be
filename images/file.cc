#include "images/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "images/error.h"

namespace lbrt {
namespace {

InputError SystemError(const std::string& path, const char* what, int error) {
  return InputError(path, std::string(what) + ": " + std::strerror(error));
}

}  // namespace

std::vector<uint8_t> ReadFile(const std::string& path) {
  struct Descriptor {
    int file;
    ~Descriptor() {
      if (file >= 0) close(file);
    }
  } in{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (in.file < 0) throw SystemError(path, "cannot open", errno);
  struct stat status;
  if (fstat(in.file, &status) != 0) throw SystemError(path, "cannot read", errno);
  if (S_ISDIR(status.st_mode)) throw InputError(path, "is a folder, expected a file");

  // One byte more than the size, so that the end shows without growing; pipes have no size.
  std::vector<uint8_t> bytes(S_ISREG(status.st_mode) ? static_cast<size_t>(status.st_size) + 1
                                                     : size_t{1} << 16);
  size_t used = 0;
  for (;;) {
    if (used == bytes.size()) bytes.resize(2 * bytes.size());
    const ssize_t got = read(in.file, bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw SystemError(path, "cannot read", errno);
    if (got == 0) break;
    used += static_cast<size_t>(got);
  }
  bytes.resize(used);
  return bytes;
}

uint32_t ChecksumOfFile(const std::string& path) {
  const std::vector<uint8_t> bytes = ReadFile(path);
  return static_cast<uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), target_(path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) throw InputError(path, "is a folder, expected a file");
  if (std::filesystem::exists(status)) {
    const auto resolved = std::filesystem::canonical(path, error);
    if (!error) target_ = resolved.string();
    if (!std::filesystem::is_regular_file(status)) {
      file_ = open(target_.c_str(), O_WRONLY | O_CLOEXEC);
      if (file_ < 0) throw SystemError(path_, "cannot write", errno);
      return;
    }
  }
  for (int attempt = 0; file_ < 0; ++attempt) {
    temporary_ = target_ + "." + std::to_string(getpid()) + "-" + std::to_string(attempt) + ".tmp";
    file_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file_ < 0 && errno != EEXIST) throw SystemError(path_, "cannot write", errno);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) close(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::Write(std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(file_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw SystemError(path_, "cannot write", errno);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
}

void AtomicFile::Write(std::string_view text) {
  Write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

void AtomicFile::Commit() {
  // Pipes and terminals cannot be synchronised and say EINVAL (or EROFS); what counts is a file.
  if (!temporary_.empty() && fsync(file_) != 0) throw SystemError(path_, "cannot write", errno);
  const int closed = close(file_);
  file_ = -1;
  if (closed != 0) throw SystemError(path_, "cannot write", errno);
  if (temporary_.empty()) return;
  if (rename(temporary_.c_str(), target_.c_str()) != 0)
    throw SystemError(path_, "cannot write", errno);
  temporary_.clear();
  // The name is durable once its folder is; a file system that cannot do that is no failure.
  const std::string folder = std::filesystem::path(target_).parent_path().string();
  const int directory = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (directory >= 0) {
    fsync(directory);
    close(directory);
  }
}

void WriteFile(const std::string& path, std::span<const uint8_t> bytes) {
  AtomicFile file(path);
  file.Write(bytes);
  file.Commit();
}

}  // namespace lbrt
