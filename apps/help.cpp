#include "apps/help.h"

#include <algorithm>
#include <numeric>
#include <sstream>
#include <utility>

#include <unistd.h>

#include <thimble/core/error.h>
#include <thimble/core/platform/terminal.h>
#include <thimble/core/text.h>
#include <thimble/core/text_wrap.h>

namespace thimble::apps {

namespace {

constexpr size_t kIndent = 2;

class Help : public CLI::Formatter {
 public:
  std::string make_description(const CLI::App* app) const override { return paragraph(app->get_description()); }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    return paragraph(CLI::Formatter::make_usage(app, name));
  }

  std::string make_option(const CLI::Option* option, bool is_positional) const override {
    return entry(make_option_name(option, is_positional) + make_option_opts(option), make_option_desc(option));
  }

  std::string make_subcommand(const CLI::App* command) const override {
    return entry(command->get_name(), command->get_description());
  }

  std::string make_footer(const CLI::App* app) const override {
    constexpr size_t kFurther = 6;  // indent of what goes on
    std::istringstream lines(app->get_footer());
    std::string text;
    for (std::string line; std::getline(lines, line);) {
      const size_t indent = std::min(line.find_first_not_of(' '), line.size());
      std::string lead(indent, ' ');
      const size_t room = detail::text_width(line) <= width_ ? width_ : width_ - kFurther - 2;  // for the backslash
      for (const std::string& part : detail::wrapped(line.substr(indent), room)) {
        text += lead + part;
        lead = indent > 0 ? " \\\n" + std::string(kFurther, ' ') : "\n";
      }
      text += '\n';
    }
    return text;
  }

 private:
  std::string paragraph(const std::string& text) const {
    std::string lines;
    for (const std::string& line : detail::wrapped(without_line_ends(text), width_)) lines += line + '\n';
    return lines;
  }

  // A name and, in a column of its own, what it means.
  std::string entry(const std::string& name, const std::string& meaning) const {
    const size_t column = std::min<size_t>(30, width_ / 3);
    std::string names, meanings;
    for (const std::string& line : detail::wrapped(name, width_ - 2 * kIndent))
      names += std::string(names.empty() ? kIndent : 2 * kIndent, ' ') + line + '\n';
    for (const std::string& line : detail::wrapped(without_line_ends(meaning), width_ - column))
      if (!line.empty()) meanings += std::string(column, ' ') + line + '\n';
    const size_t end = kIndent + detail::text_width(name);
    const bool is_beside = !meanings.empty() && end + kIndent <= column;
    return is_beside ? std::string(kIndent, ' ') + name + meanings.substr(end) : names + meanings;
  }

  static std::string without_line_ends(std::string text) {
    std::ranges::replace(text, '\n', ' ');
    return CLI::detail::rtrim(text);
  }

  size_t width_ = detail::terminal_width(STDOUT_FILENO);
};

// Insertions, deletions and replacements that make one word the other (Levenshtein 1966).
size_t edits(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

}  // namespace

std::shared_ptr<CLI::Formatter> help_formatter() { return std::make_shared<Help>(); }

std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  constexpr size_t kLongest = 40, kShortestBeginning = 2;  // letters, of a word and of its beginning
  const auto letters = [](std::string_view text) {
    return text.substr(std::min(text.find_first_not_of('-'), text.size()));
  };
  const std::string_view given = letters(word);
  if (given.size() > kLongest) return "";
  const std::string* best = nullptr;
  size_t fewest = given.size() / 3 + 1;  // more would be another word
  for (const std::string& candidate : known) {
    const bool begins = given.size() >= kShortestBeginning && letters(candidate).starts_with(given);
    const size_t distance = begins ? 0 : edits(given, letters(candidate));
    if (distance > fewest || (best && distance == fewest) || distance >= letters(candidate).size()) continue;
    best = &candidate;
    fewest = distance;
  }
  return best ? str("; did you mean ", detail::quote(*best), "?") : "";
}

std::vector<std::string> subcommand_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App* c) { return !c->get_group().empty(); }))
    names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

}  // namespace thimble::apps
