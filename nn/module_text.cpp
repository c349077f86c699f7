#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <typeinfo>

#include <cxxabi.h>

#include <thimble/core/text.h>
#include <thimble/nn/module_text.h>

namespace thimble::nn {

namespace {

struct Default {
  std::string_view key;
  double value;  // of a number, of all in a list, or of a boolean
};
constexpr Default kDefaults[] = {{"affine", 1},         {"bias", 1},
                                 {"ceil_mode", 0},      {"count_include_pad", 1},
                                 {"dilation", 1},       {"elementwise_affine", 1},
                                 {"eps", 1e-5},         {"groups", 1},
                                 {"keepdim", 0},        {"momentum", 0.1},
                                 {"output_padding", 0}, {"padding", 0},
                                 {"relu", 0},           {"stride", 1}};

bool is_everywhere(const Attribute& attribute, double wanted) {
  const auto equal = [wanted](auto value) { return static_cast<double>(value) == wanted; };
  if (const auto* flag = std::get_if<bool>(&attribute)) return equal(*flag);
  if (const auto* integer = std::get_if<int64_t>(&attribute)) return equal(*integer);
  if (const auto* number = std::get_if<double>(&attribute)) return equal(*number);
  const auto* list = std::get_if<std::vector<int64_t>>(&attribute);
  return list && std::ranges::all_of(*list, equal);
}

// "Net" of "(anonymous namespace)::Net".
std::string without_namespaces(const std::string& name) {
  const std::string plain = name.substr(0, name.find('<'));
  const size_t end = plain.rfind("::");
  return end == std::string::npos ? name : name.substr(end + 2);
}

void print(std::ostream& out, const Module& module, const std::string& indent) {
  if (module.is_layer()) {
    out << module.type() << '(' << detail::without_defaults(module.attributes()) << ')';
    return;
  }
  out << without_namespaces(detail::class_name(module)) << '(';
  for (const auto& [name, child] : module.children()) {
    out << '\n' << indent << "  (" << thimble::detail::printable(name) << "): ";
    print(out, *child, indent + "  ");
  }
  out << (module.children().empty() ? "" : "\n" + indent) << ')';
}

}  // namespace

Attributes detail::without_defaults(const Attributes& all) {
  const bool is_pool = all.contains("kernel_size") && !all.contains("groups");  // whose stride is its kernel by default
  Attributes shown;
  for (const auto& [key, value] : all) {
    const auto* known = std::ranges::find(kDefaults, std::string_view(key), &Default::key);
    const bool has_default = known != std::end(kDefaults) && is_everywhere(value, known->value);
    if (!has_default || (is_pool && key == "stride")) shown.set(key, value);
  }
  return shown;
}

std::string detail::class_name(const Module& module) {
  char* demangled = abi::__cxa_demangle(typeid(module).name(), nullptr, nullptr, nullptr);
  std::string name = demangled ? demangled : typeid(module).name();
  std::free(demangled);
  constexpr std::string_view kOurs = "thimble::";
  if (name.starts_with(kOurs)) name.erase(0, kOurs.size());
  return name;
}

std::ostream& operator<<(std::ostream& out, const Module& module) {
  print(out, module, "");
  return out;
}

}  // namespace thimble::nn
