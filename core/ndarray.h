// NDArray: typed, strided, reference-counted memory. No autograd: kernels, observers, optimizers and files work on it.
//
//   NDArray a = NDArray::from_vector<float>({1, 2, 3, 4, 5, 6}, {2, 3});
//   NDArray t = a.transpose(0, 1);      // a view [3,2] of the same memory
//   std::cout << t << '\n';
#pragma once

#include <atomic>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/dtype.h>
#include <thimble/core/shape.h>

namespace thimble {

class MappedFile;
struct Storage;
struct StorageMarks;
class UnreadBytes;

/// A handle of typed memory with a shape and strides: copies share the memory, as views do; clone() does not.
class THIMBLE_API NDArray {
 public:
  /// An undefined array: defined() is false, and nothing else may be asked of it.
  NDArray() = default;

  /// A contiguous array whose content is not set. Throws ShapeError for a negative size.
  explicit NDArray(const Shape& shape, DType dtype = DType::float32);

  /// An array of the same shape, its content not set, whose elements lie in memory in the order of `like`'s if those
  /// fill it without gaps (a permuted array, say), else in row-major order.
  static NDArray empty_like(const NDArray& like, DType dtype);

  static NDArray zeros(const Shape& shape, DType dtype = DType::float32) { return full(shape, 0, dtype); }
  static NDArray ones(const Shape& shape, DType dtype = DType::float32) { return full(shape, 1, dtype); }
  static NDArray full(const Shape& shape, double value, DType dtype = DType::float32);
  /// [0, 1, ..., n-1]
  static NDArray arange(int64_t n, DType dtype = DType::float32);
  /// A copy of `values` in row-major order; throws ShapeError unless there are shape.numel() of them.
  template <typename T>
  static NDArray from_vector(const std::vector<T>& values, const Shape& shape);
  template <typename T>
  static NDArray from_vector(const std::vector<T>& values) {
    return from_vector(values, {static_cast<int64_t>(values.size())});
  }
  /// A contiguous array over memory that somebody else owns (a mapped file); `owner` is kept alive by it and its views.
  static NDArray borrow(void* data, const Shape& shape, DType dtype, std::shared_ptr<void> owner);

  /// A contiguous array of what a file holds from byte `offset` on, at any alignment. It takes memory of its own when
  /// somebody first asks for the elements; until then it is the file's (see MappedFile), which nobody may write to.
  /// Throws ShapeError for elements beyond the file's end.
  static NDArray unread(std::shared_ptr<const MappedFile> file, size_t offset, const Shape& shape, DType dtype);

  /// Has the shape and dtype and next to no memory: all elements are one, of this value. For tensors whose arrays are
  /// to come, and for sizes that a file asks for.
  static NDArray placeholder(const Shape& shape, DType dtype = DType::float32, double value = 0);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  /// Throws ShapeError for an axis that is not there.
  int64_t shape(int axis) const { return shape_[normalize_axis(axis, ndim(), "shape")]; }
  /// Strides in elements; 0 along a broadcast dimension.
  const Shape& strides() const { return strides_; }
  int ndim() const { return shape_.ndim(); }
  int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  int64_t nbytes() const { return numel() * static_cast<int64_t>(itemsize(dtype_)); }
  bool is_contiguous() const;
  /// Whether the elements, in some order of the dimensions, are contiguous: each has a place of its own, without gaps.
  bool is_dense() const;
  /// Whether no other array shares the memory.
  bool is_sole_owner() const { return storage_.use_count() == 1; }

  /// The first element. Throws DTypeError if T is not the array's element type.
  template <typename T>
  T* data() {
    check_type(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  template <typename T>
  const T* data() const {
    check_type(dtype_of<T>);
    return static_cast<const T*>(raw());
  }
  void* raw() { return const_cast<void*>(std::as_const(*this).raw()); }
  const void* raw() const {
    if (may_be_unread_) [[unlikely]]
      read_in();
    return data_;
  }
  /// Where the first element is, or will be if it is unread: for telling memory apart.
  const void* address() const { return data_; }
  /// Whether this is memory of unread() that nobody has asked for so far.
  bool is_unread() const { return unread_bytes() != nullptr; }
  /// The same elements for one who reads them once and keeps what he makes of them (packed weights): if they are unread
  /// they stay so, and what this gives is to be let go of soon, unwritten. This array itself if they are not.
  NDArray read_once() const;

  // Views: they share memory with this array.

  /// One size may be -1. Throws ShapeError if the sizes do not fit. Copies where strides do not allow a view.
  NDArray reshape(const Shape& shape) const;
  NDArray transpose(int axis0, int axis1) const;
  /// axes[i] is the dimension of this array that becomes dimension i.
  NDArray permute(const Shape& axes) const;
  /// Elements start, start+step, ... below stop along axis; as in NumPy, negative bounds count from the end and bounds
  /// beyond it are clipped. step may be any non-zero number.
  NDArray slice(int axis, int64_t start, int64_t stop, int64_t step = 1) const;
  NDArray broadcast_to(const Shape& shape) const;
  NDArray squeeze(int axis) const;
  NDArray unsqueeze(int axis) const;
  /// Element (i, j, ...) lies offset + i * strides[0] + j * strides[1] + ... elements behind this array's first one.
  /// Whether that is memory of the array's is not checked.
  NDArray view(const Shape& shape, const Shape& strides, int64_t offset) const;

  // Copies.

  /// This array if it is contiguous already, else a contiguous copy.
  NDArray contiguous() const;
  NDArray clone() const;
  /// A copy that takes memory when one of both is written, by Tensor::mutable_data() (copy-on-write): until then they
  /// share theirs. A clone() where somebody else holds this array's memory, too, and may write to it. Contiguous.
  NDArray lazy_clone() const;
  /// Whether a lazy clone, or what it is one of, may share this memory: then whoever wants to write takes a clone().
  bool is_copy_on_write() const;
  /// Converted; this array itself if it has the dtype already. To floats: the nearest, ties to even, in one rounding.
  /// Floats to integers truncate toward zero and saturate, NaN becomes 0 (where NumPy leaves it undefined); integers to
  /// integers wrap around, modulo 2^bits. To bool: whether it is not 0, as NaN is not.
  NDArray to(DType dtype) const;

  /// Elements in row-major order, converted to T as by to().
  template <typename T>
  std::vector<T> to_vector() const;
  /// The one element of an array of one; throws ShapeError otherwise.
  template <typename T>
  T item() const;

  /// Sets every element.
  void fill(double value);
  /// Copies (and converts) `source` into this array's memory, broadcasting it to this shape.
  void copy_from(const NDArray& source);

  bool shares_memory_with(const NDArray& other) const { return storage_ == other.storage_; }

  /// When this memory, which views share, was last changed by fill(), copy_from() or mark_changed(): see
  /// next_change(). 0: never, and always for memory without an owner.
  uint64_t changed_at() const;
  /// To be called before writing through data() or raw() to memory that a recorded graph may know. Returns the change's
  /// number. This, fill() and copy_from() throw ValueError if a lazy clone would be changed, too.
  uint64_t mark_changed();

 private:
  void check_type(DType wanted) const;
  void set_storage(const std::shared_ptr<Storage>& storage);
  void assign(const NDArray& source);  // copy_from() for memory that is new
  UnreadBytes* unread_bytes() const;   // null if they are read
  void read_in() const;

  std::shared_ptr<void> storage_;
  StorageMarks* marks_ = nullptr;  // the storage's; null for memory without an owner
  void* data_ = nullptr;
  Shape shape_, strides_;
  DType dtype_ = DType::float32;
  bool may_be_unread_ = false;
};

/// Prints as NumPy does, long axes abbreviated: [[1, 2], [3, 4]], [True, False].
THIMBLE_API std::ostream& operator<<(std::ostream& out, const NDArray& array);

/// Shape and dtype alone, "float32[2,3]", for messages.
THIMBLE_API std::string describe(const NDArray& array);

template <typename T>
NDArray NDArray::from_vector(const std::vector<T>& values, const Shape& shape) {
  check<ShapeError>(static_cast<int64_t>(values.size()) == shape.numel(), "from_vector: ", values.size(),
                    " values do not fill shape ", shape);
  NDArray out(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), out.data<T>());
  return out;
}

template <typename T>
std::vector<T> NDArray::to_vector() const {
  const NDArray same = to(dtype_of<T>).contiguous();
  return std::vector<T>(same.data<T>(), same.data<T>() + same.numel());
}

template <typename T>
T NDArray::item() const {
  check<ShapeError>(numel() == 1, "item: the array has ", numel(), " elements, not one");
  return to(dtype_of<T>).template data<T>()[0];
}

/// Arrays by name, as files and states hold them.
using NamedArrays = std::vector<std::pair<std::string, NDArray>>;

}  // namespace thimble
