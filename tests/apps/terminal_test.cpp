// What people see: help, progress on a terminal, hints at what was meant.
#include <map>

#include <pty.h>

#include "tests/apps/program.h"
#include <thimble/core/progress_bar.h>
#include <thimble/core/text_wrap.h>
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/conv_bn_relu.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> split(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + separator.size();
  }
  return parts;
}

// training() with these values for its options.
std::vector<std::string> with(std::vector<std::string> line, const std::map<std::string, std::string>& values) {
  for (const auto& [option, value] : values) *std::next(std::ranges::find(line, option)) = value;
  return line;
}

class TerminalTest : public ProgramTest {
 protected:
  /// All that the program writes to a terminal of so many columns.
  std::string on_terminal(std::vector<std::string> arguments, unsigned short columns) const {
    arguments.insert(arguments.begin(), THIMBLE_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    winsize size{};
    size.ws_row = 24;
    size.ws_col = columns;
    int terminal = -1;
    const pid_t child = forkpty(&terminal, nullptr, nullptr, &size);
    if (child == 0) {
      if (chdir(folder.path().c_str()) == 0) execv(argv[0], argv.data());
      _exit(127);
    }
    std::string seen;
    char piece[4096];
    for (ssize_t n; (n = read(terminal, piece, sizeof(piece))) > 0;) seen.append(piece, static_cast<size_t>(n));
    close(terminal);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << seen;
    return seen;
  }

  /// A process whose output is a file is looked at until it has written a line.
  std::string first_output(pid_t child, const std::string& file) const {
    std::string seen;
    siginfo_t ended{};
    while (seen.find('\n') == std::string::npos && ended.si_pid == 0) {
      waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT);
      seen = std::filesystem::exists(file) ? read_bytes(file) : "";
    }
    return seen;
  }
};

TEST(ProgressLine, TheBarShrinksBeforeFiguresDo) {
  const std::string figures = "0:07 left  loss 0.1234  accuracy 98.12%  50,000 images/s";
  EXPECT_EQ(detail::progress_line("epoch 1/2", 0.5, figures, 200),
            "epoch 1/2 [############............] 50%  " + figures);
  EXPECT_EQ(detail::progress_line("epoch 1/2", 0.5, figures, 80), "epoch 1/2 [###...] 50%  " + figures);
  EXPECT_EQ(detail::progress_line("epoch 1/2", 0.5, figures, 75), "epoch 1/2 50%  " + figures);
  EXPECT_EQ(detail::progress_line("epoch 1/2", 0.5, figures, 60),
            "epoch 1/2 50%  0:07 left  loss 0.1234  accuracy 98.12%");
  EXPECT_EQ(detail::progress_line("epoch 1/2", 0.5, figures, 20), "epoch 1/2 50%");
  for (size_t width = 1; width < 120; ++width)
    for (const double part : {0.0, 0.3, 1.0})
      EXPECT_LE(detail::text_width(detail::progress_line("époque 1/2", part, figures, width)), width);
}

TEST_F(TerminalTest, ProgressKeepsItsFiguresInSixtyColumns) {
  const std::string seen = on_terminal(with(training("m.st"), {{"--hidden", "4000"}, {"--batch-size", "2"}}), 60);
  int drawn = 0;
  for (const std::string& line : split(seen, "\x1b[K")) {
    const std::string bar = line.substr(0, line.find_first_of("\r\n"));
    if (!bar.starts_with("epoch") || bar.find("% (") != std::string::npos || bar.find(": train") != std::string::npos)
      continue;
    ++drawn;
    EXPECT_LT(detail::text_width(bar), 60u) << bar;
    EXPECT_THAT(bar, HasSubstr("accuracy ")) << bar;
    EXPECT_THAT(bar, HasSubstr("loss ")) << bar;
  }
  EXPECT_GT(drawn, 2) << seen;
}

TEST_F(TerminalTest, HelpIsAsWideAsTheTerminal) {
  for (const unsigned short columns : {40, 60, 80, 120}) {
    for (const char* command : {"train", "quantize", "run", "bench"}) {
      const std::string help = on_terminal({command, "--help"}, columns);
      size_t widest = 0;
      for (const std::string& line : split(help, "\r\n")) {
        EXPECT_LE(detail::text_width(line), columns) << line;
        widest = std::max(widest, detail::text_width(line));
      }
      EXPECT_GT(widest, columns * 3u / 4) << help;
    }
  }
}

TEST_F(TerminalTest, EachSubcommandHasExamplesOfItsOwn) {
  for (const char* command : {"train", "eval", "quantize", "bench", "run", "compare", "inspect", "import", "export",
                              "sensitivity", "errors"}) {
    const std::string help = run({command, "--help"}).out;
    const size_t examples = help.find("\nExamples:\n");
    ASSERT_NE(examples, std::string::npos) << help;
    for (const std::string& line : split(help.substr(examples + 11), "\n"))
      EXPECT_THAT(line, testing::AnyOf("", testing::StartsWith(std::string("  thimble ") + command + ' '),
                                       testing::StartsWith("      ")));
    EXPECT_EQ(run({"help", command}).out, help);
  }
  EXPECT_EQ(run({"help"}).out, run({"--help"}).out);
}

TEST_F(TerminalTest, WhatWasMeantIsSaid) {
  expect_failure({"quantise", "m.st"}, 2, "there is no subcommand 'quantise'; did you mean 'quantize'?");
  expect_failure({"trian"}, 2, "did you mean 'train'?");
  expect_failure({"help", "trian"}, 2, "there is no subcommand 'trian'; did you mean 'train'?");
  expect_failure({"sens"}, 2, "did you mean 'sensitivity'?");
  expect_failure({"train", "--epoch", "3"}, 2, "there is no option '--epoch'; did you mean '--epochs'?");
  expect_failure({"train", "--bach-size=3", "--out", "m.st"}, 2, "'--bach-size'; did you mean '--batch-size'?");
  expect_failure({"eval", "--batch", "7", "m.st"}, 2, "'--batch'; did you mean '--batch-size'?");
  expect_failure({"quantize", "m.st", "--ou", "q.st"}, 2, "'--ou'; did you mean '--out'?");
  for (const auto& strange : std::vector<std::vector<std::string>>{{"conquer"}, {"train", "--frobnicate"}, {"x"}}) {
    const Result result = run(strange);
    EXPECT_EQ(result.status, 2);
    EXPECT_THAT(result.err, Not(HasSubstr("did you mean"))) << result.err;
  }
}

TEST_F(TerminalTest, SizesAndAccuraciesAreReadAsPeopleWriteThem) {
  train("m.st");
  const auto budget = [&](const std::string& option, const std::string& value) {
    return json_of({"quantize", "m.st", "--data", "data", "--out", "q.st", option, value, "--threads", "1"});
  };
  for (const char* same : {"5.5KB", "5.5 kb", "5500B", "5.5k"})
    EXPECT_EQ(budget("--budget", same), budget("--budget", "5500")) << same;
  EXPECT_EQ(budget("--budget", "1.5MiB"), budget("--budget", "1572864"));
  EXPECT_EQ(budget("--target-accuracy", "90%"), budget("--target-accuracy", "0.9"));
  for (const char* wrong : {"0", "-1", "5.5XB", "KB", "nan", "1e30", "5 5"})
    expect_failure({"quantize", "m.st", "--out", "x.st", "--budget", wrong}, 2, "500KB");
  for (const char* wrong : {"98.5", "101%", "-1%", "nan%", "%", "0.9x"})
    expect_failure({"quantize", "m.st", "--out", "x.st", "--target-accuracy", wrong}, 2, "0% to 100%");
}

TEST_F(TerminalTest, TheFirstLineComesAtOnceAndAnInterruptSaysThatNothingWasSaved) {
  std::vector<std::string> line =
      with(training("m.st"), {{"--hidden", "3000"}, {"--layers", "2"}, {"--batch-size", "1"}});
  line.insert(line.begin(), THIMBLE_PROGRAM);
  const std::string out = (folder / "out.txt").string();
  std::string first;
  const Result result = execute(line, RLIM_INFINITY, out, [&](pid_t child) {
    first = first_output(child, out);
    kill(child, SIGINT);
  });
  EXPECT_THAT(first, HasSubstr("training images\n"));
  EXPECT_THAT(first, Not(HasSubstr("epoch 1/"))) << "the line waited for the next one";
  expect_failure(result, 128 + SIGINT, "stopped by SIGINT after ");
  EXPECT_THAT(result.err, HasSubstr("nothing was saved"));
  EXPECT_THAT(result.err, HasSubstr("--save-state DIR"));
  EXPECT_FALSE(std::filesystem::exists(folder / "m.st"));
}

TEST_F(TerminalTest, AMissingDataFolderIsCalledMissing) {
  expect_failure({"train", "--data", "nowhere", "--out", "m.st"}, 1,
                 "there is no folder 'nowhere': run scripts/fetch-mnist nowhere");
  expect_failure({"train", "--dataset", "fashion-mnist", "--data", "nowhere", "--out", "m.st"}, 1,
                 "there is no folder 'nowhere': Debian's package dataset-fashion-mnist");
  std::filesystem::create_directory(folder / "empty");
  expect_failure({"train", "--data", "empty", "--out", "m.st"}, 1, "'train-images-idx3-ubyte' is not in 'empty'");
}

TEST_F(TerminalTest, WhatIsNoSafetensorsFileIsCalledThatWhateverItsLength) {
  const std::string text = "Not a model, but a text that somebody has put there by mistake.\n";
  for (size_t length = 0; length <= text.size(); ++length) {
    write_bytes(folder / "t.st", text.substr(0, length));
    expect_failure({"inspect", "t.st"}, 1, "not a safetensors file");
    // A small number may be a header's length.
    write_bytes(folder / "t.st", std::string("\x10\0\0\0\0\0\0\0", 8) + text.substr(0, length));
    expect_failure({"inspect", "t.st"}, 1, "not a safetensors file");
  }
}

TEST_F(TerminalTest, InspectFitsAHundredColumns) {
  nn::Sequential net(nn::ConvBNReLU(3, 3, 3, {.padding = 1}), nn::ConvBNReLU(3, 4, 3, {}));
  nn::Graph graph = nn::trace(net.eval(), Tensor(NDArray::ones({1, 3, 8, 8})));
  graph.rename(graph.output(), "the_output_of_a_network/" + std::string(200, 'n'));
  save_model(graph, folder / "conv.st", {{"author", std::string(300, 'x')}});
  train("m.st");
  for (const char* model : {"conv.st", "m.st"})
    for (const std::string& line : split(run({"inspect", model}).out, "\n"))
      EXPECT_LE(detail::text_width(line), 100u) << line;
  const std::string shown = run({"inspect", "conv.st"}).out;
  EXPECT_THAT(shown, HasSubstr("in_channels=3"));
  for (const char* by_default : {"dilation", "groups", "stride", "momentum", "eps"})
    EXPECT_THAT(shown, Not(HasSubstr(by_default)));
}

TEST_F(TerminalTest, ModelsOfFourBitsAreCalledInt4) {
  train("m.st");
  for (const char* method : {"dynamic", "static", "weight-only", "qat"}) {
    quantize("m.st", "q.st", {"--method", method, "--weight-bits", "4"});
    EXPECT_EQ(json_of({"compare", "q.st", "--data", "data", "--runs", "1"}).at("rows")[0].at("dtype"), "int4");
    EXPECT_THAT(run({"bench", "q.st", "--runs", "1"}).out, testing::StartsWith("q.st (int4)\n"));
  }
}

// A batch of one image is one value a channel where images have become a single pixel.
class LastBatchTest : public ProgramTest {
 protected:
  static std::vector<std::string> training(const std::vector<std::string>& more) {
    std::vector<std::string> line{"train",        "--data", "data",      "--model", "resnet9", "--epochs", "2",
                                  "--batch-size", "199",    "--threads", "1",       "--out",   "m.st"};
    line.insert(line.end(), more.begin(), more.end());
    return line;
  }
};

TEST_F(LastBatchTest, OfOneImageIsLeftOutWhereBatchesAreNormalized) {
  const Result trained = run(training({"--save-state", "states", "--save-every", "1", "--keep-states", "9"}));
  EXPECT_EQ(trained.status, 0) << trained.err;
  EXPECT_THAT(trained.out, HasSubstr("each epoch leaves out one of the 200 images"));
  const std::string whole = bytes("m.st");
  const auto last = folder / "states" / "state-2.safetensors";
  ASSERT_TRUE(std::filesystem::exists(last));
  std::filesystem::remove(last);
  ASSERT_TRUE(std::filesystem::exists(folder / "states" / "state-1.safetensors"));
  const Result resumed = run(training({"--resume", "states"}));
  EXPECT_EQ(resumed.status, 0) << resumed.err;
  EXPECT_TRUE(bytes("m.st") == whole);
  const Result qat =
      run({"quantize", "m.st", "--method", "qat", "--batch-size", "199", "--data", "data", "--out", "q.st"});
  EXPECT_EQ(qat.status, 0) << qat.err;
  EXPECT_THAT(qat.out, HasSubstr("each epoch leaves out one"));
}

TEST_F(LastBatchTest, BatchesOfOneAloneAreRefusedWithAdvice) {
  expect_failure(run(with(training({}), {{"--batch-size", "1"}})), 1, "take a --batch-size of 2 or more");
}

TEST_F(ProgramTest, NoImageIsLeftOutWithoutBatchNormalization) {
  const Result result = run(with(training("m.st"), {{"--batch-size", "199"}}));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.out, Not(HasSubstr("leaves out")));
}

}  // namespace
}  // namespace thimble::apps
