#include "runtime/plan.h"

namespace lbrt {
namespace {

using GoesFirst = bool (*)(const Buffer& a, const Buffer& b);

constexpr GoesFirst kOrders[] = {
    [](const Buffer& a, const Buffer& b) { return a.bytes > b.bytes; },
    [](const Buffer& a, const Buffer& b) {
      return a.first != b.first ? a.first < b.first : a.bytes > b.bytes;
    },
    [](const Buffer& a, const Buffer& b) {
      return a.last != b.last ? a.last > b.last : a.bytes > b.bytes;
    },
    [](const Buffer& a, const Buffer& b) {
      return a.peak != b.peak ? a.peak > b.peak : a.bytes > b.bytes;
    },
};

uint64_t Alive(const Buffer* buffers, size_t count, int32_t op) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < count; ++i)
    if (buffers[i].first <= op && op <= buffers[i].last) bytes += buffers[i].bytes;
  return bytes;
}

uint64_t Place(Buffer* buffers, size_t count, uint32_t* order, GoesFirst goes_first) {
  // `order` becomes a list of the buffers placed so far, by offset; [placed, count) wait.
  for (size_t i = 0; i < count; ++i) order[i] = static_cast<uint32_t>(i);
  uint64_t end = 0;
  for (size_t placed = 0; placed < count; ++placed) {
    size_t next = placed;
    for (size_t i = placed + 1; i < count; ++i) {
      const Buffer &a = buffers[order[i]], &b = buffers[order[next]];
      if (a.fixed != b.fixed ? a.fixed : goes_first(a, b)) next = i;
    }
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
  uint64_t bound = 0;  // what no plan can do without
  for (size_t i = 0; i < count; ++i) {
    buffers[i].peak = 0;
    for (int32_t op = buffers[i].first; op <= buffers[i].last; ++op) {
      const uint64_t alive = Alive(buffers, count, op);
      if (alive > buffers[i].peak) buffers[i].peak = alive;
    }
    if (buffers[i].peak > bound) bound = buffers[i].peak;
  }
  GoesFirst best = nullptr;
  uint64_t least = 0, end = 0;
  for (const GoesFirst goes_first : kOrders) {
    end = Place(buffers, count, order, goes_first);
    if (best != nullptr && end >= least) continue;
    best = goes_first;
    least = end;
    if (least == bound) break;
  }
  return end == least ? end : Place(buffers, count, order, best);
}

uint64_t LowerBound(const Buffer* buffers, size_t count, int32_t ops) {
  uint64_t most = 0;
  for (int32_t op = 0; op < ops; ++op) {
    const uint64_t alive = Alive(buffers, count, op);
    if (alive > most) most = alive;
  }
  return most;
}

}  // namespace lbrt
