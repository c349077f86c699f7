#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

#include <thimble/core/ops/cast.h>
#include <thimble/core/ops/dropout.h>
#include <thimble/core/ops/elementwise.h>
#include <thimble/core/ops/float_operands.h>
#include <thimble/core/parallel.h>

namespace thimble {

namespace {

// Random numbers that are worth handing to another thread.
constexpr int64_t kGrain = 16384;

class Dropout final : public Op {
 public:
  /// Without a generator it draws from the default one of the thread that computes.
  explicit Dropout(double p, Generator* generator = nullptr) : p_(p), generator_(generator) {
    check<ValueError>(p >= 0 && p <= 1, "dropout: p must lie in [0, 1], got ", p);
  }

  std::string_view name() const override { return "dropout"; }
  Attributes attributes() const override { return {{"p", p_}}; }

  AutocastRule autocast_rule() const override { return AutocastRule::keep; }

  NDArray compute(std::span<const NDArray> inputs) override {
    if (inputs[0].dtype() == DType::bfloat16) return compute_in_float32(inputs[0]);
    const NDArray x = inputs[0].contiguous();
    mask_ = NDArray(x.shape(), x.dtype());
    NDArray out(x.shape(), x.dtype());
    dispatch_float(x.dtype(), "dropout", [&](auto tag) {
      using T = typename decltype(tag)::type;
      drop(x.data<T>(), mask_.data<T>(), out.data<T>(), x.numel());
    });
    return out;
  }

  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor>, const Tensor&) override {
    if (out_grad.dtype() != DType::bfloat16) return {out_grad * Tensor(mask_)};
    const Tensor kept = cast(out_grad, DType::float32) * cast(Tensor(mask_), DType::float32);
    return {cast(kept * scale(), DType::bfloat16)};
  }

 private:
  double scale() const { return p_ < 1 ? 1 / (1 - p_) : 0; }

  // The scale has more digits than bfloat16: the mask is 0 or 1 then.
  NDArray compute_in_float32(const NDArray& x) {
    const NDArray wide[] = {x.to(DType::float32)};
    const NDArray out = compute(wide).to(DType::bfloat16);
    mask_ = mask_.to(DType::bool_).to(DType::bfloat16);
    return out;
  }

  // Element i takes the generator's i-th number from here, whichever thread it falls to.
  template <typename T>
  void drop(const T* x, T* mask, T* out, int64_t n) {
    Generator& generator = generator_ ? *generator_ : default_generator();
    const Generator::State start = generator.state();
    parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
      Generator own(start.key);
      own.set_state({start.key, start.position + static_cast<uint64_t>(begin)});
      std::array<uint32_t, 512> words;
      for (int64_t i = begin; i < end; i += std::ssize(words)) {
        const int64_t count = std::min<int64_t>(std::ssize(words), end - i);
        own.fill(words.data(), count);
        apply_mask(words.data(), x + i, mask + i, out + i, count);
      }
    });
    generator.set_state({start.key, start.position + static_cast<uint64_t>(n)});
  }

  // Drops where the word, as a uniform number of 24 bits, is below p.
  template <typename T>
  void apply_mask(const uint32_t* words, const T* x, T* mask, T* out, int64_t n) const {
    const auto threshold = static_cast<uint32_t>(std::ceil(p_ * 0x1p24));
    const T kept = static_cast<T>(scale());
    // Two loops, because of one the compiler makes branches, which half of the time are mispredicted.
    for (int64_t i = 0; i < n; ++i) mask[i] = words[i] >> 8 >= threshold ? kept : T{0};
    for (int64_t i = 0; i < n; ++i) {
      const T scaled = x[i] * mask[i];
      out[i] = mask[i] == 0 ? T{0} : scaled;  // a dropped infinity is 0, not NaN
    }
  }

  double p_;
  Generator* generator_;
  NDArray mask_;  // 0, or what the kept elements are scaled by; of bfloat16 0 or 1
};

const OpRegistration dropout_registration{"dropout", [](const Attributes& attributes) {
                                            return std::make_unique<Dropout>(attributes.get<double>("p", 0.5));
                                          }};

}  // namespace

Tensor dropout(const Tensor& x, double p, bool training, Generator& generator) {
  auto op = std::make_unique<Dropout>(p, &generator);
  return training ? apply(std::move(op), {x}) : x;
}

}  // namespace thimble
