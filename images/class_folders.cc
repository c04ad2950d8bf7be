// Image files whose folders name their classes.
#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <string_view>
#include <utility>

#include "images/dataset_parts.h"
#include "images/error.h"

namespace lbrt {

namespace fs = std::filesystem;

bool Exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

bool HasImageExtension(const fs::path& path) {
  static constexpr std::string_view kExtensions[] = {".png", ".jpg", ".jpeg", ".bmp",
                                                     ".ppm", ".pgm", ".pbm",  ".pnm"};
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(std::begin(kExtensions), std::end(kExtensions), extension) !=
         std::end(kExtensions);
}

std::vector<fs::path> Entries(const fs::path& folder,
                              const std::function<bool(const fs::path&)>& wanted) {
  std::vector<fs::path> entries;
  try {
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().filename().string()[0] != '.' && wanted(entry.path()))
        entries.push_back(entry.path());
  } catch (const fs::filesystem_error& error) {
    throw InputError(folder.string(), "cannot list: " + error.code().message());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::vector<std::string> ReadLines(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

namespace {

struct Classes {
  std::vector<std::string> names;     // by label
  std::map<std::string, int> labels;  // by the folder's name
};

// The classes that the folders below `root` stand for.
Classes ClassesOf(const fs::path& root, const std::vector<std::string>& model_labels) {
  const std::vector<fs::path> folders = Entries(root, IsFolder);
  if (folders.empty())
    throw InputError(root.string(),
                     "no folders, expected one folder of images per class or a data set");
  Classes classes;
  classes.names = model_labels;
  std::vector<bool> taken(std::max(folders.size(), model_labels.size()));
  for (size_t position = 0; position < folders.size(); ++position) {
    const std::string name = folders[position].filename().string();
    const auto found = std::find(model_labels.begin(), model_labels.end(), name);
    const size_t label =
        found != model_labels.end() ? static_cast<size_t>(found - model_labels.begin()) : position;
    // Folders of which only some are named as the model's labels may meet in one.
    if (taken[label] || (!model_labels.empty() && label >= model_labels.size()))
      throw InputError(folders[position].string(),
                       "label " + std::to_string(label) +
                           " is another folder's or not the model's,"
                           " expected folders named as the model's labels");
    taken[label] = true;
    classes.labels[name] = static_cast<int>(label);
    if (model_labels.empty()) classes.names.push_back(name);
  }
  return classes;
}

// Tiny-ImageNet keeps the images of a class one folder deeper, in images/.
std::vector<fs::path> ImagesOfClass(const fs::path& folder) {
  std::vector<fs::path> files = Entries(folder, HasImageExtension);
  if (files.empty())
    for (const fs::path& inner : Entries(folder, IsFolder)) {
      const std::vector<fs::path> more = Entries(inner, HasImageExtension);
      files.insert(files.end(), more.begin(), more.end());
    }
  if (files.empty())
    throw InputError(folder.string(), "no images, expected .png, .jpg, .bmp or .ppm");
  return files;
}

Dataset OpenFolders(const fs::path& root, const Classes& classes) {
  Dataset data;
  data.source = root.string();
  data.class_names = classes.names;
  const std::vector<fs::path> folders = Entries(root, IsFolder);
  if (folders.empty())
    throw InputError(root.string(), "no folders, expected one folder of images per class");
  for (const fs::path& folder : folders) {
    const auto label = classes.labels.find(folder.filename().string());
    if (label == classes.labels.end())
      throw InputError(folder.string(), "is none of the training images' classes");
    for (const fs::path& file : ImagesOfClass(folder)) {
      data.files.push_back(file.string());
      data.labels.push_back(label->second);
    }
  }
  return data;
}

// Tiny-ImageNet's validation images lie in one folder, images/, and a table beside it names the
// class of each: "val_0.JPEG n03444034 0 32 44 62", separated by tabs.
constexpr const char kAnnotations[] = "val_annotations.txt";

Dataset OpenAnnotated(const fs::path& root, const Classes& classes) {
  const std::string table = (root / kAnnotations).string();
  std::map<std::string, int> labels;  // by file name
  for (const std::string& line : ReadLines(table)) {
    const size_t first = line.find('\t'), second = line.find('\t', first + 1);
    if (first == std::string::npos)
      throw InputError(table, "a line without tabs, expected file, class and box: " + line);
    const std::string name = line.substr(first + 1, second - first - 1);
    const auto label = classes.labels.find(name);
    if (label == classes.labels.end())
      throw InputError(table, name + " is none of the training images' classes");
    labels[line.substr(0, first)] = label->second;
  }
  Dataset data;
  data.source = root.string();
  data.class_names = classes.names;
  const fs::path images = root / "images";
  for (const fs::path& file : Entries(images, HasImageExtension)) {
    const auto label = labels.find(file.filename().string());
    if (label == labels.end()) throw InputError(file.string(), "has no line in " + table);
    data.files.push_back(file.string());
    data.labels.push_back(label->second);
  }
  if (data.files.empty() || data.files.size() != labels.size())
    throw InputError(images.string(), std::to_string(data.files.size()) + " images, expected " +
                                          std::to_string(labels.size()) + ", as " + table +
                                          " names");
  return data;
}

bool HoldsClasses(const fs::path& folder) {
  return IsFolder(folder) && !Entries(folder, IsFolder).empty();
}

}  // namespace

Dataset OpenClassFolders(const fs::path& folder, const std::vector<std::string>& model_labels) {
  return OpenFolders(folder, ClassesOf(folder, model_labels));
}

bool HoldsSplits(const fs::path& folder) {
  return HoldsClasses(folder / "train") || HoldsClasses(folder / "val");
}

Dataset OpenSplit(const fs::path& folder, Split split,
                  const std::vector<std::string>& model_labels) {
  const fs::path train = folder / "train";
  if (split == Split::kTrain) {
    if (!HoldsClasses(train))
      throw InputError(train.string(), "no class folders, expected the training images' there");
    return OpenClassFolders(train, model_labels);
  }
  // val/ first: where both are, as in Tiny-ImageNet, test/ has no labels.
  const fs::path val = folder / "val", test = folder / "test";
  if (!IsFolder(val) && !IsFolder(test))
    throw InputError(folder.string(),
                     "holds train/ only, expected the test images in val/ or test/");
  const fs::path& images = IsFolder(val) ? val : test;
  const bool annotated = Exists(images / kAnnotations) && IsFolder(images / "images");
  if (annotated && !HoldsClasses(train))
    throw InputError(train.string(), "no class folders, expected Tiny-ImageNet's training images:"
                                     " the order of their folders gives the labels");
  const Classes classes = ClassesOf(HoldsClasses(train) ? train : images, model_labels);
  return annotated ? OpenAnnotated(images, classes) : OpenFolders(images, classes);
}

}  // namespace lbrt
