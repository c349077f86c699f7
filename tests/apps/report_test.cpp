// thimble report: its JSON, the page that holds it, and what people may put into names.
#include "apps/report/frontier.h"
#include "apps/report/layered_layout.h"
#include "tests/apps/program.h"
#include <thimble/nn/graph/trace.h>
#include <thimble/nn/layers/activation.h>
#include <thimble/nn/layers/container.h>
#include <thimble/nn/layers/linear.h>
#include <thimble/serialization/checkpoint.h>

namespace thimble::apps {

namespace {

using nlohmann::json;

std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const size_t from = text.find(begin);
  if (from == std::string::npos) return "";
  const size_t start = from + begin.size(), to = text.find(end, start);
  return to == std::string::npos ? "" : text.substr(start, to - start);
}

size_t occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// What a browser takes for the page's data.
json data_in(const std::string& page) {
  return json::parse(between(page, "<script type=\"application/json\" id=\"data\">", "</script>"), nullptr, false);
}

class ReportTest : public ProgramTest {
 protected:
  // Nothing is timed, so that pages can be compared and tests are quick.
  static std::vector<std::string> reporting(std::vector<std::string> arguments,
                                            const std::vector<std::string>& more = {}) {
    arguments.insert(arguments.begin(), "report");
    arguments.insert(arguments.end(), {"--data", "data", "--runs", "0", "--out", "r.html"});
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::string page() const { return bytes("r.html"); }
};

TEST_F(ReportTest, PageHasTheNumbersOfItsJson) {
  train("h.st");
  quantize("h.st", "q.st");
  const json result = json_of(reporting({"h.st", "q.st"}));
  EXPECT_EQ(data_in(page()), result);
  EXPECT_EQ(result["out"], "r.html");
  ASSERT_EQ(result["models"].size(), 2u);
  for (const json& model : result["models"]) {
    const std::string file = model["model"];
    const json evaluated = json_of({"eval", file, "--data", "data"});
    EXPECT_EQ(model["accuracy"], evaluated["accuracy"]);
    EXPECT_NEAR(model["answers"]["loss"].get<double>(), evaluated["loss"].get<double>(), 1e-5);
    EXPECT_EQ(model["answers"]["count"], 50);
    EXPECT_EQ(model["size_bytes"], std::filesystem::file_size(folder / file));
    EXPECT_EQ(model["latency_b1_us"], nullptr);
    EXPECT_EQ(model["layer_times"], nullptr);
    EXPECT_EQ(model["sensitivity"], nullptr);
  }
  EXPECT_EQ(result["models"][1]["dtype"], "int8");
}

TEST_F(ReportTest, PageNeedsNothingElse) {
  train("h.st");
  ASSERT_EQ(run(reporting({"h.st"})).status, 0);
  const std::string text = page();
  EXPECT_THAT(text, testing::HasSubstr("default-src 'none'"));
  for (const char* loads : {"src=\"http", "href=\"http", "src=\"//", "@import", "url(", "<link"})
    EXPECT_THAT(text, testing::Not(testing::HasSubstr(loads)));
  EXPECT_EQ(occurrences(text, "</script>"), 3u);
  EXPECT_EQ(occurrences(text, "{{"), 0u);
  EXPECT_THAT(text, testing::HasSubstr("Redistributions in binary form must reproduce"));
}

TEST_F(ReportTest, SameModelsGiveTheSamePage) {
  train("h.st");
  ASSERT_EQ(run(reporting({"h.st"}, {"--threads", "1"})).status, 0);
  const std::string first = page();
  ASSERT_EQ(run(reporting({"h.st"}, {"--threads", "2"})).status, 0);
  EXPECT_EQ(page(), first);
}

TEST_F(ReportTest, HistoryIsOfTheRunsThatMadeTheFile) {
  const json trained = json_of(training("h.st"));
  quantize("h.st", "q.st", {"--method", "qat", "--epochs", "2"});
  const json models = json_of(reporting({"h.st", "q.st"}))["models"];
  ASSERT_EQ(models[0]["history"].size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(models[0]["history"][i]["epoch"], i + 1);
    EXPECT_EQ(models[0]["history"][i]["train_loss"], trained["epochs"][i]["train_loss"]);
    EXPECT_EQ(models[0]["history"][i]["test_accuracy"], trained["epochs"][i]["test_accuracy"]);
    EXPECT_FALSE(models[0]["history"][i].contains("seconds"));
    EXPECT_FALSE(models[0]["history"][i].contains("examples_per_second"));
  }
  EXPECT_TRUE(models[0]["qat_history"].empty());
  EXPECT_EQ(models[1]["history"], models[0]["history"]);
  EXPECT_EQ(models[1]["qat_history"].size(), 2u);
}

TEST_F(ReportTest, WorstMistakesAreThoseOfTheConfusionMatrix) {
  ASSERT_EQ(
      run({"train", "--data", "data", "--model", "mlp", "--hidden", "16", "--epochs", "0", "--out", "h.st"}).status, 0);
  const json model = json_of(reporting({"h.st"}, {"--worst", "7"}))["models"][0];
  int64_t all = 0, right = 0;
  for (size_t i = 0; i < 10; ++i)
    for (size_t j = 0; j < 10; ++j) {
      const int64_t n = model["answers"]["matrix"][i][j];
      all += n;
      if (i == j) right += n;
    }
  EXPECT_EQ(all, 50);
  EXPECT_EQ(model["accuracy"].get<double>(), static_cast<double>(right) / 50);
  ASSERT_EQ(model["worst"].size(), 7u);
  double loss = std::numeric_limits<double>::infinity();
  for (const json& wrong : model["worst"]) {
    EXPECT_EQ(wrong["label"], wrong["index"].get<int>() % 10);  // as the synthetic data has them
    EXPECT_NE(wrong["label"], wrong["predicted"]);
    EXPECT_GT(model["answers"]["matrix"][wrong["label"].get<size_t>()][wrong["predicted"].get<size_t>()], 0);
    EXPECT_LE(wrong["loss"].get<double>(), loss);
    loss = wrong["loss"];
    EXPECT_THAT(wrong["image"].get<std::string>(), testing::StartsWith("data:image/png;base64,iVBORw0KGgo"));
  }
}

TEST_F(ReportTest, CountsWeightsAndActivations) {
  train("h.st");
  quantize("h.st", "q.st", {"--no-equalize"});
  const json models = json_of(reporting({"h.st", "q.st"}, {"--activation-images", "20"}))["models"];
  const auto total = [](const json& row) {
    int64_t sum = 0;
    for (const int64_t n : row["counts"]) sum += n;
    return sum;
  };
  ASSERT_EQ(models[0]["weights"].size(), 2u);
  EXPECT_EQ(total(models[0]["weights"][0]), 12 * 12 * 16);
  EXPECT_EQ(models[0]["weights"][0]["bits"], nullptr);
  EXPECT_EQ(models[1]["weights"][0]["bits"], 8);
  EXPECT_EQ(models[0]["activations"]["reference"], nullptr);
  EXPECT_EQ(models[1]["activations"]["reference"], "h.st");
  bool compared = false;
  for (const json& row : models[1]["activations"]["layers"]) {
    if (row["range"].is_null()) continue;
    EXPECT_LE(row["range"][0].get<double>(), row["min"].get<double>()) << row;
    EXPECT_GE(row["range"][1].get<double>(), row["max"].get<double>()) << row;
    EXPECT_EQ(total(row) % 20, 0) << row;
    if (row["reference"].is_null()) continue;
    compared = true;
    EXPECT_EQ(total(row["reference"]), total(row)) << row;
    for (const char* share : {"below", "above"}) EXPECT_LT(row[share].get<double>(), 0.2) << row;
  }
  EXPECT_TRUE(compared);
}

TEST_F(ReportTest, GraphSaysWhatComputesInIntegers) {
  train("h.st");
  for (const auto& [method, arithmetic] :
       {std::pair("static", "integer"), {"dynamic", "dynamic"}, {"weight-only", "weight-only"}}) {
    quantize("h.st", "q.st", {"--method", method});
    const json graph = json_of(reporting({"q.st"}))["models"][0]["graph"];
    std::vector<std::string> of_linear;
    for (const json& node : graph["nodes"])
      if (node["type"].get<std::string>().find("Linear") != std::string::npos) of_linear.push_back(node["arithmetic"]);
    EXPECT_THAT(of_linear, testing::ElementsAre(arithmetic, arithmetic));
    EXPECT_EQ(graph["nodes"][0]["arithmetic"], "input");
    EXPECT_EQ(graph["nodes"][0]["shape"], json({1, 144}));
    EXPECT_GE(graph["edges"].size(), graph["nodes"].size() - 1);
  }
}

TEST_F(ReportTest, SensitivityIfAskedFor) {
  train("h.st");
  quantize("h.st", "q.st");
  const json models = json_of(reporting({"h.st", "q.st"}, {"--sensitivity"}))["models"];
  EXPECT_EQ(models[0]["sensitivity"]["baseline"], models[0]["accuracy"]);
  ASSERT_EQ(models[0]["sensitivity"]["layers"].size(), 2u);
  EXPECT_EQ(models[0]["sensitivity"]["layers"][0]["latency_us"], nullptr);
  EXPECT_EQ(models[1]["sensitivity"], nullptr);  // it is quantized already
}

TEST_F(ReportTest, TimesAreThere) {
  train("h.st");
  const json model = json_of({"report", "h.st", "--data", "data", "--runs", "1", "--out", "r.html"})["models"][0];
  EXPECT_GT(model["latency_b1_us"].get<double>(), 0);
  EXPECT_GT(model["latency_b64_us"].get<double>(), 0);
  EXPECT_FALSE(model["layer_times"]["layers"].empty());
  EXPECT_TRUE(model["on_size_frontier"]);
  EXPECT_TRUE(model["on_latency_frontier"]);
}

TEST_F(ReportTest, SaysWhyThereIsNoAccuracy) {
  train("h.st");
  // Where its dataset usually is there is nothing: the report has all else.
  const Result without = run({"report", "h.st", "--runs", "0", "--out", "r.html"});
  EXPECT_EQ(without.status, 0) << without.err;
  EXPECT_THAT(without.out, testing::HasSubstr("no accuracy: there is no folder 'data/mnist'"));
  const json model = data_in(page())["models"][0];
  EXPECT_EQ(model["accuracy"], nullptr);
  EXPECT_EQ(model["answers"], nullptr);
  EXPECT_EQ(model["activations"], nullptr);
  EXPECT_THAT(model["no_accuracy"].get<std::string>(), testing::HasSubstr("there is no folder"));
  EXPECT_EQ(model["weights"].size(), 2u);
  // A folder that was asked for must be there.
  expect_failure({"report", "h.st", "--data", "nowhere", "--runs", "0", "--out", "s.html"}, 1, "nowhere");
  EXPECT_FALSE(std::filesystem::exists(folder / "s.html"));
}

TEST_F(ReportTest, NamesStayText) {
  const std::string evil = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>";
  nn::Sequential net(nn::Linear(4, 3), nn::ReLU(), nn::Linear(3, 2));
  nn::Graph graph = nn::trace(net.eval(), Tensor(NDArray::full({1, 4}, 1)));
  graph.rename(graph.nodes()[1], evil);
  std::filesystem::create_directories(folder / "<!--<script>");
  const std::string file = "<!--<script>/a\xff\"'&.st";
  save_model(graph, (folder / file).string(), {{"dataset", evil}});
  const json result = json_of({"report", file, "--runs", "0", "--out", "r.html"});
  const std::string text = page();
  EXPECT_EQ(data_in(text), result);
  EXPECT_EQ(result["models"][0]["graph"]["nodes"][1]["name"], evil);
  EXPECT_EQ(occurrences(text, "</script>"), 3u);
  const std::string data = between(text, "id=\"data\">", "</script>");
  EXPECT_EQ(data.find('<'), std::string::npos);
  EXPECT_TRUE(std::ranges::all_of(data, [](char c) { return c >= ' ' && c <= '~'; }));
}

TEST_F(ReportTest, FailuresAreOneLine) {
  train("h.st");
  expect_failure({"report", "h.st"}, 2, "--out is required");
  expect_failure({"report", "--out", "r.html"}, 2, "models is required");
  expect_failure({"report", "h.st", "--out", "h.st"}, 2, "would replace the input");
  expect_failure({"report", "h.st", "--out", "no/such/r.html"}, 1, "cannot write 'no/such/r.html'");
  expect_failure({"report", "none.st", "--out", "r.html"}, 1, "cannot read 'none.st'");
  expect_failure(run(reporting({"h.st"}), 1000), 1, "cannot write 'r.html'");
  expect_files({"h.st"});
}

TEST(Frontier, IsWhatNoOtherBeats) {
  using Bools = std::vector<bool>;
  EXPECT_EQ(on_frontier({{1, 5}, {2, 6}, {2, 5}, {3, 6}, {{}, 9}, {0, {}}}),
            (Bools{true, true, false, false, false, false}));
  EXPECT_EQ(on_frontier({{1, 5}, {1, 5}}), (Bools{true, true}));
  EXPECT_TRUE(on_frontier({}).empty());
}

TEST(LayeredLayout, RowsAreBelowWhatTheyRead) {
  // A chain with an edge past two of its nodes, and one that reads its beginning twice.
  const GraphLayout layout = layered_layout({{}, {0}, {1}, {2, 0}, {3, 0, 0}});
  EXPECT_EQ(layout.rows, 5);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(layout.nodes[i].row, static_cast<int>(i));
  ASSERT_EQ(layout.edges.size(), 7u);
  for (const LayoutEdge& edge : layout.edges) {
    EXPECT_EQ(edge.points.size(), edge.to - edge.from + 1);
    for (size_t i = 0; i < edge.points.size(); ++i) EXPECT_EQ(edge.points[i].row, static_cast<int>(edge.from + i));
  }
}

TEST(LayeredLayout, NothingOverlaps) {
  // Four branches, each of two nodes, that meet.
  const GraphLayout layout = layered_layout({{}, {0}, {0}, {0}, {0}, {1}, {2}, {3}, {4}, {5, 6, 7, 8}});
  for (size_t i = 0; i < layout.nodes.size(); ++i) {
    EXPECT_GE(layout.nodes[i].x, 0);
    EXPECT_LE(layout.nodes[i].x, layout.width);
    for (size_t j = 0; j < i; ++j)
      EXPECT_TRUE(layout.nodes[i].row != layout.nodes[j].row ||
                  std::abs(layout.nodes[i].x - layout.nodes[j].x) >= 1 - 1e-9);
  }
  for (size_t i = 1; i <= 4; ++i) EXPECT_NEAR(layout.nodes[i].x, layout.nodes[i + 4].x, 1e-9);  // straight
}

TEST(LayeredLayout, OfLargeGraphsIsBounded) {
  std::vector<std::vector<size_t>> inputs(3000);
  for (size_t i = 1; i < inputs.size(); ++i) inputs[i] = {i - 1, i / 2, 0};
  const GraphLayout layout = layered_layout(inputs);
  EXPECT_EQ(layout.rows, 3000);
  EXPECT_EQ(layout.edges[1].points.size(), 2u);  // straight
  EXPECT_TRUE(layered_layout({}).nodes.empty());
}

}  // namespace

}  // namespace thimble::apps
