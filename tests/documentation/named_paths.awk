# Prints FILE:LINE, a tab, a path for each path that the Markdown files name: targets of relative links (from the file's
# folder, marked by ./), and in `code` and in blocks of ```text what begins with a folder of the tree, or is a name of a
# source. NAME in a path stands for any.

function put(path) {
  if (path ~ /NAME/) gsub(/NAME/, "*", path)
  printf "%s:%d\t%s\n", FILENAME, FNR, path
}
# folders: what the tree has, as alternatives of a regular expression.
function look_at(word) {
  sub(/^[(]+/, "", word)
  sub(/[).,:;]+$/, "", word)
  if (word ~ "^(" folders ")/[A-Za-z0-9_.*/-]*$" || word ~ /^[A-Za-z0-9_.]+\.(h|cpp|cmake|awk|md)$/) put(word)
}

FNR == 1 { fence = "" }
/^```/ { fence = fence == "" ? ($0 == "```text" ? "text" : "other") : ""; next }
fence == "text" { for (i = 1; i <= NF; i++) look_at($i) }
fence != "" { next }
{
  folder = FILENAME
  if (!sub(/\/[^\/]*$/, "", folder)) folder = "."
  rest = $0
  while (match(rest, /\]\([^)]+\)/)) {
    target = substr(rest, RSTART + 2, RLENGTH - 3)
    sub(/#.*/, "", target)
    if (target != "" && target !~ /^[a-z]+:/) put("./" folder "/" target)
    rest = substr(rest, RSTART + RLENGTH)
  }
  parts = split($0, part, "`")
  for (i = 2; i < parts; i += 2) {
    words = split(part[i], word, " ")
    for (j = 1; j <= words; j++) look_at(word[j])
  }
}
