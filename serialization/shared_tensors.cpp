#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include <thimble/core/text.h>
#include <thimble/serialization/json.h>
#include <thimble/serialization/shared_tensors.h>

namespace thimble::detail {

namespace {

constexpr const char* kSharedTensors = "shared_tensors";

using Memory = std::tuple<const void*, DType, std::vector<int64_t>>;

// What two arrays that share all their elements have in common. Those of broadcast ones lie elsewhere in a file.
Memory memory_of(const NDArray& array) { return {array.address(), array.dtype(), array.shape().to_vector()}; }

bool may_be_shared(const NDArray& array) { return array.numel() > 0 && array.is_contiguous(); }

}  // namespace

void write_shared_tensors_once(std::map<std::string, std::string>& metadata, NamedArrays& arrays) {
  std::map<Memory, std::string> first_of;
  std::vector<std::pair<std::string, std::string>> shared;
  NamedArrays once;
  for (auto& [name, array] : arrays) {
    const auto first = may_be_shared(array) ? first_of.try_emplace(memory_of(array), name).first : first_of.end();
    if (first == first_of.end() || first->second == name)
      once.emplace_back(name, array);
    else
      shared.emplace_back(name, json_text(first->second));
  }
  arrays = std::move(once);
  if (!shared.empty()) metadata.emplace(kSharedTensors, json_object(shared));
}

NamedArrays take_tensors(TensorFile& file) {
  NamedArrays arrays = std::move(file.tensors);
  const auto text = file.metadata.find(kSharedTensors);
  if (text == file.metadata.end()) return arrays;
  const Json json = parse_json(text->second, kSharedTensors);
  check<FormatError>(json.is<Json::Object>(), kSharedTensors, ": expected an object of names");
  std::unordered_map<std::string, size_t> index_of;
  for (size_t i = 0; i < arrays.size(); ++i) index_of.emplace(arrays[i].first, i);
  for (const auto& [name, of] : json.get<Json::Object>()) {
    check<FormatError>(of.is<std::string>(), kSharedTensors, ": that of ", quote(name), " is no name");
    check<FormatError>(!index_of.contains(name), kSharedTensors, ": the file holds ", quote(name), " itself, too");
    const auto it = index_of.find(of.get<std::string>());
    check<FormatError>(it != index_of.end(), kSharedTensors, ": ", quote(name), " is to share the elements of ",
                       quote(of.get<std::string>()), ", which the file does not hold");
    arrays.emplace_back(name, arrays[it->second].second.lazy_clone());
  }
  return arrays;
}

}  // namespace thimble::detail
