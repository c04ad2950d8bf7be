// Geometry and colour of 8-bit images, in the exact arithmetic of Pillow and torchvision, so that
// accuracy on files equals accuracy in the frameworks the networks were trained with.
#pragma once

#include <cstdint>

#include "images/image.h"

namespace lbrt {

// A rectangle of pixels; 64-bit because the resized image it lies in need not fit into memory.
struct Box {
  int64_t left = 0, top = 0;
  int width = 0, height = 0;
};
struct Size {
  int64_t width = 0, height = 0;
};

// Pillow's antialiased bilinear Image.resize((size.width, size.height), BILINEAR): 22-bit integer
// coefficients, horizontal pass, then vertical, 8 bits between. (So Pillow 3.3 to 12.0; later ones
// take images much taller than wide vertically first, which changes some values by one.) Only
// `region` of the result is computed; its pixels are those of the whole.
Image Resize(const Image& image, Size size, const Box& region);
Image Resize(const Image& image, int width, int height);

// torchvision's resized_crop: `box`, which lies in the image, cut out and then resized. No pixel
// outside it has a part in the result.
Image ResizeBox(const Image& image, const Box& box, int width, int height);

// The size torchvision's Resize(shorter) gives: the longer side is truncated.
Size ShorterSideSize(const Image& image, int shorter);
Image ResizeShorterSide(const Image& image, int shorter);

// torchvision's CenterCrop: the offset (size - crop) / 2 is rounded half to even; an image that is
// too small is surrounded with black, the odd pixel right and below.
Image CenterCrop(const Image& image, int width, int height);
// CenterCrop of the resized image, without making pixels that the crop drops: a long thin image
// would otherwise become thousands of times larger than its file.
Image ResizeAndCrop(const Image& image, Size size, int crop_width, int crop_height);

// `border` pixels of `value` on each side.
Image Pad(const Image& image, int border, uint8_t value = 0);

Image FlipLeftRight(const Image& image);

// torchvision's rotate, Pillow's Image.rotate(degrees): counterclockwise about the centre, the
// nearest pixel, black where the image does not reach, the size kept. |degrees| < 90, sides up to
// 16384 (beyond, Pillow leaves fixed point).
Image Rotate(const Image& image, double degrees);

// The image with 1 or 3 channels: grey repeated, or Pillow's luma, (19595 R + 38470 G + 7471 B +
// 32768) >> 16.
Image WithChannels(Image image, int channels);

}  // namespace lbrt
