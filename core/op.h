// Op: the needle. It knows how to compute an output, and how to form its inputs' gradients.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/ndarray.h>

namespace thimble {

class Tensor;

/// How many inputs an op takes, bounds included.
struct THIMBLE_API InputCount {
  size_t least = 1, most = 1;
  static constexpr size_t kAny = SIZE_MAX;
};

/// What an Autocast scope (core/autocast.h) does to an op's inputs.
enum class AutocastRule {
  float32,         ///< what is bfloat16 becomes float32
  widest,          ///< the same where others are float32; where all are bfloat16, the op computes in that
  keep,            ///< nothing
  bfloat16,        ///< what is float32 becomes bfloat16, but for parameters, which the op rounds as it reads them
  first_bfloat16,  ///< the same of the first input alone
};

/// One application of an operation. Made for each call, so compute() may keep what gradient() will need.
class THIMBLE_API Op {
 public:
  virtual ~Op() = default;

  /// The name under which register_op() knows it; PyTorch's where PyTorch has the op.
  virtual std::string_view name() const = 0;

  virtual InputCount num_inputs() const { return {}; }

  /// What the op was made with, enough to make it again. Default: nothing.
  virtual Attributes attributes() const { return {}; }

  virtual AutocastRule autocast_rule() const { return AutocastRule::float32; }

  /// The output for these inputs, as many as num_inputs() says. Checks shapes and dtypes and throws ShapeError or
  /// DTypeError that begins with name().
  virtual NDArray compute(std::span<const NDArray> inputs) = 0;

  /// compute() for inference: writes to `out`, a dense array of the shape and dtype that compute() gives for such
  /// inputs, and keeps nothing, so that several threads may call it. Returns false if the op has no such form (the
  /// default); that may depend on shapes, dtypes and layouts alone.
  virtual bool compute_into(std::span<const NDArray> /*inputs*/, NDArray& /*out*/) const { return false; }

  /// Whether the output's shape depends on the inputs' values, not on their shapes alone: inference then applies the
  /// op, and all that follows, as it comes to it.
  virtual bool has_data_dependent_shape() const { return false; }

  /// The gradient with respect to each input, given the one with respect to the output. Written with differentiable
  /// ops, so that it can be differentiated again. An entry may be left undefined where inputs[i].requires_grad() is
  /// false. It should read the values of those inputs alone that it needs: what was changed since compute() cannot be
  /// read (see Tensor::backward()), only its shape and dtype.
  virtual std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs,
                                       const Tensor& output) = 0;
};

/// Throws ValueError unless the op takes `count` inputs.
THIMBLE_API void check_num_inputs(const Op& op, size_t count);

/// Applies an op: computes, and remembers op and inputs if gradients are enabled and an input requires them.
THIMBLE_API Tensor apply(std::unique_ptr<Op> op, std::vector<Tensor> inputs);

/// Makes an op from its attributes; throws FormatError for attributes that do not fit.
using OpFactory = std::function<std::unique_ptr<Op>(const Attributes&)>;

/// Makes `name` known to make_op(). Called at load time, through OpRegistration.
THIMBLE_API void register_op(std::string name, OpFactory factory);

/// The factory of a registered op, valid for good. Throws FormatError for an unknown name.
THIMBLE_API const OpFactory& op_factory(std::string_view name);
THIMBLE_API std::unique_ptr<Op> make_op(std::string_view name, const Attributes& attributes);

/// Every registered name, sorted.
THIMBLE_API std::vector<std::string> registered_ops();

/// `static const OpRegistration registration{"relu", [](const Attributes&) { return std::make_unique<Relu>(); }};`
struct THIMBLE_API OpRegistration {
  OpRegistration(std::string name, OpFactory factory) { register_op(std::move(name), std::move(factory)); }
};

/// Sees every op applied on its thread while it is installed; the tracer is one.
class THIMBLE_API ApplyListener {
 public:
  virtual ~ApplyListener() = default;
  virtual void on_apply(const Op& op, std::span<const Tensor> inputs, const Tensor& output) = 0;
};

/// Installs a listener on this thread (nullptr for none) and returns the one before.
THIMBLE_API ApplyListener* set_apply_listener(ApplyListener* listener);

/// Hears when the values of the tensors that it is set on are about to be read: by an op that is applied to them, or
/// otherwise (Tensor::data(), item(), detach()). Shapes and dtypes are no values.
class THIMBLE_API ReadListener {
 public:
  virtual ~ReadListener() = default;
  virtual void on_read(const Tensor& tensor, bool by_op) = 0;
};

}  // namespace thimble
