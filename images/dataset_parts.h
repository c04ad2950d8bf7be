// What dataset.cc is made of; private to images/.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "images/dataset.h"

namespace lbrt {

// False where it cannot be found out.
bool Exists(const std::filesystem::path& path);
bool IsFolder(const std::filesystem::path& path);

bool HasImageExtension(const std::filesystem::path& path);

// The visible entries of a folder that `wanted` accepts, sorted by name.
std::vector<std::filesystem::path> Entries(
    const std::filesystem::path& folder,
    const std::function<bool(const std::filesystem::path&)>& wanted);

// The lines of a file that are not empty; none where there is no such file.
std::vector<std::string> ReadLines(const std::filesystem::path& path);

// One folder per class. model_labels: as in OpenDataset.
Dataset OpenClassFolders(const std::filesystem::path& folder,
                         const std::vector<std::string>& model_labels);

// A folder that has such folders below train/ or val/; and the half of it that `split` means.
bool HoldsSplits(const std::filesystem::path& folder);
Dataset OpenSplit(const std::filesystem::path& folder, Split split,
                  const std::vector<std::string>& model_labels);

// SVHN's NAME_32x32.mat, a MATLAB file of version 5: X u8 [32 32 3 n], column by column, and y
// [n 1], 1..9 and 10 for the digit 0. Sets the images' size; appends to pixels and labels.
void AppendSvhn(const std::string& path, Dataset& data);

}  // namespace lbrt
