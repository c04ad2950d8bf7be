// Where a function that does not fall reaches something, by halving.
#pragma once

#include <cstdint>

namespace lbrt {

// The first position of [first, last] where `reached` holds, which holds from there on; last + 1
// where it nowhere does.
template <typename Reached>
int64_t FirstReached(int64_t first, int64_t last, Reached reached) {
  int64_t after = last + 1;
  while (first < after) {
    const int64_t middle = first + (after - first) / 2;
    if (reached(middle))
      after = middle;
    else
      first = middle + 1;
  }
  return after;
}

}  // namespace lbrt
