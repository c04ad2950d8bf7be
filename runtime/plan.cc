#include "runtime/plan.h"

namespace lbrt {
namespace {

// The larger, or the one needed earlier, is placed first.
bool LargerFirst(const Buffer& a, const Buffer& b) {
  return a.fixed != b.fixed ? a.fixed : a.bytes > b.bytes;
}
bool EarlierFirst(const Buffer& a, const Buffer& b) {
  if (a.fixed != b.fixed) return a.fixed;
  return a.first != b.first ? a.first < b.first : a.bytes > b.bytes;
}

uint64_t Place(Buffer* buffers, size_t count, uint32_t* order,
               bool (*goes_first)(const Buffer& a, const Buffer& b)) {
  // `order` becomes a list of the buffers placed so far, by offset; [placed, count) wait.
  for (size_t i = 0; i < count; ++i) order[i] = static_cast<uint32_t>(i);
  uint64_t end = 0;
  for (size_t placed = 0; placed < count; ++placed) {
    size_t next = placed;
    for (size_t i = placed + 1; i < count; ++i)
      if (goes_first(buffers[order[i]], buffers[order[next]])) next = i;
    const uint32_t chosen = order[next];
    order[next] = order[placed];

    Buffer& buffer = buffers[chosen];
    if (!buffer.fixed) buffer.offset = 0;
    for (size_t i = 0; i < placed && !buffer.fixed; ++i) {
      const Buffer& other = buffers[order[i]];
      if (other.last < buffer.first || buffer.last < other.first) continue;
      if (other.offset >= buffer.offset + buffer.bytes) break;  // the gap before it is enough
      if (buffer.offset < other.offset + other.bytes) buffer.offset = other.offset + other.bytes;
    }
    if (end < buffer.offset + buffer.bytes) end = buffer.offset + buffer.bytes;
    size_t at = placed;
    for (; at > 0 && buffers[order[at - 1]].offset > buffer.offset; --at) order[at] = order[at - 1];
    order[at] = chosen;
  }
  return end;
}

}  // namespace

uint64_t PlanBuffers(Buffer* buffers, size_t count, uint32_t* order) {
  const uint64_t by_size = Place(buffers, count, order, LargerFirst);
  const uint64_t by_time = Place(buffers, count, order, EarlierFirst);
  return by_time <= by_size ? by_time : Place(buffers, count, order, LargerFirst);
}

uint64_t LowerBound(const Buffer* buffers, size_t count, int32_t ops) {
  uint64_t most = 0;
  for (int32_t op = 0; op < ops; ++op) {
    uint64_t alive = 0;
    for (size_t i = 0; i < count; ++i)
      if (buffers[i].first <= op && op <= buffers[i].last) alive += buffers[i].bytes;
    if (alive > most) most = alive;
  }
  return most;
}

}  // namespace lbrt
