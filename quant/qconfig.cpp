#include <thimble/quant/qconfig.h>

namespace thimble::quant {

QConfigMapping QConfigMapping::static_int8() { return QConfigMapping().set_global(QConfig()); }

QConfigMapping& QConfigMapping::set_global(std::optional<QConfig> config) {
  global_ = std::move(config);
  return *this;
}

QConfigMapping& QConfigMapping::set_type(const std::string& type, std::optional<QConfig> config) {
  by_type_.insert_or_assign(type, std::move(config));
  return *this;
}

QConfigMapping& QConfigMapping::set_name(const std::string& name, std::optional<QConfig> config) {
  by_name_.insert_or_assign(name, std::move(config));
  return *this;
}

std::optional<QConfig> QConfigMapping::find(const std::string& name, const std::string& type) const {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  if (const auto it = by_type_.find(type); it != by_type_.end()) return it->second;
  return global_;
}

std::vector<std::string> QConfigMapping::names() const {
  std::vector<std::string> all;
  for (const auto& [name, config] : by_name_) all.push_back(name);
  return all;
}

}  // namespace thimble::quant
