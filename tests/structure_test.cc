// The rules of the source tree: who may include whom, and where other people's packages appear. A
// folder is a layer (README.md); what a rule does not allow is an error, so a new dependency has to
// be written down here.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "apps/table.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

struct Include {
  std::string file;    // from the repository's root
  std::string header;  // as written
  bool ours = false;   // of this repository
  std::string where() const { return file + " includes " + header; }
};

const char* const kFolders[] = {"apps",    "converter", "images", "kernels", "network",
                                "runtime", "schema",    "tests",  "trainer"};

std::vector<std::string> SourceFiles() {
  std::vector<std::string> files;
  const fs::path root = LBRT_SOURCE_DIR;
  for (const char* folder : kFolders)
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension == ".cc" || extension == ".h" || extension == ".hpp" || extension == ".c" ||
          extension == ".cu" || extension == ".cuh")
        files.push_back(fs::relative(entry.path(), root).generic_string());
    }
  std::ranges::sort(files);
  return files;
}

// Highway's headers are written in quotes, by its own custom.
bool IsOurs(bool quoted, const std::string& header) {
  const bool folder = std::ranges::any_of(
      kFolders, [&](const std::string& name) { return header.starts_with(name + "/"); });
  return folder || (quoted && !header.starts_with("hwy/"));
}

std::vector<Include> AllIncludes() {
  static const std::regex kInclude("^\\s*#\\s*include\\s*([<\"])([^>\"]+)[>\"]");
  std::vector<Include> includes;
  for (const std::string& file : SourceFiles()) {
    std::ifstream stream(fs::path(LBRT_SOURCE_DIR) / file);
    std::smatch match;
    for (std::string line; std::getline(stream, line);)
      if (std::regex_search(line, match, kInclude))
        includes.push_back({file, match[2].str(), IsOurs(match[1].str() == "\"", match[2].str())});
  }
  return includes;
}

bool Matches(const std::string& text, const std::string& pattern) {
  return std::regex_match(text, std::regex(pattern));
}

TEST(Structure, TheTreeIsRead) {
  EXPECT_GT(SourceFiles().size(), 100u);
  EXPECT_GT(AllIncludes().size(), 500u);
}

TEST(Structure, EachLayerIncludesOnlyWhatItMay) {
  struct Rule {
    const char *file, *header;  // regular expressions
  };
  constexpr const char* kNumbers = "kernels/(numerics|shapes)\\.h";
  const Rule rules[] = {
      {"kernels/.*", "kernels/.*"},
      {"schema/.*", "schema/.*"},
      {"images/.*", "images/.*"},
      {"runtime/.*", "(runtime|kernels|schema)/.*"},
      {"network/.*", "network/.*|images/(file|error)\\.h"},
      {"network/.*", kNumbers},
      {"trainer/.*", "(trainer|network|images)/.*"},
      {"trainer/.*", kNumbers},
      {"converter/.*", "(converter|network|schema)/.*|images/(file|error)\\.h"},
      {"converter/.*", "kernels/reference\\.h|runtime/op\\.h"},
      {"converter/.*", kNumbers},
      {"apps/.*", ".*"},
      {"tests/.*", ".*"},
  };
  for (const Include& include : AllIncludes()) {
    if (!include.ours) continue;
    const bool allowed = std::ranges::any_of(rules, [&](const Rule& rule) {
      return Matches(include.file, rule.file) && Matches(include.header, rule.header);
    });
    EXPECT_TRUE(allowed) << include.where();
  }
}

TEST(Structure, IncludesOfOursAreWrittenFromTheRoot) {
  for (const Include& include : AllIncludes()) {
    if (!include.ours) continue;
    const bool generated =
        include.header == "schema/lbm_generated.h" || include.header == "trainer/recipes.inc";
    EXPECT_TRUE(generated || fs::exists(fs::path(LBRT_SOURCE_DIR) / include.header))
        << include.where();
  }
}

TEST(Structure, OtherPackagesAppearInTheirPlaceOnly) {
  struct Package {
    const char *name, *header, *file;
  };
  const Package packages[] = {
      {"Highway", "hwy/.*", "kernels/.*"},
      {"cpuinfo", "cpuinfo\\.h", "kernels/cpu\\.cc"},
      {"pthreadpool", "pthreadpool\\.h", "runtime/parallel\\.cc"},
      {"XNNPACK", "xnnpack\\.h", "runtime/ops/xnnpack\\.cc|apps/lbbench/xnnpack\\.cc"},
      {"oneDNN", "dnnl\\.hpp", "apps/lbbench/onednn\\.cc"},
      {"FlatBuffers", "flatbuffers/.*", "runtime/.*|converter/emit\\.cc|tests/.*"},
      {"LibTorch", "(ATen|c10|torch)/.*", "trainer/.*|apps/lb(train|convert).*|tests/.*"},
      {"CUDA", "cuda.*\\.h", "trainer/cuda/.*"},
      {"libjpeg-turbo", "j(peglib|error)\\.h", "images/jpeg\\.cc|tests/.*"},
      {"libpng", "png\\.h", "images/png\\.cc|tests/.*"},
      {"matio", "matio\\.h", "images/mat\\.cc|tests/.*"},
      {"zlib", "zlib\\.h", "(images|network)/.*|tests/.*"},
      {"libzip", "zip\\.h", "network/checkpoint.*|tests/.*"},
      {"CLI11", "CLI/.*", "apps/.*|trainer/recipe\\.cc"},
      {"GoogleTest", "g(test|mock)/.*", "tests/.*"},
      {"JSON for Modern C++", "nlohmann/json\\.hpp", "(tests/.*|trainer/search\\.cc)"},
      {"compilers", "(immintrin|xmmintrin|arm_neon|arm_sve)\\.h",
       "(kernels|runtime|apps/lbbench|tests)/.*"},
      {"POSIX", "(unistd|fcntl|sched|signal|spawn|netinet/in)\\.h|sys/.*",
       "(apps|images|network|trainer|tests)/.*|kernels/cpu\\.cc|runtime/lbrt\\.hpp"},
      {"C", "(stdint|stddef|stdio|string)\\.h", "runtime/lbrt\\.h|tests/.*\\.c"},
      {"glibc", "malloc\\.h", "apps/lbtrain\\.cc"},
  };
  for (const Include& include : AllIncludes()) {
    if (include.ours || Matches(include.header, "[a-z_]+")) continue;  // C++'s own have no dot
    bool known = false;
    for (const Package& package : packages) {
      if (!Matches(include.header, package.header)) continue;
      known = true;
      EXPECT_TRUE(Matches(include.file, package.file))
          << include.where() << ": " << package.name << " belongs into " << package.file;
    }
    EXPECT_TRUE(known) << include.where() << ": of a package without a place";
  }
}

// Exceptions, RTTI, heap and stdio stay out of what runs on firmware; the files that need an
// operating system are named. (That the archive needs none of it: tests/check_archive.cmake.)
TEST(Structure, KernelsAndRuntimeIncludeNoHeapAndNoStdio) {
  const std::set<std::string> hosts_only = {"kernels/cpu.cc", "kernels/reference.cc",
                                            "runtime/parallel.cc", "runtime/ops/xnnpack.cc"};
  const std::set<std::string> allowed = {
      "algorithm",   "array",   "bit",     "cfenv",       "cfloat",   "climits", "cmath",
      "concepts",    "cstddef", "cstdint", "cstring",     "iterator", "limits",  "new",
      "string_view", "span",    "tuple",   "type_traits", "utility"};
  for (const Include& include : AllIncludes()) {
    const bool embedded =
        include.file.starts_with("kernels/") || include.file.starts_with("runtime/");
    if (!embedded || include.ours || hosts_only.contains(include.file)) continue;
    if (include.file == "runtime/lbrt.hpp") continue;   // for C++ programs on hosts too
    if (!Matches(include.header, "[a-z_]+")) continue;  // packages: see above
    EXPECT_TRUE(allowed.contains(include.header)) << include.where();
  }
}

std::string TextOf(const fs::path& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), {}};
}

TEST(Structure, HeadersAreIncludedOnceByPragma) {
  for (const std::string& file : SourceFiles()) {
    if (!file.ends_with(".h") && !file.ends_with(".hpp")) continue;
    // Highway's files are included once per instruction set; installed headers have guards.
    if (file.ends_with("-inl.h") || file.starts_with("runtime/lbrt.h")) continue;
    const std::string text = TextOf(fs::path(LBRT_SOURCE_DIR) / file);
    EXPECT_NE(text.find("#pragma once\n"), std::string::npos) << file;
  }
}

// What README.md says of a model stands on its card, models/NAME.md, and the card's size is right.
TEST(Structure, EveryModelHasACardAndALineInTheReadmeThatAgree) {
  const fs::path root = LBRT_SOURCE_DIR;
  const std::string readme = TextOf(root / "README.md");
  static const std::regex kPercent("[0-9.]+ %");
  for (const fs::directory_entry& entry : fs::directory_iterator(root / "models")) {
    if (entry.path().extension() != ".lbm") continue;
    const std::string name = entry.path().stem().string();
    const fs::path file = root / "models" / (name + ".md");
    ASSERT_TRUE(fs::exists(file)) << file;
    const std::string card = TextOf(file);
    const int64_t bytes = static_cast<int64_t>(entry.file_size());
    EXPECT_TRUE(card.find(Grouped(bytes)) != std::string::npos ||
                card.find(std::to_string(bytes)) != std::string::npos)
        << name << " has " << bytes << " bytes";

    const size_t begin = readme.find("| [" + name + "](models/" + name + ".md)");
    ASSERT_NE(begin, std::string::npos) << name << " is missing in README.md";
    const std::string line = readme.substr(begin, readme.find('\n', begin) - begin);
    for (std::sregex_iterator at(line.begin(), line.end(), kPercent), end; at != end; ++at)
      EXPECT_NE(card.find(at->str()), std::string::npos) << name << ": " << at->str();
  }
}

// Names of symbols, one a line, demangled.
std::string Symbols(const std::string& executable) {
  const std::string command = std::string(LBRT_NM) + " --demangle '" + executable + "'";
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::string text;
  std::array<char, 4096> buffer;
  for (size_t n; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    text.append(buffer.data(), n);
  pclose(pipe);
  return text;
}

// Else its agreement with the runtime would prove nothing.
TEST(Structure, LbtrainHasNoRowOfTheKernelsAndNothingOfTheRuntime) {
  const std::string lbtrain = std::string(LBRT_BIN_DIR) + "/lbtrain";
  if (!fs::exists(lbtrain)) GTEST_SKIP() << "this build has no trainer (LBRT_TRAINER)";
  const std::string symbols = Symbols(lbtrain);
  ASSERT_NE(symbols.find("lbrt::BuildNetwork"), std::string::npos) << "the symbols are not read";
  for (const char* forbidden :
       {"lbrt_model", "lbrt_session", "lbrt_run", "lbrt::kScalarKernels", "lbrt::BestKernels",
        "lbrt::FindKernels", "lbrt::scalar::", "lbrt::N_", "lbrt::reference::"})
    EXPECT_EQ(symbols.find(forbidden), std::string::npos) << forbidden;
}

// The search above finds what it looks for where it is.
TEST(Structure, LbrunHasTheRuntimeAndTheKernels) {
  const std::string symbols = Symbols(std::string(LBRT_BIN_DIR) + "/lbrun");
  for (const char* expected : {"lbrt_model_open", "lbrt_run", "lbrt::kScalarKernels"})
    EXPECT_NE(symbols.find(expected), std::string::npos) << expected;
}

}  // namespace
}  // namespace lbrt
