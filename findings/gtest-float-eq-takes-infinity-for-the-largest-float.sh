#!/usr/bin/env bash
# GoogleTest 1.12.1: EXPECT_FLOAT_EQ(FLT_MAX, INFINITY) passes.
#
# EXPECT_FLOAT_EQ, EXPECT_DOUBLE_EQ and the matchers FloatEq and DoubleEq compare bit patterns and allow a distance of 4.
# The pattern of infinity follows that of the largest finite number, so the last four numbers before an overflow and the
# overflow itself are "equal": a test that a sum saturates at FLT_MAX, or stays just below it, also passes for one that
# has overflowed to infinity. EXPECT_NEAR tells them apart, as any comparison of values does.
#
# Seen: the checks below, all of which pass. Fails (status 1) if one no longer does. Needs g++ and apt.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
for package in libgtest-dev=1.12.1-0.2 libgmock-dev=1.12.1-0.2; do
  apt-get download -qq -o APT::Sandbox::User=root "$package"
done
for file in *.deb; do dpkg -x "$file" root; done

cat >overflow.cpp <<'CPP'
#include <cfloat>
#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

using testing::DoubleEq;
using testing::FloatEq;
using testing::Pointwise;

constexpr float kInfinity = INFINITY;

TEST(Overflow, IsEqualToTheLargestNumber) {
  volatile float largest = FLT_MAX;
  const float overflowed = largest * 2;
  ASSERT_TRUE(std::isinf(overflowed));
  EXPECT_FLOAT_EQ(overflowed, FLT_MAX);
  EXPECT_DOUBLE_EQ(HUGE_VAL, DBL_MAX);
  EXPECT_THAT(kInfinity, FloatEq(FLT_MAX));
  EXPECT_THAT(HUGE_VAL, DoubleEq(DBL_MAX));
  EXPECT_THAT((std::vector<float>{1, kInfinity}), Pointwise(FloatEq(), std::vector<float>{1, FLT_MAX}));
}

TEST(Overflow, IsEqualToTheFourNumbersBeforeIt) {
  float below = FLT_MAX;
  for (int i = 0; i < 4; ++i, below = std::nextafterf(below, 0)) EXPECT_FLOAT_EQ(below, kInfinity);
  EXPECT_NONFATAL_FAILURE(EXPECT_FLOAT_EQ(std::nextafterf(FLT_MAX, 0) * 0.99f, INFINITY), "");
}

TEST(Overflow, IsFarFromTheLargestNumberForComparisonsOfValues) {
  EXPECT_NONFATAL_FAILURE(EXPECT_NEAR(FLT_MAX, INFINITY, 1e30), "");
  EXPECT_NONFATAL_FAILURE(EXPECT_EQ(FLT_MAX, kInfinity), "");
}
CPP
libraries=$(dirname "$(find root -name libgtest.a)")
g++ -std=c++17 -isystem root/usr/include overflow.cpp -o overflow -L "$libraries" -lgmock -lgtest -lgtest_main -lpthread
./overflow
