// scripts/get-data.sh, with small stand-ins from a server of this process.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "images/dataset.h"
#include "images/file.h"
#include "images/write.h"
#include "tests/run_program.h"
#include "tests/tiny_cifar.h"

namespace lbrt {
namespace {

namespace fs = std::filesystem;

// Answers GET /NAME with the file of that name, one connection after the other.
class Server {
 public:
  std::map<std::string, std::string> files;  // set before the first request
  std::string cut;  // the file of which only half is sent, though the whole is announced

  Server() {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    listening_ = socket_ >= 0 && bind(socket_, generic, size) == 0 && listen(socket_, 8) == 0 &&
                 getsockname(socket_, generic, &size) == 0;
    port_ = ntohs(address.sin_port);
    if (listening_) thread_ = std::thread([this] { Serve(); });
  }
  ~Server() {
    shutdown(socket_, SHUT_RDWR);  // accept returns
    if (thread_.joinable()) thread_.join();
    close(socket_);
  }

  bool listening() const { return listening_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Serve() {
    for (int client; (client = accept(socket_, nullptr, nullptr)) >= 0; close(client)) {
      std::string request;
      char buffer[4096];
      ssize_t count;
      while (request.find("\r\n\r\n") == std::string::npos &&
             (count = recv(client, buffer, sizeof buffer, 0)) > 0)
        request.append(buffer, static_cast<size_t>(count));
      std::istringstream words(request);
      std::string method, name;
      words >> method >> name;
      name.erase(0, 1);
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(name);
      }
      Answer(client, name);
    }
  }
  void Answer(int client, const std::string& name) {
    const auto file = files.find(name);
    const bool found = file != files.end();
    std::string body = found ? file->second : "nothing here";
    const std::string head = std::string("HTTP/1.0 ") + (found ? "200 OK" : "404 Not Found") +
                             "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    if (name == cut) body.resize(body.size() / 2);
    const std::string all = head + body;
    for (size_t sent = 0; sent < all.size();) {
      const ssize_t count = send(client, all.data() + sent, all.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += static_cast<size_t>(count);
    }
  }

  int socket_ = -1, port_ = 0;
  bool listening_ = false;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
};

class GetDataTest : public testing::Test {
 protected:
  void SetUp() override {
    if (RunProgram({"sh", "-c", "command -v curl tar unzip md5sum"}).status != 0)
      GTEST_SKIP() << "curl, tar, unzip or md5sum is not installed";
    ASSERT_TRUE(server_.listening());
  }

  // With the published checksums, or those of the server's files.
  ProgramResult Get(const std::string& name, bool own_checksums = true) {
    std::vector<std::string> command = {"env", "no_proxy=127.0.0.1",
                                        "LBRT_DATA_MIRROR=" + server_.url()};
    if (own_checksums) {
      std::string sums;
      for (const auto& [file, bytes] : server_.files) {
        WriteFile(folder_ / "file", BytesOf(bytes));
        sums += RunProgram({"md5sum", folder_ / "file"}).out.substr(0, 32) + "  " + file + "\n";
      }
      WriteFile(folder_ / "sums", BytesOf(sums));
      command.push_back("LBRT_DATA_CHECKSUMS=" + (folder_ / "sums"));
    }
    command.insert(command.end(),
                   {std::string(LBRT_SOURCE_DIR) + "/scripts/get-data.sh", name, folder_ / "data"});
    return RunProgram(command);
  }
  // What is in the folder of data, hidden files too.
  std::vector<std::string> Contents() const {
    std::vector<std::string> names;
    if (fs::exists(folder_ / "data"))
      for (const auto& entry : fs::directory_iterator(folder_ / "data"))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  // A folder below folder_ as .tar.gz.
  std::string Archive(const std::string& inside) {
    const ProgramResult tar = RunProgram({"tar", "-czf", folder_ / "archive", "-C",
                                          folder_.path().string(), inside});
    EXPECT_EQ(tar.status, 0) << tar.error;
    return TextOfFile(folder_ / "archive");
  }
  void ServeTinyCifar() {
    fs::create_directory(folder_ / "cifar-10-batches-bin");
    WriteTinyCifar(folder_ / "cifar-10-batches-bin");
    server_.files["cifar-10-binary.tar.gz"] = Archive("cifar-10-batches-bin");
  }

  TemporaryFolder folder_;
  Server server_;
};

using Strings = std::vector<std::string>;

TEST_F(GetDataTest, AnArchiveIsUnpackedIntoWhatLbtrainTakes) {
  ServeTinyCifar();
  const ProgramResult result = Get("cifar10");
  ASSERT_EQ(result.status, 0) << result.error;
  EXPECT_EQ(result.error, "");
  EXPECT_EQ(Contents(), Strings({"cifar-10-batches-bin"}));
  EXPECT_EQ(OpenDataset({folder_ / "data"}, Split::kTrain).size(), 5 * kTinyBatch);
  EXPECT_EQ(OpenDataset({folder_ / "data"}, Split::kTest).size(), kTinyTest);
}

TEST_F(GetDataTest, ASecondCallFetchesNothing) {
  ServeTinyCifar();
  ASSERT_EQ(Get("cifar10").status, 0);
  EXPECT_EQ(server_.requests(), Strings({"cifar-10-binary.tar.gz"}));
  const ProgramResult again = Get("cifar10");
  EXPECT_EQ(again.status, 0) << again.error;
  EXPECT_NE(again.out.find("cifar-10-batches-bin is there"), std::string::npos) << again.out;
  EXPECT_EQ(server_.requests().size(), 1u);
}

TEST_F(GetDataTest, AWrongChecksumLeavesNothing) {
  ServeTinyCifar();
  ProgramResult result = Get("cifar10", /*own_checksums=*/false);
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.error_line().find("expected c32a1d4ab5d03f1284b67883e8d87530"),
            std::string::npos)
      << result.error;
  EXPECT_EQ(Contents(), Strings());
  // It is not remembered: with the right one the same file is taken.
  EXPECT_EQ(Get("cifar10").status, 0);
}

// Every set of the script, against the checksums that it states.
TEST_F(GetDataTest, StandInsAreNotTakenForTheOriginals) {
  const std::map<std::string, std::string> first_files = {
      {"cifar10", "cifar-10-binary.tar.gz"},      {"cifar100", "cifar-100-binary.tar.gz"},
      {"svhn", "train_32x32.mat"},                {"tiny-imagenet", "tiny-imagenet-200.zip"},
      {"imagenette", "imagenette2-160.tgz"},      {"fashion-mnist", "train-images-idx3-ubyte.gz"},
  };
  for (const auto& [name, file] : first_files) server_.files[file] = "a stand-in";
  for (const auto& [name, file] : first_files) {
    const ProgramResult result = Get(name, /*own_checksums=*/false);
    EXPECT_EQ(result.status, 1);
    EXPECT_NE(result.error_line().find(file + ": MD5 "), std::string::npos) << result.error;
    EXPECT_EQ(Contents(), Strings());
  }
}

TEST_F(GetDataTest, FilesWithoutAFolderAreFetchedOneByOne) {
  const std::string names[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                               "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};
  for (const std::string& name : names) server_.files[name] = name;
  server_.files.erase("t10k-images-idx3-ubyte.gz");
  const ProgramResult result = Get("fashion-mnist");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.error.find("t10k-images-idx3-ubyte.gz: cannot download"), std::string::npos)
      << result.error;
  EXPECT_EQ(Contents(), Strings({names[0], names[1]}));

  server_.files["t10k-images-idx3-ubyte.gz"] = "late";
  EXPECT_EQ(Get("fashion-mnist").status, 0);
  EXPECT_EQ(Contents().size(), 4u);
  EXPECT_EQ(TextOfFile(folder_ / "data/t10k-images-idx3-ubyte.gz"), "late");
  EXPECT_EQ(server_.requests(),
            Strings({names[0], names[1], names[2], names[2], names[3]}));  // what was there, once
}

TEST_F(GetDataTest, AnInterruptedTransferLeavesNothing) {
  ServeTinyCifar();
  server_.cut = "cifar-10-binary.tar.gz";
  const ProgramResult result = Get("cifar10");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.error.find("cannot download"), std::string::npos) << result.error;
  EXPECT_EQ(Contents(), Strings());
}

TEST_F(GetDataTest, AnArchiveOfSomethingElseLeavesNothing) {
  fs::create_directory(folder_ / "other");
  server_.files["imagenette2-160.tgz"] = Archive("other");
  const ProgramResult result = Get("imagenette");
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.error_line(), "get-data: imagenette2-160.tgz: holds no imagenette2-160");
  EXPECT_EQ(Contents(), Strings());
}

// A .zip of stored files.
std::string Zip(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string out, directory;
  const auto put = [](std::string& text, uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i, value >>= 8) text += static_cast<char>(value);
  };
  for (const auto& [name, bytes] : files) {
    std::string common;
    put(common, 20, 2);  // version 2.0
    put(common, 0, 4);   // no flags, stored
    put(common, 0x21 << 16, 4);  // 1980-01-01
    put(common, static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(bytes.data()),
                                            static_cast<uInt>(bytes.size()))),
        4);
    put(common, static_cast<uint32_t>(bytes.size()), 4);
    put(common, static_cast<uint32_t>(bytes.size()), 4);
    put(common, static_cast<uint32_t>(name.size()), 2);
    put(common, 0, 2);  // no extra field
    put(directory, 0x02014b50, 4);
    put(directory, 20, 2);
    directory += common;
    put(directory, 0, 10);  // no comment, first disk, attributes
    put(directory, static_cast<uint32_t>(out.size()), 4);
    directory += name;
    put(out, 0x04034b50, 4);
    out += common + name + bytes;
  }
  const uint32_t count = static_cast<uint32_t>(files.size());
  const uint32_t begin = static_cast<uint32_t>(out.size());
  out += directory;
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, count | count << 16, 4);
  put(out, static_cast<uint32_t>(directory.size()), 4);
  put(out, begin, 4);
  put(out, 0, 2);
  return out;
}

TEST_F(GetDataTest, AZipTooAndItOpens) {
  WritePng(folder_ / "a.png", NoiseImage(2, 2, 3));
  const std::string png = TextOfFile(folder_ / "a.png"), root = "tiny-imagenet-200/";
  server_.files["tiny-imagenet-200.zip"] =
      Zip({{root + "train/n1/images/a.png", png},
           {root + "train/n2/images/b.png", png},
           {root + "val/images/c.png", png},
           {root + "val/val_annotations.txt", "c.png\tn2\t0\t0\t1\t1\n"}});
  const ProgramResult result = Get("tiny-imagenet");
  ASSERT_EQ(result.status, 0) << result.error;
  EXPECT_EQ(Contents(), Strings({"tiny-imagenet-200"}));
  EXPECT_EQ(OpenDataset({folder_ / "data"}, Split::kTrain).labels, std::vector<int>({0, 1}));
  EXPECT_EQ(OpenDataset({folder_ / "data"}, Split::kTest).labels, std::vector<int>({1}));
}

TEST_F(GetDataTest, UnknownNamesAreToldTheKnownOnes) {
  for (const char* name : {"cifar", "cifar10 cifar100", ""}) {
    const ProgramResult result = Get(name);
    EXPECT_EQ(result.status, 2);
    EXPECT_EQ(result.error_line(),
              "get-data: unknown data set \"" + std::string(name) +
                  "\", expected one of: cifar10 cifar100 svhn tiny-imagenet imagenette"
                  " fashion-mnist");
  }
  EXPECT_EQ(server_.requests(), Strings());
}

}  // namespace
}  // namespace lbrt
