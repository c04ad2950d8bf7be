// `lbconvert --activations u8 --calibrate IMAGES`.
#pragma once

#include <string>
#include <vector>

#include "images/dataset.h"
#include "network/graph.h"

namespace lbrt {

inline constexpr size_t kMostCalibrationImages = 256;

struct Calibration {
  Dataset data;
  std::string preprocessing;  // of the model

  // How many images are used: all, or so many evenly spaced ones.
  size_t images() const;
  std::string Text() const;  // "256 images of cifar-10"
};

// Runs the graph's model on the calibration images and chooses for each group of float activations
// (converter/quantize_activations.h) the step of least mean squared error; returns the graph with
// codes, and a line for each group in `lines`. Throws InputError where there are no images, where
// no activations can become codes, and for values that are not finite.
Graph Calibrate(const Graph& graph, const Calibration& calibration,
                std::vector<std::string>* lines);

}  // namespace lbrt
