// Memory that callers give: a bump allocator that can also measure.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lbrt {

// Every part of caller memory that kernels touch begins at a multiple of this: a cache line.
inline constexpr size_t kMemoryAlignment = 64;

// Hands out consecutive pieces of `base`. With base == nullptr it measures: Take returns null and
// only counts, so that one piece of code says how much it needs and later fills it. Sizes are
// counted in 64 bits, so that hostile ones cannot wrap around.
class Allocator {
 public:
  explicit Allocator(void* base) : base_(static_cast<uint8_t*>(base)) {}

  bool measuring() const { return base_ == nullptr; }
  uint64_t used() const { return used_; }

  template <typename T>
  T* Take(uint64_t count, uint64_t alignment = alignof(T)) {
    used_ = (used_ + alignment - 1) / alignment * alignment;
    uint8_t* piece = base_ + (measuring() ? 0 : used_);
    used_ += count * sizeof(T);
    return measuring() ? nullptr : reinterpret_cast<T*>(piece);
  }

 private:
  uint8_t* base_;
  uint64_t used_ = 0;
};

// Callers' memory begins at a multiple of LBRT_ALIGNMENT, which is less.
inline void* AlignUp(void* memory) {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  return static_cast<uint8_t*>(memory) +
         (kMemoryAlignment - address % kMemoryAlignment) % kMemoryAlignment;
}
inline bool IsAligned(const void* pointer, size_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

}  // namespace lbrt
