#include <algorithm>
#include <utility>

#include <thimble/core/ops/einsum.h>
#include <thimble/core/ops/rearrange.h>
#include <thimble/core/ops/reduce.h>
#include <thimble/core/ops/shape.h>

namespace thimble {

namespace {

// Labels of dimensions, a character each: the equation's letters, and digits for the dimensions of an ellipsis.
struct Labels {
  std::vector<std::string> operands;
  std::string result;
};

bool has(const std::string& labels, char label) { return labels.find(label) != std::string::npos; }

int place_of(const std::string& labels, char label) { return static_cast<int>(labels.find(label)); }

void check_equation(bool holds, const std::string& equation) {
  check<ValueError>(holds, "einsum: '", equation, "' is no equation like \"ij,jk->ik\"");
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_label(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c); }

// A term with its ellipsis as one '.'.
std::string checked_term(const std::string& term, const std::string& equation) {
  const size_t dots = term.find("...");
  const std::string plain = dots == std::string::npos ? term : term.substr(0, dots) + term.substr(dots + 3);
  check_equation(std::ranges::all_of(plain, is_label), equation);
  return dots == std::string::npos ? term : term.substr(0, dots) + '.' + term.substr(dots + 3);
}

// As the equation has them.
Labels parsed(const std::string& equation) {
  std::string text;
  for (const char c : equation)
    if (c != ' ') text += c;
  check_equation(!has(text, '.') || std::ranges::none_of(text, is_digit), equation);
  const size_t arrow = text.find("->");
  const std::string terms = text.substr(0, arrow);
  Labels labels;
  for (size_t begin = 0; begin <= terms.size();) {
    const size_t end = std::min(terms.find(',', begin), terms.size());
    labels.operands.push_back(checked_term(terms.substr(begin, end - begin), equation));
    begin = end + 1;
  }
  if (arrow != std::string::npos) {
    labels.result = checked_term(text.substr(arrow + 2), equation);
  } else {
    std::string all;
    for (const std::string& operand : labels.operands) all += operand;
    for (const char c : all)
      if (c != '.' && std::ranges::count(all, c) == 1) labels.result += c;
    std::ranges::sort(labels.result);
    if (has(all, '.')) labels.result.insert(labels.result.begin(), '.');
  }
  for (const char c : labels.result) {
    const bool is_known = std::ranges::any_of(labels.operands, [c](const std::string& o) { return has(o, c); });
    check_equation((is_known || c == '.') && std::ranges::count(labels.result, c) == 1, equation);
  }
  return labels;
}

// With a digit for each dimension of an ellipsis: the last one has the same of all operands.
Labels labels_of(const std::string& equation, std::span<const Shape> shapes) {
  Labels labels = parsed(equation);
  check<ValueError>(labels.operands.size() == shapes.size(), "einsum: '", equation, "' is of ", labels.operands.size(),
                    " operands, got ", shapes.size());
  std::vector<int> widths;  // of each operand's ellipsis
  int widest = 0;
  const auto digits = [](int first, int last) {
    std::string text;
    for (int d = first; d < last; ++d) text += static_cast<char>('0' + d);
    return text;
  };
  const auto expand = [&](std::string& term, int width) {
    if (has(term, '.')) term.replace(term.find('.'), 1, digits(widest - width, widest));
  };
  const auto width_of = [&](size_t i) {
    const std::string& term = labels.operands[i];
    const int named = static_cast<int>(term.size()) - (has(term, '.') ? 1 : 0), width = shapes[i].ndim() - named;
    check<ShapeError>(width == 0 || (width > 0 && has(term, '.')), "einsum: an operand of shape ", shapes[i],
                      " does not fit '", equation, "'");
    return width;
  };
  for (size_t i = 0; i < shapes.size(); ++i) {
    widths.push_back(width_of(i));
    widest = std::max(widest, widths[i]);
  }
  for (size_t i = 0; i < shapes.size(); ++i) expand(labels.operands[i], widths[i]);
  expand(labels.result, widest);
  return labels;
}

/// An array whose dimensions have names.
struct Labelled {
  NDArray array;
  std::string labels;

  int64_t size(char label) const { return array.shape(place_of(labels, label)); }
};

// Of dimensions that are named twice the diagonal, as the last one; and those dimensions, in turn.
std::vector<std::pair<int, int>> take_diagonals(std::string& labels) {
  std::vector<std::pair<int, int>> taken;
  for (size_t i = 0; i < labels.size();) {
    const char label = labels[i];
    const size_t again = labels.find(label, i + 1);
    if (again == std::string::npos) {
      ++i;
      continue;
    }
    taken.emplace_back(static_cast<int>(i), static_cast<int>(again));
    labels.erase(again, 1).erase(i, 1);
    labels += label;
  }
  return taken;
}

NDArray applied(const char* op, const Attributes& attributes, const std::vector<NDArray>& inputs) {
  return make_op(op, attributes)->compute(inputs);
}

Labelled without_repeats(const NDArray& x, std::string labels) {
  NDArray array = x;
  for (const auto& [a, b] : take_diagonals(labels))
    array = applied("diagonal", {{"axis0", int64_t{a}}, {"axis1", int64_t{b}}}, {array});
  return {array, labels};
}

// Summed over the dimensions that nobody wants.
Labelled summed(Labelled x, const std::string& wanted) {
  std::vector<int64_t> axes;
  std::string kept;
  for (size_t d = 0; d < x.labels.size(); ++d)
    if (has(wanted, x.labels[d]))
      kept += x.labels[d];
    else
      axes.push_back(static_cast<int64_t>(d));
  if (axes.empty()) return x;
  return {applied("sum", {{"axes", axes}}, {x.array}), kept};
}

// In the order of `labels`; what x lacks of these gets size 1.
NDArray arranged(const Labelled& x, const std::string& labels) {
  Shape order;
  for (const char label : labels)
    if (has(x.labels, label)) order.push_back(place_of(x.labels, label));
  NDArray array = x.array.permute(order);
  for (size_t d = 0; d < labels.size(); ++d)
    if (!has(x.labels, labels[d])) array = array.unsqueeze(static_cast<int>(d));
  return array;
}

// The sizes of labels in x, or in y where x has 1, as all broadcast.
Shape sizes_of_both(const std::string& labels, const Labelled& x, const Labelled& y) {
  Shape sizes;
  for (const char label : labels) {
    const int64_t a = has(x.labels, label) ? x.size(label) : 1, b = has(y.labels, label) ? y.size(label) : 1;
    check<ShapeError>(a == b || a == 1 || b == 1, "einsum: '", label, "' has size ", a, " in one operand and ", b,
                      " in another");
    sizes.push_back(a == 1 ? b : a);
  }
  return sizes;
}

Shape joined(const Shape& a, const Shape& b, const Shape& c = {}) {
  Shape all = a;
  for (const int64_t size : b) all.push_back(size);
  for (const int64_t size : c) all.push_back(size);
  return all;
}

// The product of both, summed over what neither the result nor later operands want: one matrix product.
Labelled contracted(Labelled a, Labelled b, const std::string& wanted) {
  a = summed(std::move(a), wanted + b.labels);
  b = summed(std::move(b), wanted + a.labels);
  std::string batch, rows, inner, columns;
  for (const char label : a.labels) (!has(b.labels, label) ? rows : has(wanted, label) ? batch : inner) += label;
  for (const char label : b.labels)
    if (!has(a.labels, label)) columns += label;
  const Shape batch_sizes = sizes_of_both(batch, a, b), inner_sizes = sizes_of_both(inner, a, b),
              row_sizes = sizes_of_both(rows, a, a), column_sizes = sizes_of_both(columns, b, b);
  const NDArray left = arranged(a, batch + rows + inner).broadcast_to(joined(batch_sizes, row_sizes, inner_sizes)),
                right =
                    arranged(b, batch + inner + columns).broadcast_to(joined(batch_sizes, inner_sizes, column_sizes));
  const NDArray product = applied("matmul", {},
                                  {left.reshape({batch_sizes.numel(), row_sizes.numel(), inner_sizes.numel()}),
                                   right.reshape({batch_sizes.numel(), inner_sizes.numel(), column_sizes.numel()})});
  return {product.reshape(joined(batch_sizes, row_sizes, column_sizes)), batch + rows + columns};
}

std::vector<Shape> shapes_of(std::span<const Tensor> tensors) {
  std::vector<Shape> shapes;
  for (const Tensor& x : tensors) shapes.push_back(x.shape());
  return shapes;
}

class Einsum final : public Op {
 public:
  explicit Einsum(std::string equation) : equation_(std::move(equation)) {}
  std::string_view name() const override { return "einsum"; }
  InputCount num_inputs() const override { return {1, InputCount::kAny}; }
  Attributes attributes() const override { return {{"equation", equation_}}; }

  NDArray compute(std::span<const NDArray> inputs) override {
    std::vector<Shape> shapes;
    for (const NDArray& x : inputs) shapes.push_back(x.shape());
    const Labels labels = labels_of(equation_, shapes);
    Labelled product = without_repeats(inputs[0], labels.operands[0]);
    for (size_t i = 1; i < inputs.size(); ++i) {
      std::string wanted = labels.result;
      for (size_t later = i + 1; later < inputs.size(); ++later) wanted += labels.operands[later];
      product = contracted(std::move(product), without_repeats(inputs[i], labels.operands[i]), wanted);
    }
    return arranged(summed(std::move(product), labels.result), labels.result).contiguous();
  }

  // The product of the output's gradient and the other operands, summed over what the operand lacks.
  std::vector<Tensor> gradient(const Tensor& out_grad, std::span<const Tensor> inputs, const Tensor&) override {
    const Labels labels = labels_of(equation_, shapes_of(inputs));
    std::vector<Tensor> grads(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i].requires_grad()) grads[i] = gradient_of(i, out_grad, inputs, labels);
    return grads;
  }

 private:
  static Tensor gradient_of(size_t i, const Tensor& out_grad, std::span<const Tensor> inputs, const Labels& labels) {
    std::string others = labels.result, own = labels.operands[i];
    std::vector<Tensor> factors{out_grad};
    for (size_t j = 0; j < inputs.size(); ++j) {
      if (j == i) continue;
      others += ',' + labels.operands[j];
      factors.push_back(inputs[j]);
    }
    std::vector<Shape> before;  // each diagonal
    Shape shape = inputs[i].shape();
    const std::vector<std::pair<int, int>> diagonals = take_diagonals(own);
    for (const auto& [a, b] : diagonals) {
      before.push_back(shape);
      const int64_t size = shape[a];
      shape.erase(b);
      shape.erase(a);
      shape.push_back(size);
    }
    std::string found;
    for (const char label : own)
      if (has(others, label)) found += label;
    Tensor grad = einsum(others + "->" + found, factors);
    for (size_t d = 0; d < own.size(); ++d)
      if (!has(found, own[d])) grad = unsqueeze(grad, static_cast<int64_t>(d));
    grad = broadcast_to(sum_to(grad, sizes_within(grad.shape(), shape)), shape);
    for (size_t d = diagonals.size(); d-- > 0;)
      grad = apply(make_op("diagonal_backward", {{"axis0", int64_t{diagonals[d].first}},
                                                 {"axis1", int64_t{diagonals[d].second}},
                                                 {"shape", before[d].to_vector()}}),
                   {grad});
    return grad;
  }

  // Where the operand was broadcast it has size 1, and the gradient another, 0 among them.
  static Shape sizes_within(Shape grad, const Shape& operand) {
    for (int d = 0; d < grad.ndim(); ++d)
      if (operand[d] == 1) grad[d] = 1;
    return grad;
  }

  std::string equation_;
};

const OpRegistration einsum_registration{
    "einsum", [](const Attributes& a) { return std::make_unique<Einsum>(a.get<std::string>("equation")); }};

}  // namespace

Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands) {
  return thimble::apply(std::make_unique<Einsum>(equation), operands);
}

}  // namespace thimble
