#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <thimble/core/kernels/elementwise/copy.h>
#include <thimble/core/memory.h>
#include <thimble/core/ndarray.h>
#include <thimble/core/platform/mapped_file.h>
#include <thimble/core/unread_bytes.h>

namespace thimble {

namespace {

int64_t checked_bytes(const Shape& shape, DType dtype) {
  int64_t bytes = static_cast<int64_t>(itemsize(dtype));
  for (int64_t d : shape) {
    check<ShapeError>(d >= 0, "array: shape ", shape, " has a negative size");
    // Even with a size of 0 among them the others must fit: strides are their products.
    check<ShapeError>(!__builtin_mul_overflow(bytes, std::max<int64_t>(d, 1), &bytes), "array: shape ", shape,
                      " is too large");
  }
  return shape.numel() == 0 ? 0 : bytes;
}

// The strides with which an array of `shape` and `strides` can be seen as `target` (same number of elements) without a
// copy; false if there are none. Walks both shapes from the end, matching runs of dimensions that are dense in memory.
bool view_strides(const Shape& shape, const Shape& strides, const Shape& target, Shape& out) {
  out = Shape::filled(target.ndim(), 0);
  int t = target.ndim() - 1;
  int64_t chunk_stride = shape.empty() ? 1 : strides.back();
  int64_t chunk = 1, seen = 1;
  for (int d = shape.ndim() - 1; d >= 0; --d) {
    chunk *= shape[d];
    const bool ends_chunk = d == 0 || (shape[d - 1] != 1 && strides[d - 1] != chunk * chunk_stride);
    if (!ends_chunk) continue;
    while (t >= 0 && (seen < chunk || target[t] == 1)) {
      out[t] = seen * chunk_stride;
      seen *= target[t--];
    }
    if (seen != chunk) return false;
    if (d > 0) {
      chunk_stride = strides[d - 1];
      chunk = seen = 1;
    }
  }
  while (t >= 0) out[t--] = 1;
  return true;
}

NDArray scalar_array(double value) {
  NDArray scalar({}, DType::float64);
  *scalar.data<double>() = value;
  return scalar;
}

}  // namespace

NDArray::NDArray(const Shape& shape, DType dtype) : shape_(shape), strides_(contiguous_strides(shape)), dtype_(dtype) {
  set_storage(std::make_shared<Storage>(static_cast<size_t>(checked_bytes(shape, dtype))));
}

void NDArray::set_storage(const std::shared_ptr<Storage>& storage) {
  storage_ = std::shared_ptr<void>(storage, storage->data);
  marks_ = &storage->marks;
  data_ = storage->data;
}

NDArray NDArray::empty_like(const NDArray& like, DType dtype) {
  NDArray out(like.shape_, dtype);
  if (like.is_dense()) out.strides_ = like.strides_;
  return out;
}

NDArray NDArray::full(const Shape& shape, double value, DType dtype) {
  NDArray out(shape, dtype);
  out.assign(scalar_array(value));
  return out;
}

NDArray NDArray::arange(int64_t n, DType dtype) {
  NDArray out({n}, dtype);
  dispatch(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < n; ++i) out.data<T>()[i] = static_cast<T>(i);
  });
  return out;
}

NDArray NDArray::borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner) {
  checked_bytes(shape, dtype);
  NDArray out;
  if (owner) {
    out.set_storage(std::make_shared<Storage>(data, std::move(owner)));
  } else {  // no heap: inference makes such arrays at each call
    out.storage_ = std::shared_ptr<void>(std::shared_ptr<void>(), data);
    out.data_ = data;
  }
  out.shape_ = shape;
  out.strides_ = contiguous_strides(shape);
  out.dtype_ = dtype;
  return out;
}

NDArray NDArray::unread(std::shared_ptr<const MappedFile> file, size_t offset, const Shape& shape, DType dtype) {
  const auto size = static_cast<size_t>(checked_bytes(shape, dtype));
  const auto bytes = std::make_shared<UnreadBytes>(std::move(file), offset, size);
  NDArray out = borrow(bytes->memory(), shape, dtype, bytes);
  out.marks_->unread.store(bytes.get(), std::memory_order_release);
  out.may_be_unread_ = true;
  return out;
}

UnreadBytes* NDArray::unread_bytes() const {
  return may_be_unread_ ? marks_->unread.load(std::memory_order_acquire) : nullptr;
}

void NDArray::read_in() const {
  if (UnreadBytes* bytes = unread_bytes()) bytes->read_in(marks_->unread);
}

NDArray NDArray::read_once() const {
  const UnreadBytes* bytes = unread_bytes();
  if (!bytes) return *this;
  if (numel() == 0) return NDArray(shape_, dtype_);
  // From the first to the last element of this view.
  const auto item = static_cast<int64_t>(itemsize(dtype_));
  const int64_t own = (static_cast<char*>(data_) - static_cast<char*>(bytes->memory())) / item;
  int64_t first = own, last = own;
  for (int d = 0; d < ndim(); ++d) (strides_[d] < 0 ? first : last) += (shape_[d] - 1) * strides_[d];
  const int64_t count = last - first + 1;
  const std::shared_ptr<void> elements =
      bytes->read_once(static_cast<size_t>(first * item), static_cast<size_t>(count * item), itemsize(dtype_));
  return borrow(elements.get(), {count}, dtype_, elements).view(shape_, strides_, own - first);
}

NDArray NDArray::placeholder(const Shape& shape, DType dtype, double value) {
  checked_bytes(shape, dtype);
  return NDArray::full({}, value, dtype).broadcast_to(shape);
}

bool NDArray::is_contiguous() const {
  int64_t step = 1;
  for (int i = ndim() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != step) return numel() == 0;
    step *= shape_[i];
  }
  return true;
}

bool NDArray::is_dense() const {
  if (is_contiguous()) return true;
  // From the innermost dimension outwards, each must step over all that came before.
  Shape order;
  for (int i = 0; i < ndim(); ++i)
    if (shape_[i] != 1) order.push_back(i);
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return strides_[static_cast<int>(a)] < strides_[static_cast<int>(b)]; });
  int64_t step = 1;
  for (int64_t i : order) {
    if (strides_[static_cast<int>(i)] != step) return false;
    step *= shape_[static_cast<int>(i)];
  }
  return true;
}

NDArray NDArray::view(const Shape& shape, const Shape& strides, int64_t offset) const {
  NDArray out = *this;
  out.shape_ = shape;
  out.strides_ = strides;
  if (data_) out.data_ = static_cast<char*>(data_) + offset * static_cast<int64_t>(itemsize(dtype_));  // no placeholder
  return out;
}

NDArray NDArray::reshape(const Shape& shape) const {
  Shape target = shape;
  int64_t known = 1;
  int unknown = -1;
  for (int i = 0; i < shape.ndim(); ++i) {
    if (shape[i] == -1 && unknown < 0)
      unknown = i;
    else
      check<ShapeError>(shape[i] >= 0, "reshape: shape ", shape, " is not valid");
    if (shape[i] != -1)
      check<ShapeError>(!__builtin_mul_overflow(known, shape[i], &known), "reshape: shape ", shape, " is too large");
  }
  if (unknown >= 0) {
    check<ShapeError>(known != 0 && numel() % known == 0, "reshape: ", shape_, " cannot be reshaped to ", shape);
    target[unknown] = numel() / known;
  }
  check<ShapeError>(target.numel() == numel(), "reshape: ", shape_, " cannot be reshaped to ", shape);
  if (numel() == 0) checked_bytes(target, dtype_);  // beside a size of 0 any others are possible
  if (is_contiguous()) return view(target, contiguous_strides(target), 0);
  Shape strides;
  if (numel() > 0 && view_strides(shape_, strides_, target, strides)) return view(target, strides, 0);
  return contiguous().reshape(target);
}

NDArray NDArray::transpose(int axis0, int axis1) const {
  const int a = normalize_axis(axis0, ndim(), "transpose"), b = normalize_axis(axis1, ndim(), "transpose");
  Shape shape = shape_, strides = strides_;
  std::swap(shape[a], shape[b]);
  std::swap(strides[a], strides[b]);
  return view(shape, strides, 0);
}

NDArray NDArray::permute(const Shape& axes) const {
  check<ShapeError>(axes.ndim() == ndim(), "permute: axes ", axes, " do not match shape ", shape_);
  if (ndim() > 0) normalize_axes(axes, ndim(), "permute");
  Shape shape = shape_, strides = strides_;
  for (int i = 0; i < ndim(); ++i) {
    const int from = normalize_axis(axes[i], ndim(), "permute");
    shape[i] = shape_[from];
    strides[i] = strides_[from];
  }
  return view(shape, strides, 0);
}

NDArray NDArray::slice(int axis, int64_t start, int64_t stop, int64_t step) const {
  const int a = normalize_axis(axis, ndim(), "slice");
  check<ValueError>(step != 0, "slice: step is 0");
  const int64_t size = shape_[a], low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  auto clip = [&](int64_t i) { return std::clamp(i < 0 ? i + size : i, low, high); };
  const int64_t first = clip(start), last = clip(stop);
  const int64_t most = std::max<int64_t>(size, 1);
  step = std::clamp(step, -most, most);  // beyond the end is beyond the end; no sum below may leave 64 bits
  const int64_t distance = step > 0 ? last - first : first - last;
  const int64_t count = distance > 0 ? (distance - 1) / std::abs(step) + 1 : 0;
  Shape shape = shape_, strides = strides_;
  shape[a] = count;
  strides[a] *= step;
  return view(shape, strides, shape[a] > 0 ? first * strides_[a] : 0);
}

NDArray NDArray::broadcast_to(const Shape& shape) const {
  const int extra = shape.ndim() - ndim();
  check<ShapeError>(extra >= 0, "broadcast_to: ", shape_, " cannot be broadcast to ", shape);
  Shape strides = Shape::filled(shape.ndim(), 0);
  for (int i = 0; i < ndim(); ++i) {
    const int64_t wanted = shape[i + extra];
    check<ShapeError>(shape_[i] == wanted || shape_[i] == 1, "broadcast_to: ", shape_, " cannot be broadcast to ",
                      shape);
    strides[i + extra] = shape_[i] == 1 ? 0 : strides_[i];
  }
  checked_bytes(shape, dtype_);
  return view(shape, strides, 0);
}

NDArray NDArray::squeeze(int axis) const {
  const int a = normalize_axis(axis, ndim(), "squeeze");
  check<ShapeError>(shape_[a] == 1, "squeeze: dimension ", axis, " of ", shape_, " is not 1");
  Shape shape = shape_, strides = strides_;
  shape.erase(a);
  strides.erase(a);
  return view(shape, strides, 0);
}

NDArray NDArray::unsqueeze(int axis) const {
  const int a = normalize_axis(axis, ndim() + 1, "unsqueeze");
  Shape shape = shape_, strides = strides_;
  shape.insert(a, 1);
  strides.insert(a, 1);
  return view(shape, strides, 0);
}

NDArray NDArray::contiguous() const { return is_contiguous() ? *this : clone(); }

NDArray NDArray::clone() const {
  NDArray out(shape_, dtype_);
  out.assign(*this);
  return out;
}

NDArray NDArray::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  NDArray out(shape_, dtype);
  out.assign(*this);
  return out;
}

void NDArray::fill(double value) { copy_from(scalar_array(value)); }

uint64_t NDArray::changed_at() const { return marks_ ? marks_->changed_at.load(std::memory_order_relaxed) : 0; }

uint64_t NDArray::mark_changed() {
  check<ValueError>(!is_copy_on_write(), "array: its memory is shared with a copy that would be changed, too; write ",
                    "through the tensor's mutable_data()");
  const uint64_t now = next_change();
  if (marks_) marks_->changed_at.store(now, std::memory_order_relaxed);
  return now;
}

NDArray NDArray::lazy_clone() const {
  // Others who hold the memory know that it is shared if it was so before; if not, they may go on writing.
  if (!marks_ || !is_contiguous() || !(is_sole_owner() || is_copy_on_write())) return clone();
  marks_->copy_on_write.store(true, std::memory_order_relaxed);
  return *this;
}

bool NDArray::is_copy_on_write() const {
  if (!marks_ || !marks_->copy_on_write.load(std::memory_order_relaxed)) return false;
  if (!is_sole_owner()) return true;
  std::atomic_thread_fence(std::memory_order_acquire);            // who let go of it last has read what is written now
  marks_->copy_on_write.store(false, std::memory_order_relaxed);  // views from now on are no copies
  return false;
}

void NDArray::copy_from(const NDArray& source) {
  if (marks_) mark_changed();
  assign(source);
}

void NDArray::assign(const NDArray& source) {
  for (int i = 0; i < ndim(); ++i)
    check<ValueError>(strides_[i] != 0 || shape_[i] <= 1, "copy_from: the target ", shape_,
                      " is a broadcast view, whose elements share memory");
  const NDArray from = source.read_once().broadcast_to(shape_);
  if (from.dtype() == dtype_ && from.is_contiguous() && is_contiguous()) {
    if (numel() > 0) std::memmove(raw(), from.raw(), static_cast<size_t>(nbytes()));
    return;
  }
  const bool may_overlap = storage_ == from.storage_;
  kernels::copy(may_overlap ? from.clone() : from, *this);
}

void NDArray::check_type(DType wanted) const {
  check<DTypeError>(wanted == dtype_, "array: asked for its ", wanted, " elements, it has ", dtype_);
}

std::string describe(const NDArray& array) { return str(array.dtype(), array.shape()); }

}  // namespace thimble
