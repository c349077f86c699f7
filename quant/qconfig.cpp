#include <algorithm>

#include <thimble/quant/qconfig.h>

namespace thimble::quant {

namespace {

// Whether the whole text is what the pattern says. The last * takes as much as the rest needs: earlier ones never have
// to change.
bool matches_glob(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// How many characters stand for themselves.
size_t spelled_out(std::string_view pattern) {
  return static_cast<size_t>(std::ranges::count_if(pattern, [](char c) { return c != '*' && c != '?'; }));
}

// Of "a.b.c": "a.b"; of "a": nothing.
std::string_view container_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

}  // namespace

QConfig QConfig::of_bits(int weight_bits, int activation_bits) {
  QConfig config;
  config.weight.bits = weight_bits;
  config.activation.bits = activation_bits;
  if (weight_bits < 8) config.weight_observer = "mse";
  if (activation_bits < 8) config.observer = "mse";
  return config;
}

QConfigMapping QConfigMapping::static_int8() { return QConfigMapping().set_global(QConfig()); }

QConfigMapping QConfigMapping::static_int4() { return QConfigMapping().set_global(QConfig::of_bits(4, 4)); }

QConfigMapping& QConfigMapping::set_global(std::optional<QConfig> config) {
  global_ = std::move(config);
  return *this;
}

QConfigMapping& QConfigMapping::set_type(const std::string& type, std::optional<QConfig> config) {
  by_type_.insert_or_assign(type, std::move(config));
  return *this;
}

QConfigMapping& QConfigMapping::set_name(const std::string& name, std::optional<QConfig> config) {
  if (spelled_out(name) == name.size()) {
    by_name_.insert_or_assign(name, std::move(config));
  } else {
    std::erase_if(by_pattern_, [&](const auto& entry) { return entry.first == name; });
    by_pattern_.emplace_back(name, std::move(config));
  }
  return *this;
}

bool QConfigMapping::matches(std::string_view name, std::string_view node) {
  for (; !node.empty(); node = container_of(node))
    if (node == name || matches_glob(name, node)) return true;
  return false;
}

std::optional<QConfig> QConfigMapping::find(const std::string& name, const std::vector<std::string>& types) const {
  const std::optional<QConfig>* best = nullptr;
  size_t most = 0;
  for (std::string_view part = name; !part.empty() && !best; part = container_of(part))
    if (const auto it = by_name_.find(part); it != by_name_.end()) {
      best = &it->second;
      most = part == name ? std::string::npos : part.size() + 1;  // a pattern of as many characters says less
    }
  for (const auto& [pattern, config] : by_pattern_) {
    if (pattern == name) return config;
    if (spelled_out(pattern) < most || !matches(pattern, name)) continue;
    best = &config;
    most = spelled_out(pattern);
  }
  if (best) return *best;
  for (const std::string& type : types)
    if (const auto it = by_type_.find(type); it != by_type_.end()) return it->second;
  return global_;
}

std::vector<std::string> QConfigMapping::names() const {
  std::vector<std::string> all;
  for (const auto& [name, config] : by_name_) all.push_back(name);
  for (const auto& [pattern, config] : by_pattern_) all.push_back(pattern);
  return all;
}

std::vector<std::string> QConfigMapping::types() const {
  std::vector<std::string> all;
  for (const auto& [type, config] : by_type_) all.push_back(type);
  return all;
}

}  // namespace thimble::quant
