#include <algorithm>
#include <vector>

#include <thimble/core/parallel.h>
#include <thimble/quant/layers/pair_steps.h>

namespace thimble::quant {

namespace {

const uint8_t* bytes(const void* memory) { return static_cast<const uint8_t*>(memory); }

// Operands that lie alike.
class AlikeStep : public nn::InferenceStep {
 public:
  AlikeStep(const nn::ValueInfo& x, std::unique_ptr<PairRun> pair) : InferenceStep(x), pair_(std::move(pair)) {}
  bool is_pointwise() const override { return true; }
  void run(std::span<const void* const> inputs, void* out, uint8_t*) const override {
    (*pair_)(bytes(inputs[0]), bytes(inputs[1]), output().shape.numel(), static_cast<uint8_t*>(out));
  }

 private:
  std::unique_ptr<PairRun> pair_;
};

// Of operands that are broadcast: whether samples can be told apart. One that has fewer dimensions has no samples.
class BroadcastPairStep : public nn::InferenceStep {
 public:
  BroadcastPairStep(const nn::ValueInfo& output, std::span<const nn::ValueInfo> inputs)
      : InferenceStep(output), inputs_(inputs.begin(), inputs.end()) {}

  bool is_per_sample() const override {
    return std::ranges::all_of(inputs_, [&](const nn::ValueInfo& x) { return x.is_constant || has_samples(x); });
  }
  // Constants that have as many samples go with those of the other operand.
  bool is_per_sample_with_constants() const override {
    return std::ranges::none_of(
        inputs_, [&](const nn::ValueInfo& x) { return x.is_constant && has_samples(x) && x.shape[0] > 1; });
  }

 protected:
  const nn::ValueInfo& input(size_t i) const { return inputs_[i]; }

 private:
  bool has_samples(const nn::ValueInfo& x) const {
    const Shape& s = output().shape;
    return s.ndim() > 0 && x.shape.ndim() == s.ndim() && x.shape[0] == s[0];
  }

  std::vector<nn::ValueInfo> inputs_;
};

// Both are spread out first.
class SpreadStep : public BroadcastPairStep {
 public:
  SpreadStep(const nn::ValueInfo& output, std::span<const nn::ValueInfo> inputs, std::unique_ptr<PairRun> pair)
      : BroadcastPairStep(output, inputs), pair_(std::move(pair)) {}

  int64_t scratch_bytes() const override { return 2 * output().nbytes(); }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    uint8_t* wide[] = {scratch, scratch + output().nbytes()};
    for (size_t i = 0; i < 2; ++i) nn::array_over(wide[i], output()).copy_from(nn::array_over(inputs[i], input(i)));
    (*pair_)(wide[0], wide[1], output().shape.numel(), static_cast<uint8_t*>(out));
  }

 private:
  std::unique_ptr<PairRun> pair_;
};

// A gate, which has one number for each channel of an image, or whatever else is repeated, is so for a piece of the
// other operand that stays in the cache.
class RepeatedStep : public BroadcastPairStep {
 public:
  // `pair` takes the whole operand first.
  RepeatedStep(std::span<const nn::ValueInfo> inputs, size_t whole, const RepeatedOperand& repeated,
               std::unique_ptr<PairRun> pair)
      : BroadcastPairStep({inputs[whole].shape, DType::uint8}, inputs),
        whole_(whole),
        repeated_(repeated),
        piece_(std::max<int64_t>(kPiece / repeated.period, 1) * repeated.period),
        pair_(std::move(pair)) {}

  int64_t scratch_bytes() const override { return is_copied() ? repeated_.groups * piece_ : 0; }
  // What is repeated is another array than the output.
  bool is_pointwise() const override { return true; }

  void run(std::span<const void* const> inputs, void* out, uint8_t* scratch) const override {
    const uint8_t *x = bytes(inputs[whole_]), *periods = bytes(inputs[1 - whole_]);
    if (is_copied()) repeat(periods, scratch);
    if (is_copied()) periods = scratch;
    const int64_t group = output().shape.numel() / repeated_.groups, pieces = (group + piece_ - 1) / piece_;
    parallel_for(repeated_.groups * pieces, kGrain / piece_ + 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % pieces * piece_, from = i / pieces * group + first;
        (*pair_)(x + from, periods + i / pieces * piece_, std::min(piece_, group - first),
                 static_cast<uint8_t*>(out) + from);
      }
    });
  }

 private:
  static constexpr int64_t kGrain = 8192, kPiece = 4096;  // bytes: worth another thread; that stay in the cache

  bool is_copied() const { return piece_ > repeated_.period; }

  void repeat(const uint8_t* periods, uint8_t* scratch) const {
    for (int64_t at = 0; at < repeated_.groups * piece_; at += repeated_.period)
      std::copy_n(periods + at / piece_ * repeated_.period, repeated_.period, scratch + at);
  }

  size_t whole_;
  RepeatedOperand repeated_;
  int64_t piece_;
  std::unique_ptr<PairRun> pair_;
};

// Sizes in the order of memory.
Shape sizes_in_memory(const Shape& s) { return s.ndim() == 4 ? Shape{s[0], s[2], s[3], s[1]} : s; }

// Whether the elements of an operand of fewer dimensions lie as those of one with as many do.
bool lies_like(const nn::ValueInfo& operand, const nn::ValueInfo& whole) {
  if (operand.shape.ndim() == whole.shape.ndim() || (!operand.is_image() && !whole.is_image())) return true;
  return std::ranges::count_if(operand.shape, [](int64_t size) { return size != 1; }) <= 1;
}

}  // namespace

kernels::QuantizedAddArgs swapped(kernels::QuantizedAddArgs args) {
  std::swap(args.a_scale, args.b_scale);
  std::swap(args.a_zero_point, args.b_zero_point);
  return args;
}

kernels::QuantizedMulArgs swapped(kernels::QuantizedMulArgs args) {
  std::swap(args.a_zero_point, args.b_zero_point);
  return args;
}

std::optional<RepeatedOperand> repeated_operand(const nn::ValueInfo& operand, const nn::ValueInfo& whole) {
  const int ndim = whole.shape.ndim();
  if (operand.shape.ndim() > ndim || whole.shape.numel() == 0 || !lies_like(operand, whole)) return std::nullopt;
  Shape padded = operand.shape;
  while (padded.ndim() < ndim) padded.insert(0, 1);
  const Shape sizes = sizes_in_memory(padded), all = sizes_in_memory(whole.shape);
  RepeatedOperand repeated{1, 1};
  int d = ndim - 1;
  for (; d >= 0 && sizes[d] == all[d]; --d) repeated.period *= all[d];
  for (; d > 0; --d)
    if (sizes[d] != 1) return std::nullopt;
  if (d == 0 && sizes[0] != 1) {
    if (sizes[0] != all[0]) return std::nullopt;
    repeated.groups = all[0];
  }
  return repeated;
}

std::unique_ptr<nn::InferenceStep> pair_step_of(std::span<const nn::ValueInfo> inputs, std::unique_ptr<PairRun> run,
                                                std::unique_ptr<PairRun> turned) {
  const nn::ValueInfo &a = inputs[0], &b = inputs[1];
  if (a.shape == b.shape && a.flattened_image == b.flattened_image)
    return std::make_unique<AlikeStep>(nn::ValueInfo{a.shape, DType::uint8, a.flattened_image}, std::move(run));
  if (!a.flattened_image.empty() || !b.flattened_image.empty()) return nullptr;
  const Shape shape = broadcast_shapes(a.shape, b.shape, "integers");
  if (shape == a.shape)
    if (const auto repeated = repeated_operand(b, a))
      return std::make_unique<RepeatedStep>(inputs, 0, *repeated, std::move(run));
  if (shape == b.shape)
    if (const auto repeated = repeated_operand(a, b))
      return std::make_unique<RepeatedStep>(inputs, 1, *repeated, std::move(turned));
  return std::make_unique<SpreadStep>(nn::ValueInfo{shape, DType::uint8}, inputs, std::move(run));
}

}  // namespace thimble::quant
