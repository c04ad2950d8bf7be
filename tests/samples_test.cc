// Images on their way into training: sizes and labels, order, augmentation, normalisation; and what
// evaluation says of logits.
#include "trainer/samples.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "images/write.h"
#include "tests/image_files.h"
#include "tests/tensors.h"
#include "trainer/batch_shares.h"
#include "trainer/evaluate.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

const Preprocessing kImageNet = {
    .channels = 3, .mean = {.485, .456, .406}, .std = {.229, .224, .225}};
const Preprocessing kIdentity = {.channels = 3, .mean = {0, 0, 0}, .std = {1, 1, 1}};

Samples NoiseSamples(size_t n, int size = 6) {
  Dataset data;
  data.source = "noise";
  data.height = data.width = size;
  data.channels = 3;
  data.pixels = Noise(n * static_cast<size_t>(size * size * 3), 62);
  for (size_t i = 0; i < n; ++i) data.labels.push_back(static_cast<int>(i % 10));
  return Prepare(data, kIdentity, size, size, 10, 0);
}

std::vector<uint32_t> InOrder(size_t n) {
  std::vector<uint32_t> order;
  for (size_t i = 0; i < n; ++i) order.push_back(static_cast<uint32_t>(i));
  return order;
}

// Bytes of normalised images [n c h w] of kIdentity, as [n h w c].
std::vector<uint8_t> BytesOf(const at::Tensor& images) {
  const at::Tensor bytes = (images * 255).round().to(at::kByte).permute({0, 2, 3, 1}).contiguous();
  return {bytes.data_ptr<uint8_t>(), bytes.data_ptr<uint8_t>() + bytes.numel()};
}

// --- Prepare -------------------------------------------------------------------------------------

TEST(Prepare, LabelsAndSizesThatDoNotFitAreRefused) {
  Dataset data;
  data.height = data.width = 4;
  data.channels = 3;
  data.labels = {3};
  data.pixels.assign(48, 9);
  data.source = "here.bin";
  EXPECT_EQ(Prepare(data, kIdentity, 4, 4, 4, 0).size(), 1u);
  ExpectRefusal([&] { Prepare(data, kIdentity, 4, 4, 3, 0); }, "label 3");
  ExpectRefusal([&] { Prepare(data, kIdentity, 5, 4, 4, 0); }, "the network takes 4 x 5");
  data.labels = {-1};
  ExpectRefusal([&] { Prepare(data, kIdentity, 4, 4, 4, 0); }, "label -1");
  ExpectRefusal([&] { Prepare(Dataset(), kIdentity, 4, 4, 4, 0); }, "no images");
  data.values = {1};
  ExpectRefusal([&] { Prepare(data, kIdentity, 4, 4, 4, 0); }, "float arrays");
}

TEST(Prepare, ALimitTakesTheFirst) {
  Dataset data;
  data.height = data.width = 1;
  data.channels = 3;
  data.labels = {1, 2, 3};
  data.pixels = {1, 1, 1, 2, 2, 2, 3, 3, 3};
  const Samples samples = Prepare(data, kIdentity, 1, 1, 10, 2);
  EXPECT_EQ(samples.labels, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(samples.pixels, (std::vector<uint8_t>{1, 1, 1, 2, 2, 2}));
}

// --- Images in memory ----------------------------------------------------------------------------

TEST(Batcher, ImagesAreNormalisedOnceRoundedInChannelsLastOrder) {
  const Samples samples = NoiseSamples(3);
  const Batcher batcher(samples, kImageNet, at::kCPU);
  const at::Tensor images = batcher.Images(1, 2);
  EXPECT_EQ(images.sizes(), (std::vector<int64_t>{2, 3, 6, 6}));
  EXPECT_TRUE(images.is_contiguous(at::MemoryFormat::ChannelsLast));
  for (int64_t c = 0; c < 3; ++c) {
    const size_t k = static_cast<size_t>(c);
    const double byte = samples.pixels[2 * samples.image_bytes() + (4 * 6 + 5) * 3 + k];
    EXPECT_EQ(images[1][c][4][5].item<float>(),
              static_cast<float>((byte / 255 - kImageNet.mean[k]) / kImageNet.std[k]));
  }
}

TEST(Batcher, TheBorderIsBlackBeforeNormalisation) {  // methods.md 1.5
  Samples samples = NoiseSamples(1);
  std::fill(samples.pixels.begin(), samples.pixels.end(), 200);
  const Preprocessing preprocessing{.channels = 3, .mean = {.5, .4, .3}, .std = {.25, .2, .1}};
  Batcher batcher(samples, preprocessing, at::kCPU);
  batcher.Start(std::vector<uint32_t>(200, 0), 0, Augmentation::kBlack, 63);
  const at::Tensor red = batcher.Next(200).input.select(1, 0).contiguous();
  std::set<float> reds;
  for (int64_t i = 0; i < red.numel(); ++i) reds.insert(red.data_ptr<float>()[i]);
  EXPECT_EQ(reds, (std::set<float>{-2, static_cast<float>((200.0 / 255 - .5) / .25)}));
}

TEST(Batcher, LabelsAndImagesFollowTheOrder) {
  const Samples samples = NoiseSamples(9);
  Batcher batcher(samples, kIdentity, at::kCPU);
  Random random(64);
  const std::vector<uint32_t> order = ShuffledOrder(9, random);
  EXPECT_EQ(std::set<uint32_t>(order.begin(), order.end()).size(), 9u);
  EXPECT_NE(order, InOrder(9));
  batcher.Start(order, 0, Augmentation::kNone, 1);
  for (const size_t first : {0, 4}) {
    const Batch batch = batcher.Next(first == 0 ? 4 : 5);
    const std::vector<uint8_t> bytes = BytesOf(batch.input);
    for (int64_t i = 0; i < batch.labels.size(0); ++i) {
      const size_t sample = order[first + static_cast<size_t>(i)];
      EXPECT_EQ(batch.labels[i].item<int64_t>(), samples.labels[sample]);
      const size_t n = samples.image_bytes();
      EXPECT_TRUE(std::equal(samples.pixels.begin() + static_cast<long>(sample * n),
                             samples.pixels.begin() + static_cast<long>((sample + 1) * n),
                             bytes.begin() + static_cast<long>(static_cast<size_t>(i) * n)));
    }
  }
}

TEST(Batcher, WhatHappensToAnImageFollowsFromSeedAndPosition) {
  const Samples samples = NoiseSamples(40);
  for (const Augmentation augmentation : {Augmentation::kBlack, Augmentation::kReflect}) {
    Batcher batcher(samples, kImageNet, at::kCPU);
    batcher.Start(InOrder(40), 0, augmentation, 7);
    const at::Tensor whole = batcher.Next(40).input;
    for (const size_t first : {0, 1, 17, 39}) {  // as a resumed epoch
      batcher.Start(InOrder(40), first, augmentation, 7);
      std::vector<at::Tensor> parts;
      for (size_t at = first; at < 40; at += 3)
        parts.push_back(batcher.Next(std::min<size_t>(3, 40 - at)).input);
      EXPECT_TRUE(at::cat(parts).equal(whole.slice(0, static_cast<int64_t>(first)))) << first;
    }
    batcher.Start(InOrder(40), 0, augmentation, 8);
    EXPECT_FALSE(batcher.Next(40).input.equal(whole));
  }
}

TEST(Batcher, BoxesAreForClassFolders) {
  const Samples samples = NoiseSamples(2);
  Batcher batcher(samples, kIdentity, at::kCPU);
  ExpectRefusal([&] { batcher.Start(InOrder(2), 0, Augmentation::kImageNet, 1); },
                "augment = \"imagenet\" is for class folders");
}

// --- Class folders -------------------------------------------------------------------------------

// The random numbers of an image at a position: a run that is resumed by another version of the
// program gets the same ones.
Random RandomAt(uint64_t seed, size_t position) {
  return Random(Random(seed + position * 0x9e3779b97f4a7c15u).Next());
}

class ClassFolderTest : public testing::Test {
 protected:
  ClassFolderTest() {
    at::set_num_threads(2);
    for (int i = 0; i < kImages; ++i) {
      const std::string folder = folder_ / (i % 2 == 0 ? "cats" : "dogs");
      fs::create_directories(folder);
      Image image(14 + i % 3, 12 + i % 4, 3);
      image.pixels = Noise(image.pixels.size(), static_cast<uint32_t>(i + 1));
      WritePng(folder + "/" + std::to_string(i) + ".png", image);
    }
  }

  Samples Read() const {
    return Prepare(OpenDataset({folder_.path()}, Split::kTrain), preprocessing_, 10, 10, 2, 0);
  }
  // What Next gives for the images at `positions`, one after another.
  static std::vector<uint8_t> Want(const Samples& samples, const std::vector<uint32_t>& order,
                                   size_t first, size_t count, Augmentation augmentation,
                                   uint64_t seed) {
    std::vector<uint8_t> want;
    for (size_t i = first; i < first + count; ++i) {
      Random random = RandomAt(seed, i);
      const Image image =
          TrainingImage(samples.dataset, order[i], samples.preprocessing, augmentation, 10, 10,
                        [&] { return random.Uniform(); });
      want.insert(want.end(), image.pixels.begin(), image.pixels.end());
    }
    return want;
  }

  static constexpr int kImages = 12;
  TemporaryFolder folder_;
  const Preprocessing preprocessing_ = {.channels = 3,
                                        .resize = 11,
                                        .crop_height = 10,
                                        .crop_width = 10,
                                        .mean = {0, 0, 0},
                                        .std = {1, 1, 1}};
};

TEST_F(ClassFolderTest, ImagesAreReadWhenTheyAreAskedFor) {
  const Samples samples = Read();
  EXPECT_FALSE(samples.in_memory());
  EXPECT_EQ(samples.size(), static_cast<size_t>(kImages));
  const Batcher batcher(samples, preprocessing_, at::kCPU);
  const std::vector<uint8_t> want =
      Want(samples, InOrder(kImages), 3, 5, Augmentation::kNone, 1);
  EXPECT_EQ(BytesOf(batcher.Images(3, 5)), want);
}

TEST_F(ClassFolderTest, BatchesAreTheTrainingImagesOfTheirPositionsFromAnyStart) {
  const Samples samples = Read();
  Random random(66);
  const std::vector<uint32_t> order = ShuffledOrder(kImages, random);
  for (const Augmentation augmentation :
       {Augmentation::kNone, Augmentation::kBlack, Augmentation::kReflect, Augmentation::kImageNet,
        Augmentation::kRecuImageNet, Augmentation::kRotate})
    for (const size_t first : {0, 5}) {
      Batcher batcher(samples, preprocessing_, at::kCPU);
      batcher.Start(order, first, augmentation, 67);
      for (size_t at = first; at < kImages; at += 4) {
        const size_t count = std::min<size_t>(4, kImages - at);
        const Batch batch = batcher.Next(count);
        EXPECT_EQ(BytesOf(batch.input), Want(samples, order, at, count, augmentation, 67))
            << AugmentationName(augmentation) << " " << at;
        for (size_t i = 0; i < count; ++i)
          EXPECT_EQ(batch.labels[static_cast<int64_t>(i)].item<int64_t>(),
                    samples.labels[order[at + i]]);
      }
    }
}

TEST_F(ClassFolderTest, MoreImagesThanAreReadAheadComeInOrder) {
  const Samples samples = Read();
  std::vector<uint32_t> order;
  for (int i = 0; i < 2500; ++i) order.push_back(static_cast<uint32_t>(i * 7 % kImages));
  Batcher batcher(samples, preprocessing_, at::kCPU);
  batcher.Start(order, 3, Augmentation::kNone, 1);
  for (size_t at = 3; at < order.size();) {
    const size_t count = std::min<size_t>(500, order.size() - at);
    ASSERT_EQ(BytesOf(batcher.Next(count).input),
              Want(samples, order, at, count, Augmentation::kNone, 1));
    at += count;
  }
  // An epoch that is left early, then another.
  batcher.Start(order, 0, Augmentation::kBlack, 68);
  batcher.Next(2);
  batcher.Start(order, 0, Augmentation::kBlack, 69);
  EXPECT_EQ(BytesOf(batcher.Next(3).input), Want(samples, order, 0, 3, Augmentation::kBlack, 69));
}

TEST_F(ClassFolderTest, AnImageThatCannotBeReadIsNamedWhenItsTurnComes) {
  std::ofstream(folder_ / "cats/4.png") << "no image";
  const Samples samples = Read();
  Batcher batcher(samples, preprocessing_, at::kCPU);
  // Of cats 0, 10, 2, 4, 6, 8, as their names are sorted, the fourth.
  ASSERT_NE(samples.dataset.name(3).find("4.png"), std::string::npos);
  batcher.Start(InOrder(kImages), 0, Augmentation::kImageNet, 1);
  EXPECT_EQ(batcher.Next(3).input.size(0), 3);
  ExpectRefusal([&] { batcher.Next(3); }, "4.png");
  ExpectRefusal([&] { batcher.Images(2, 3); }, "4.png");
}

// --- Evaluation ----------------------------------------------------------------------------------

TEST(Judge, CountsTheLargestLogitAndTiesGoToTheLowerIndex) {
  const Evaluation e = Judge({1, 3, 3, 0, 0, 5, 2, 1, 0}, {1, 2, 2});
  EXPECT_EQ(e.images, 3u);
  EXPECT_EQ(e.classes, 3u);
  EXPECT_EQ(e.correct, 2u);
  EXPECT_NEAR(e.accuracy(), 200.0 / 3, 1e-12);
  const double want = (std::log(std::exp(-2) + 2) + std::log(2 * std::exp(-5) + 1) +
                       std::log(std::exp(2) + std::exp(1) + 1)) /
                      3;
  EXPECT_NEAR(e.loss(), want, 1e-12);
}

TEST(Judge, CountsLabelsAmongTheFirstFive) {
  //                         rank 4 of a tie, 5 of the same tie, and a row that is no number
  const Evaluation e =
      Judge({9, 5, 5, 5, 5, 5, 1, 9, 5, 5, 5, 5, 5, 1, 9, NAN, 1, 1, 1, 1, 1}, {4, 5, 1});
  EXPECT_EQ(e.correct, 0u);
  EXPECT_EQ(e.correct_of_five, 1u);
  EXPECT_NEAR(e.top5(), 100.0 / 3, 1e-12);
}

TEST(Compare, CountsEqualClassesAndTheLargestDifference) {
  const Evaluation a = Judge({1, 2, 4, 3}, {0, 0}), b = Judge({1, 2.5, 3, 8}, {0, 0});
  const Agreement agreement = Compare(a, b);
  EXPECT_EQ(agreement.same_class, 1u);
  EXPECT_EQ(agreement.largest_logit, 8);
  EXPECT_EQ(agreement.largest_difference, 5);
}

TEST(Evaluate, EveryWidthIsANetworkOfItsOwnAndTheWidestIsMeantByNone) {
  const TrainerModel model = ModelOf(BuildNetwork("any-precision/resnet20",
                                                  {{"expansion", "1"},
                                                   {"blocks", "1,1"},
                                                   {"channels", "4,8"},
                                                   {"size", "8"},
                                                   {"widths", "2,32"}}),
                                     at::kFloat);
  const Samples samples = NoiseSamples(203, 8);  // more than one batch
  std::vector<size_t> progress;
  const auto evaluate = [&](int width) {
    progress.clear();
    return Evaluate(model, width, samples, kImageNet,
                    [&](size_t done) { progress.push_back(done); });
  };
  const Evaluation wide = evaluate(32);
  EXPECT_EQ(progress, (std::vector<size_t>{200, 203}));
  EXPECT_EQ(wide.images, 203u);
  EXPECT_EQ(wide.classes, 10u);
  EXPECT_EQ(evaluate(0).logits, wide.logits);
  EXPECT_NE(evaluate(2).logits, wide.logits);
}

TEST(BatchShares, KeepTwoImagesForEveryPart) {
  const BatchShares alone(4, 1, 0, 1);
  EXPECT_EQ(alone.parts(), 1);
  EXPECT_EQ(alone.Batch(10), 4u);
  EXPECT_EQ(alone.Batch(6), 4u);  // two remain
  EXPECT_EQ(alone.Batch(5), 5u);  // one would
  EXPECT_EQ(BatchShares(8, 2, 0, 2).parts(), 4);
  EXPECT_EQ(BatchShares(8, 2, 0, 2).Batch(15), 15u);
  EXPECT_EQ(BatchShares(8, 2, 0, 2).Batch(16), 8u);
  ExpectRefusal([] { BatchShares(3, 1, 0, 2); },
                "recipe: batch = 3 is too small for 2 parts, expected two images of each");
}

TEST(BatchShares, OfProcessesAreTheBatches) {
  const BatchShares first(4, 1, 0, 2), second(4, 1, 1, 2);
  EXPECT_EQ(first.Positions(0, 11), (std::vector<uint32_t>{0, 1, 4, 5, 6}));
  EXPECT_EQ(second.Positions(0, 11), (std::vector<uint32_t>{2, 3, 7, 8, 9, 10}));
  EXPECT_EQ(first.Own(7), 3u);
  EXPECT_EQ(second.Own(7), 4u);
  EXPECT_EQ(second.Positions(4, 11), (std::vector<uint32_t>{7, 8, 9, 10}));
}

}  // namespace
}  // namespace lbrt
