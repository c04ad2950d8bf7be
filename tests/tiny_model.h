// Four models of some 2 KB: together they have every kind of op, weight, tensor and epilogue, and
// several widths.
#pragma once

#include "tests/random_networks.h"

namespace lbrt {

// Tensors: 0 image u8 [1 4 4 1], 1 and 2 the stem's f32 and bits [1 4 4 8], 3 and 4 the same of a
// residual convolution, 5 a relu of it, 6 [1 2 2 4], 7 pooled [1 1 1 6], 8 its affine, 9 the
// output [1 1 1 3]. Ops: 0 fixed, 1 bits, 2 sums, 3 pool, 4 eltwise, 5 float.
inline ModelFile TinyModel() {
  Random random(42);
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::U8, {1, 4, 4, 1}, "image", "mean 0.5");
  lbm::ConvT& stem = file.AddConv(image, SquareWindow(3, 1, 1), lbm::WeightKind::Fixed, 8,
                                  file.AddFixed(RandomCodes(8 * 9, -32639, 32639, &random), 2));
  lbm::StageT* stage = &file.AddStage(stem);
  file.SetAffine(*stage, RandomFloats(8, 1e-6f, &random), RandomFloats(9 * 8, 1.0f, &random));
  const int stream = file.StoreF32(*stage), signs = file.StoreSign(*stage);

  lbm::ConvT& bits = file.AddConv(signs, SquareWindow(3, 1, 1), lbm::WeightKind::Sign, 8,
                                  file.AddSigns(RandomSigns(8 * 9 * 8, &random), 8));
  stage = &file.AddStage(bits);
  file.SetAffine(*stage, {0.02f}, RandomFloats(8, 1.0f, &random));
  stage->add = stream;
  stage->activation = lbm::Activation::Hardtanh;
  file.StoreF32(*stage);
  file.StoreSign(*stage);
  stage = &file.AddStage(bits);
  file.SetAffine(*stage, RandomFloats(8, 1.0f, &random), {});
  stage->activation = lbm::Activation::Relu;
  const int relu = file.StoreF32(*stage);

  lbm::ConvT& sums = file.AddConv(relu, SquareWindow(3, 2, 1), lbm::WeightKind::Sign, 4,
                                  file.AddSigns(RandomSigns(4 * 9 * 8, &random), 4));
  const int sum = file.StoreF32(file.AddStage(sums));
  const int pooled = file.AddAvgPool(sum, SquareWindow(2, 2, 0), 1, 1);
  lbm::EltwiseT& eltwise = file.AddEltwise(pooled);
  stage = &file.AddStage(eltwise);
  file.SetAffine(*stage, RandomFloats(6, 1.0f, &random), RandomFloats(6, 1.0f, &random));
  const int normalised = file.StoreF32(*stage);
  lbm::ConvT& head = file.AddConv(normalised, Window{}, lbm::WeightKind::Float, 3,
                                  file.AddFloatWeights(RandomFloats(3 * 6, 1.0f, &random)));
  stage = &file.AddStage(head);
  file.SetAffine(*stage, {}, RandomFloats(3, 1.0f, &random));
  file.AddOutput(file.StoreF32(*stage), "logits");
  file.table.labels = {"a", "b", "c"};
  return file;
}

// Tensors: 0 image u8 [1 4 4 2], 1 to 3 the stem's f32, bits and codes [1 4 4 4], 4 codes of a
// convolution onto 1, 5 and 6 codes and bits pooled [1 2 2 4], 7 codes of the bits, 8 the two codes
// [1 2 2 8], 9 to 11 f32 [1 1 1 3]. Ops: 0 fixed, 1 ternary on codes, 2 and 3 max pools, 4 eltwise
// on bits, 5 concat, 6 8-bit odd on codes, 7 2-bit odd on bits, 8 fixed on f32.
inline ModelFile TinyCodesModel() {
  Random random(43);
  ModelFile file;
  const int image = file.AddInput(lbm::TensorType::U8, {1, 4, 4, 2}, "image", "mean 0.5");
  lbm::ConvT& stem = file.AddConv(image, SquareWindow(3, 1, 1), lbm::WeightKind::Fixed, 4,
                                  file.AddFixed(RandomCodes(4 * 18, -127, 127, &random), 1));
  lbm::StageT* stage = &file.AddStage(stem);
  file.SetAffine(*stage, RandomFloats(4, 1e-4f, &random), RandomFloats(4, 1.0f, &random));
  file.SetPRelu(*stage, RandomFloats(4, 0.5f, &random));
  const int stream = file.StoreF32(*stage), signs = file.StoreSign(*stage);
  const int codes = file.StoreCodes(*stage, 3.0f, 3);

  lbm::ConvT& ternary = file.AddConv(codes, SquareWindow(3, 1, 1), lbm::WeightKind::Ternary, 4,
                                     file.AddTernary(RandomCodes(4 * 36, -1, 1, &random), 4));
  stage = &file.AddStage(ternary);
  file.SetAffine(*stage, RandomFloats(4, 0.1f, &random), {});
  stage->base = stream;
  stage->activation = lbm::Activation::ClipUnit;
  const int bytes = file.StoreCodes(*stage, 255.0f, 255);

  const int pooled = file.AddMaxPool(bytes, SquareWindow(3, 2, 1));
  const int pooled_signs = file.AddMaxPool(signs, SquareWindow(3, 2, 1));
  lbm::EltwiseT& eltwise = file.AddEltwise(pooled_signs);
  stage = &file.AddStage(eltwise);
  file.SetAffine(*stage, RandomFloats(4, 1.0f, &random), {1.0f});
  const int both = file.AddConcat({pooled, file.StoreCodes(*stage, 100.0f, 255)});

  lbm::ConvT& odd = file.AddConv(
      both, SquareWindow(2, 1, 0), lbm::WeightKind::Odd, 3,
      AddRandomWeights(&file, lbm::WeightKind::Odd, 8, 3, 3 * 32, &random));
  stage = &file.AddStage(odd);
  file.SetAffine(*stage, {1e-4f}, {});
  const int sums = file.StoreF32(*stage);
  lbm::ConvT& small = file.AddConv(
      pooled_signs, SquareWindow(2, 1, 0), lbm::WeightKind::Odd, 3,
      AddRandomWeights(&file, lbm::WeightKind::Odd, 2, 3, 3 * 16, &random));
  stage = &file.AddStage(small);
  stage->add = sums;
  const int joined = file.StoreF32(*stage);
  lbm::ConvT& head = file.AddConv(joined, Window{}, lbm::WeightKind::Fixed, 3,
                                  file.AddFixed(RandomCodes(9, -32639, 32639, &random), 2));
  file.AddOutput(file.StoreF32(file.AddStage(head)), "logits");
  file.table.labels = {"a", "b", "c"};
  return file;
}

// Tensors: 0 image u8 [1 4 4 2], 1 the stem's f32 [1 4 4 6], 2 codes by thresholds, 3 and 4 f32 and
// bits [1 4 4 8] of those codes less 2, 5 codes of a convolution in 2 groups [1 4 4 8], 6 those of a
// depthwise one, 7 [1 8 8 2] and 8 [1 2 2 2] of those, 9 bits upsampled [1 8 12 8], 10 and 11 f32
// of depthwise convolutions, 12 pooled [1 1 1 8], 13 the output [1 1 1 4], 14 and 15 its bits and
// codes before the affine. Ops: 0 fixed, 1 threshold, 2 integers of 3 bits on codes, 3 odd on codes in groups, 4 8-bit odd on codes,
// depthwise, 5 depth to space, 6 max pool, 7 upsample, 8 signs on bits, depthwise, 9 ternary on
// f32, depthwise, 10 pool, 11 float in groups.
inline ModelFile TinyOperatorsModel() {
  Random random(45);
  ModelFile file;
  const auto weights = [&](lbm::WeightKind kind, int bits, size_t outputs, size_t each) {
    return AddRandomWeights(&file, kind, bits, outputs, outputs * each, &random);
  };
  const int image = file.AddInput(lbm::TensorType::U8, {1, 4, 4, 2}, "image", "mean 0.5");
  lbm::ConvT& stem = file.AddConv(image, SquareWindow(3, 1, 1), lbm::WeightKind::Fixed, 6,
                                  weights(lbm::WeightKind::Fixed, 8, 6, 18));
  lbm::StageT* stage = &file.AddStage(stem);
  file.SetAffine(*stage, RandomFloats(6, 1e-4f, &random), RandomFloats(6, 1.0f, &random));
  const int stream = file.StoreF32(*stage);
  std::vector<float> thresholds = RandomFloats(6, 1.0f, &random);
  while (thresholds.size() < 5 * 6) thresholds.push_back(thresholds[thresholds.size() - 6] + 0.1f);
  const int counted = file.AddThreshold(stream, 5, thresholds);

  lbm::ConvT& integers = file.AddConv(counted, SquareWindow(3, 1, 1), lbm::WeightKind::Integers, 8,
                                      weights(lbm::WeightKind::Integers, 3, 8, 54));
  integers.zero = 2;
  stage = &file.AddStage(integers);
  file.SetAffine(*stage, {0.02f}, RandomFloats(8, 1.0f, &random));
  const int f32 = file.StoreF32(*stage), signs = file.StoreSign(*stage);
  lbm::ConvT& grouped = file.AddConv(counted, SquareWindow(3, 1, 1), lbm::WeightKind::Odd, 8,
                                     weights(lbm::WeightKind::Odd, 2, 8, 27));
  grouped.groups = 2;
  stage = &file.AddStage(grouped);
  stage->add = f32;
  const int codes = file.StoreCodes(*stage, 1.0f, 15);
  lbm::ConvT& depthwise = file.AddConv(codes, SquareWindow(3, 1, 1), lbm::WeightKind::Odd, 8,
                                       weights(lbm::WeightKind::Odd, 8, 8, 9));
  depthwise.groups = 8;
  depthwise.zero = 1;
  stage = &file.AddStage(depthwise);
  file.SetAffine(*stage, RandomFloats(8, 1e-3f, &random), RandomFloats(8, 1.0f, &random));
  const int filtered = file.StoreCodes(*stage, 7.0f, 7);
  file.AddMaxPool(file.AddDepthToSpace(filtered, 2, lbm::DepthOrder::ChannelFirst),
                  SquareWindow(4, 4, 0), {2});

  const int large = file.AddUpsample(signs, 2, 3);
  lbm::ConvT& binary = file.AddConv(large, {3, 3, 2, 3, 1, 1, 0, 0}, lbm::WeightKind::Sign, 8,
                                    weights(lbm::WeightKind::Sign, 1, 8, 9));
  binary.groups = 8;
  const int sums = file.StoreF32(file.AddStage(binary));
  lbm::ConvT& ternary = file.AddConv(f32, SquareWindow(3, 1, 1), lbm::WeightKind::Ternary, 8,
                                     weights(lbm::WeightKind::Ternary, 2, 8, 9));
  ternary.groups = 8;
  stage = &file.AddStage(ternary);
  stage->add = sums;
  const int pooled =
      file.AddAvgPool(file.StoreF32(*stage), SquareWindow(4, 1, 0), 0, 0, /*sum=*/true);
  lbm::ConvT& head = file.AddConv(pooled, Window{}, lbm::WeightKind::Float, 4,
                                  weights(lbm::WeightKind::Float, 32, 4, 4));
  head.groups = 2;
  stage = &file.AddStage(head);
  file.SetAffine(*stage, {}, RandomFloats(4, 1.0f, &random));
  file.AddOutput(file.StoreF32(*stage), "logits");
  stage = &file.AddStage(head);
  stage->restart = true;
  file.StoreSign(*stage);
  file.StoreCounts(*stage, 2, {-0.5f, 0.5f});
  file.table.labels = {"a", "b", "c", "d"};
  return file;
}

// One width of TinyWidthsModel: the weights' kind and planes, and what the activations' codes reach.
inline void AddTinyWidth(ModelFile* file, lbm::WeightKind kind, std::vector<uint32_t> planes,
                         const std::vector<uint32_t>& stem_planes, uint32_t head_plane, int levels,
                         Random* random) {
  const int image = file->AddInput(lbm::TensorType::U8, {1, 4, 4, 1}, "image", "mean 0.5");
  lbm::ConvT& stem = file->AddConv(image, SquareWindow(3, 1, 1), lbm::WeightKind::Fixed, 6,
                                   stem_planes);
  lbm::StageT* stage = &file->AddStage(stem);
  file->SetAffine(*stage, RandomFloats(6, 1e-3f, random), RandomFloats(6, 1.0f, random));
  const int stream = file->StoreF32(*stage);
  const int codes = file->StoreCodes(*stage, static_cast<float>(levels), levels);
  lbm::ConvT& conv = file->AddConv(codes, SquareWindow(3, 1, 1), kind, 6, std::move(planes));
  if (kind == lbm::WeightKind::Weighted)
    ModelFile::SetWeighted(conv, {136, 68, 34, 17, 16, 8, 4, 2, 1}, 8, 248);
  stage = &file->AddStage(conv);
  file->SetAffine(*stage, {0.01f}, {});
  stage->add = stream;
  const int pooled = file->AddAvgPool(file->StoreF32(*stage), SquareWindow(4, 1, 0));
  lbm::ConvT& head = file->AddConv(pooled, Window{}, lbm::WeightKind::Float, 3, {head_plane});
  file->AddOutput(file->StoreF32(file->AddStage(head)), "logits");
}

// Widths 1, 4 and 8. Tensors of each: 0 image u8 [1 4 4 1], 1 and 2 the stem's f32 and codes
// [1 4 4 6], 3 the same of a convolution, 4 pooled, 5 the output [1 1 1 3]. Ops: 0 fixed, 1 signs,
// odd numbers of 4 bits, weighted planes, 2 pool, 3 float. Segments, as widths need them: the
// first has 6, the second 6 more, the third 8 more.
inline ModelFile TinyWidthsModel() {
  Random random(44);
  ModelFile file;
  constexpr size_t kWeights = 6 * 54;
  const auto plane = [&] { return file.AddSigns(RandomSigns(kWeights, &random), 6)[0]; };
  const auto stem = file.AddFixed(RandomCodes(6 * 9, -127, 127, &random), 1);
  const uint32_t head = file.AddFloatWeights(RandomFloats(3 * 6, 1.0f, &random))[0];
  std::vector<uint32_t> planes = {plane()};
  AddTinyWidth(&file, lbm::WeightKind::Sign, planes, stem, head, 1, &random);
  file.EndWidth(1);
  while (planes.size() < 4) planes.push_back(plane());
  AddTinyWidth(&file, lbm::WeightKind::Odd, planes, stem, head, 15, &random);
  file.EndWidth(4);
  while (planes.size() < 9) planes.push_back(plane());
  AddTinyWidth(&file, lbm::WeightKind::Weighted, planes, stem, head, 255, &random);
  file.EndWidth(8);
  file.JoinWidths();
  file.table.labels = {"a", "b", "c"};
  return file;
}

}  // namespace lbrt
