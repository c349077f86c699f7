# Prints a using-declaration for each name that the Markdown files (read first) speak of in `code` and the headers (read
# after them) declare in a namespace, so that a compiler can say whether it is known to who includes <thimble/thimble.h>.

function note_words(text,  word) {
  while (match(text, /[A-Za-z_][A-Za-z_0-9]*/)) {
    documented[substr(text, RSTART, RLENGTH)] = 1
    text = substr(text, RSTART + RLENGTH)
  }
}
function declared(name) {
  if (name in documented && space !~ /detail|kernels/ && !((space, name) in seen)) {
    seen[space, name] = 1
    printf "#line %d \"%s\"\nnamespace documented%d { using %s::%s; }\n", FNR, FILENAME, ++names, space, name
  }
}

FILENAME ~ /\.md$/ {
  if (/^```/) fenced = !fenced && /^```cpp/
  else if (fenced) note_words($0)
  else { parts = split($0, part, "`"); for (i = 2; i < parts; i += 2) note_words(part[i]) }
  next
}

FNR == 1 { space = "" }
{ sub(/THIMBLE_API /, "") }
/^namespace [a-z:]+ \{/ { space = $2 }
/^}  \/\/ namespace/ { space = "" }
space == "" { next }
# Declarations of a namespace begin in the first column.
/^(class|struct|enum class|enum|using|inline constexpr [a-zA-Z_0-9:]+) [A-Za-z_0-9]+/ {
  line = $0
  sub(/^(class|struct|enum class|enum|using|inline constexpr [a-zA-Z_0-9:]+) /, "", line)
  match(line, /^[A-Za-z_0-9]+/)
  declared(substr(line, 1, RLENGTH))
  next
}
/^[A-Za-z[].* [A-Za-z_0-9]+\(/ {
  match($0, / [A-Za-z_0-9]+\(/)
  declared(substr($0, RSTART + 1, RLENGTH - 2))
}
