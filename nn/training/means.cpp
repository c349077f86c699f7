#include <algorithm>

#include <thimble/core/error.h>
#include <thimble/core/text.h>
#include <thimble/nn/training/means.h>

namespace thimble {

void Means::add(std::string_view name, double sum, int64_t examples) {
  check<ValueError>(examples >= 0, "Means: ", detail::quote(name), " is of ", examples, " examples");
  auto it = std::ranges::find(means_, name, &Mean::name);
  if (it == means_.end()) it = means_.insert(it, {.name = std::string(name)});
  it->sum += sum;
  it->examples += examples;
  ++it->times;
}

bool Means::contains(std::string_view name) const { return std::ranges::count(means_, name, &Mean::name) > 0; }

int64_t Means::times(std::string_view name) const {
  const auto it = std::ranges::find(means_, name, &Mean::name);
  return it == means_.end() ? 0 : it->times;
}

double Means::operator[](std::string_view name) const {
  const auto it = std::ranges::find(means_, name, &Mean::name);
  if (it != means_.end()) return it->value();
  std::string known;
  for (const Mean& mean : means_) known += (known.empty() ? "" : ", ") + mean.name;
  throw ValueError(str("there is no mean ", detail::quote(name), "; there are: ", known));
}

}  // namespace thimble
