#include "apps/report/page.h"

#include <nlohmann/json.hpp>

#include "apps/report/assets.h"
#include <thimble/core/error.h>

namespace thimble::apps {

namespace {

// Appends the template up to "{{name}}", and leaves what is behind that.
void append_until(std::string& page, std::string_view& rest, const std::string& name) {
  const std::string mark = "{{" + name + "}}";
  const size_t at = rest.find(mark);
  check(at != std::string_view::npos, "report: the page has no place for ", name);
  page += rest.substr(0, at);
  rest.remove_prefix(at + mark.size());
}

}  // namespace

std::string json_for_page(const nlohmann::json& data) {
  std::string text;
  for (const char c : data.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace))
    if (c == '<')
      text += "\\u003c";  // "</script>" and "<!--" mean something even in strings
    else
      text += c;
  return text;
}

std::string report_page(const nlohmann::json& data) {
  std::string page;
  std::string_view rest = kPageTemplate;
  const std::pair<const char*, std::string> parts[] = {{"style", std::string(kPageStyle)},
                                                       {"license", std::string(kLibraryLicense)},
                                                       {"data", json_for_page(data)},
                                                       {"libraries", std::string(kPageLibraries)},
                                                       {"script", std::string(kPageScript)}};
  for (const auto& [name, text] : parts) {
    append_until(page, rest, name);
    page += text;
  }
  return page.append(rest);
}

}  // namespace thimble::apps
