// What --help prints, and what to say of a word that the command line does not know.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace thimble::apps {

/// Help in lines as long as the terminal on standard output is wide, 80 if it is none. A footer is a title and indented
/// command lines; those that are too long go on behind a backslash, as shells have it.
std::shared_ptr<CLI::Formatter> help_formatter();

/// "; did you mean 'train'?", if one of the known words begins with this one or is like it; else empty.
std::string suggestion(std::string_view word, const std::vector<std::string>& known);

/// The subcommands that are listed, and the options with their dashes.
std::vector<std::string> subcommand_names(const CLI::App& app);
std::vector<std::string> option_names(const CLI::App& command);

}  // namespace thimble::apps
