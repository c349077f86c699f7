#include <map>

#include <thimble/core/error.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/nn/inference/inference.h>

namespace thimble::nn {

namespace {
std::map<std::string, StepFactory, std::less<>>& step_registry() {
  static std::map<std::string, StepFactory, std::less<>> registry;
  return registry;
}
}  // namespace

NDArray array_over(void* memory, const ValueInfo& info) {
  const Shape& s = info.shape;
  if (!info.strides.empty()) return NDArray::borrow(memory, {}, info.dtype, nullptr).view(s, info.strides, info.offset);
  if (!info.is_image()) return NDArray::borrow(memory, s, info.dtype, nullptr);
  return from_channels_last(NDArray::borrow(memory, {s[0], s[2], s[3], s[1]}, info.dtype, nullptr));
}

NDArray array_over(const void* memory, const ValueInfo& info) { return array_over(const_cast<void*>(memory), info); }

void register_inference_step(std::string op, StepFactory factory) {
  check<ValueError>(step_registry().emplace(op, std::move(factory)).second, "register_inference_step: '", op,
                    "' is registered twice");
}

const StepFactory* inference_step_factory(std::string_view op) {
  const auto it = step_registry().find(op);
  return it == step_registry().end() ? nullptr : &it->second;
}

}  // namespace thimble::nn
