// What the checks of several ops share.
#pragma once

#include "kernels/shapes.h"
#include "runtime/op.h"

namespace lbrt {

// A tensor that exists already: a graph input or made by an earlier op.
Refusal CheckRead(const OpView& view, int64_t index, const ArenaTensor** tensor);
// The op makes tensor `index`: nothing made it before, and the file says it has this type.
// `levels`: of codes.
Refusal MakeTensor(const OpView& view, int64_t index, lbm::TensorType type, const Shape& shape,
                   int32_t levels = 0);

// `count` floats lie inside the segment, aligned, and none is infinite or NaN.
Refusal CheckFiniteFloats(const FileView& file, uint32_t segment, uint32_t offset, int64_t count);

// A segment exists and has exactly this size.
Refusal CheckSegment(const FileView& file, uint32_t segment, int64_t bytes);

// The shape of what a window makes of x; padding is less than the kernel, so that every output
// position has a valid tap. `max_kernel` limits either side.
Refusal CheckWindow(const lbm::Window& window, int max_kernel, const Shape& x, int64_t channels,
                    Shape* result);
inline constexpr int kMaxPoolKernel = 4096;  // of a pool's window: its taps are exact in f32
Window ToWindow(const lbm::Window& window);
int MostPadding(const Window& window);  // of the four sides

// What activations are, for people: "u8", "f32", "1" or as many bits as the codes have.
const char* ActivationText(const ArenaTensor& x);

// Multiply-adds of one channel's window over all output positions of an image, valid taps only.
int64_t CountTaps(const BorderAxis& ys, const BorderAxis& xs);

}  // namespace lbrt
