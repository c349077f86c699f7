# Prints the examples of C++ in comments of headers and in Markdown as functions of a class, for a compiler to check.
# In a header an example is a run of lines that begin with three spaces, after an empty line of the comment:
#
#   Tensor y = relu(x);
#
# In Markdown it is a block that begins with ```cpp.

function begin(line) {
  if (inside) return
  inside = 1
  of_kernels = FILENAME ~ /kernels/
  if (of_kernels) print "namespace thimble::kernels {"
  printf "struct Example%d : %sNames { void run() {\n", ++examples, of_kernels ? "Kernel" : "Example"
  printf "#line %d \"%s\"\n", line, FILENAME
}
function end() {
  if (inside) print "}};" (of_kernels ? "}" : "")
  inside = 0
}

FNR == 1 { end(); fenced = 0; after_empty = 0 }

FILENAME ~ /\.md$/ {
  if (fenced && /^```/) { end(); fenced = 0 }
  else if (fenced) print
  else if (/^```cpp/) { fenced = 1; begin(FNR + 1) }
  next
}

/^ *\/\/\/?$/ { if (inside) print ""; after_empty = 1; next }
/^ *\/\/\/?   / && (inside || (after_empty && !/^ *\/\/\/?   +- /)) {
  begin(FNR)
  sub(/^ *\/\/\/?/, "")
  print
  next
}
{ end(); after_empty = 0 }
END { end() }
