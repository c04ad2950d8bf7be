#include "trainer/published.h"

#include <algorithm>
#include <string_view>

namespace lbrt {
namespace {

constexpr bool kTheirs = false, kOurs = true;

constexpr PublishedRow kRows[] = {
    // Any-precision (methods.md 1.6).
    {"any-precision", "CIFAR-10", "resnet20", "1 bit alone", "91.50", kOurs,
     "any-precision-resnet20-cifar10", "--widths 1"},
    {"any-precision", "CIFAR-10", "resnet20", "2 bit alone", "93.26", kOurs,
     "any-precision-resnet20-cifar10", "--widths 2"},
    {"any-precision", "CIFAR-10", "resnet20", "4 bit alone", "93.62", kOurs,
     "any-precision-resnet20-cifar10", "--widths 4"},
    {"any-precision", "CIFAR-10", "resnet20", "8 bit alone", "93.42", kOurs,
     "any-precision-resnet20-cifar10", "--widths 8"},
    {"any-precision", "CIFAR-10", "resnet20", "32 bit alone", "93.58", kOurs,
     "any-precision-resnet20-cifar10", "--widths 32"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, hard",
     "91.48 93.74 93.87 93.92 93.71", kTheirs, "any-precision-resnet20-cifar10",
     "--set targets=hard"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, soft",
     "91.18 93.51 93.21 93.13 93.63", kTheirs, "any-precision-resnet20-cifar10",
     "--set targets=soft"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, recursive",
     "91.89 93.90 93.86 93.75 94.11", kTheirs, "any-precision-resnet20-cifar10"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, truncating", "-", kOurs,
     "any-precision-resnet20-cifar10", "--set weights=truncating"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, expansion 1", "-", kOurs,
     "any-precision-resnet20-cifar10", "--set expansion=1"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, expansion 1, truncating", "-",
     kOurs, "any-precision-resnet20-cifar10", "--set expansion=1 --set weights=truncating"},
    {"any-precision", "CIFAR-10", "resnet20", "1, 2, 4, 8, 32 bit, expansion 1, 8-bit stem", "-",
     kOurs, "any-precision-resnet20-cifar10", "--set expansion=1 --set stem=i8"},
    {"any-precision", "SVHN", "svhn", "1 bit alone", "90.94", kOurs, "any-precision-svhn",
     "--widths 1"},
    {"any-precision", "SVHN", "svhn", "2 bit alone", "96.45", kOurs, "any-precision-svhn",
     "--widths 2"},
    {"any-precision", "SVHN", "svhn", "4 bit alone", "97.04", kOurs, "any-precision-svhn",
     "--widths 4"},
    {"any-precision", "SVHN", "svhn", "8 bit alone", "97.04", kOurs, "any-precision-svhn",
     "--widths 8"},
    {"any-precision", "SVHN", "svhn", "32 bit alone", "97.10", kOurs, "any-precision-svhn",
     "--widths 32"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, hard", "88.98 95.54 96.71 96.72 96.60",
     kTheirs, "any-precision-svhn", "--set targets=hard"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, soft", "88.49 94.62 96.13 96.20 96.17",
     kTheirs, "any-precision-svhn", "--set targets=soft"},
    {"any-precision", "SVHN", "svhn", "1, 2, 4, 8, 32 bit, recursive",
     "88.21 94.94 96.19 96.22 96.29", kTheirs, "any-precision-svhn"},
    {"any-precision", "ImageNet", "resnet50", "1 bit alone", "57.83", kTheirs,
     "any-precision-resnet50-imagenet-one-width", "--widths 1 --set weight-decay=1e-5",
     "--replicas 4"},
    {"any-precision", "ImageNet", "resnet50", "2 bit alone", "68.74", kTheirs,
     "any-precision-resnet50-imagenet-one-width", "--widths 2 --set weight-decay=1e-5",
     "--replicas 4"},
    {"any-precision", "ImageNet", "resnet50", "4 bit alone", "74.12", kTheirs,
     "any-precision-resnet50-imagenet-one-width", "--widths 4", "--replicas 4"},
    {"any-precision", "ImageNet", "resnet50", "8 bit alone", "74.96", kTheirs,
     "any-precision-resnet50-imagenet-one-width", "--widths 8", "--replicas 4"},
    {"any-precision", "ImageNet", "resnet50", "32 bit alone", "75.95", kTheirs,
     "any-precision-resnet50-imagenet-one-width", "--widths 32", "--replicas 4"},
    {"any-precision", "ImageNet", "resnet50", "1, 2, 4, 8, 32 bit, recursive",
     "58.77 71.66 73.84 74.07 74.63", kTheirs, "any-precision-resnet50-imagenet", "",
     "--replicas 4"},
    // EdMIPS (methods.md 2.6). The figure of a search is the mean of its bits.
    {"edmips", "ImageNet", "resnet18", "uniform, 2 bit", "65.1/86.2", kTheirs,
     "edmips-resnet18-imagenet", "--set bits=2/2"},
    {"edmips", "ImageNet", "resnet18", "search", "1.992 bit", kTheirs, "edmips-resnet18-imagenet",
     "--search --epochs 25 --step-epoch 10 --cd 0.00335"},
    {"edmips", "ImageNet", "resnet18", "mixed, bits of a search", "-", kTheirs,
     "edmips-resnet18-imagenet", "--arch architecture.txt"},
    {"edmips", "ImageNet", "resnet18", "mixed, published bits", "65.9/86.5", kTheirs,
     "edmips-resnet18-imagenet"},
    {"edmips", "ImageNet", "resnet50", "uniform, 2 bit", "70.6/89.8", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/resnet50 --set bits=2/2"},
    {"edmips", "ImageNet", "resnet50", "search", "2.007 bit", kTheirs, "edmips-resnet18-imagenet",
     "--set network=edmips/resnet50 --search --epochs 25 --step-epoch 10 --cd 0.00015"},
    {"edmips", "ImageNet", "resnet50", "mixed, bits of a search", "-", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/resnet50 --arch architecture.txt"},
    {"edmips", "ImageNet", "resnet50", "mixed, published bits", "72.1/90.6", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/resnet50"},
    {"edmips", "ImageNet", "googlenet", "uniform, 2 bit", "64.8/86.3", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/googlenet --set bits=2/2"},
    {"edmips", "ImageNet", "googlenet", "search", "1.994 bit", kTheirs, "edmips-resnet18-imagenet",
     "--set network=edmips/googlenet --search --epochs 25 --step-epoch 10 --cd 0.00045"},
    {"edmips", "ImageNet", "googlenet", "mixed, bits of a search", "-", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/googlenet --arch architecture.txt"},
    {"edmips", "ImageNet", "googlenet", "mixed, published bits", "67.8/88.0", kTheirs,
     "edmips-resnet18-imagenet", "--set network=edmips/googlenet"},
    {"edmips", "ImageNet", "inception-v3", "uniform, 2 bit", "71.0/89.9", kTheirs,
     "edmips-resnet18-imagenet",
     "--set network=edmips/inception-v3 --set resize=342 --set crop=299 --set bits=2/2"},
    {"edmips", "ImageNet", "inception-v3", "search", "1.982 bit", kTheirs,
     "edmips-resnet18-imagenet",
     "--set network=edmips/inception-v3 --set resize=342 --set crop=299 --search --epochs 25 "
     "--step-epoch 10 --cd 0.0015"},
    {"edmips", "ImageNet", "inception-v3", "mixed, bits of a search", "-", kTheirs,
     "edmips-resnet18-imagenet",
     "--set network=edmips/inception-v3 --set resize=342 --set crop=299 --arch architecture.txt"},
    {"edmips", "ImageNet", "inception-v3", "mixed, published bits", "72.4/90.7", kTheirs,
     "edmips-resnet18-imagenet",
     "--set network=edmips/inception-v3 --set resize=342 --set crop=299"},
    {"edmips", "CIFAR-10", "cifar-resnet20", "uniform, 2 bit", "-", kOurs,
     "edmips-resnet20-cifar10"},
    {"edmips", "CIFAR-10", "cifar-resnet20", "search", "-", kOurs, "edmips-resnet20-cifar10",
     "--search --epochs 50 --step-epoch 20"},
    {"edmips", "CIFAR-10", "cifar-resnet20", "mixed, bits of a search", "-", kOurs,
     "edmips-resnet20-cifar10", "--arch architecture.txt"},
    // McDonnell (methods.md 3.5): means and deviations of five runs.
    {"mcdonnell", "CIFAR-100", "wrn-20-10", "1 bit", "80.0 ± 0.26", kTheirs,
     "mcdonnell-wrn-20-1-cifar10", "--set network=mcdonnell/wrn-20-10 --set classes=100",
     "--repeat 5"},
    {"mcdonnell", "CIFAR-100", "wrn-20-10", "full precision", "80.5 ± 0.24", kOurs,
     "mcdonnell-wrn-20-1-cifar10",
     "--set network=mcdonnell/wrn-20-10 --set classes=100 --set form=full-precision", "--repeat 5"},
    {"mcdonnell", "CIFAR-10", "wrn-20-1", "1 bit", "-", kTheirs, "mcdonnell-wrn-20-1-cifar10"},
    // ReCU (methods.md 4.5). On ImageNet, batch norms over the 128 images of one of four GPUs.
    {"recu", "CIFAR-10", "resnet18", "vanilla", "92.8", kTheirs, "recu-resnet20-cifar10",
     "--set network=recu/resnet18"},
    {"recu", "CIFAR-10", "resnet18", "finetune", "93.2", kOurs, "recu-resnet20-cifar10",
     "--set network=recu/resnet18", "--init VANILLA.pt"},
    {"recu", "CIFAR-10", "resnet20", "vanilla", "87.5", kTheirs, "recu-resnet20-cifar10"},
    {"recu", "CIFAR-10", "resnet20", "finetune", "88.0", kOurs, "recu-resnet20-cifar10", "",
     "--init VANILLA.pt"},
    {"recu", "CIFAR-10", "vgg-small", "vanilla", "92.2", kTheirs, "recu-resnet20-cifar10",
     "--set network=recu/vgg-small"},
    {"recu", "CIFAR-10", "vgg-small", "finetune", "93.3", kOurs, "recu-resnet20-cifar10",
     "--set network=recu/vgg-small", "--init VANILLA.pt"},
    {"recu", "CIFAR-10", "resnet20", "8-bit stem", "-", kOurs, "recu-resnet20-cifar10",
     "--set stem=i8"},
    {"recu", "CIFAR-100", "resnet18", "vanilla", "-", kTheirs, "recu-resnet18-cifar100"},
    {"recu", "Tiny-ImageNet", "imagenet-resnet18", "vanilla", "-", kOurs,
     "recu-resnet18-tiny-imagenet"},
    {"recu", "Fashion-MNIST", "resnet20", "vanilla", "-", kOurs, "recu-resnet20-fashion-mnist"},
    {"recu", "ImageNet", "imagenet-resnet18", "vanilla", "60.98/82.57", kTheirs,
     "recu-resnet18-imagenet", "", "--replicas 4"},
    {"recu", "ImageNet", "imagenet-resnet18", "finetune", "61.20/82.93", kOurs,
     "recu-resnet18-imagenet", "", "--init VANILLA.pt --replicas 4"},
    {"recu", "ImageNet", "imagenet-resnet34", "vanilla", "65.10/85.78", kTheirs,
     "recu-resnet18-imagenet", "--set network=recu/imagenet-resnet34", "--replicas 4"},
    {"recu", "ImageNet", "imagenet-resnet34", "finetune", "65.25/85.98", kOurs,
     "recu-resnet18-imagenet", "--set network=recu/imagenet-resnet34",
     "--init VANILLA.pt --replicas 4"},
    {"recu", "ImageNet", "two-stage-resnet18", "stage 1", "-", kOurs,
     "recu-two-stage-resnet18-imagenet",
     "--set form=binary-activations --set schedule=linear --set warmup=0 --set weight-decay=1e-5",
     "--teacher RESNET34.pth --replicas 4"},
    {"recu", "ImageNet", "two-stage-resnet18", "stage 2 (ReActNet: 65.9)", "66.4", kTheirs,
     "recu-two-stage-resnet18-imagenet", "",
     "--init STAGE1.pt --teacher RESNET34.pth --replicas 4"},
    // Ternary networks (methods.md 5.5).
    {"ternary", "CIFAR-10", "resnet20", "full precision", "91.70", kOurs,
     "ternary-resnet20-cifar10", "--set form=full-precision"},
    {"ternary", "CIFAR-10", "resnet20", "ternary", "91.65", kTheirs, "ternary-resnet20-cifar10"},
    {"ternary", "CIFAR-10", "resnet32", "full precision", "92.36", kOurs,
     "ternary-resnet20-cifar10", "--set network=ternary/resnet32 --set form=full-precision"},
    {"ternary", "CIFAR-10", "resnet32", "ternary", "92.48", kTheirs, "ternary-resnet20-cifar10",
     "--set network=ternary/resnet32"},
    {"ternary", "CIFAR-10", "resnet44", "full precision", "92.47", kOurs,
     "ternary-resnet20-cifar10", "--set network=ternary/resnet44 --set form=full-precision"},
    {"ternary", "CIFAR-10", "resnet44", "ternary", "92.71", kTheirs, "ternary-resnet20-cifar10",
     "--set network=ternary/resnet44"},
    {"ternary", "CIFAR-10", "resnet56", "full precision", "92.68", kOurs,
     "ternary-resnet20-cifar10", "--set network=ternary/resnet56 --set form=full-precision"},
    {"ternary", "CIFAR-10", "resnet56", "ternary", "92.86", kTheirs, "ternary-resnet20-cifar10",
     "--set network=ternary/resnet56"},
    {"ternary", "ImageNet", "resnet18", "full precision", "69.75/89.07", kOurs,
     "ternary-resnet18-imagenet-float"},
    {"ternary", "ImageNet", "resnet18", "ternary", "66.01/86.78", kTheirs,
     "ternary-resnet18-imagenet", "", "--init RESNET18.pth"},
    {"ternary", "ImageNet", "resnet34", "full precision", "73.31/91.42", kOurs,
     "ternary-resnet18-imagenet-float", "--set network=ternary/resnet34"},
    {"ternary", "ImageNet", "resnet34", "ternary", "70.95/89.89", kTheirs,
     "ternary-resnet18-imagenet", "--set network=ternary/resnet34", "--init RESNET34.pth"},
    {"ternary", "ImageNet", "resnet50", "full precision", "76.13/92.86", kOurs,
     "ternary-resnet18-imagenet-float", "--set network=ternary/resnet50"},
    {"ternary", "ImageNet", "resnet50", "ternary", "74.00/91.77", kTheirs,
     "ternary-resnet18-imagenet", "--set network=ternary/resnet50", "--init RESNET50.pth"},
    {"ternary", "ImageNet", "resnet18", "ternary, all layers, t_ex 2", "68.35/88.20", kTheirs,
     "ternary-resnet18-imagenet", "--set t_ex=2 --set first_last=ternary", "--init RESNET18.pth"},
    {"ternary", "ImageNet", "resnet18", "ternary, all layers, t_ex 4", "69.44/88.91", kTheirs,
     "ternary-resnet18-imagenet", "--set t_ex=4 --set first_last=ternary", "--init RESNET18.pth"},
    {"ternary", "ImageNet", "alexnet", "full precision", "61.78/82.87", kOurs,
     "ternary-resnet18-imagenet-float", "--set network=ternary/alexnet --set lr=0.01"},
    {"ternary", "ImageNet", "alexnet", "ternary but first and last", "58.59/80.44", kTheirs,
     "ternary-resnet18-imagenet", "--set network=ternary/alexnet", "--init ALEXNET.pt"},
    {"ternary", "ImageNet", "alexnet", "ternary, all layers", "57.21/79.41", kTheirs,
     "ternary-resnet18-imagenet", "--set network=ternary/alexnet --set first_last=ternary",
     "--init ALEXNET.pt"},
};

// Those of trainer/recipes, by name.
constexpr struct {
  std::string_view name, text;
} kRecipes[] = {
#include "trainer/recipes.inc"
};

bool SameNode(const Node& a, const Node& b) {
  return a.kind == b.kind && a.name == b.name && a.channels == b.channels && a.height == b.height &&
         a.width == b.width && a.weights == b.weights && a.activations == b.activations &&
         a.alpha == b.alpha && a.per_width == b.per_width && a.probability == b.probability;
}

bool TrainsTheSame(const Recipe& a, const Recipe& b) {
  if (a.network != b.network || a.preprocessing.mean != b.preprocessing.mean ||
      a.preprocessing.std != b.preprocessing.std)
    return false;
  const Network x = a.Build(), y = b.Build();
  return x.widths == y.widths && std::ranges::equal(x.nodes, y.nodes, SameNode) &&
         (x.widths.size() < 2 || a.targets == b.targets);
}

}  // namespace

std::span<const PublishedRow> PublishedRows() { return kRows; }

std::string CommandOf(const PublishedRow& row) {
  std::string command = std::string("lbtrain --recipe trainer/recipes/") + row.recipe + ".toml";
  for (const char* flags : {row.flags, row.run_flags})
    if (*flags != 0) command += std::string(" ") + flags;
  return command;
}

Recipe RecipeOf(const PublishedRow& row) {
  const auto recipe = std::ranges::find(kRecipes, row.recipe, [](const auto& r) { return r.name; });
  return ParseRecipeFlags(row.flags).Parse(std::string(recipe->text),
                                           std::string(row.recipe) + ".toml");
}

std::vector<const PublishedRow*> RowsOf(const Recipe& recipe) {
  std::vector<const PublishedRow*> rows;
  for (const PublishedRow& row : kRows)
    if (std::string_view(row.figure) != "-" &&
        recipe.network == std::string(row.system) + "/" + row.model &&
        TrainsTheSame(RecipeOf(row), recipe))
      rows.push_back(&row);
  return rows;
}

}  // namespace lbrt
