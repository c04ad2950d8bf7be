// Where activations lie: a pure function from lifetimes to offsets.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lbrt {

// Memory that is in use during ops first to last, both included.
struct Buffer {
  int32_t first = 0, last = 0;
  uint64_t bytes = 0;   // 0: none
  uint64_t offset = 0;  // what the plan says
  bool fixed = false;   // the offset is given
  uint64_t peak = 0;    // PlanBuffers's own: the most bytes alive at once while this is
};

// Greedy: one buffer after another, each at the lowest offset where it overlaps nothing that is
// alive with it; the largest first (as TensorFlow Lite Micro does), the earliest first, the latest
// first, or those of the fullest moment first, whichever needs least; fixed ones, which do not
// overlap, before all others. Not always optimal, hence LowerBound. `order` is working memory of
// `count` elements. Returns the bytes of the whole arena.
uint64_t PlanBuffers(Buffer* buffers, size_t count, uint32_t* order);

// The most bytes alive during any of `ops` ops: no plan can do with less.
uint64_t LowerBound(const Buffer* buffers, size_t count, int32_t ops);

}  // namespace lbrt
