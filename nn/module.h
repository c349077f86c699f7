// Module: named parameters, buffers and children, and a forward function.
//
//   struct Net : nn::Module {
//     nn::Submodule<nn::Linear> fc1{this, "fc1", 784, 128}, fc2{this, "fc2", 128, 10};
//     const Tensor scale = register_parameter("scale", NDArray::ones({1}));
//     Tensor forward(const Tensor& x) override { return fc2(relu(fc1(x))) * scale; }
//   };
//
// What is registered is what optimizers train, files hold and train() reaches. So a layer that a model calls must be
// registered with it: calling a trainable one that is a plain member (nn::Linear fc{784, 128};) is an error. And a
// member that names a registered tensor must go on naming it: it is const, as those of all layers are, so that
// fc->weight = other does not compile. fc->weight.set_data(array) gives it other values; layers share a tensor by being
// made with it: nn::Submodule<nn::Linear> out{this, "out", embedding->weight, Tensor()}.
#pragma once

#include <concepts>
#include <functional>
#include <list>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

#include <thimble/core/api.h>
#include <thimble/core/attributes.h>
#include <thimble/core/tensor.h>
#include <thimble/nn/compiler_messages.h>

namespace thimble::nn {

struct ValueInfo;
class InferenceStep;

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// What Module::load_state() can be told.
struct THIMBLE_API LoadStateOptions {
  /// Whether a name that is missing here or there is an error.
  bool strict = true;
};

/// The names that load_state() found on one side only.
struct THIMBLE_API LoadStateReport {
  std::vector<std::string> missing;     ///< in state(), but not given; their tensors are as before
  std::vector<std::string> unexpected;  ///< given, but not in state(); their arrays are left out
};

namespace detail {
inline const NDArray& array_to_load(const NDArray& array) { return array; }
inline NDArray array_to_load(const Tensor& tensor) { return tensor.data().clone(); }
}  // namespace detail

/// Base of layers, models and graphs. Not copyable: two models that share parameters by accident are a classic mistake.
class THIMBLE_API Module {
 public:
  Module() = default;
  virtual ~Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;

  /// Computes the output; one of these two is overridden. Called through operator().
  virtual Tensor forward(const Tensor& x);
  virtual Tensor forward_all(std::span<const Tensor> inputs);

  /// All outputs of a model that has several, which overrides it instead. Called through call_outputs().
  virtual std::vector<Tensor> forward_outputs(std::span<const Tensor> inputs);

  /// What this layer does in evaluation mode for inputs of these shapes, ready to run; null if there is nothing better
  /// than forward(). See nn/inference/inference.h. For inputs that forward() would refuse, null, or what forward()
  /// would throw.
  virtual std::unique_ptr<InferenceStep> inference_step(std::span<const ValueInfo> inputs) const;

  /// Whether, in evaluation mode, each sample (index of the first dimension) is computed by itself.
  virtual bool is_per_sample() const { return false; }
  /// Whether forward() changes the module in evaluation mode, too, as an observer does.
  virtual bool has_side_effects() const { return false; }

  /// Runs forward; an error's message gets this module's name in front. A tracer sees calls made this way. Throws
  /// ValueError if gradients are recorded, this module has parameters that are trained, and the model that calls it
  /// (the outermost module that is being called on this thread) does not hold it.
  template <std::same_as<Tensor>... Rest>
  Tensor operator()(const Tensor& x, const Rest&... rest) {
    const Tensor inputs[] = {x, rest...};
    return call(inputs);
  }
  Tensor call(std::span<const Tensor> inputs);
  std::vector<Tensor> call_outputs(std::span<const Tensor> inputs);

  /// The name under which register_layer() knows a leaf layer; empty for containers and users' models, which dissolve
  /// into their parts when traced.
  virtual std::string type() const { return {}; }
  /// The configuration of a leaf layer, enough for make_layer() to build its like.
  virtual Attributes attributes() const { return {}; }
  bool is_layer() const { return !type().empty(); }

  /// This module's and its descendants' tensors under qualified names ("block1.conv.weight"), in order of declaration;
  /// a tensor that is shared is listed once.
  NamedTensors named_parameters() const;
  NamedTensors named_buffers() const;
  /// Parameters and buffers: all that a checkpoint holds.
  NamedTensors state() const;
  /// The name in state() of a tensor, empty if it is not there. Takes no memory, unlike a search through state().
  std::string path_of(const Tensor& tensor) const;
  std::vector<Tensor> parameters() const;
  int64_t num_parameters() const;

  /// This module under "" and its descendants under qualified names; a shared one is listed once.
  std::vector<std::pair<std::string, const Module*>> named_modules() const;
  using Children = std::list<std::pair<std::string, std::shared_ptr<Module>>>;
  const Children& children() const { return children_; }
  /// The child registered under this name; null if there is none.
  std::shared_ptr<Module> child(const std::string& name) const;

  /// Replaces arrays of state() by name. The given ones are used, not copied, but for float16 and bfloat16, which are
  /// converted to the tensor's dtype where that is float32 or float64. Names are PyTorch's, so that its state_dict()
  /// loads. Throws ValueError for a name that is given twice, or missing here or there (unless {.strict = false}),
  /// ShapeError or DTypeError for an array that does not fit, and what a layer's state_changed() throws; all is as
  /// before then.
  LoadStateReport load_state(const NamedArrays& arrays, LoadStateOptions options = {});
  /// The same for maps, and for state(): arrays of tensors are copied, so that two models do not share them.
  template <typename Named>
  requires(!std::convertible_to<const Named&, const NamedArrays&>) LoadStateReport
      load_state(const Named& named, LoadStateOptions options = {}) {
    NamedArrays arrays;
    for (const auto& [name, value] : named) arrays.emplace_back(name, detail::array_to_load(value));
    return load_state(arrays, options);
  }

  /// Sets training or evaluation mode here and below.
  Module& train(bool training = true);
  Module& eval() { return train(false); }
  bool training() const { return training_; }
  /// The mode of this module alone.
  void set_own_mode(bool training) { training_ = training; }

  /// The name it was registered under with its parent.
  const std::string& name() const { return name_; }

  /// Makes `child` a part of this module. Throws ValueError for a name that is taken.
  void register_module(const std::string& name, std::shared_ptr<Module> child);

 protected:
  /// Makes a tensor a parameter; returns it, so that a member, which should be const, can be initialized with it. An
  /// undefined one (no bias) is returned as it is.
  Tensor register_parameter(const std::string& name, Tensor parameter);
  Tensor register_buffer(const std::string& name, Tensor buffer);
  /// Puts another module in the place of the child of this name. Throws ValueError if there is none or it is null; all
  /// is as before then.
  void replace_module(const std::string& name, std::shared_ptr<Module> child);
  /// Puts a buffer in the place of the child of this name.
  void replace_module(const std::string& name, const Tensor& buffer);
  void erase_module(const std::string& name);
  void erase_tensor(const std::string& name);
  /// Whether a child or a tensor of this module's own has this name.
  bool is_registered(const std::string& name) const { return registered_.contains(name); }
  /// This module's own tensor of this name; undefined if there is none.
  Tensor own_tensor(const std::string& name) const;

  /// Called after load_state() has replaced this module's own arrays: a layer that keeps something derived from them
  /// (packed weights) forgets it, whatever happens. Throws ValueError for arrays that it cannot work with.
  virtual void state_changed() {}

 private:
  using OwnTensors = std::list<std::pair<std::string, Tensor>>;
  /// Where a child or a tensor is.
  struct Registered {
    Children::iterator child;
    OwnTensors Module::*list = nullptr;  // of a tensor
    OwnTensors::iterator tensor;
  };

  void check_name(const std::string& name) const;
  Registered& registered_child(const std::string& name);
  void register_tensor(OwnTensors Module::*list, const std::string& name, const Tensor& tensor);
  template <typename Visit>
  void visit(const std::string& path, Visit&& visit_one) const;
  NamedTensors collect(OwnTensors Module::*own) const;

  std::string name_;
  OwnTensors parameters_, buffers_;
  Children children_;
  // The same by name, for a graph may hold tens of thousands.
  std::unordered_map<std::string, Registered> registered_;
  bool training_ = true;
};

/// The module and its parts, as PyTorch prints them: "Net(", a line for each child, "  (fc1): Linear(in_features=784,
/// ...)", with what differs from a layer's defaults, and ")".
THIMBLE_API std::ostream& operator<<(std::ostream& out, const Module& module);

namespace detail {
struct NoOptions {};
template <typename T>
struct OptionsOfImpl {
  using type = NoOptions;
};
template <typename T>
requires requires { typename T::Options; }
struct OptionsOfImpl<T> {
  using type = typename T::Options;
};
/// T::Options, or an empty type if there is none.
template <typename T>
using OptionsOf = typename OptionsOfImpl<T>::type;

/// An error whose message begins with a layer's name.
template <typename E>
struct THIMBLE_API Named : E {
  using E::E;
};
/// In a handler of `e`. A type that somebody derived from E is passed on as it is: a new error would not be one.
template <typename E>
[[noreturn]] void throw_named(const std::string& name, const E& e) {
  const bool is_path = typeid(e) == typeid(Named<E>);
  if (!is_path && typeid(e) != typeid(E)) throw;
  throw Named<E>(str(name, is_path ? "." : ": ", e.what()));
}

/// f(); the message of one of Thimble's errors gets `name` in front, so that it says which layer of a model it is
/// about: "block1.conv: ...". Other exceptions pass unchanged.
template <typename F>
auto named_in_errors(const std::string& name, F&& f) {
  try {
    return f();
  } catch (const ShapeError& e) {
    throw_named(name, e);
  } catch (const DTypeError& e) {
    throw_named(name, e);
  } catch (const ValueError& e) {
    throw_named(name, e);
  }
}
}  // namespace detail

/// A child declared in one line as a member: `nn::Submodule<nn::Linear> fc{this, "fc", 128, 10};`. Arguments after the
/// name go to T's constructor; braces stand for its options. Throws what that one throws, with the child's
/// name in front.
template <typename T>
class Submodule {
 public:
  Submodule(Module* parent, const std::string& name) : module_(make(name)) { parent->register_module(name, module_); }
  template <typename... Args>
  Submodule(Module* parent, const std::string& name, Args&&... args)
      : module_(make(name, std::forward<Args>(args)...)) {
    parent->register_module(name, module_);
  }
  /// Options cannot be deduced from braces, so the last argument may be T::Options.
  template <typename A, typename B, typename C>
  Submodule(Module* parent, const std::string& name, A&& a, B&& b, C&& c, detail::OptionsOf<T> options)
      : module_(make(name, std::forward<A>(a), std::forward<B>(b), std::forward<C>(c), options)) {
    parent->register_module(name, module_);
  }
  template <typename A>
  Submodule(Module* parent, const std::string& name, A&& a, detail::OptionsOf<T> options)
      : module_(make(name, std::forward<A>(a), options)) {
    parent->register_module(name, module_);
  }
  template <typename A, typename B>
  Submodule(Module* parent, const std::string& name, A&& a, B&& b, detail::OptionsOf<T> options)
      : module_(make(name, std::forward<A>(a), std::forward<B>(b), options)) {
    parent->register_module(name, module_);
  }

  // See nn/compiler_messages.h.
  template <typename Slip = thimble::detail::NotAnOptionOf<detail::OptionsOf<T>>>
  Submodule(Module* parent, const std::string& name, ...) = delete;
  template <typename Slip = thimble::detail::TheNameComesAfterThis>
  Submodule(Module* parent, ...) = delete;
  template <typename Slip = thimble::detail::TheFirstArgumentIsThis>
  Submodule(const std::string& name, ...) = delete;
  template <typename Slip = thimble::detail::TheFirstArgumentIsThis>
  Submodule(const Module& parent, ...) = delete;

  template <std::same_as<Tensor>... Rest>
  Tensor operator()(const Tensor& x, const Rest&... rest) {
    return (*module_)(x, rest...);
  }
  // A copy names the same child; assigning another would leave the parent with the old one.
  Submodule(const Submodule&) = default;
  Submodule& operator=(const Submodule&) = delete;

  T* operator->() const { return module_.get(); }
  T& operator*() const { return *module_; }

 private:
  template <typename... Args>
  static std::shared_ptr<T> make(const std::string& name, Args&&... args) {
    constexpr bool kFits = std::constructible_from<T, Args...>;
    static_assert(kFits, "nn::Submodule: no constructor of the layer takes the arguments after the name");
    if constexpr (kFits)
      return detail::named_in_errors(name, [&] { return std::make_shared<T>(std::forward<Args>(args)...); });
  }

  std::shared_ptr<T> module_;
};

/// Sees module calls on its thread while it is installed; the tracer is one.
class THIMBLE_API CallListener {
 public:
  virtual ~CallListener() = default;
  /// Runs the call (module.forward_all(inputs)) and returns its result.
  virtual Tensor on_call(Module& module, std::span<const Tensor> inputs) = 0;
  /// The same for all outputs (module.forward_outputs(inputs)).
  virtual std::vector<Tensor> on_call_outputs(Module& module, std::span<const Tensor> inputs) = 0;
};

/// This thread's listener; nullptr if there is none.
THIMBLE_API CallListener* call_listener();
/// Installs a listener on this thread (nullptr for none) and returns the one before.
THIMBLE_API CallListener* set_call_listener(CallListener* listener);

// Leaf layers register under a name, so that files and copies can make them from their attributes.

using LayerFactory = std::function<std::shared_ptr<Module>(const Attributes&)>;
THIMBLE_API void register_layer(std::string type, LayerFactory factory);
THIMBLE_API bool is_registered_layer(const std::string& type);
/// A layer with this configuration, its tensors not meaningful until load_state(). Throws FormatError for an unknown
/// type.
THIMBLE_API std::shared_ptr<Module> make_layer(const std::string& type, const Attributes& attributes);
/// A copy of a leaf layer, with its own tensors, whose memory is shared until one of both is written, and the same
/// mode.
THIMBLE_API std::shared_ptr<Module> copy_layer(const Module& layer);

/// `const LayerRegistration registration{"Linear", [](const Attributes& a) { return make_linear<Linear>(a); }};`
struct THIMBLE_API LayerRegistration {
  LayerRegistration(std::string type, LayerFactory factory) { register_layer(std::move(type), std::move(factory)); }
};

}  // namespace thimble::nn
