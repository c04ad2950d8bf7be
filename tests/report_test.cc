#include "trainer/report.h"

#include <gtest/gtest.h>

#include "images/error.h"
#include "trainer/model.h"
#include "trainer/random.h"

namespace lbrt {
namespace {

Checkpoint CheckpointOf(const std::string& name, const Arguments& arguments) {
  const Network network = BuildNetwork(name, arguments);
  TrainerModel model(network, at::kFloat, at::kCPU);
  Random random(1);
  model.Initialise(random);
  Checkpoint checkpoint;
  checkpoint.state = model.ToStateDict();
  checkpoint.text["network"] = network.name;
  checkpoint.text["arguments"] = ArgumentsText(network.arguments);
  checkpoint.text["recipe"] = "network = \"a<b\"\n";
  checkpoint.text["seed"] = "7";
  return checkpoint;
}

const char kHeader[] =
    "epoch,lr,tau,train_loss,train_accuracy,test_loss,test_accuracy,complexity,seconds,"
    "images_per_second,data_share";

size_t Count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

void ExpectHas(const std::string& html, const std::string& part) {
  EXPECT_NE(html.find(part), std::string::npos) << html << "\nexpected: " << part;
}

TEST(Report, ShowsLastAndBestBesideThePublishedFigures) {
  const Checkpoint checkpoint =
      CheckpointOf("recu/resnet20", {{"blocks", "1,1,1"}, {"channels", "4,8,16"}});
  const std::string metrics = std::string(kHeader) +
                              "\n0,0.1,0.9,2.1,30,1.9,41.25,0,60,800,0.01\n"
                              "1,0.05,0.95,1.5,45,1.4,52.5,0,60,800,0.01\n"
                              "2,0.01,0.99,1.2,55,1.5,51.75,0,60,812,0.01\n";
  const std::string html =
      ReportHtml(checkpoint, metrics, {{"vanilla", "87.5"}, {"finetune", "88.0"}});
  ExpectHas(html, "<th>best epoch</th><th>published: vanilla</th><th>published: finetune</th>");
  ExpectHas(html, "<td>test</td><td>51.75</td><td>52.50</td><td>87.5</td><td>88.0</td>");
  ExpectHas(html, "The best epoch is number 2.");
  EXPECT_NE(html.find("3 epochs in 3.0 minutes, 812 images a second"), std::string::npos);
  EXPECT_NE(html.find("a&lt;b"), std::string::npos);
  EXPECT_EQ(html.find("http"), std::string::npos) << "it needs no other file";
  EXPECT_EQ(Count(html, "<polyline"), 4u);
  EXPECT_EQ(Count(html, "Bits of each layer"), 0u);
}

TEST(Report, CountsEpochsAsTheRunDoes) {
  const Checkpoint checkpoint = CheckpointOf("recu/resnet20", {});
  const std::string html = ReportHtml(checkpoint,
                                      std::string(kHeader) +
                                          ",test_top5\n"
                                          "10,0.05,0.95,1.5,45,1.4,52.5,0,60,800,0.01,91.5\n"
                                          "11,0.01,0.99,1.2,55,1.5,51.75,0,60,812,0.01,92.25\n",
                                      {{"vanilla", "60.98/82.57"}});
  ExpectHas(html, "Top-1/top-5. The best epoch is number 11.");
  ExpectHas(html, "<td>51.75/92.25</td><td>52.50/91.50</td><td>60.98/82.57</td>");
  ExpectHas(html, ">11</text>");
  ExpectHas(html, "epoch 12</text>");
}

TEST(Report, HasACurveForEachWidth) {
  const Checkpoint checkpoint =
      CheckpointOf("any-precision/resnet20", {{"blocks", "1,1,1"}, {"expansion", "1"},
                                              {"widths", "1,4"}});
  const std::string metrics = std::string(kHeader) +
                              ",train_loss_w4,test_loss_w4,test_accuracy_w4,train_loss_w1,"
                              "test_loss_w1,test_accuracy_w1\n"
                              "0,0.1,0,2.1,30,1.9,41,0,60,800,0.01,1,1,41,2,2,33\n";
  const std::string html = ReportHtml(checkpoint, metrics, {{"recursive", "91.89 93.86"}});
  ExpectHas(html, "<td>4 bits</td><td>41.00</td><td>41.00</td><td>93.86</td>");
  ExpectHas(html, "<td>1 bits</td><td>33.00</td><td>33.00</td><td>91.89</td>");
  EXPECT_EQ(Count(html, "<polyline"), 7u);
}

TEST(Report, ShowsTheBitsASearchChose) {
  Checkpoint checkpoint = CheckpointOf(
      "edmips/cifar-resnet20",
      {{"mode", "search"}, {"blocks", "1,1,1"}, {"channels", "4,8,16"}});
  for (const std::string& name : checkpoint.state.names())
    if (name.ends_with(".alpha_weight")) checkpoint.state[name].f32()[2] = 1;
  const std::string metrics = std::string(kHeader) + "\n0,0.1,0,2,30,1.9,41,88.5,60,800,0.01\n";
  const std::string html = ReportHtml(checkpoint, metrics, {});
  EXPECT_NE(html.find("Bits of each layer"), std::string::npos);
  EXPECT_NE(html.find("width:72px\"></span> 3</td>"), std::string::npos) << html;
  ExpectHas(html, "Complexity");
  ExpectHas(html, " bits in the mean");
}

TEST(Report, RefusesMetricsThatAreNone) {
  const Checkpoint checkpoint = CheckpointOf("recu/resnet20", {});
  EXPECT_THROW(ReportHtml(checkpoint, "hello\n1,2\n", {}), InputError);
  EXPECT_THROW(ReportHtml(checkpoint, std::string(kHeader) + "\n", {}), InputError);
  EXPECT_THROW(ReportHtml(checkpoint, std::string(kHeader) + "\n1,2\n", {}), InputError);
}

}  // namespace
}  // namespace lbrt
