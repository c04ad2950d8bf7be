#include "network/pickle.h"

#include <bit>
#include <charconv>
#include <cstdio>
#include <utility>

#include "images/error.h"

namespace lbrt {
namespace {

// A checkpoint of a thousand layers has some 50,000 values.
constexpr size_t kMostValues = 2'000'000;
// Of names of classes and keys of storages, which a pickle can repeat at no cost.
constexpr size_t kLongestName = 256;
constexpr size_t kMostCopiedText = 64 << 20;

// The protocols' own names (pickletools).
enum Opcode : uint8_t {
  kMark = '(', kStop = '.', kPop = '0', kPopMark = '1', kDup = '2',
  kProto = 0x80, kFrame = 0x95,
  kNone = 'N', kNewTrue = 0x88, kNewFalse = 0x89,
  kBinInt = 'J', kBinInt1 = 'K', kBinInt2 = 'M', kLong1 = 0x8a, kLong4 = 0x8b, kBinFloat = 'G',
  kInt = 'I',
  kBinString = 'T', kShortBinString = 'U',
  kBinUnicode = 'X', kShortBinUnicode = 0x8c, kBinUnicode8 = 0x8d,
  kBinBytes = 'B', kShortBinBytes = 'C', kBinBytes8 = 0x8e,
  kByteArray8 = 0x96,
  kEmptyTuple = ')', kTuple = 't', kTuple1 = 0x85, kTuple2 = 0x86, kTuple3 = 0x87,
  kEmptyList = ']', kList = 'l', kAppend = 'a', kAppends = 'e',
  kEmptyDict = '}', kDict = 'd', kSetItem = 's', kSetItems = 'u',
  kEmptySet = 0x8f, kAddItems = 0x90, kFrozenSet = 0x91,
  kGet = 'h', kLongGet = 'j', kPut = 'q', kLongPut = 'r', kMemoize = 0x94,
  kGlobal = 'c', kStackGlobal = 0x93, kReduce = 'R', kNewObj = 0x81, kNewObjEx = 0x92,
  kBuild = 'b', kBinPersId = 'Q',
};

}  // namespace

const PickleValue* PickleValue::Find(const std::string& key) const {
  if (!is(Kind::kDict)) return nullptr;
  // A later entry of the same key replaces an earlier one.
  for (size_t i = items.size(); i >= 2; i -= 2)
    if (items[i - 2]->is(Kind::kText) && items[i - 2]->text == key) return items[i - 1];
  return nullptr;
}

Pickle::Pickle(std::span<const uint8_t> bytes, const std::string& path)
    : bytes_(bytes), path_(path) {
  while (root_ == nullptr) Step(static_cast<uint8_t>(TakeInteger(1)));
  bytes_ = {};  // not needed any more, and the caller's
}

void Pickle::Step(uint8_t opcode) {
  switch (opcode) {
    case kProto:
      if (const uint64_t protocol = TakeInteger(1); protocol < 2 || protocol > 5)
        Fail("protocol " + std::to_string(protocol) + ", expected 2 to 5");
      return;
    case kFrame: Take(8); return;
    case kStop: root_ = Pop(); return;

    case kMark:
      if (marks_.size() == kMostValues) Fail("endless marks");
      marks_.push_back(stack_.size());
      return;
    case kPop: Pop(); return;
    case kPopMark: PopToMark(); return;
    case kDup: PushAgain(Top()); return;

    case kNone: Push(Kind::kNone); return;
    case kNewTrue: PushInteger(1, Kind::kBool); return;
    case kNewFalse: PushInteger(0, Kind::kBool); return;
    case kBinInt: PushInteger(static_cast<int32_t>(TakeInteger(4))); return;
    case kBinInt1: PushInteger(static_cast<int64_t>(TakeInteger(1))); return;
    case kBinInt2: PushInteger(static_cast<int64_t>(TakeInteger(2))); return;
    case kInt: TakeDecimal(); return;
    case kLong1: TakeLong(TakeInteger(1)); return;
    case kLong4: TakeLong(TakeInteger(4)); return;
    case kBinFloat: {  // the one big-endian item
      const uint64_t swapped = __builtin_bswap64(TakeInteger(8));
      Push(Kind::kFloat)->number = std::bit_cast<double>(swapped);
      return;
    }

    case kShortBinString: case kShortBinUnicode: case kShortBinBytes:
      PushText(TakeText(TakeInteger(1)));
      return;
    case kBinString: case kBinUnicode: case kBinBytes:
      PushText(TakeText(TakeInteger(4)));
      return;
    case kBinUnicode8: case kBinBytes8: case kByteArray8:
      PushText(TakeText(TakeInteger(8)));
      return;

    case kEmptyTuple: PushTuple(0); return;
    case kTuple1: PushTuple(1); return;
    case kTuple2: PushTuple(2); return;
    case kTuple3: PushTuple(3); return;
    case kTuple: {
      auto items = PopToMark();
      Push(Kind::kTuple)->items = std::move(items);
      return;
    }
    case kEmptyList: Push(Kind::kList); return;
    case kList: {
      auto items = PopToMark();
      Push(Kind::kList)->items = std::move(items);
      return;
    }
    case kAppend: {
      const Value* item = Pop();
      AddItems({item}, Kind::kList);
      return;
    }
    case kAppends: AddItems(PopToMark(), Kind::kList); return;

    case kEmptyDict: Push(Kind::kDict); return;
    case kDict: {
      const auto items = PopToMark();
      Push(Kind::kDict);
      AddItems(items, Kind::kDict);
      return;
    }
    case kSetItem: {
      const Value* value = Pop();
      const Value* key = Pop();
      AddItems({key, value}, Kind::kDict);
      return;
    }
    case kSetItems: AddItems(PopToMark(), Kind::kDict); return;

    case kEmptySet: PushOpaque(); return;
    case kAddItems: PopToMark(); return;
    case kFrozenSet: PopToMark(); PushOpaque(); return;

    case kPut: Remember(TakeInteger(1)); return;
    case kLongPut: Remember(TakeInteger(4)); return;
    case kMemoize: Remember(memo_.size()); return;
    case kGet: Recall(TakeInteger(1)); return;
    case kLongGet: Recall(TakeInteger(4)); return;

    case kGlobal: {
      const std::string module = TakeLine();
      PushGlobal(module, TakeLine());
      return;
    }
    case kStackGlobal: {
      const Value* name = Pop();
      const Value* module = Pop();
      PushGlobal(module->text, name->text);
      return;
    }
    case kReduce: Reduce(); return;
    case kNewObj: Pop(); PushOpaque(Pop()); return;
    case kNewObjEx: Pop(); Pop(); PushOpaque(Pop()); return;
    case kBuild: Pop(); Top(); return;  // attributes, e.g. _metadata of a state dict
    case kBinPersId: PersistentId(); return;
  }
  char text[8];
  std::snprintf(text, sizeof text, "0x%02x", opcode);
  Fail(std::string("unknown opcode ") + text);
}

void Pickle::Fail(const std::string& what) const {
  throw InputError(path_, "not a checkpoint: damaged pickle at byte " + std::to_string(at_) + ": " +
                              what);
}

std::span<const uint8_t> Pickle::Take(uint64_t count) {
  if (count > bytes_.size() - at_) Fail("it ends too early");
  const auto taken = bytes_.subspan(at_, count);
  at_ += count;
  return taken;
}

uint64_t Pickle::TakeInteger(int bytes) {
  uint64_t value = 0;
  int shift = 0;
  for (const uint8_t byte : Take(static_cast<uint64_t>(bytes))) {
    value |= uint64_t{byte} << shift;
    shift += 8;
  }
  return value;
}

std::string Pickle::TakeLine() {
  std::string line;
  for (uint64_t c; (c = TakeInteger(1)) != '\n';) line += static_cast<char>(c);
  return line;
}

// A number in decimal digits: Python 2 writes integers beyond 32 bits so, in protocol 2 too (the
// identities of parameters in an optimizer's state, for one).
void Pickle::TakeDecimal() {
  const std::string line = TakeLine();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
  if (error != std::errc() || end != line.data() + line.size())
    Fail("\"" + line.substr(0, 24) + "\" is no integer");
  PushInteger(value);
}

void Pickle::TakeLong(uint64_t bytes) {
  const auto digits = Take(bytes);  // two's complement
  if (bytes > 8) {
    Push(Kind::kLong)->text.assign(digits.begin(), digits.end());
    return;
  }
  uint64_t value = !digits.empty() && digits.back() >= 0x80 ? ~uint64_t{0} : 0;
  for (size_t i = digits.size(); i-- > 0;) value = value << 8 | digits[i];
  PushInteger(static_cast<int64_t>(value));
}

std::string Pickle::TakeText(uint64_t bytes) {
  const auto text = Take(bytes);
  return {text.begin(), text.end()};
}

PickleValue* Pickle::Push(Kind kind) {
  if (values_.size() == kMostValues) Fail("more than " + std::to_string(kMostValues) + " values");
  values_.emplace_back().kind = kind;
  stack_.push_back(&values_.back());
  return stack_.back();
}

void Pickle::PushAgain(Value* value) {
  if (stack_.size() >= kMostValues) Fail("an endless stack");
  stack_.push_back(value);
}

void Pickle::PushInteger(int64_t integer, Kind kind) { Push(kind)->integer = integer; }

void Pickle::PushText(std::string text) { Push(Kind::kText)->text = std::move(text); }

void Pickle::PushGlobal(const std::string& module, const std::string& name) {
  if (module.size() > kLongestName || name.size() > kLongestName) Fail("an endless name");
  Value* global = Push(Kind::kGlobal);
  global->text = module + " " + name;
  CountText(global->text);
}

void Pickle::PushOpaque(const Value* made_by) {
  Value* value = Push(Kind::kOpaque);
  if (made_by == nullptr || !made_by->is(Kind::kGlobal)) return;
  value->text = made_by->text;
  CountText(value->text);
}

// Names that a pickle can repeat at no cost.
void Pickle::CountText(const std::string& text) {
  copied_text_ += text.size();
  if (copied_text_ > kMostCopiedText) Fail("endless names");
}

PickleValue* Pickle::Top() {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) Fail("the stack is empty");
  return stack_.back();
}

PickleValue* Pickle::Pop() {
  Value* value = Top();
  stack_.pop_back();
  return value;
}

std::vector<const PickleValue*> Pickle::PopToMark() {
  if (marks_.empty()) Fail("no mark");
  const auto first = stack_.begin() + static_cast<ptrdiff_t>(marks_.back());
  std::vector<const Value*> items(first, stack_.end());
  stack_.erase(first, stack_.end());
  marks_.pop_back();
  return items;
}

void Pickle::PushTuple(size_t count) {
  std::vector<const Value*> items(count);
  for (size_t i = count; i-- > 0;) items[i] = Pop();
  Push(Kind::kTuple)->items = std::move(items);
}

void Pickle::Remember(uint64_t index) {
  memo_[index] = Top();
  if (memo_.size() > kMostValues) Fail("an endless memo");
}

void Pickle::Recall(uint64_t index) {
  const auto found = memo_.find(index);
  if (found == memo_.end()) Fail("no memo " + std::to_string(index));
  PushAgain(found->second);
}

// Lists and dicts that objects of other classes derive from go unseen, as the objects do.
void Pickle::AddItems(const std::vector<const Value*>& items, Kind kind) {
  Value* container = Top();
  if (kind == Kind::kDict && items.size() % 2 != 0) Fail("a key without a value");
  if (container->is(Kind::kOpaque)) return;
  if (!container->is(kind)) Fail("items for what holds none");
  Append(container, items);
}

// A pickle can repeat a container at no cost, so that copies are counted.
void Pickle::Append(Value* container, std::span<const Value* const> items) {
  copied_items_ += items.size();
  if (copied_items_ > kMostValues) Fail("more than " + std::to_string(kMostValues) + " items");
  container->items.insert(container->items.end(), items.begin(), items.end());
}

void Pickle::Reduce() {
  const Value* arguments = Pop();
  Call(Pop(), arguments);
}

// function(arguments...): the few that build tensors and containers.
void Pickle::Call(const Value* function, const Value* arguments) {
  // Tensors with attributes: (how to build it, class, its arguments, attributes).
  if (function->is(Kind::kGlobal) && function->text == "torch._tensor _rebuild_from_type_v2" &&
      arguments->is(Kind::kTuple) && arguments->items.size() == 4) {
    function = arguments->items[0];
    arguments = arguments->items[2];
  }
  if (!arguments->is(Kind::kTuple)) Fail("call without arguments");
  const auto& given = arguments->items;
  const std::string& name = function->is(Kind::kGlobal) ? function->text : std::string();

  if (name == "torch._utils _rebuild_tensor_v2" || name == "torch._utils _rebuild_tensor") {
    if (given.size() < 4 || !given[0]->is(Kind::kStorage) || !given[1]->is(Kind::kInteger) ||
        !given[2]->is(Kind::kTuple) || !given[3]->is(Kind::kTuple))
      Fail("a tensor without storage, offset, shape and strides");
    Append(Push(Kind::kTensor), std::span(given).first(4));
  } else if (name == "torch._utils _rebuild_parameter" ||
             name == "torch._utils _rebuild_parameter_with_state") {
    if (given.empty() || !given[0]->is(Kind::kTensor)) Fail("a parameter without a tensor");
    Append(Push(Kind::kTensor), given[0]->items);
  } else if (name == "collections OrderedDict") {
    Value* dict = Push(Kind::kDict);
    if (given.empty()) return;
    for (const Value* pair : given[0]->items) {  // Python 2 writes a list of pairs
      if (pair->items.size() != 2) Fail("an OrderedDict of what are no pairs");
      Append(dict, pair->items);
    }
  } else if (name == "torch Size" && given.size() == 1) {
    Append(Push(Kind::kTuple), given[0]->items);
  } else {
    PushOpaque(function);
  }
}

// ("storage", class, key, location, elements[, view]); anything else is of no interest.
void Pickle::PersistentId() {
  const Value* id = Pop();
  const auto& items = id->items;
  if (!id->is(Kind::kTuple) || items.empty() || items[0]->text != "storage") {
    PushOpaque();
    return;
  }
  if (items.size() < 5 || !items[1]->is(Kind::kGlobal) || !items[2]->is(Kind::kText) ||
      items[2]->text.size() > kLongestName || !items[4]->is(Kind::kInteger) ||
      items[4]->integer < 0)
    Fail("a storage without class, key and size");
  Value* storage = Push(Kind::kStorage);
  storage->text = items[2]->text;
  CountText(storage->text);
  storage->integer = items[4]->integer;
  storage->items = {items[1]};
  // Legacy files: None, or (key of the view, offset in the storage, elements of the view).
  if (items.size() > 5 && items[5]->is(Kind::kTuple)) storage->items.push_back(items[5]);
  storages_.push_back(storage);
}

}  // namespace lbrt
