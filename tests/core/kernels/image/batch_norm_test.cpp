#include <vector>

#include <gtest/gtest.h>

#include <thimble/core/kernels/image/batch_norm.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>

namespace thimble::kernels {
namespace {

// The sums over a batch of up to eight samples, each of which is a shard, are the tree of the samples' sums, to the
// bit.
TEST(BatchNormKernels, AddUpShardsAsATree) {
  Generator rng(1);
  const int before = num_threads();
  for (const int64_t samples : {2, 3, 5, 8})
    for (const int64_t pixels : {1, 9, 1000})
      for (const int64_t channels : {1, 3, 16, 130}) {
        const int64_t sample = pixels * channels;
        const std::vector<float> x = randn({samples * sample}, rng).to_vector<float>(),
                                 dy = randn({samples * sample}, rng).to_vector<float>();
        const std::vector<float> mean(static_cast<size_t>(channels), 0.1f), scale(mean.size(), 1.5f),
            shift(mean.size(), 0.2f);
        const ChannelMap<float> map{mean.data(), scale.data(), shift.data(), true};
        const auto sums_of = [&](int64_t first, int64_t count) {
          std::vector<double> both(2 * mean.size());
          batch_norm_gradient_sums(x.data() + first * sample, dy.data() + first * sample, count, pixels, channels, map,
                                   both.data(), both.data() + channels);
          return both;
        };
        std::vector<std::vector<double>> level;
        for (int64_t i = 0; i < samples; ++i) level.push_back(sums_of(i, 1));
        while (level.size() > 1) {
          std::vector<std::vector<double>> next;
          for (size_t i = 0; i < level.size(); i += 2) {
            next.push_back(level[i]);
            if (i + 1 < level.size())
              for (size_t j = 0; j < next.back().size(); ++j) next.back()[j] += level[i + 1][j];
          }
          level = next;
        }
        for (const int threads : {1, 3}) {
          set_num_threads(threads);
          EXPECT_EQ(sums_of(0, samples), level[0]) << samples << " of " << pixels << " x " << channels;
        }
      }
  set_num_threads(before);
}

// Whatever the number of samples leaves for the last shards.
TEST(BatchNormKernels, MomentsAreThoseOfAllRows) {
  Generator rng(2);
  for (const int64_t samples : {1, 2, 7, 9, 17, 64, 1003})
    for (const int64_t pixels : {1, 30}) {
      const int64_t channels = 5, rows = samples * pixels;
      const std::vector<float> x = randn({rows * channels}, rng).to_vector<float>();
      std::vector<double> mean(5), variance(5);
      channel_moments(x.data(), samples, pixels, channels, mean.data(), variance.data());
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < rows; ++r) sum += static_cast<double>(x[static_cast<size_t>(r * channels + c)]);
        const double expected = sum / static_cast<double>(rows);
        for (int64_t r = 0; r < rows; ++r) {
          const double deviation = static_cast<double>(x[static_cast<size_t>(r * channels + c)]) - expected;
          squares += deviation * deviation;
        }
        EXPECT_NEAR(mean[static_cast<size_t>(c)], expected, 1e-6);
        EXPECT_NEAR(variance[static_cast<size_t>(c)], squares / static_cast<double>(rows), 1e-5);
      }
    }
}

}  // namespace
}  // namespace thimble::kernels
