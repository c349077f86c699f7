#!/usr/bin/env bash
# minizip 1.1: zipOpenNewFileInZip() loses memory where its caller's write function fails.
#
# Before it writes the local header of a member it makes the entry of the central directory with malloc(). Where the
# header cannot be written it returns the error, and neither it nor zipClose() frees the entry. A program that writes
# archives to a full disk, or to memory of its own that ends, and tries again later grows by an entry for each try. A
# write function that keeps the failure to itself, says that all was written, and is asked afterwards loses nothing.
#
# Seen: 11 entries lost in 11 failures, none where the failure is kept. Fails (status 1) if that changes. Needs g++,
# zlib's headers and apt.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
for package in libminizip-dev=1.1-8+deb12u1 libminizip1=1.1-8+deb12u1; do
  apt-get download -qq -o APT::Sandbox::User=root "$package"
done
for file in *.deb; do dpkg -x "$file" root; done

cat >full.cpp <<'CPP'
#include <cstdlib>
#include <minizip/zip.h>

static int room = 0;  // writes that succeed
static bool keeps_failures = false, failed = false;

static voidpf open_it(voidpf file, const void*, int) { return file; }
static uLong read_it(voidpf, voidpf, void*, uLong) { return 0; }
static uLong write_it(voidpf, voidpf, const void*, uLong size) {
  if (room-- > 0) return size;
  failed = true;
  return keeps_failures ? size : 0;
}
static ZPOS64_T tell_it(voidpf, voidpf) { return 0; }
static long seek_it(voidpf, voidpf, ZPOS64_T, int) { return 0; }
static int close_it(voidpf, voidpf) { return 0; }
static int error_of_it(voidpf, voidpf) { return 0; }

int main(int count, char**) {
  keeps_failures = count > 1;
  for (int n = 0; n < 11; ++n) {
    room = n;
    failed = false;
    zlib_filefunc64_def functions{open_it, read_it, write_it, tell_it, seek_it, close_it, error_of_it, &room};
    const zipFile archive = zipOpen2_64("", APPEND_STATUS_CREATE, nullptr, &functions);
    const int opened = zipOpenNewFileInZip(archive, "name", nullptr, nullptr, 0, nullptr, 0, nullptr, 0, 0);
    zipClose(archive, nullptr);
    // The header of a member takes more than 10 writes.
    if ((opened == ZIP_OK) != keeps_failures || !failed) return 1;
  }
}
CPP
library=$(find "$PWD/root" -name 'libminizip.so.1')
g++ -std=c++17 -fsanitize=address -isystem root/usr/include full.cpp "$library" -o full
export LD_LIBRARY_PATH=${library%/*}
status=0
./full 2>seen || status=$?
grep 'allocation(s)' seen
grep -q 'leaked in 11 allocation' seen
grep -q zipOpenNewFileInZip seen
[ "$status" -ne 0 ]
./full keeps
echo "none where the failure is kept"
