#include <gtest/gtest.h>

#include <thimble/core/text_table.h>

namespace thimble::detail {
namespace {

TEST(TextTable, AlignsNumbersRight) {
  TextTable table({"model", "accuracy"});
  table.add({"a longer name", "97.1"});
  table.add({"b", "100.0"});
  EXPECT_EQ(table.str(),
            "model          accuracy\n"
            "-----------------------\n"
            "a longer name      97.1\n"
            "b                 100.0\n");
}

TEST(TextTable, AlignsTextLeftWithoutTrailingBlanks) {
  TextTable table({"name", "inputs", "note"}, TextTable::Align::left);
  table.add({"add", "x, y", ""});
  table.add({"x", "", "first"});
  EXPECT_EQ(table.str(),
            "name  inputs  note\n"
            "-------------------\n"
            "add   x, y\n"
            "x             first\n");
}

TEST(TextTable, WrapsItsWidestCellsToFit) {
  TextTable table({"name", "n", "attributes"}, TextTable::Align::left);
  table.add({"first", "1", "alpha=1, beta=2, gamma=3"});
  table.add({"second", "2", ""});
  EXPECT_EQ(table.str(25),
            "name    n  attributes\n"
            "-------------------------\n"
            "first   1  alpha=1,\n"
            "           beta=2,\n"
            "           gamma=3\n"
            "second  2\n");
  TextTable numbers({"name", "value"});
  numbers.add({"a name that is long", "12.5"});
  EXPECT_EQ(numbers.str(15),
            "name      value\n"
            "---------------\n"
            "a name     12.5\n"
            "that is\n"
            "long\n");
}

TEST(TextTable, CountsCharactersNotBytes) {
  TextTable table({"n", "µs"});
  table.add({"é", "1.0 ± 0.1"});
  EXPECT_EQ(table.str(),
            "n         µs\n"
            "------------\n"
            "é  1.0 ± 0.1\n");
}

TEST(TextTable, CellsStayOnTheirLineAndSendTheTerminalNothing) {
  TextTable table({"name", "n"});
  table.add({"a\nb\x1b[2J\u009b", "1"});
  EXPECT_EQ(table.str(),
            "name                 n\n"
            "----------------------\n"
            "a\\nb\\x1b[2J\\xc2\\x9b  1\n");
}

TEST(TextTable, ShortensLongCells) {
  TextTable table({"name"});
  table.add({std::string(100000, 'x')});
  EXPECT_LT(table.str().size(), 2000u);
}

}  // namespace
}  // namespace thimble::detail
