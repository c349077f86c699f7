# Makes of a header or a Markdown file what Doxygen understands, line for line, so that its warnings name the right ones.
#
# Headers: the // comment at the top becomes the file's own; examples, runs of lines that begin with three spaces after an
# empty line of a comment (tests/documentation/extract_examples.awk), become blocks of code. They end with a line of the
# comment, so the last line of an example shares its own with the end if nothing follows.
# Markdown: relative links to what is no page lead from the HTML files in build/docs/html to the tree.

function text_of(line) { sub(/^ *\/\/\/?/, "", line); return line }
function put(line) {
  if (held) print waiting
  waiting = line
  held = 1
}
function end_example() {
  if (!example) return
  if (waiting ~ /^ *\/\/\/ *$/) sub(/ *$/, " @endcode", waiting)
  else waiting = waiting " @endcode"
  example = 0
}

FILENAME ~ /\.md$/ {
  if (/^```/) fenced = !fenced
  if (!fenced) {
    folder = substr(FILENAME, length(ENVIRON["PWD"]) + 2)
    sub(/[^\/]*$/, "", folder)
    rest = $0
    line = ""
    while (match(rest, /\]\([^)#:]+\)/)) {
      target = substr(rest, RSTART + 2, RLENGTH - 3)
      line = line substr(rest, 1, RSTART + 1)
      if (target !~ /\.md$/) target = "../../../" folder target
      line = line target ")"
      rest = substr(rest, RSTART + RLENGTH)
    }
    $0 = line rest
  }
  print
  next
}

FNR == 1 { intro = /^\/\/ / }
intro && /^#pragma once/ { end_example(); put("/// @file"); intro = 0; empty = 0; next }
intro && /^\/\// { sub(/^\/\//, "///") }
{
  is_comment = /^ *\/\/\//
  is_code = is_comment && text_of($0) ~ /^   / && text_of($0) !~ /^ *- /
  is_empty = is_comment && text_of($0) ~ /^ *$/
  if (is_code && empty && !example) {
    sub(/ *$/, " @code{.cpp}", waiting)
    example = 1
  } else if (example && !is_code && !is_empty) {
    end_example()
  }
  empty = is_empty
  put($0)
}
END { if (held) print waiting }
