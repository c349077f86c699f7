#include <map>

#include <thimble/core/error.h>
#include <thimble/nn/inference.h>

namespace thimble::nn {

namespace {
std::map<std::string, StepFactory, std::less<>>& registry() {
  static std::map<std::string, StepFactory, std::less<>> registry;
  return registry;
}
}  // namespace

void register_inference_step(std::string op, StepFactory factory) {
  check<ValueError>(registry().emplace(op, std::move(factory)).second, "register_inference_step: '", op,
                    "' is registered twice");
}

const StepFactory* inference_step_factory(std::string_view op) {
  const auto it = registry().find(op);
  return it == registry().end() ? nullptr : &it->second;
}

}  // namespace thimble::nn
