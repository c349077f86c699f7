// The page: one file of HTML with its styles, its scripts and its data.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace thimble::apps {

/// The data is in the page's only script of type application/json, id "data", as text that nothing in it can end.
std::string report_page(const nlohmann::json& data);

/// The data's text as it is in the page: JSON of ASCII characters without "<", whatever names it holds.
std::string json_for_page(const nlohmann::json& data);

}  // namespace thimble::apps
