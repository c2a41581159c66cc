//go:build cgo && (linux || darwin) && (amd64 || arm64)

// Setting an instance back to what it was before it ran, without making it anew. reset.go says why that is
// complete.
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <malloc.h>
#endif

void we_template_state(we_template *t, bool memory, const char *name, size_t name_size) {
  we_name n = {malloc(name_size + 1), name_size};
  memcpy(n.data, name, name_size);
  if (memory) {
    t->memory = n;
    return;
  }
  t->globals = realloc(t->globals, (t->nglobals + 1) * sizeof *t->globals);
  t->globals[t->nglobals++] = n;
}

void we_template_free_state(we_template *t) {
  for (size_t k = 0; k < t->nglobals; k++) free(t->globals[k].data);
  free(t->globals);
  free(t->memory.data);
  free(t->values);
}

// see_state learns where the memory is now.
static void see_state(we_inst *i) {
  if (i->template->memory.data == NULL) return;
  i->state_base = wasmtime_memory_data(i->context, &i->state_memory);
  i->state_size = wasmtime_memory_data_size(i->context, &i->state_memory);
}

// we_inst_find looks up what can change; false when that fails.
bool we_inst_find(we_inst *i) {
  if (i->found) return true;
  const we_template *t = i->template;
  wasmtime_extern_t e;
  if (t->memory.data != NULL) {
    if (!wasmtime_instance_export_get(i->context, &i->instance, t->memory.data, t->memory.size, &e) ||
        e.kind != CAPI_EXTERN_MEMORY)
      return false;
    i->state_memory = e.of.memory;
    see_state(i);
  }
  if (i->globals == NULL) i->globals = calloc(t->nglobals + 1, sizeof *i->globals);
  for (size_t k = 0; k < t->nglobals; k++) {
    if (!wasmtime_instance_export_get(i->context, &i->instance, t->globals[k].data, t->globals[k].size, &e) ||
        e.kind != CAPI_EXTERN_GLOBAL)
      return false;
    i->globals[k] = e.of.global;
  }
  i->found = true;
  return true;
}

// we_inst_capture keeps the globals of an instance that has not run, for the template.
bool we_inst_capture(we_inst *i) {
  if (!we_inst_find(i)) return false;
  we_template *t = (we_template *)i->template; // Go calls this once for a template
  t->values = calloc(t->nglobals + 1, sizeof *t->values);
  for (size_t k = 0; k < t->nglobals; k++) wasmtime_global_get(i->context, &i->globals[k], &t->values[k]);
  return true;
}

// keep_pages_small sees to it that the kernel does not make a huge page of some pages that were written to: those beside
// them could then be written to without a fault, which is how writes are noticed.
static bool keep_pages_small(we_inst *i) {
#if defined(__linux__)
  if (i->state_size <= i->small_size) return true;
  // EINVAL: a kernel without huge pages.
  if (madvise(i->state_base + i->small_size, i->state_size - i->small_size, MADV_NOHUGEPAGE) != 0 && errno != EINVAL)
    return false;
  i->small_size = i->state_size;
#endif
  return true;
}

// we_inst_settle ends what the guest was in the middle of and sets its globals back.
bool we_inst_settle(we_inst *i) {
  // Dropping a suspended call unwinds its fiber and gives the stack back to the store.
  if (i->future != NULL) wasmtime_call_future_delete(i->future);
  if (i->trap != NULL) wasm_trap_delete(i->trap);
  if (i->error != NULL) wasmtime_error_delete(i->error);
  i->future = NULL;
  i->trap = NULL;
  i->error = NULL;
  i->waiting = NULL;
  i->answered = false;
  i->polling = false;
  if (!we_inst_find(i)) return false;
  see_state(i);
  if (!keep_pages_small(i)) return false;
  const we_template *t = i->template;
  for (size_t k = 0; k < t->nglobals; k++) {
    wasmtime_error_t *error = wasmtime_global_set(i->context, &i->globals[k], &t->values[k]);
    if (error != NULL) {
      wasmtime_error_delete(error);
      return false;
    }
  }
  return true;
}

// we_inst_reuse makes a settled instance a new one's.
void we_inst_reuse(we_inst *i) {
  i->cpu = 0;
  wasmtime_context_set_epoch_deadline(i->context, 1);
}

void we_inst_limit(we_inst *i, int64_t max_memory, int64_t max_table_elements) {
  wasmtime_store_limiter(i->store, max_memory, max_table_elements, -1, -1, -1);
}

#if defined(__linux__)

#include <sys/ioctl.h>

// Of linux/fs.h since Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst), which build machines may not have yet.
struct scan_arg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN _IOWR('f', 16, struct scan_arg)
#define IS_FILE (1 << 2)
#define IS_PRESENT (1 << 3)
#define IS_SWAPPED (1 << 4)
#define IS_PFNZERO (1 << 5)

// Bits of an entry of /proc/self/pagemap.
#define ENTRY_PRESENT (1ull << 63)
#define ENTRY_SWAPPED (1ull << 62)
#define ENTRY_FILE (1ull << 61)

static int scan(int fd, uint64_t *start, uint64_t end, we_region *out, int max) {
  struct scan_arg a = {.size = sizeof a, .start = *start, .end = end, .vec = (uintptr_t)out, .vec_len = max};
  // Neither a page of a file nor the page of zeros, and there.
  a.category_inverted = a.category_mask = IS_FILE | IS_PFNZERO;
  a.category_anyof_mask = IS_PRESENT | IS_SWAPPED;
  a.return_mask = IS_PRESENT | IS_SWAPPED;
  int n;
  do n = ioctl(fd, SCAN, &a);
  while (n < 0 && errno == EINTR);
  *start = a.walk_end;
  return n;
}

// read_entries tells the same from the entries of pages, except that it takes the page of zeros, which is there
// when a page was read before it was written, for one that was written to.
static int read_entries(int fd, uint64_t *start, uint64_t end, we_region *out, int max) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), entries[512], at = *start;
  int n = 0;
  while (at < end) {
    uint64_t count = (end - at) / page;
    if (count > 512) count = 512;
    ssize_t got = pread(fd, entries, count * 8, (off_t)(at / page * 8));
    if (got != (ssize_t)(count * 8)) return -1;
    for (uint64_t k = 0; k < count; k++, at += page) {
      if ((entries[k] & (ENTRY_PRESENT | ENTRY_SWAPPED)) == 0 || (entries[k] & ENTRY_FILE) != 0) continue;
      if (n > 0 && out[n - 1].end == at) {
        out[n - 1].end += page;
        continue;
      }
      if (n == max) {
        *start = at;
        return n;
      }
      out[n].start = at;
      out[n++].end = at + page;
    }
  }
  *start = end;
  return n;
}

// we_pagemap_open says how pages that were written to can be found, by a trial: containers and old kernels may not
// let us.
int we_pagemap_open(int *fd) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  *fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (*fd < 0) return WE_NO_PAGEMAP;
  int how = WE_NO_PAGEMAP;
  // Three pages: not touched, written to, read.
  volatile uint8_t *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) {
    uint64_t base = (uintptr_t)p;
    p[page] = 1;
    (void)p[2 * page];
    for (int h = WE_PAGEMAP_SCAN; h <= WE_PAGEMAP_READ && how == WE_NO_PAGEMAP; h++) {
      we_region r[4];
      uint64_t start = base;
      int n = we_dirty(*fd, h, &start, base + 3 * page, r, 4);
      uint64_t last = h == WE_PAGEMAP_SCAN ? base + 2 * page : base + 3 * page;
      if (n == 1 && r[0].start == base + page && r[0].end == last) how = h;
    }
    munmap((void *)p, 3 * page);
  }
  if (how == WE_NO_PAGEMAP) close(*fd);
  return how;
}

int we_dirty(int fd, int how, uint64_t *start, uint64_t end, we_region *out, int max) {
  if (*start >= end) return 0;
  return how == WE_PAGEMAP_SCAN ? scan(fd, start, end, out, max) : read_entries(fd, start, end, out, max);
}

bool we_pages_drop(uint64_t start, uint64_t end) {
  return madvise((void *)start, end - start, MADV_DONTNEED) == 0;
}

void we_heap_trim(void) {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

#define POPULATE_WRITE 23 // of linux/mman.h since Linux 5.14

bool we_prefetch(const we_inst *i, const we_region *ranges, size_t n) {
  for (size_t k = 0; k < n; k++)
    if (madvise(i->memory_base + ranges[k].start, ranges[k].end - ranges[k].start, POPULATE_WRITE) != 0) return false;
  return true;
}

#else // nothing like it is known on macOS

int we_pagemap_open(int *fd) { return WE_NO_PAGEMAP; }
int we_dirty(int fd, int how, uint64_t *start, uint64_t end, we_region *out, int max) { return -1; }
bool we_pages_drop(uint64_t start, uint64_t end) { return false; }
void we_heap_trim(void) {}
bool we_prefetch(const we_inst *i, const we_region *ranges, size_t n) { return false; }

#endif
