// Whatever allocation fails, the library says so by an exception, and what there was before is there afterwards.
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/out_of_memory/failing_allocator.h"
#include "tests/serialization/files.h"
#include "tests/training_run.h"
#include <thimble/serialization/training_state_folder.h>
#include <thimble/thimble.h>

namespace thimble {
namespace {

using Arrays = std::vector<std::vector<float>>;

// Calls operation() with its first allocation failing, its second and so on, alone and together with all later ones,
// until none of its allocations is left. Each call ends well or in std::bad_alloc, or an IOError that says it in words;
// then intact() looks at what there is. `settle` brings back what an operation may leave, such as gradients: after it
// as much memory must be in use as before.
void for_each_failure(
    const std::function<void()>& operation, const std::function<void()>& intact,
    const std::function<void()>& settle = [] {}) {
  settle();
  operation();  // so that what is made once is there
  for (const Failing failing : {Failing::one, Failing::from_here}) {
    bool failed = true;
    for (int64_t n = 1; failed; ++n) {
      settle();
      const int64_t before = live_allocations();
      bool thrown = false;
      {
        const FailingAllocator allocator(n, failing);
        try {
          operation();
        } catch (const std::bad_alloc&) {
          thrown = true;
        } catch (const IOError& e) {
          thrown = std::string_view(e.what()).ends_with("there is not enough memory");
          if (!thrown) throw;
        }
        failed = allocator.has_failed();
      }
      if (failed) intact();
      settle();
      ASSERT_EQ(live_allocations(), before) << "after allocation " << n << (thrown ? " failed" : "");
      if (testing::Test::HasFailure()) FAIL() << "at allocation " << n << (thrown ? ", which threw" : "");
    }
  }
}

Arrays arrays_of(const nn::NamedTensors& tensors) {
  Arrays arrays;
  for (const auto& [name, tensor] : tensors) arrays.push_back(tensor.data().to_vector<float>());
  return arrays;
}

Arrays arrays_of(const NamedArrays& arrays) {
  Arrays all;
  for (const auto& [name, array] : arrays) all.push_back(array.to_vector<float>());
  return all;
}

struct Net : nn::Module {
  nn::Submodule<nn::Conv2d> conv{this, "conv", 1, 4, 3, {.padding = 1}};
  nn::Submodule<nn::BatchNorm2d> bn{this, "bn", 4};
  nn::Submodule<nn::Dropout> dropout{this, "dropout", 0.25};
  nn::Submodule<nn::Linear> fc{this, "fc", 4 * 2 * 2, 3};
  Tensor forward(const Tensor& x) override {
    const Tensor h = relu(bn(conv(x)));
    return fc(dropout(flatten(max_pool2d(h + h, 2), 1)));
  }
};

class OutOfMemory : public testing::Test {
 protected:
  OutOfMemory() {
    set_cache_limit(0);  // every array is allocated
    set_num_threads(2);
    manual_seed(1);
  }

  nn::Graph traced() const {
    manual_seed(1);
    Net net;
    return nn::trace(net.eval(), x);
  }

  nn::Graph integers() const {
    return quant::quantize_model(traced(), [&](nn::Graph& prepared) { prepared(x); });
  }

  std::vector<float> answer(nn::Graph& graph) const {
    const NoGrad guard;
    return graph(x).data().to_vector<float>();
  }

  Tensor x{randn({4, 1, 4, 4}, default_generator())};
  Tensor labels{NDArray::from_vector(std::vector<int64_t>{0, 1, 2, 0})};
  TempFolder folder;
};

TEST_F(OutOfMemory, ATrainingStepIsMadeOrNot) {
  for (const bool qat : {false, true}) {
    std::shared_ptr<nn::Module> net;
    if (qat)
      net = std::make_shared<nn::Graph>(quant::prepare_qat(traced(), quant::QConfigMapping::static_int8()));
    else
      net = std::make_shared<Net>();
    net->train();
    optim::AdamW optimizer(net->parameters());
    const auto step = [&] {
      const Tensor loss = cross_entropy((*net)(x), labels);
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    };
    step();
    Arrays parameters = arrays_of(net->named_parameters()), moments = arrays_of(optimizer.state());
    bool done = false;
    for_each_failure(
        [&] {
          done = false;
          step();
          done = true;
          parameters.clear();
        },
        [&] {
          if (done) return;
          ASSERT_EQ(arrays_of(net->named_parameters()), parameters);
          ASSERT_EQ(arrays_of(optimizer.state()), moments);
        },
        [&] {
          optimizer.zero_grad();
          if (!parameters.empty()) return;
          parameters = arrays_of(net->named_parameters());
          moments = arrays_of(optimizer.state());
        });
  }
}

TEST_F(OutOfMemory, AnOptimizersStepNeedsNoneAfterTheFirst) {
  Net net;
  optim::AdamW adam(net.parameters());
  optim::SGD sgd(net.parameters(), {.momentum = 0.9});
  cross_entropy(net(x), labels).backward();
  for (optim::Optimizer* optimizer : {static_cast<optim::Optimizer*>(&adam), static_cast<optim::Optimizer*>(&sgd)}) {
    optimizer->step();
    const FailingAllocator allocator(1, Failing::one);
    EXPECT_NO_THROW(optimizer->step());
    EXPECT_FALSE(allocator.has_failed());
  }
}

TEST_F(OutOfMemory, ScalesAndZeroPointsChangeTogether) {
  quant::FakeQuantize fake({});
  const auto parameters_for = [&](const Tensor& values) {
    fake(values);
    return arrays_of(fake.state());
  };
  const Tensor other = x * 2.0 + 1.0;
  const Arrays before = parameters_for(x), after = parameters_for(other);
  ASSERT_NE(before, after);
  for_each_failure([&] { fake(other); },
                   [&] {
                     const Arrays now = arrays_of(fake.state());
                     ASSERT_TRUE(now == before || now == after);
                   },
                   [&] { fake(x); });
}

TEST_F(OutOfMemory, RunningStatisticsChangeTogether) {
  nn::BatchNorm2d bn(1);
  const auto statistics = [&] {
    Arrays arrays;
    for (const auto& [name, buffer] : bn.named_buffers())
      arrays.push_back(buffer.data().to(DType::float32).to_vector<float>());
    return arrays;
  };
  NamedArrays state;
  for (const auto& [name, tensor] : bn.state()) state.emplace_back(name, tensor.data().clone());
  const Arrays before = statistics();
  bn(x);
  const Arrays after = statistics();
  ASSERT_EQ(after.size(), 3u);
  for (size_t i = 0; i < after.size(); ++i) ASSERT_NE(before[i], after[i]);
  for_each_failure([&] { bn(x); },
                   [&] {
                     const Arrays now = statistics();
                     ASSERT_TRUE(now == before || now == after);
                   },
                   [&] { bn.load_state(state); });
}

TEST_F(OutOfMemory, AStepThatIsNotMadeLeavesVersionsAlone) {
  const Tensor w(NDArray::ones({2}), true);
  optim::SGD sgd({w}, {.momentum = 0.9});
  uint64_t version = 0;
  bool done = false;
  for_each_failure(
      [&] {
        done = false;
        sgd.step();
        done = true;
      },
      [&] { ASSERT_EQ(w.version() == version, !done); },
      [&] {
        w.set_grad(NDArray::ones({2}));
        version = w.version();
      });
}

TEST_F(OutOfMemory, TheFirstAnswerOfAGraph) {
  for (const bool quantized : {false, true}) {
    nn::Graph original = quantized ? integers() : traced();
    const std::vector<float> expected = answer(original);
    nn::Graph graph;
    for_each_failure([&] { graph(x); }, [&] { ASSERT_EQ(answer(graph), expected); }, [&] { graph = original.clone(); });
  }
}

TEST_F(OutOfMemory, QuantizingAModel) {
  set_num_threads(1);  // others keep memory of their own from their first piece on, whenever that is
  nn::Graph graph = traced();
  const std::vector<float> expected = answer(graph);
  for_each_failure([&] { quant::quantize_model(graph, [&](nn::Graph& prepared) { prepared(x); }); },
                   [&] { ASSERT_EQ(answer(graph), expected); });
  for_each_failure([&] { quant::quantize_dynamic(graph); }, [&] { ASSERT_EQ(answer(graph), expected); });
}

TEST_F(OutOfMemory, LoadingAModel) {
  set_num_threads(1);  // as above
  for (const bool quantized : {false, true}) {
    nn::Graph graph = quantized ? integers() : traced();
    const std::vector<float> expected = answer(graph);
    save_model(graph, folder / "m");
    for (const bool mapped : {true, false})
      for_each_failure([&] { load_model(folder / "m", {.mapped = mapped}); },
                       [&] {
                         nn::Graph loaded = load_model(folder / "m");
                         ASSERT_EQ(answer(loaded), expected);
                       });
  }
}

TEST_F(OutOfMemory, SavingAModelLeavesTheOldFile) {
  nn::Graph graph = integers();
  save_model(graph, folder / "other", {{"epoch", int64_t{2}}});
  save_model(graph, folder / "m", {{"epoch", int64_t{1}}});
  const std::string other = read_bytes(folder / "other"), old = read_bytes(folder / "m");
  bool done = false;
  for_each_failure(
      [&] {
        done = false;
        save_model(graph, folder / "m", {{"epoch", int64_t{2}}});
        done = true;
      },
      [&] {
        ASSERT_TRUE(read_bytes(folder / "m") == (done ? other : old)) << done;
        ASSERT_EQ(folder.entries(), 2);
      },
      [&] { write_bytes(folder / "m", old); });
}

TEST_F(OutOfMemory, ArraysOfFiles) {
  const NamedArrays arrays{{"x", x.data()}, {"labels", labels.data()}};
  save_npy(folder / "a", x.data());
  save_npz(folder / "z", arrays);
  save_safetensors(folder / "s", {}, arrays);
  for_each_failure([&] { load_npy(folder / "a"); }, [] {});
  for_each_failure([&] { load_npz(folder / "z"); }, [] {});
  for_each_failure([&] { load_verified_safetensors(folder / "s", {.mapped = false}); }, [] {});
  const auto is_saved_or_not = [&](const char* file, const std::function<void()>& save) {
    const std::string expected = read_bytes(folder / file), old = "old";
    bool done = false;
    for_each_failure(
        [&] {
          done = false;
          save();
          done = true;
        },
        [&] { ASSERT_TRUE(read_bytes(folder / file) == (done ? expected : old)) << file << done; },
        [&] { write_bytes(folder / file, old); });
  };
  is_saved_or_not("a", [&] { save_npy(folder / "a", x.data()); });
  is_saved_or_not("z", [&] { save_npz(folder / "z", arrays); });
  is_saved_or_not("s", [&] { save_safetensors(folder / "s", {}, arrays); });
}

TEST_F(OutOfMemory, TracingAModel) {
  Net net;
  net.train();
  for_each_failure([&] { nn::trace(net, x); }, [&] { ASSERT_TRUE(net.fc->training()); });
}

TEST_F(OutOfMemory, EditsOfAGraphAreMadeOrNot) {
  const nn::Graph original = traced();
  nn::Graph graph;
  std::string before;
  nn::Node *input = nullptr, *conv = nullptr, *fc = nullptr;
  const auto settle = [&] {
    graph = original.clone();
    graph.add_layer("dead", std::make_shared<nn::Linear>(4, 4), {graph.find("conv")});
    before = graph.table();
    input = graph.inputs().front();
    conv = graph.find("conv");
    fc = graph.find("fc");
  };
  bool done = false;
  const auto for_each = [&](const std::function<void()>& edit) {
    settle();
    for_each_failure(
        [&] {
          done = false;
          edit();
          done = true;
        },
        [&] {
          graph.verify();
          if (done) return;
          ASSERT_EQ(graph.table(), before);
        },
        settle);
  };
  const auto layer = std::make_shared<nn::Linear>(4, 4);
  const std::string long_name = "a name that is too long to be kept without memory of its own";
  for_each([&] { graph.add_op(long_name, "tanh", {{"some", std::string("attribute")}}, {conv, input}, conv); });
  for_each([&] { graph.add_layer(long_name, layer, {conv}, conv); });
  for_each([&] { graph.add_call(long_name, "conv", {conv}, conv); });
  for_each([&] { graph.add_tensor(long_name, labels); });
  for_each([&] { graph.replace_layer(conv, std::make_shared<nn::Conv2d>(1, 4, 3)); });
  for_each([&] { graph.replace_by_tensor(fc, labels); });
  for_each([&] { graph.rename(conv, long_name); });
  for_each([&] { graph.set_input(graph.find("relu"), 0, conv); });
  for_each([&] { graph.replace_uses(conv, input); });
  for_each([&] { graph.set_output(conv); });
  for_each([&] { graph.erase(graph.find("dead")); });
  for_each([&] { graph.eliminate_dead_nodes(); });
}

TEST_F(OutOfMemory, AStateIsLoadedWholeOrNotAtAll) {
  SmallTrainingRun run;
  run.steps(2);
  const TrainingState other = run.state();
  run.steps(2);
  const TrainingState before = run.state();
  bool done = false;
  for_each_failure(
      [&] {
        done = false;
        run.restore(other);
        done = true;
      },
      [&] {
        const TrainingState& expected = done ? other : before;
        const TrainingState now = run.state();
        ASSERT_EQ(arrays_of(now.model), arrays_of(expected.model));
        ASSERT_EQ(arrays_of(now.optimizer), arrays_of(expected.optimizer));
      },
      [&] { run.restore(before); });
  for_each_failure([&] { run.state(); }, [] {});
}

TEST_F(OutOfMemory, ALoadedStateOfIntegersIsUsedWholeOrNotAtAll) {
  set_num_threads(1);  // as above
  nn::Graph graph = integers();
  NamedArrays before, other;
  for (const auto& [name, tensor] : graph.state()) {
    before.emplace_back(name, tensor.data());
    NDArray changed = tensor.data().clone();
    if (changed.dtype() == DType::int8) changed.fill(1);
    other.emplace_back(name, changed);
  }
  const std::vector<float> expected = answer(graph);
  graph.load_state(other);
  const std::vector<float> expected_of_other = answer(graph);
  ASSERT_NE(expected, expected_of_other);
  bool done = false;
  for_each_failure(
      [&] {
        done = false;
        graph.load_state(other);
        done = true;
      },
      [&] { ASSERT_EQ(answer(graph), done ? expected_of_other : expected); },
      [&] {
        graph.load_state(before);
        answer(graph);
      });
}

TEST_F(OutOfMemory, WritingStatesInTheBackground) {
  SmallTrainingRun run;
  const TrainingState state = run.state();
  TrainingStateFolder states(folder / "states");
  states.save(1, state);
  states.flush();
  for_each_failure(
      [&] {
        states.save(2, state);
        states.flush();
      },
      [&] { ASSERT_TRUE(newest_training_state(folder / "states")); },
      [&] {
        try {
          states.flush();
        } catch (const std::exception&) {  // of a save whose caller had given up
        }
      });
}

TEST_F(OutOfMemory, LookingForStatesInAFolder) {
  write_bytes(folder / "state-1.safetensors", "");
  write_bytes(folder / "a name that is too long to be kept without memory of its own", "");
  for_each_failure([&] { EXPECT_TRUE(has_training_states(folder.path())); }, [] {});
}

class Numbers : public data::Dataset {
 public:
  int64_t size() const override { return 12; }

 private:
  data::Batch make(std::span<const int64_t> indices, const Generator&) const override {
    NDArray numbers({std::ssize(indices)}, DType::int64);
    std::ranges::copy(indices, numbers.data<int64_t>());
    return data::Batch({{"image", NDArray::full({std::ssize(indices), 2}, 0.5)}, {"number", numbers}});
  }
};

TEST_F(OutOfMemory, PreparingBatches) {
  const Numbers data;
  for (const int prefetch : {0, 2}) {
    int64_t seen = 0;
    const auto epoch = [&] {
      data::DataLoader loader(data, {.batch_size = 4, .shuffle = true, .prefetch = prefetch});
      seen = 0;
      for (auto& [images, numbers] : loader) seen += numbers.numel();
    };
    for_each_failure(epoch, [&] {
      epoch();
      ASSERT_EQ(seen, 12);
    });
  }
}

TEST_F(OutOfMemory, StartingThreads) {
  int64_t sum = 0;
  const auto loop = [&] {
    std::vector<int64_t> numbers(100);
    parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) numbers[static_cast<size_t>(i)] = i;
    });
    sum = 0;
    for (const int64_t number : numbers) sum += number;
  };
  for_each_failure(
      loop, [&] { ASSERT_EQ(sum, 4950); },
      [&] {
        set_num_threads(1);  // ends them
        set_num_threads(4);
        sum = 4950;
      });
}

}  // namespace
}  // namespace thimble
