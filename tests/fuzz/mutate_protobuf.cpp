#include "tests/fuzz/mutate_protobuf.h"

#include <limits>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace thimble::fuzz {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A field of a message somewhere in the tree.
struct Place {
  Message* message;
  const FieldDescriptor* field;
};

class MessageMutator {
 public:
  MessageMutator(Message& message, std::minstd_rand& random) : random_(random) { collect(message); }

  void mutate() {
    if (places_.empty()) return;
    const Place place = places_[below(places_.size())];
    if (place.field->is_repeated())
      mutate_list(place);
    else if (place.field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE)
      set(place, -1);
    else if (below(8) == 0)
      place.message->GetReflection()->ClearField(place.message, place.field);
  }

 private:
  size_t below(size_t bound) { return static_cast<size_t>(random_()) % bound; }

  void collect(Message& message) {
    const Reflection& reflection = *message.GetReflection();
    std::vector<const FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) {
      places_.push_back({&message, field});
      const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
      const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
      for (int i = 0; i < count; ++i) {
        if (is_message && field->is_repeated())
          collect(*reflection.MutableRepeatedMessage(&message, field, i));
        else if (is_message)
          collect(*reflection.MutableMessage(&message, field));
        else if (field->type() == FieldDescriptor::TYPE_STRING)
          texts_.push_back(field->is_repeated() ? reflection.GetRepeatedString(message, field, i)
                                                : reflection.GetString(message, field));
      }
    }
  }

  void mutate_list(const Place& place) {
    const Reflection& reflection = *place.message->GetReflection();
    const int count = reflection.FieldSize(*place.message, place.field);
    if (count == 0) return;
    const int i = static_cast<int>(below(static_cast<size_t>(count)));
    const int j = static_cast<int>(below(static_cast<size_t>(count)));
    const bool is_message = place.field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    switch (below(4)) {
      case 0:
        reflection.SwapElements(place.message, place.field, i, count - 1);
        return reflection.RemoveLast(place.message, place.field);
      case 1:
        return reflection.SwapElements(place.message, place.field, i, j);
      case 2:
        if (is_message) {
          const auto copy = reflection.GetRepeatedMessage(*place.message, place.field, i).New();
          copy->CopyFrom(reflection.GetRepeatedMessage(*place.message, place.field, i));
          return reflection.AddAllocatedMessage(place.message, place.field, copy);
        }
        [[fallthrough]];
      default:
        if (!is_message) set(place, i);
    }
  }

  int64_t any_integer(int64_t now) {
    constexpr int64_t kOdd[] = {0,
                                1,
                                -1,
                                2,
                                3,
                                4,
                                7,
                                16,
                                255,
                                65536,
                                int64_t{1} << 31,
                                int64_t{1} << 62,
                                std::numeric_limits<int64_t>::min(),
                                std::numeric_limits<int64_t>::max()};
    const size_t choice = below(3);
    if (choice == 0) return static_cast<int64_t>(static_cast<uint64_t>(now) + below(5) - 2);
    return choice == 1 ? static_cast<int64_t>(below(32)) : kOdd[below(std::size(kOdd))];
  }

  double any_number() {
    constexpr double kOdd[] = {0,
                               -0.0,
                               1,
                               -1,
                               0.5,
                               1e-30,
                               1e30,
                               std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN()};
    return kOdd[below(std::size(kOdd))];
  }

  std::string any_text(std::string now) {
    if (!texts_.empty() && below(2) == 0) return texts_[below(texts_.size())];
    mutate_bytes(now, now.size() + 8);
    return now;
  }

  // The field, or an entry of it.
  void set(const Place& place, int i) {
    Message* m = place.message;
    const FieldDescriptor* f = place.field;
    const Reflection& r = *m->GetReflection();
    switch (f->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32: {
        const auto value = static_cast<int32_t>(any_integer(i < 0 ? r.GetInt32(*m, f) : r.GetRepeatedInt32(*m, f, i)));
        return i < 0 ? r.SetInt32(m, f, value) : r.SetRepeatedInt32(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_INT64: {
        const int64_t value = any_integer(i < 0 ? r.GetInt64(*m, f) : r.GetRepeatedInt64(*m, f, i));
        return i < 0 ? r.SetInt64(m, f, value) : r.SetRepeatedInt64(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_UINT64: {
        const auto value = static_cast<uint64_t>(any_integer(0));
        return i < 0 ? r.SetUInt64(m, f, value) : r.SetRepeatedUInt64(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_FLOAT: {
        const auto value = static_cast<float>(any_number());
        return i < 0 ? r.SetFloat(m, f, value) : r.SetRepeatedFloat(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_DOUBLE: {
        const double value = any_number();
        return i < 0 ? r.SetDouble(m, f, value) : r.SetRepeatedDouble(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_ENUM: {
        const int value = static_cast<int>(below(20));
        return i < 0 ? r.SetEnumValue(m, f, value) : r.SetRepeatedEnumValue(m, f, i, value);
      }
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string value = any_text(i < 0 ? r.GetString(*m, f) : r.GetRepeatedString(*m, f, i));
        return i < 0 ? r.SetString(m, f, value) : r.SetRepeatedString(m, f, i, value);
      }
      default:
        return;
    }
  }

  std::minstd_rand& random_;
  std::vector<Place> places_;
  std::vector<std::string> texts_;
};

}  // namespace

void mutate_message(Message& message, std::minstd_rand& random) { MessageMutator(message, random).mutate(); }

}  // namespace thimble::fuzz
