#include <gtest/gtest.h>

#include <thimble/core/random.h>

namespace thimble {
namespace {

TEST(Generator, IsPhilox4x32With10Rounds) {
  // The known answer for key 0, counter 0, from the Random123 distribution.
  Generator generator(0);
  for (uint32_t word : {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}) EXPECT_EQ(generator.next_uint32(), word);
}

TEST(Generator, FillGivesTheNumbersOfSingleCalls) {
  for (uint64_t start : {0u, 1u, 3u, 4u, 61u})
    for (int64_t n : {0, 1, 2, 5, 63, 64, 67, 128, 300}) {
      Generator one(start * 7), many(start * 7);
      // Far enough that block numbers carry into their upper word.
      one.set_state({start * 7, (uint64_t{1} << 34) - 100 + start});
      many.set_state(one.state());
      one.next_uint32();
      many.next_uint32();
      std::vector<uint32_t> expected(static_cast<size_t>(n)), got(static_cast<size_t>(n));
      for (uint32_t& word : expected) word = one.next_uint32();
      many.fill(got.data(), n);
      EXPECT_EQ(got, expected) << n << " from " << start;
      EXPECT_EQ(many.state(), one.state());
      EXPECT_EQ(many.next_uint32(), one.next_uint32());
    }
}

}  // namespace
}  // namespace thimble
