// A pickle machine that only builds values: what torch.save writes in protocols 2 to 5, under Python
// 2 and 3. Nothing is ever executed; a class or call it does not know becomes an opaque value. No
// value nests another, so that depth costs nothing, and values, their items, names and all that
// points at them are counted: memory stays within a few hundred megabytes beside the text, whatever
// the pickle says. Private to network/ (methods.md section 7).
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace lbrt {

struct PickleValue {
  enum class Kind : uint8_t {
    kNone,
    kBool,     // integer
    kInteger,  // integer
    kLong,     // beyond int64: text holds its bytes, little-endian
    kFloat,    // number
    kText,     // text, also for bytes
    kTuple,    // items, also for torch.Size
    kList,     // items
    kDict,     // items: key, value, key, value, ... also for OrderedDict
    kGlobal,   // text: "module name"
    kStorage,  // text: its key; items: [its class], integer: elements
    kTensor,   // items: [storage, offset, shape, strides]
    kOpaque,   // an object of a class that is of no interest; text: "module name" where known
  };
  Kind kind = Kind::kNone;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<const PickleValue*> items;

  bool is(Kind k) const { return kind == k; }
  // The value of a text key of a kDict; null where there is none.
  const PickleValue* Find(const std::string& key) const;
};

class Pickle {
 public:
  // Reads the pickle that `bytes` begin with. Throws InputError "path: ...".
  Pickle(std::span<const uint8_t> bytes, const std::string& path);
  Pickle(const Pickle&) = delete;
  Pickle& operator=(const Pickle&) = delete;

  const PickleValue& root() const { return *root_; }
  size_t size() const { return at_; }  // bytes read
  // Every storage that was named, in the order in which it was first seen.
  const std::vector<const PickleValue*>& storages() const { return storages_; }

 private:
  using Value = PickleValue;
  using Kind = PickleValue::Kind;

  void Step(uint8_t opcode);
  [[noreturn]] void Fail(const std::string& what) const;

  std::span<const uint8_t> Take(uint64_t count);
  uint64_t TakeInteger(int bytes);
  std::string TakeLine();
  void TakeDecimal();
  void TakeLong(uint64_t bytes);
  std::string TakeText(uint64_t bytes);

  Value* Push(Kind kind);
  void PushAgain(Value* value);
  void PushInteger(int64_t integer, Kind kind = Kind::kInteger);
  void PushText(std::string text);
  void PushGlobal(const std::string& module, const std::string& name);
  void PushOpaque(const Value* made_by = nullptr);
  Value* Pop();
  Value* Top();
  std::vector<const Value*> PopToMark();
  void PushTuple(size_t count);
  void Remember(uint64_t index);
  void Recall(uint64_t index);

  void AddItems(const std::vector<const Value*>& items, Kind kind);
  void Append(Value* container, std::span<const Value* const> items);
  void Reduce();
  void Call(const Value* function, const Value* arguments);
  void PersistentId();
  void CountText(const std::string& text);

  std::span<const uint8_t> bytes_;
  std::string path_;
  size_t at_ = 0;
  std::deque<Value> values_;  // owns; pointers into it stay valid, cycles do no harm
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint64_t, Value*> memo_;
  std::vector<const Value*> storages_;
  size_t copied_items_ = 0, copied_text_ = 0;
  const Value* root_ = nullptr;
};

}  // namespace lbrt
