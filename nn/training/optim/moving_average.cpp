#include <map>
#include <string>
#include <unordered_set>
#include <utility>

#include <thimble/core/kernels/training/optimizer.h>
#include <thimble/core/parallel.h>
#include <thimble/nn/training/optim/check_options.h>
#include <thimble/nn/training/optim/moving_average.h>

namespace thimble::optim {

namespace {

constexpr const char* kUpdates = "num_updates";
constexpr int64_t kGrainOfAverages = 16384;  // elements that are worth another thread

}  // namespace

ExponentialMovingAverage::ExponentialMovingAverage(const std::vector<Tensor>& parameters, MovingAverageOptions options)
    : parameters_(parameters), decay_(options.decay) {
  check<ValueError>(!parameters.empty(), "ExponentialMovingAverage: there are no parameters");
  check_decay("ExponentialMovingAverage", "decay", decay_);
  std::unordered_set<const void*> seen;
  for (const Tensor& p : parameters_) {
    check<ValueError>(seen.insert(p.id()).second, "ExponentialMovingAverage: a parameter is given twice");
    check<DTypeError>(p.dtype() == DType::float32, "ExponentialMovingAverage: parameters must be float32, got ",
                      p.dtype());
    averages_.emplace_back(p.data().clone());
  }
}

void ExponentialMovingAverage::update() {
  check<ValueError>(!is_swapped_, "ExponentialMovingAverage: update() while the averages are in the parameters' place");
  current_.clear();  // what may fail comes before anything is changed
  current_.reserve(parameters_.size());
  for (size_t i = 0; i < parameters_.size(); ++i) {
    current_.push_back(parameters_[i].data().contiguous());
    Tensor& average = averages_[i];
    if (average.data().is_copy_on_write() || !average.data().is_contiguous()) average.set_data(average.data().clone());
  }
  const bool is_first = num_updates_ == 0;
  const auto keep = static_cast<float>(decay_), take = static_cast<float>(1 - decay_);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const float* x = std::as_const(current_[i]).data<float>();
    float* average = averages_[i].mutable_data().data<float>();
    parallel_for(current_[i].numel(), kGrainOfAverages, [&](int64_t begin, int64_t end) {
      if (is_first)
        std::copy(x + begin, x + end, average + begin);  // 0 times what was there may be NaN
      else
        kernels::move_average(keep, take, x + begin, average + begin, end - begin);
    });
  }
  current_.clear();
  ++num_updates_;
}

void ExponentialMovingAverage::swap() {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    NDArray own = parameters_[i].data();
    parameters_[i].set_data(averages_[i].data());
    averages_[i].set_data(std::move(own));
  }
  is_swapped_ = !is_swapped_;
}

NamedArrays ExponentialMovingAverage::state() const {
  NamedArrays arrays{{kUpdates, NDArray::from_vector<int64_t>({num_updates_}, {})}};
  const std::vector<Tensor>& averages = is_swapped_ ? parameters_ : averages_;
  for (size_t i = 0; i < averages.size(); ++i) arrays.emplace_back(std::to_string(i), averages[i].data());
  return arrays;
}

void ExponentialMovingAverage::load_state(const NamedArrays& arrays) {
  check<ValueError>(!is_swapped_, "ExponentialMovingAverage: load_state() while the averages are in the parameters' ",
                    "place");
  const std::map<std::string, NDArray> given(arrays.begin(), arrays.end());
  const NamedArrays mine = state();
  check<ValueError>(given.size() == mine.size() && arrays.size() == mine.size(), "ExponentialMovingAverage: state of ",
                    arrays.size(), " arrays, expected ", mine.size());
  std::vector<NDArray> loaded;
  for (const auto& [name, array] : mine) {
    const auto it = given.find(name);
    check<ValueError>(it != given.end(), "ExponentialMovingAverage: there is no state '", name, "'");
    check<ShapeError>(it->second.shape() == array.shape(), "ExponentialMovingAverage: state '", name, "' has shape ",
                      it->second.shape(), ", expected ", array.shape());
    check<DTypeError>(it->second.dtype() == array.dtype(), "ExponentialMovingAverage: state '", name, "' is ",
                      it->second.dtype(), ", expected ", array.dtype());
    loaded.push_back(it->second.clone());
  }
  const auto updates = loaded[0].item<int64_t>();
  constexpr int64_t kMost = int64_t{1} << 53;
  check<ValueError>(updates >= 0 && updates < kMost, "ExponentialMovingAverage: state '", kUpdates, "' is ", updates,
                    ", not in [0, 2^53)");
  for (size_t i = 0; i < averages_.size(); ++i) averages_[i].set_data(std::move(loaded[i + 1]));
  num_updates_ = updates;
}

AveragedWeights::AveragedWeights(ExponentialMovingAverage& average) : average_(average) {
  check<ValueError>(!average.is_swapped(), "AveragedWeights: the averages are in the parameters' place already");
  average_.swap();
}

}  // namespace thimble::optim
