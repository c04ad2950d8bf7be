#include <cstdio>
#include <runtime/lbrt.hpp>

int main() {
  for (const std::string& isa : lbrt::IsaNames()) std::puts(isa.c_str());
  try {
    const lbrt::Model model(std::vector<uint8_t>(64));
    lbrt::Session session(model);
    session.Run();
  } catch (const lbrt::Error& error) {
    std::puts(error.what());
    return error.status() == LBRT_NOT_A_MODEL ? 0 : 1;
  }
  return 1;
}
