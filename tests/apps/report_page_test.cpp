// The page of thimble report as a browser draws it. Skipped where there is no Chromium.
#include <charconv>
#include <regex>

#include "tests/apps/program.h"

namespace thimble::apps {

namespace {

using nlohmann::json;

// What an attribute of a tag is, undone of what HTML escapes.
std::string attribute(const std::string& tag, const std::string& name) {
  std::smatch match;
  return std::regex_search(tag, match, std::regex("\\s" + name + "=\"([^\"]*)\"")) ? match[1].str() : "";
}

std::vector<double> numbers(const std::string& text) {
  std::vector<double> values;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    double value = 0;
    const auto [rest, error] = std::from_chars(p, end, value);
    if (error == std::errc()) values.push_back(value);
    p = error == std::errc() ? rest : p + 1;
  }
  return values;
}

// A linear axis: domain and range, by which a place is a value again.
class Axis {
 public:
  Axis(const std::string& svg, const std::string& name) : ends_(numbers(attribute(svg, name))) {
    EXPECT_EQ(ends_.size(), 4u) << svg.substr(0, 300);
    ends_.resize(4);
  }
  double value(double place) const {
    return ends_[0] + (place - ends_[2]) / (ends_[3] - ends_[2]) * (ends_[1] - ends_[0]);
  }

 private:
  std::vector<double> ends_;
};

class ReportPageTest : public ProgramTest {
 protected:
  static std::string browser() {
    for (const char* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
      if (access(path, X_OK) == 0) return path;
    return "";
  }

  // The document after its scripts have run; none of them may have complained.
  std::string drawn(const std::string& file) const {
    const Result result = execute({browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                   "--enable-logging=stderr", "--user-data-dir=" + (folder / "browser").string(),
                                   "--window-size=1000,900", "--dump-dom", "file://" + (folder / file).string()});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err.find("CONSOLE"), std::string::npos) << result.err;
    return result.out;
  }

  static std::string svg_of(const std::string& page, const std::string& chart) {
    const size_t name = page.find("data-chart=\"" + chart + "\"");
    if (name == std::string::npos) return "";
    const size_t begin = page.rfind("<svg", name), end = page.find("</svg>", name);
    return page.substr(begin, end - begin);
  }

  static std::vector<std::string> marks(const std::string& svg) {
    std::vector<std::string> tags;
    const std::regex tag("<(path|rect|circle) class=\"mark\"[^>]*>");
    for (std::sregex_iterator it(svg.begin(), svg.end(), tag), end; it != end; ++it) tags.push_back(it->str());
    return tags;
  }
};

TEST_F(ReportPageTest, DrawsTheNumbersOfItsData) {
  if (browser().empty())
    GTEST_SKIP() << "there is no Chromium to look at the page with; on Debian: apt-get install chromium";
  train("h.st");
  quantize("h.st", "q.st");
  const json models = json_of(
      {"report", "h.st", "q.st", "--data", "data", "--runs", "1", "--sensitivity", "--out", "r.html"})["models"];
  const std::string page = drawn("r.html");

  for (const auto& [chart, key] : {std::pair("size", "size_bytes"), {"latency", "latency_b1_us"}}) {
    const std::string svg = svg_of(page, chart);
    const Axis x(svg, "data-x"), y(svg, "data-y");
    const std::vector<std::string> points = marks(svg);
    ASSERT_EQ(points.size(), models.size()) << chart;
    for (size_t i = 0; i < points.size(); ++i) {
      const std::vector<double> place = numbers(attribute(points[i], "transform"));
      ASSERT_EQ(place.size(), 2u) << points[i];
      const double cost = models[i][key], accuracy = models[i]["accuracy"];
      EXPECT_NEAR(x.value(place[0]), cost, 1e-6 * cost) << chart;
      EXPECT_NEAR(y.value(place[1]), accuracy, 1e-6) << chart;
    }
  }

  const std::string loss = svg_of(page, "loss");
  const Axis epoch(loss, "data-x"), height(loss, "data-y");
  std::vector<std::pair<double, double>> points, expected;
  for (const std::string& mark : marks(loss))
    points.emplace_back(std::round(epoch.value(std::stod(attribute(mark, "cx")))),
                        height.value(std::stod(attribute(mark, "cy"))));
  for (const char* key : {"test_loss", "train_loss"})
    for (const json& record : models[0]["history"]) expected.emplace_back(record["epoch"], record[key]);
  ASSERT_EQ(points.size(), expected.size());
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(points[i].first, expected[i].first);
    EXPECT_NEAR(points[i].second, expected[i].second, 1e-6);
  }

  const std::string lost = svg_of(page, "sensitivity-0");
  const Axis drop(lost, "data-x");
  const std::vector<std::string> drops = marks(lost);
  ASSERT_EQ(drops.size(), models[0]["sensitivity"]["layers"].size());
  for (size_t i = 0; i < drops.size(); ++i) {
    const double from = drop.value(std::stod(attribute(drops[i], "x")));
    const double to = drop.value(std::stod(attribute(drops[i], "x")) + std::stod(attribute(drops[i], "width")));
    const double value = 100 * models[0]["sensitivity"]["layers"][i]["accuracy_drop"].get<double>();
    EXPECT_NEAR(value < 0 ? from : to, value, 0.01);
  }

  double times = 0, drawn_times = 0;
  for (const json& model : models)
    for (const json& layer : model["layer_times"]["layers"]) times += layer["us"].get<double>();
  const std::string bars = svg_of(page, "times");
  const Axis us(bars, "data-x");
  for (const std::string& mark : marks(bars))
    drawn_times += us.value(std::stod(attribute(mark, "x")) + std::stod(attribute(mark, "width")));
  EXPECT_NEAR(drawn_times, times, 0.01 * times);

  // Histograms: each bin is where it belongs, and as wide.
  const json& weights = models[0]["weights"][0];
  const std::string histogram = svg_of(page, "weights-0-0");
  const Axis value(histogram, "data-x");
  const std::vector<std::string> bins = marks(histogram);
  ASSERT_EQ(bins.size(), weights["counts"].size());
  for (size_t i = 0; i < bins.size(); ++i)
    EXPECT_NEAR(value.value(std::stod(attribute(bins[i], "x"))),
                weights["low"].get<double>() + static_cast<double>(i) * weights["width"].get<double>(), 1e-6);

  // Each node of both graphs, and each cell of their confusion matrices.
  size_t nodes = 0, cells = 0;
  for (const json& model : models) nodes += model["graph"]["nodes"].size();
  const std::regex node("<g class=\"node "), cell("title=\"(\\d+) of class (\\d+) taken for (\\d+)\"");
  EXPECT_EQ(static_cast<size_t>(std::distance(std::sregex_iterator(page.begin(), page.end(), node), {})), nodes);
  for (std::sregex_iterator it(page.begin(), page.end(), cell), end; it != end; ++it) cells += std::stoul((*it)[1]);
  EXPECT_EQ(cells, 100u);
}

TEST_F(ReportPageTest, NamesAreNeverMarkup) {
  if (browser().empty())
    GTEST_SKIP() << "there is no Chromium to look at the page with; on Debian: apt-get install chromium";
  const std::string file = "<img src=x onerror=document.title='broken'>.st";
  train(file);
  ASSERT_EQ(run({"report", file, "--data", "data", "--runs", "0", "--out", "r.html"}).status, 0);
  const std::string page = drawn("r.html");
  EXPECT_THAT(page, testing::HasSubstr("<title>Thimble report</title>"));
  EXPECT_EQ(page.find("<img src=\"x\""), std::string::npos);
  EXPECT_THAT(page, testing::HasSubstr("&lt;img src=x onerror="));
}

}  // namespace

}  // namespace thimble::apps
