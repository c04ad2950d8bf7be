// What builders say of their published input: class names, sizes, means and deviations.
#include "network/builder.h"

namespace lbrt {
namespace {

constexpr char kCifar10[] =
    "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n";

constexpr char kCifar100[] =
    "apple\naquarium_fish\nbaby\nbear\nbeaver\nbed\nbee\nbeetle\nbicycle\nbottle\nbowl\nboy\n"
    "bridge\nbus\nbutterfly\ncamel\ncan\ncastle\ncaterpillar\ncattle\nchair\nchimpanzee\nclock\n"
    "cloud\ncockroach\ncouch\ncrab\ncrocodile\ncup\ndinosaur\ndolphin\nelephant\nflatfish\nforest\n"
    "fox\ngirl\nhamster\nhouse\nkangaroo\nkeyboard\nlamp\nlawn_mower\nleopard\nlion\nlizard\n"
    "lobster\nman\nmaple_tree\nmotorcycle\nmountain\nmouse\nmushroom\noak_tree\norange\norchid\n"
    "otter\npalm_tree\npear\npickup_truck\npine_tree\nplain\nplate\npoppy\nporcupine\npossum\n"
    "rabbit\nraccoon\nray\nroad\nrocket\nrose\nsea\nseal\nshark\nshrew\nskunk\nskyscraper\nsnail\n"
    "snake\nspider\nsquirrel\nstreetcar\nsunflower\nsweet_pepper\ntable\ntank\ntelephone\n"
    "television\ntiger\ntractor\ntrain\ntrout\ntulip\nturtle\nwardrobe\nwhale\nwillow_tree\nwolf\n"
    "woman\nworm\n";

}  // namespace

std::string NumberLabels(int classes) {
  std::string labels;
  for (int i = 0; i < classes; ++i) labels += std::to_string(i) + "\n";
  return labels;
}

std::string CifarLabels(int classes) {
  if (classes == 10) return kCifar10;
  if (classes == 100) return kCifar100;
  return NumberLabels(classes);
}

std::string PreprocessingText(int resize, int crop, const char* mean, const char* std) {
  return "channels = 3\nresize = " + std::to_string(resize) + "\ncrop = " + std::to_string(crop) +
         "\nmean = " + mean + "\nstd = " + std + "\n";
}

NetworkDefaults ImageNetDefaults(const Network& network) {
  const int crop = network.nodes[0].height, resize = (8 * crop + 3) / 7;  // rounds 8 / 7 crop
  return {PreprocessingText(resize, crop, kImageNetMean, kImageNetStd),
          NumberLabels(network.classes())};
}

}  // namespace lbrt
