// The speed of float convolutions over the layer shapes of well-known networks, and odd ones: GMAC/s of each, the
// median of each class of shapes, and which fall below 0.7 of it, so that a cliff is seen.
//
//   build/release/bench/conv_bench [--threads 1,2] [--rounds 3] [--filter TEXT] [--quiet]
//
// Times are the best of all rounds. A neighbour on the same cores slows whole rounds: more rounds help.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <thimble/core/kernels/image/conv2d.h>
#include <thimble/core/ops/conv_geometry.h>
#include <thimble/core/parallel.h>
#include <thimble/core/random.h>

namespace {

using namespace thimble;

struct Layer {
  std::string name;
  kernels::Conv2dGeometry g;
};

// A square kernel with "same" padding unless another is given.
struct Conv {
  int64_t in, out, size, kernel = 3, stride = 1, groups = 1, dilation = 1, padding = -1;
};

class Table {
 public:
  void add(const std::string& network, int64_t batch, const Conv& c) {
    const int64_t padding = c.padding >= 0 ? c.padding : c.dilation * (c.kernel - 1) / 2;
    const kernels::Conv2dGeometry g =
        conv2d_geometry("conv_bench", {batch, c.in, c.size, c.size}, {c.out, c.in / c.groups, c.kernel, c.kernel},
                        {.stride = c.stride, .padding = padding, .dilation = c.dilation, .groups = c.groups});
    std::string name = std::to_string(c.kernel) + "x" + std::to_string(c.kernel) + " " + std::to_string(c.in) + " to " +
                       std::to_string(c.out) + ", " + std::to_string(c.size) + "x" + std::to_string(c.size);
    if (c.stride > 1) name += " s" + std::to_string(c.stride);
    if (c.dilation > 1) name += " d" + std::to_string(c.dilation);
    if (c.groups > 1) name += " g" + std::to_string(c.groups);
    if (c.padding >= 0) name += " p" + std::to_string(c.padding);
    name += ", batch " + std::to_string(batch);
    if (seen_.insert(name).second) layers_.push_back({network + ": " + name, g});
  }

  const std::vector<Layer>& layers() const { return layers_; }

 private:
  std::set<std::string> seen_;
  std::vector<Layer> layers_;
};

void add_resnet18(Table& table, int64_t batch) {
  if (batch == 1) table.add("resnet18", batch, {3, 64, 224, 7, 2});
  for (int64_t channels = 64, size = 56; channels <= 512; channels *= 2, size /= 2) {
    table.add("resnet18", batch, {channels, channels, size});
    if (channels == 512) return;
    table.add("resnet18", batch, {channels, channels * 2, size, 3, 2});
    table.add("resnet18", batch, {channels, channels * 2, size, 1, 2});
  }
}

void add_resnet50(Table& table, int64_t batch) {
  int64_t in = 64;
  for (int64_t channels = 64, size = 56; channels <= 512; channels *= 2, size /= 2) {
    const int64_t stride = channels == 64 ? 1 : 2, before = size * stride;
    table.add("resnet50", batch, {in, channels, before, 1});
    table.add("resnet50", batch, {channels, channels, before, 3, stride});
    table.add("resnet50", batch, {in, channels * 4, before, 1, stride});
    table.add("resnet50", batch, {channels, channels * 4, size, 1});
    table.add("resnet50", batch, {channels * 4, channels, size, 1});
    in = channels * 4;
  }
}

void add_mobilenet_v2(Table& table, int64_t batch) {
  struct Stage {
    int64_t expansion, channels, repeats, stride;
  };
  table.add("mobilenet_v2", batch, {3, 32, 224, 3, 2});
  int64_t in = 32, size = 112;
  for (const Stage& s : {Stage{1, 16, 1, 1},
                         {6, 24, 2, 2},
                         {6, 32, 3, 2},
                         {6, 64, 4, 2},
                         {6, 96, 3, 1},
                         {6, 160, 3, 2},
                         {6, 320, 1, 1}}) {
    for (int64_t i = 0; i < s.repeats; ++i) {
      const int64_t hidden = in * s.expansion, stride = i == 0 ? s.stride : 1;
      if (hidden != in) table.add("mobilenet_v2", batch, {in, hidden, size, 1});
      table.add("mobilenet_v2", batch, {hidden, hidden, size, 3, stride, hidden});
      size /= stride;
      table.add("mobilenet_v2", batch, {hidden, s.channels, size, 1});
      in = s.channels;
    }
  }
  table.add("mobilenet_v2", batch, {320, 1280, 7, 1});
}

void add_mobilenet_v3_small(Table& table, int64_t batch) {
  struct Block {
    int64_t kernel, hidden, out, stride;
  };
  table.add("mobilenet_v3_small", batch, {3, 16, 224, 3, 2});
  int64_t in = 16, size = 112;
  for (const Block& b : {Block{3, 16, 16, 2},
                         {3, 72, 24, 2},
                         {3, 88, 24, 1},
                         {5, 96, 40, 2},
                         {5, 240, 40, 1},
                         {5, 120, 48, 1},
                         {5, 144, 48, 1},
                         {5, 288, 96, 2},
                         {5, 576, 96, 1}}) {
    if (b.hidden != in) table.add("mobilenet_v3_small", batch, {in, b.hidden, size, 1});
    table.add("mobilenet_v3_small", batch, {b.hidden, b.hidden, size, b.kernel, b.stride, b.hidden});
    size /= b.stride;
    table.add("mobilenet_v3_small", batch, {b.hidden, b.out, size, 1});
    in = b.out;
  }
  table.add("mobilenet_v3_small", batch, {96, 576, 7, 1});
}

void add_unet(Table& table) {
  table.add("unet", 1, {3, 32, 128});
  for (int64_t channels = 32, size = 128; size >= 8; channels *= 2, size /= 2) {
    if (channels > 32) table.add("unet", 1, {channels / 2, channels, size});
    table.add("unet", 1, {channels, channels, size});
    if (size > 8) table.add("unet", 1, {channels * 2, channels, size});
  }
  table.add("unet", 1, {32, 2, 128, 1});
}

void add_reference_models(Table& table, int64_t batch) {
  table.add("cnn", batch, {1, 16, 28});
  table.add("cnn", batch, {16, 32, 14});
  table.add("cnn", batch, {32, 64, 7});
  table.add("resnet9", batch, {1, 16, 32, 7, 4});
  table.add("resnet9", batch, {16, 32, 8, 3, 2});
  table.add("resnet9", batch, {32, 32, 4});
  table.add("resnet9", batch, {32, 64, 4, 3, 2});
  table.add("resnet9", batch, {64, 64, 2});
}

void add_odd(Table& table) {
  for (int64_t batch : {1, 8, 16, 64}) {
    table.add("odd", batch, {512, 512, 7});
    table.add("odd", batch, {17, 40, 7});
    table.add("odd", batch, {40, 17, 5});
    table.add("odd", batch, {3, 40, 32, 5});
  }
  for (int64_t out : {480, 512, 513}) table.add("odd", 1, {512, out, 14});
  for (int64_t size : {3, 5, 6, 9, 10, 13, 15, 17, 20, 30}) table.add("odd", 4, {96, 96, size});
  for (int64_t size : {5, 7, 11}) table.add("odd", 2, {64, 64, size, 5});
  table.add("odd", 1, {513, 513, 7});
  table.add("odd", 1, {513, 40, 7, 1});
  table.add("odd", 1, {40, 513, 14, 1});
  table.add("odd", 16, {3, 17, 20, 1});
  table.add("odd", 8, {2048, 512, 7, 1});
  table.add("odd", 1, {128, 128, 28, 3, 1, 1, 2});
  table.add("odd", 1, {128, 128, 28, 3, 1, 1, 4});
  table.add("odd", 1, {64, 64, 33, 3, 1, 1, 2});
  table.add("odd", 2, {48, 48, 31, 3, 2, 1, 1, 0});
  table.add("odd", 2, {48, 48, 29, 3, 3});
  table.add("odd", 1, {64, 96, 27, 5});
  table.add("odd", 1, {96, 256, 27, 5, 1, 2});
  table.add("odd", 1, {3, 64, 224, 11, 4, 1, 1, 2});
  table.add("odd", 1, {3, 96, 224, 4, 4, 1, 1, 0});
  for (int64_t batch : {1, 16}) {
    table.add("odd", batch, {128, 128, 56, 3, 1, 32});
    table.add("odd", batch, {256, 256, 14, 3, 1, 4});
    table.add("odd", batch, {512, 512, 14, 3, 2, 32});
    table.add("odd", batch, {240, 240, 28, 1, 1, 3});
    table.add("odd", batch, {40, 40, 17, 3, 1, 40});
    table.add("odd", batch, {513, 513, 5, 3, 1, 513});
    table.add("odd", batch, {64, 64, 28, 7, 1, 64});
    table.add("odd", batch, {96, 96, 28, 3, 1, 96, 2});
    table.add("odd", batch, {33, 33, 30, 3, 3, 33});
  }
}

std::vector<Layer> all_layers() {
  Table table;
  for (int64_t batch : {1, 16}) {
    add_resnet18(table, batch);
    add_resnet50(table, batch);
    add_mobilenet_v3_small(table, batch);
  }
  add_mobilenet_v2(table, 1);
  add_mobilenet_v2(table, 8);
  add_unet(table);
  for (int64_t batch : {1, 64}) add_reference_models(table, batch);
  add_odd(table);
  return table.layers();
}

// Shapes of a class should be equally fast. Fewer than 64 products for an output are memory bound, as is what reads and
// writes much for each product; narrow outputs leave lanes of vectors empty; of a few thousand products the call
// itself is to be seen.
std::string class_of(const kernels::Conv2dGeometry& g) {
  const int64_t macs = g.out_pixels() * g.out_channels * g.columns();
  std::string name;
  if (g.depthwise()) {
    name = "depthwise " + std::to_string(g.kernel_height) + "x" + std::to_string(g.kernel_width);
    if (g.stride_height > 1) name += " strided";
    const int64_t pixels = g.batch * (g.in_height * g.in_width + g.out_height * g.out_width);
    if (pixels * g.out_channels * 4 > 1024 * 1024) name += ", beyond L2";
  } else if (g.groups > 1) {
    name = g.group_out() < 16 ? "grouped, narrow" : "grouped";
  } else {
    name = g.taps() == 1 ? "1x1" : g.in_channels <= 4 ? "stem" : "3x3 and more";
    if (g.taps() > 1 && g.in_channels == 1) name += " of 1 channel";
    if (g.taps() == 1 && g.columns() < 64) name += ", short sums";
    if (g.out_channels < 32) name += ", narrow";
  }
  return macs < 1'000'000 ? name + ", tiny" : name;
}

struct Data {
  NDArray x, weight, bias, y;
  kernels::ConvFrames frames;

  explicit Data(const kernels::Conv2dGeometry& g) : frames(kernels::forward_frames(g)) {
    Generator rng(1);
    x = rand({g.batch, g.in_height, g.in_width, g.in_channels}, rng);
    weight = conv2d_forward_weight(rand({g.out_channels, g.group_in(), g.kernel_height, g.kernel_width}, rng), g);
    bias = rand({g.out_channels}, rng);
    y = NDArray::zeros({g.batch, g.out_height, g.out_width, g.out_channels});
  }

  void run() {
    kernels::conv2d(frames, x.data<float>(), weight.data<float>(), y.data<float>(),
                    kernels::bias_epilogue(bias.data<float>(), true));
  }
};

// Of one thread its own time, which neighbours on its core disturb less.
double now(int threads) {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  if (threads == 1) {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
#endif
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double seconds_of(Data& data, int threads, int calls) {
  const double start = now(threads);
  for (int i = 0; i < calls; ++i) data.run();
  return (now(threads) - start) / calls;
}

// Seconds of a call at best.
double best_time(const kernels::Conv2dGeometry& g, int threads) {
  set_num_threads(threads);
  Data data(TrimmedConv2d(g).g);
  const double first = std::min(seconds_of(data, threads, 1), seconds_of(data, threads, 1));
  const int calls = static_cast<int>(std::clamp(20e-6 / first, 1.0, 20.0));
  double best = 1e30, total = 0;
  for (int i = 0; i < 5 || (total < 0.01 && i < 100); ++i) {
    const double seconds = seconds_of(data, threads, calls);
    best = std::min(best, seconds);
    total += seconds * calls;
  }
  return best;
}

struct Options {
  std::vector<int> threads{1, 2};
  int rounds = 3;
  std::string filter;
  bool quiet = false;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--quiet") {
      o.quiet = true;
      continue;
    }
    ++i;
    if (name == "--rounds") o.rounds = std::atoi(value);
    if (name == "--filter") o.filter = value;
    if (name == "--threads") {
      o.threads.clear();
      for (const char* p = value; p; p = std::strchr(p, ',') ? std::strchr(p, ',') + 1 : nullptr)
        o.threads.push_back(std::atoi(p));
    }
  }
  return o;
}

struct Result {
  const Layer* layer;
  double seconds = 1e30;

  double speed() const {
    const kernels::Conv2dGeometry& g = layer->g;
    return static_cast<double>(g.out_pixels() * g.out_channels * g.columns()) / seconds * 1e-9;
  }
};

void report(std::vector<Result> results, int threads, bool quiet) {
  std::map<std::string, std::vector<Result>> classes;
  for (const Result& r : results) classes[class_of(r.layer->g)].push_back(r);
  if (!quiet)
    for (const Result& r : results)
      std::printf("%d threads  %7.1f GMAC/s %9.1f us  %s  [%s]\n", threads, r.speed(), r.seconds * 1e6,
                  r.layer->name.c_str(), class_of(r.layer->g).c_str());
  for (auto& [name, of_class] : classes) {
    std::ranges::sort(of_class, {}, [](const Result& r) { return r.speed(); });
    const double median = of_class[of_class.size() / 2].speed();
    std::printf("%d threads  %-34s %3zu shapes, median %6.1f GMAC/s, lowest %.2f of it\n", threads, name.c_str(),
                of_class.size(), median, of_class[0].speed() / median);
    for (const Result& r : of_class)
      if (r.speed() < 0.7 * median)
        std::printf("    below: %.2f, %6.1f GMAC/s, %s\n", r.speed() / median, r.speed(), r.layer->name.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  std::vector<Layer> layers = all_layers();
  std::erase_if(layers, [&](const Layer& l) {
    return l.name.find(options.filter) == std::string::npos && class_of(l.g).find(options.filter) == std::string::npos;
  });
  std::printf("%zu shapes\n", layers.size());
  std::map<int, std::vector<Result>> results;
  for (int threads : options.threads)
    for (const Layer& layer : layers) results[threads].push_back({&layer});
  for (int round = 0; round < options.rounds; ++round)
    for (auto& [threads, of_threads] : results)
      for (Result& r : of_threads) r.seconds = std::min(r.seconds, best_time(r.layer->g, threads));
  for (auto& [threads, of_threads] : results) report(of_threads, threads, options.quiet);
}
