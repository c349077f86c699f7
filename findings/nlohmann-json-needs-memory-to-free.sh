#!/usr/bin/env bash
# nlohmann::json 3.11.2: freeing a list or object that is not empty allocates memory, in a destructor that is noexcept.
#
# The destructor moves the children of a list or object to a vector, so that deep nesting needs no deep recursion; the
# vector is reserved first. Where memory has ended, which is when exceptions unwind and free what there is, that
# allocation throws out of a noexcept function, and the program ends by std::terminate. Code that catches std::bad_alloc
# around a parse or the making of a document, and goes on, cannot rely on it. Scalars, strings and empty lists and
# objects are freed without memory, so a tree that is emptied from its leaves on is.
#
# Seen: the numbers below. Fails (status 1) if they change. Needs g++ and apt.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
apt-get download -qq -o APT::Sandbox::User=root nlohmann-json3-dev=3.11.2-2
dpkg -x nlohmann-json3-dev_*.deb root

cat >destructor.cpp <<'CPP'
#include <cstdio>
#include <cstdlib>
#include <new>
#include <utility>

#include <nlohmann/json.hpp>

using nlohmann::json;

static long allocations = 0;

void* operator new(std::size_t bytes) {
  ++allocations;
  return std::malloc(bytes > 0 ? bytes : 1);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

static_assert(noexcept(std::declval<json&>().~json()));

// Children first: each is a scalar or empty when its parent lets go of it.
void empty(json& value) {
  for (json& child : value)
    if (child.is_structured()) empty(child);
  if (value.is_structured()) value.clear();
}

void show(const char* text, bool emptied = false) {
  long before = 0;
  {
    json value = json::parse(text);
    before = allocations;
    if (emptied) empty(value);
  }
  std::printf("%s%s: %ld\n", text, emptied ? ", emptied first" : "", allocations - before);
}

int main() {
  show("7");
  show("\"a text that is too long for a string without memory\"");
  show("[]");
  show("{}");
  show("[1]");
  show("{\"a\":1}");
  show("{\"a\":[1,{\"b\":[2]}]}", true);
}
CPP
g++ -std=c++17 -O1 -isystem root/usr/include destructor.cpp -o destructor
./destructor | tee seen
diff - seen <<'EXPECTED'
7: 0
"a text that is too long for a string without memory": 0
[]: 0
{}: 0
[1]: 1
{"a":1}: 1
{"a":[1,{"b":[2]}]}, emptied first: 0
EXPECTED
