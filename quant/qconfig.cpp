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

std::optional<QConfig> QConfigMapping::find(const std::string& name, const std::vector<std::string>& types) const {
  if (const auto it = by_name_.find(name); it != by_name_.end()) return it->second;
  for (const std::string& type : types)
    if (const auto it = by_type_.find(type); it != by_type_.end()) return it->second;
  return global_;
}

namespace {
std::vector<std::string> keys(const std::map<std::string, std::optional<QConfig>>& map) {
  std::vector<std::string> all;
  for (const auto& [key, config] : map) all.push_back(key);
  return all;
}
}  // namespace

std::vector<std::string> QConfigMapping::names() const { return keys(by_name_); }
std::vector<std::string> QConfigMapping::types() const { return keys(by_type_); }

}  // namespace thimble::quant
