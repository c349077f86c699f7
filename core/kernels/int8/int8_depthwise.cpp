#include <limits>
#include <utility>

#include <thimble/core/kernels/int8/int8_depthwise.h>
#include <thimble/core/kernels/kernel_list.h>
#include <thimble/core/kernels/scratch.h>
#include <thimble/core/memory.h>

namespace thimble::kernels {

namespace {

constexpr KernelOf<const Int8DepthwiseTable*> kDepthwiseKernels[] = {THIMBLE_X86_KERNELS(
    {Isa::avx512_vnni, &int8_depthwise_avx512_vnni}, {Isa::avx_vnni, &int8_depthwise_avx_vnni},
    {Isa::avx512, &int8_depthwise_avx512}, {Isa::avx2, &int8_depthwise_avx2}){Isa::scalar, &int8_depthwise_scalar}};

bool is_column(const Int8DepthwiseShape& s) {
  return s.width == 1 && s.columns.size == 1 && s.columns.taps == 1 && s.columns.padding == 0;
}

// Rows and columns exchanged: of a column that is the same memory.
Int8DepthwiseShape turned(Int8DepthwiseShape s) {
  std::swap(s.rows, s.columns);
  return s;
}

void set_float_output(Int8DepthwiseTask& task, bool relu, float* y) {
  task.low = relu ? 0 : -std::numeric_limits<float>::infinity();
  task.float_out = true;
  task.y = y;
}

}  // namespace

Int8Depthwise::Int8Depthwise(const Int8DepthwiseShape& shape, const int8_t* weight)
    : is_column_(is_column(shape)),
      shape_(is_column_ ? turned(shape) : shape),
      table_(best_kernel<kDepthwiseKernels>()),
      packed_(allocate(static_cast<size_t>(table_->packed_bytes(shape_)))),
      scratch_bytes_(table_->scratch_bytes(shape_)) {
  table_->pack(shape_, weight, packed_.get());
}

Int8DepthwiseTask Int8Depthwise::task_of(const Input& input, int64_t first, int64_t last) const {
  Int8DepthwiseTask task{};
  task.shape = shape_;
  task.x = input.x;
  task.outside = input.outside;
  if (is_column_) {
    task.shape.columns.padding -= first * shape_.columns.stride;
    task.shape.width = last - first;
    task.height = 1;
  } else {
    task.first_row = first;
    task.height = last - first;
  }
  task.scratch = thread_scratch(ScratchUse::columns, is_column_ ? table_->scratch_bytes(task.shape) : scratch_bytes_);
  task.weights = packed_.get();
  return task;
}

void Int8Depthwise::run(const Input& input, int64_t first, int64_t last, const Int8Epilogue& epilogue,
                        uint8_t* y) const {
  Int8DepthwiseTask task = task_of(input, first, last);
  task.bias = epilogue.bias;
  task.multiplier = epilogue.multiplier;
  task.zero_point = epilogue.zero_point;
  task.low = static_cast<float>(epilogue.low - epilogue.zero_point);
  task.high = static_cast<float>(epilogue.high - epilogue.zero_point);
  task.y = y;
  table_->run(task);
}

void Int8Depthwise::run(const Input& input, int64_t first, int64_t last, const Int8Epilogue& epilogue, float* y) const {
  Int8DepthwiseTask task = task_of(input, first, last);
  task.bias = epilogue.bias;
  task.multiplier = epilogue.multiplier;
  set_float_output(task, epilogue.relu, y);
  table_->run(task);
}

void Int8Depthwise::run(const Input& input, int64_t first, int64_t last, const Int8RowEpilogue& epilogue,
                        float* y) const {
  Int8DepthwiseTask task = task_of(input, first, last);
  task.bias = epilogue.sums;
  task.multiplier = epilogue.step;
  task.own_parameters = true;
  task.image_zero_point = *epilogue.zero_point;
  task.image_scale = *epilogue.scale;
  task.offset = epilogue.bias;
  set_float_output(task, epilogue.relu, y);
  table_->run(task);
}

}  // namespace thimble::kernels
