# Prints the examples of C++ in comments of headers and in Markdown as functions of a class, for a compiler to check.
# In a header an example is a run of lines that begin with three spaces, after an empty line of the comment:
#
#   Tensor y = relu(x);
#
# In Markdown it is a block that begins with ```cpp.

function begin() {
  if (inside) return
  inside = 1
  # As members of a module: examples declare layers as a module does, with `this`.
  printf "struct Example%d : ExampleNames { void run() {\n#line %d \"%s\"\n", ++examples, FNR, FILENAME
}
function end() {
  if (inside) print "}};"
  inside = 0
}

FNR == 1 { end(); fenced = 0; after_empty = 0 }

FILENAME ~ /\.md$/ {
  if (fenced && /^```/) { end(); fenced = 0 }
  else if (fenced) print
  else if (/^```cpp/) { fenced = 1; begin() }
  next
}

/^ *\/\/\/?$/ { if (inside) print ""; after_empty = 1; next }
/^ *\/\/\/?   / && (inside || (after_empty && !/^ *\/\/\/?   +- /)) {
  begin()
  sub(/^ *\/\/\/?/, "")
  print
  next
}
{ end(); after_empty = 0 }
END { end() }
