// The converter's passes, in order. Each rewrites the lowered graph and changes no value by a bit:
// tests interpret before and after.
#pragma once

#include <span>

#include "converter/lowered.h"

namespace lbrt {

// Before: several layers take the same signs, or the same codes, of one value.
// After:  one op makes them for all.
bool ShareCodes(LoweredGraph& lowered);

// Before: the integer sums of convolutions, also averaged ones, go through max poolings and
//         concatenations, all of which end, through affines and activations, as signs or codes.
// After:  those signs or codes are made of each convolution's sums, or average, at once, by copies
//         of the affines and activations, and they are what is pooled and joined: f(max x) =
//         max f(x) where f rises, and the smallest code is taken in the channels where it falls.
bool HoistCodes(LoweredGraph& lowered);

// Before: affines and activations, several in a row, make signs or codes of a convolution's integer
//         sum and of nothing else.
// After:  one affine makes the same of every sum that can be: checked on both sides of each step,
//         which are found by halving. Where none does, all stay.
bool FoldAffines(LoweredGraph& lowered);

// Before: zero channels are appended to an average that nothing else reads.
// After:  one op does both.
bool FusePoolPad(LoweredGraph& lowered);

// Before: an affine, an addition, an activation, signs or codes, by thresholds too, of a value that
//         a convolution, or another such op, makes last, where the other operand of an addition, or
//         an affine's base, does not depend on that op.
// After:  it is part of that op's epilogue, in its last stage where nobody else reads the middle
//         value and the order affine, addition, activation allows it, else in another stage. A
//         stage makes signs and codes once each; others of the same value take another. Stages
//         continue from the last one's value, or restart from a convolution's sum.
bool FuseEpilogue(LoweredGraph& lowered);

// Before: a convolution's weights are numbers in the graph.
// After:  they are also planes of packed bits, floats or limbs, as the file stores them.
bool PackWeights(LoweredGraph& lowered);

// Before: the same network at several widths, each with planes of its own.
// After:  where a wide convolution's codes are nested in a narrower one's (methods.md 1.3), and
//         fewer planes do then, it has the narrow one's planes and some for what is left, weighted.
//         Planes that are equal byte for byte are stored once whatever this does, so that truncated
//         codes, and the upper bits of all others, are shared as they are.
bool NestPlanes(std::span<LoweredGraph> widths);

struct Pass {
  const char* name;
  bool (*run)(LoweredGraph& lowered);  // true if anything changed
};
std::span<const Pass> Passes();

}  // namespace lbrt
