// What training does to its images, at random and in the exact arithmetic of torchvision and
// Pillow, which the published networks were trained with (methods.md 1.5, 2.5, 3.4, 4.4, 5.4).
//
// Each step is a drawing of numbers and a function of an image and these numbers. What is drawn has
// the published distributions; that it is another sequence of numbers cannot be helped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "images/dataset.h"
#include "images/image.h"
#include "images/preprocess.h"
#include "images/transform.h"

namespace lbrt {

// The next random number, uniform in [0, 1).
using Uniform = std::function<double()>;

// What a recipe names, in this order.
enum class Augmentation {
  kNone,          // "none"
  kBlack,         // "black": a crop moved by up to 4 pixels over a border that is black before
                  // normalisation, and a flip (AP, RC, TN on CIFAR)
  kReflect,       // "reflect": the same over a mirrored border (WR)
  kImageNet,      // "imagenet": a random box, resized, and a flip (AP, ED, TN)
  kRecuImageNet,  // "recu-imagenet": boxes of up to 1.25 of the area, lighting, a flip
  kRotate,        // "rotate": up to 20 degrees, and a flip (RC on Tiny-ImageNet)
};
Augmentation ParseAugmentation(const std::string& text);  // throws InputError listing the names
const char* AugmentationName(Augmentation augmentation);

// --- whole images ----------------------------------------------------------------------------

// Sample i as training sees it this time: `width` x `height` pixels of preprocessing.channels, not
// normalised. Boxes are cut from the image itself, the rest comes after Apply(preprocessing,
// image). Large JPEGs are decoded no larger than that needs. Throws InputError where the image
// cannot be decoded or has another size at the end. Any number of threads may call it, each with
// its own `uniform`.
Image TrainingImage(const Dataset& dataset, size_t i, const Preprocessing& preprocessing,
                    Augmentation augmentation, int width, int height, const Uniform& uniform);

// --- kBlack, kReflect: in memory, without an Image -------------------------------------------

inline constexpr int kCropBorder = 4;

// The crop whose upper left pixel is the image's (y, x), in -kCropBorder .. kCropBorder, then
// mirrored left to right if `flip`.
struct Placement {
  int y = 0, x = 0;
  bool flip = false;
};
Placement DrawPlacement(const Uniform& uniform);

// image, out: [height width channels]. Beyond the image is black, or, if `reflect`, the image
// mirrored without repeating its edge (then height and width > kCropBorder).
void Place(const uint8_t* image, int height, int width, int channels, bool reflect,
           const Placement& placement, uint8_t* out);

// --- the others, step by step ----------------------------------------------------------------

bool DrawFlip(const Uniform& uniform);

// torchvision's RandomResizedCrop of a width x height image: a box of 0.08 to max_area of its area
// and of a width that is 3/4 to 4/3 of its height (uniform in the logarithm). After ten boxes that
// do not fit, the largest one in the centre of such a shape.
Box DrawBox(int width, int height, double max_area, const Uniform& uniform);

// Degrees, -20 to 20; for Rotate.
double DrawRotation(const Uniform& uniform);

// What ReCU's lighting adds to red, green and blue, of 0 .. 255: three normal numbers of standard
// deviation 0.1 times the standard deviations of ImageNet's colours, along their principal axes.
std::array<double, 3> DrawLighting(const Uniform& uniform);

// The sums, clipped to 0 .. 255 and truncated. The shifts are meant for images of 0 .. 1: here they
// take 1 from a whole colour, or nothing (methods.md 4.6, trap 15). Grey images stay as they are.
void AddLighting(const std::array<double, 3>& shift, Image& image);

}  // namespace lbrt
