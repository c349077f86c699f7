#include <algorithm>
#include <cstring>
#include <new>

#include <thimble/serialization/zip_memory.h>

namespace thimble::detail {

namespace {

constexpr long kSeekDone = 0, kSeekFailed = -1;

ZipMemory& memory(void* stream) { return *static_cast<ZipMemory*>(stream); }

void* open(void* file, const void*, int) { return file; }
int close(void*, void*) { return 0; }
int error(void*, void* stream) { return memory(stream).read_past_end; }
ZPOS64_T tell(void*, void* stream) { return memory(stream).position; }

uLong read(void*, void* stream, void* to, uLong size) {
  ZipMemory& m = memory(stream);
  const uLong n = std::min<uLong>(size, m.content.size() - m.position);
  if (n > 0) std::memcpy(to, m.content.data() + m.position, n);
  m.position += n;
  m.read_past_end = m.read_past_end || n < size;
  return n;
}

// No exception may pass through minizip, and where it hears that nothing was written it loses memory: it does not hear.
uLong write(void*, void* stream, const void* from, uLong size) {
  ZipMemory& m = memory(stream);
  try {
    if (!m.out_of_memory && m.written->size() - m.position < size) m.written->resize(m.position + size);
  } catch (const std::bad_alloc&) {
    m.out_of_memory = true;
  }
  if (m.out_of_memory) return size;
  if (size > 0) std::memcpy(m.written->data() + m.position, from, size);
  m.content = *m.written;
  m.position += size;
  return size;
}

long seek(void*, void* stream, ZPOS64_T offset, int origin) {
  ZipMemory& m = memory(stream);
  if (m.out_of_memory) return kSeekDone;
  const uint64_t size = m.content.size();
  const uint64_t from = origin == ZLIB_FILEFUNC_SEEK_SET ? 0 : origin == ZLIB_FILEFUNC_SEEK_CUR ? m.position : size;
  if (offset > size - from) return kSeekFailed;
  m.position = from + offset;
  return kSeekDone;
}

}  // namespace

zlib_filefunc64_def ZipMemory::functions() {
  return {.zopen64_file = open,
          .zread_file = read,
          .zwrite_file = write,
          .ztell64_file = tell,
          .zseek64_file = seek,
          .zclose_file = close,
          .zerror_file = error,
          .opaque = this};
}

}  // namespace thimble::detail
