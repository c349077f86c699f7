#include <climits>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include <google/protobuf/io/coded_stream.h>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/serialization/onnx/model_file.h>
#include <thimble/serialization/onnx/tensor_array.h>

namespace thimble::onnx {

namespace {

constexpr int64_t kOldestOpset = 1, kNewestOpset = 25;

using google::protobuf::io::CodedInputStream;

// Numbers of the fields that are looked at: https://protobuf.dev/programming-guides/encoding tells how they are laid
// out, onnx.proto what they are.
enum Field : uint32_t { kModelGraph = 7, kGraphInitializer = 5, kTensorRawData = 9, kTensorDataLocation = 14 };
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

bool skip_value(CodedInputStream& in, uint32_t tag, uint32_t& length) {
  uint64_t number;
  length = 0;
  switch (tag & 7) {
    case kVarint:
      return in.ReadVarint64(&number);
    case kFixed64:
      return in.Skip(8);
    case kFixed32:
      return in.Skip(4);
    case kLengthDelimited:
      return in.ReadVarint32(&length) && length <= INT_MAX && in.Skip(static_cast<int>(length));
    default:  // groups, which nothing of ONNX has
      return false;
  }
}

// One field of a message: its bytes, and those of its value if that is a message or bytes.
struct FieldBytes {
  uint32_t tag;
  std::string_view all, value;

  bool is(Field field) const { return tag == (field << 3 | kLengthDelimited); }
};

// False if these bytes are no message.
template <typename Visit>
bool for_each_field(std::string_view message, Visit&& visit) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()), static_cast<int>(message.size()));
  in.SetTotalBytesLimit(INT_MAX);
  while (in.CurrentPosition() < static_cast<int>(message.size())) {
    const auto begin = static_cast<size_t>(in.CurrentPosition());
    const uint32_t tag = in.ReadTag();
    uint32_t length;
    if (tag == 0 || !skip_value(in, tag, length)) return false;
    const auto end = static_cast<size_t>(in.CurrentPosition());
    if (!visit(FieldBytes{tag, message.substr(begin, end - begin), message.substr(end - length, length)})) return false;
  }
  return true;
}

void append_field(std::string& out, uint32_t tag, const std::string& value) {
  append_varint(out, tag);
  append_varint(out, value.size());
  out += value;
}

// A tensor's raw bytes, if they are large and nothing else says where its elements lie; else none.
std::string_view large_raw_data(std::string_view tensor) {
  std::string_view raw;
  bool is_plain = true;
  const bool is_sound = for_each_field(tensor, [&](const FieldBytes& field) {
    const bool says_where = field.tag == (kTensorDataLocation << 3 | kVarint) && field.all.back() != 0;  // 0: here
    is_plain = is_plain && !says_where && !(field.is(kTensorRawData) && raw.data());
    if (field.is(kTensorRawData)) raw = field.value;
    return true;
  });
  return is_sound && is_plain && raw.size() >= kLargeTensor ? raw : std::string_view();
}

// A tensor that says where its elements lie, instead of having them.
void append_tensor(std::string& out, const FieldBytes& tensor, std::string_view file, const std::string& file_name) {
  const std::string_view raw = large_raw_data(tensor.value);
  if (raw.empty()) {
    out += tensor.all;
    return;
  }
  ::onnx::TensorProto outside;
  const auto entry = [&](const char* key, const std::string& value) {
    auto* added = outside.add_external_data();
    added->set_key(key);
    added->set_value(value);
  };
  entry("location", file_name);
  entry("offset", std::to_string(raw.data() - file.data()));
  entry("length", std::to_string(raw.size()));
  outside.set_data_location(::onnx::TensorProto::EXTERNAL);
  std::string message;
  for_each_field(tensor.value, [&](const FieldBytes& field) {
    if (!field.is(kTensorRawData)) message += field.all;
    return true;
  });
  outside.AppendToString(&message);  // messages one after the other are one
  append_field(out, tensor.tag, message);
}

// Whether there is a large initializer with raw bytes, for which an outline is worth it.
bool has_large_tensors(std::string_view file) {
  bool found = false;
  for_each_field(file, [&](const FieldBytes& field) {
    return !field.is(kModelGraph) || for_each_field(field.value, [&](const FieldBytes& part) {
      found = found || (part.is(kGraphInitializer) && !large_raw_data(part.value).empty());
      return true;
    });
  });
  return found;
}

// The model without the elements of large initializers. False if the file is no message.
bool outline_of(std::string_view file, const std::string& file_name, std::string& outline) {
  return for_each_field(file, [&](const FieldBytes& field) {
    if (!field.is(kModelGraph)) {
      outline += field.all;
      return true;
    }
    std::string graph;
    const bool is_sound = for_each_field(field.value, [&](const FieldBytes& part) {
      if (part.is(kGraphInitializer))
        append_tensor(graph, part, file, file_name);
      else
        graph += part.all;
      return true;
    });
    append_field(outline, field.tag, graph);
    return is_sound;
  });
}

bool parse(std::string_view file, const std::string& file_name, ::onnx::ModelProto& model) {
  if (!has_large_tensors(file)) return model.ParseFromArray(file.data(), static_cast<int>(file.size()));
  std::string outline;
  return outline_of(file, file_name, outline) && model.ParseFromString(outline);
}

}  // namespace

ModelFile read_model(const std::filesystem::path& path, bool mapped) {
  const auto file = std::make_shared<const MappedFile>(path, mapped, MappedFile::Access::read_only);
  check<FormatError>(file->size() <= INT_MAX, "it has ", file->size(),
                     " bytes, expected at most 2 GB: save the model with external data");
  ModelFile model{{}, DataFiles(path.parent_path(), mapped)};
  const std::string name = path.filename().native();
  model.data.add(name, file);
  const std::string_view bytes(reinterpret_cast<const char*>(file->data()), file->size());
  check<FormatError>(parse(bytes, name, model.proto) && model.proto.has_graph(),
                     "it is no ONNX model: expected a protobuf message ModelProto with a graph");
  return model;
}

int64_t declared_opset(const ::onnx::ModelProto& model) {
  int64_t version = 0;
  for (const auto& opset : model.opset_import())
    if (opset.domain().empty() || opset.domain() == "ai.onnx") version = opset.version();
  return version;
}

int64_t checked_opset(int64_t version) {
  check<FormatError>(version >= kOldestOpset && version <= kNewestOpset, "it is of opset ", version, ", expected ",
                     kOldestOpset, " to ", kNewestOpset);
  return version;
}

int64_t opset_of(const ::onnx::ModelProto& model) { return checked_opset(declared_opset(model)); }

}  // namespace thimble::onnx
