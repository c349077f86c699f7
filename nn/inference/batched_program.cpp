#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include <thimble/core/autocast.h>
#include <thimble/core/kernels/rounding.h>
#include <thimble/core/ops/channels_last.h>
#include <thimble/core/parallel.h>
#include <thimble/core/small_array.h>
#include <thimble/nn/inference/batched_program.h>

namespace thimble::nn {

namespace {

std::vector<ValueInfo> with_batch(std::vector<ValueInfo> inputs, int64_t batch) {
  for (ValueInfo& info : inputs) info.shape[0] = batch;
  return inputs;
}

bool same_elements(const NDArray& a, const NDArray& b) {
  const NDArray x = a.contiguous(), y = b.contiguous();
  return x.numel() == 0 || std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.nbytes())) == 0;
}

std::vector<ValueInfo> infos_of(const std::vector<NamedValue>& values) {
  std::vector<ValueInfo> infos;
  for (const NamedValue& value : values) infos.push_back(value.info);
  return infos;
}

}  // namespace

ValueInfo info_of(const Tensor& x) { return {x.shape(), x.dtype()}; }

BatchedProgram::BatchedProgram(std::shared_ptr<const Program> whole)
    : inputs_(infos_of(whole->inputs())), part_(batch()), program_(whole), last_(whole) {}

BatchedProgram::BatchedProgram(std::vector<ValueInfo> inputs, const Make& make)
    : inputs_(std::move(inputs)), part_(batch()), program_(make(inputs_)), last_(program_) {
  const int64_t most = program_->part_size(), threads = num_threads();
  if (most == 0) return;
  // Parts of nearly equal size, as many for each thread.
  const int64_t part =
      kernels::ceil_div(batch(), kernels::ceil_div(kernels::ceil_div(batch(), most), threads) * threads);
  if (part == batch()) return;
  const int64_t rest = batch() % part;
  const std::shared_ptr<const Program> of_part = part_of_whole(make, part);
  const std::shared_ptr<const Program> of_rest = rest == 0 ? of_part : part_of_whole(make, rest);
  if (!of_part || !of_rest) return;
  part_ = part;
  parts_ = kernels::ceil_div(batch(), part);
  program_ = of_part;
  last_ = of_rest;
}

// Null if it does something else, or cannot be made.
std::shared_ptr<const Program> BatchedProgram::part_of_whole(const Make& make, int64_t samples) const {
  try {
    std::shared_ptr<const Program> program = make(with_batch(inputs_, samples));
    return program->is_part_of(*program_) ? program : nullptr;
  } catch (const Error&) {
    return nullptr;
  }
}

bool are_described(std::span<const Tensor> inputs, std::span<const ValueInfo> infos) {
  return std::ranges::equal(infos, inputs, [](const ValueInfo& known, const Tensor& x) {
    return known == info_of(x) && (!known.value.defined() || same_elements(known.value, x.data()));
  });
}

bool BatchedProgram::fits(std::span<const Tensor> inputs) const { return are_described(inputs, inputs_); }

NDArray BatchedProgram::output_array(const ValueInfo& of_part) const {
  ValueInfo info = of_part;
  if (parts_ > 1) info.shape[0] = batch();
  return info.is_image() ? channels_last_array(info.shape, info.dtype) : NDArray(info.shape, info.dtype);
}

void BatchedProgram::run_whole(std::span<const void* const> arguments, std::span<void* const> results,
                               WorkMemory& memory) const {
  if (loops_run_alone()) return program_->run(arguments, results, memory);
  const ThreadChoice::Call call = choice_.next(num_threads());
  std::optional<OnThisThread> alone;
  if (call.alone) alone.emplace();
  if (!call.is_timed) return program_->run(arguments, results, memory);
  const ThreadChoice::Clock::time_point start = ThreadChoice::Clock::now();
  program_->run(arguments, results, memory);
  choice_.note(call, ThreadChoice::Clock::now() - start);
}

void BatchedProgram::run(std::span<const Tensor> inputs, std::span<Tensor> outputs, WorkMemory& memory) const {
  SmallArray<NDArray> given(inputs.size()), made(outputs.size());
  std::ranges::transform(inputs, program_->inputs(), given.begin(),
                         [](const Tensor& x, const NamedValue& input) { return in_step_order(x.data(), input.info); });
  std::ranges::transform(program_->outputs(), made.begin(), [&](const NamedValue& y) { return output_array(y.info); });
  // Bytes from one part of an array to the next.
  const auto stride_of = [&](const NDArray& x) { return parts_ > 1 ? x.nbytes() / x.shape(0) * part_ : 0; };
  // A thread takes the next part when it is done with one: some are slower than others.
  std::atomic<int64_t> next{0};
  parallel_for(std::min<int64_t>(parts_, num_threads()), 1, [&](int64_t, int64_t) {
    const NoGrad guard;  // on this thread, too
    const Autocast in_full(DType::float32);
    SmallArray<const void*> arguments(given.size());
    SmallArray<void*> results(made.size());
    for (int64_t p = next++; p < parts_; p = next++) {
      for (size_t i = 0; i < given.size(); ++i)
        arguments[i] = static_cast<const char*>(std::as_const(given[i]).raw()) + p * stride_of(given[i]);
      for (size_t i = 0; i < made.size(); ++i) results[i] = static_cast<char*>(made[i].raw()) + p * stride_of(made[i]);
      if (parts_ == 1) return run_whole(arguments, results, memory);
      const Program& program = p + 1 == parts_ ? *last_ : *program_;
      program.run(arguments, results, memory);
    }
  });
  for (size_t i = 0; i < made.size(); ++i)
    outputs[i] = made[i].ndim() == 4 ? from_channels_last(made[i]) : std::move(made[i]);
}

}  // namespace thimble::nn
