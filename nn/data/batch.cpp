#include <algorithm>

#include <thimble/core/text.h>
#include <thimble/nn/data/batch.h>

namespace thimble::data {

Batch::Batch(Fields fields) : fields_(std::move(fields)) {
  check<ValueError>(!fields_.empty(), "batch: has no fields");
  for (size_t i = 0; i < fields_.size(); ++i) {
    const auto& [name, tensor] = fields_[i];
    check<ValueError>(find(name) == i, "batch: two fields are called ", detail::quote(name));
    check<ShapeError>(tensor.ndim() > 0 && tensor.shape(0) == size(), "batch: field ", detail::quote(name),
                      " has shape ", tensor.shape(), ", expected ", size(), " examples, as the others have");
  }
}

void Batch::set(const std::string& name, Tensor tensor) {
  Fields fields = fields_;
  if (const size_t i = find(name); i < fields.size())
    fields[i].second = std::move(tensor);
  else
    fields.emplace_back(name, std::move(tensor));
  *this = Batch(std::move(fields));
}

const Tensor& Batch::operator[](std::string_view name) const& {
  const size_t i = find(name);
  check<ValueError>(i < fields_.size(), "batch: has no field ", detail::quote(name), ", it has ", names());
  return fields_[i].second;
}

size_t Batch::find(std::string_view name) const {
  return static_cast<size_t>(std::ranges::find(fields_, name, &Fields::value_type::first) - fields_.begin());
}

const Tensor& Batch::one_of_two(size_t i) const {
  check<ValueError>(fields_.size() == 2, "batch: [x, y] are two fields, it has ", names(), ": take them by name");
  return fields_[i].second;
}

std::string Batch::names() const {
  std::string names;
  for (const auto& [name, tensor] : fields_) names += (names.empty() ? "" : ", ") + detail::quote(name);
  return names.empty() ? "none" : names;
}

}  // namespace thimble::data
