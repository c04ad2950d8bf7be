// Structs of the C interface begin with their size: reading and writing those of programs that were
// compiled against an older or newer lbrt.h.
#pragma once

#include <cstddef>
#include <cstring>

namespace lbrt {

// Options as this library knows them: fields an older program lacks are 0; false where a newer one
// sets fields that this library does not have, or where the size is of no version.
template <typename T>
bool ReadStruct(const T* given, T* result) {
  *result = T{};
  if (given == nullptr) return true;
  const size_t size = given->struct_size;
  if (size < sizeof(size_t)) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (size_t i = sizeof(T); i < size; ++i)
    if (bytes[i] != 0) return false;
  std::memcpy(result, given, size < sizeof(T) ? size : sizeof(T));
  return true;
}

// As much of `value` as the program's struct has room for; its struct_size stays.
template <typename T>
bool WriteStruct(T value, T* result) {
  if (result == nullptr || result->struct_size < sizeof(size_t)) return false;
  value.struct_size = result->struct_size;
  std::memcpy(result, &value, value.struct_size < sizeof(T) ? value.struct_size : sizeof(T));
  return true;
}

}  // namespace lbrt
