#include <map>

#include <thimble/core/op.h>
#include <thimble/core/tensor.h>

namespace thimble {

namespace {
using Registry = std::map<std::string, OpFactory, std::less<>>;

// Made on first use: registrations run before main in no particular order.
Registry& registry() {
  static Registry registry;
  return registry;
}
}  // namespace

void check_num_inputs(const Op& op, size_t count) {
  const InputCount expected = op.num_inputs();
  check<ValueError>(count >= expected.least && count <= expected.most, op.name(), ": takes ", expected.least,
                    expected.most == expected.least     ? ""
                    : expected.most == InputCount::kAny ? " or more"
                                                        : str(" to ", expected.most),
                    " inputs, got ", count);
}

void register_op(std::string name, OpFactory factory) {
  check<ValueError>(registry().emplace(name, std::move(factory)).second, "register_op: '", name,
                    "' is registered twice");
}

const OpFactory& op_factory(std::string_view name) {
  const auto it = registry().find(name);
  check<FormatError>(it != registry().end(), "unknown op '", name, "'");
  return it->second;
}

std::unique_ptr<Op> make_op(std::string_view name, const Attributes& attributes) {
  return op_factory(name)(attributes);
}

std::vector<std::string> registered_ops() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : registry()) names.push_back(name);
  return names;
}

}  // namespace thimble
