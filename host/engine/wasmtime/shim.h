// The C half of the engine: what must run on the guest's fiber, and what would cost several crossings from
// Go if it were written there. See doc.go for how the stacks are used.
#ifndef WASMEDGE_SHIM_H
#define WASMEDGE_SHIM_H

#include "capi.h"

// we_config sizes an engine.
typedef struct we_config {
  uint32_t instances;
  uint32_t tables_per_module;
  uint64_t memory_size;        // bytes of linear memory per slot
  uint64_t memory_reservation; // bytes of address space per slot
  uint64_t memory_guard;
  uint64_t table_elements;
  uint64_t wasm_stack;
  uint64_t fiber_stack;
  bool exceptions, gc, profile;
} we_config;

// we_engine is an engine and what all its instances share.
typedef struct we_engine {
  wasm_engine_t *engine;
  wasmtime_linker_t *linker; // of the function that suspends
} we_engine;

// we_call is one hostcall of a template and the environment of its callback.
typedef struct we_call {
  uint32_t index; // in the Go template's table
  uint16_t params, results;
  bool wide; // some parameter has 64 bits
  bool may_block;
  bool ask;  // whether Go is asked for readiness before the guest is suspended
} we_call;

// we_name is an export's name.
typedef struct we_name {
  char *data;
  size_t size;
} we_name;

// we_template is a linked module.
typedef struct we_template {
  const we_engine *engine;
  wasmtime_instance_pre_t *pre;
  uint32_t slots; // as many as the widest hostcall needs

  // What can change in an instance, by export name; set before the first instance. See reset.c.
  we_name memory;
  we_name *globals;
  size_t nglobals;
  wasmtime_val_t *values; // of the globals in an instance that has not run
} we_template;

// What we_call_export and we_poll answer.
enum {
  WE_DONE,     // the guest returned
  WE_FAILED,   // it trapped, or a hostcall ended it: see we_failure_get
  WE_WAITING,  // it waits for the hostcall in we_inst.waiting
  WE_YIELDED,  // the epoch moved on
  WE_NO_EXPORT // nothing was run
};

// How Go is called for a hostcall, and what it answers: we_inst.mode and answer.
enum { WE_RUN, WE_TRY };
enum { WE_ANSWERED, WE_ENDED, WE_NOT_READY };

// we_inst is one sandbox. Go reads the fields that say so while the guest does not run or is in a hostcall.
typedef struct we_inst {
  wasmtime_store_t *store;
  wasmtime_context_t *context;
  const we_template *template;
  wasmtime_instance_t instance;
  wasmtime_memory_t memory;
  bool instantiated;
  bool has_memory;
  bool polling; // read by Go
  int status;   // of we_inst_open; read by Go

  wasmtime_call_future_t *future;
  wasm_trap_t *trap;
  wasmtime_error_t *error;

  uint32_t handle;  // by which Go knows the instance
  uint32_t call;    // we_call.index of the hostcall that Go is called for; read by Go, like mode
  int mode, answer; // the answer is written by Go
  char *host_sp;    // where calls to Go run: on the stack of the thread that is in we_poll

  wasmtime_func_t suspend; // looked up when it is first needed
  bool has_suspend;
  const we_call *waiting; // the hostcall for which the guest is suspended; read by Go
  bool answered;          // written by Go

  // What a reset sets back, once we_inst_find has found it.
  bool found;
  wasmtime_memory_t state_memory;
  uint8_t *state_base; // both read by Go
  size_t state_size;
  size_t small_size; // bytes of it that do not become huge pages
  bool faulted; // pages may have become private since Go has cleared this; set by Go, too
  wasmtime_global_t *globals; // as many as the template names

  uint64_t cpu;     // ns spent in finished polls; read by Go
  uint64_t started; // monotonic clock at the beginning of the current poll
  uint64_t reading; // CPU clock of the thread shortly before

  uint8_t *memory_base; // both read by Go
  size_t memory_size;
  uint64_t *slots; // arguments and results of the hostcall; read and written by Go
} we_inst;

// we_frame is one frame of a guest backtrace; name belongs to the we_failure.
typedef struct we_frame {
  uint32_t index;
  uint64_t offset;
  const char *name;
  size_t name_size;
} we_frame;

// we_failure describes a trap or error.
typedef struct we_failure {
  bool has_code;
  uint8_t code;
  wasm_byte_vec_t message;
  wasm_frame_vec_t trace;
  we_frame *frames;
  size_t nframes;
} we_failure;

// we_set_hostcall says where the code of the Go function is that is called with the we_inst when a guest makes a
// hostcall. It comes before the first engine.
void we_set_hostcall(uintptr_t code);

// we_reserve reports whether so many bytes of address space can be had.
bool we_reserve(size_t size, bool writable);
we_engine *we_engine_new(const we_config *config);
void we_engine_delete(we_engine *engine);
void we_engine_tick(const we_engine *engine);

// The functions that answer char * give NULL or a message that the caller frees.
char *we_wat2wasm(const char *wat, size_t size, wasm_byte_vec_t *out);
char *we_module_new(const we_engine *engine, const uint8_t *wasm, size_t size, wasmtime_module_t **out);
char *we_module_load(const we_engine *engine, const char *path, wasmtime_module_t **out);
char *we_module_serialize(wasmtime_module_t *module, wasm_byte_vec_t *out);

wasmtime_linker_t *we_linker_new(const we_engine *engine);
// we_linker_define copies call.
char *we_linker_define(wasmtime_linker_t *linker, const char *module, size_t module_size, const char *name,
                       size_t name_size, const uint8_t *param_kinds, const uint8_t *result_kinds, const we_call *call);
char *we_linker_define_traps(wasmtime_linker_t *linker, wasmtime_module_t *module);
char *we_template_new(const we_engine *engine, wasmtime_linker_t *linker, wasmtime_module_t *module, uint32_t slots,
                      we_template **out);
void we_template_delete(we_template *t);

// we_inst_new makes an instance without running anything; we_instantiate is WE_DONE, WE_FAILED or, only when
// the module has a start function, WE_WAITING or WE_YIELDED: then go on with we_poll.
we_inst *we_inst_new(const we_template *t, uint32_t handle, int64_t max_memory, int64_t max_table_elements);
int we_instantiate(we_inst *i);
// we_inst_open is both for modules without a start function; the answer is in we_inst.status.
we_inst *we_inst_open(const we_template *t, uint32_t handle, int64_t max_memory, int64_t max_table_elements);
int we_call_export(we_inst *i, const char *name, size_t name_size);
int we_poll(we_inst *i);
void we_inst_delete(we_inst *i);

// Resetting, see reset.c. we_template_state names an export that can change: the memory or a mutable global.
void we_template_state(we_template *t, bool memory, const char *name, size_t name_size);
bool we_inst_find(we_inst *i);
bool we_inst_capture(we_inst *i);
bool we_inst_settle(we_inst *i);
void we_inst_reuse(we_inst *i);
void we_inst_limit(we_inst *i, int64_t max_memory, int64_t max_table_elements);
void we_template_free_state(we_template *t);

// we_region is a range of addresses.
typedef struct we_region {
  uint64_t start, end;
  uint64_t categories;
} we_region;

// How pages that were written to can be told from others.
enum { WE_NO_PAGEMAP, WE_PAGEMAP_SCAN, WE_PAGEMAP_READ };
int we_pagemap_open(int *fd);
int we_dirty(int fd, int how, uint64_t *start, uint64_t end, we_region *out, int max);
// we_pages_drop makes pages what they were when they were mapped.
bool we_pages_drop(uint64_t start, uint64_t end);
// we_heap_trim gives the system what malloc holds and nobody uses.
void we_heap_trim(void);

// we_prefetch makes ranges of memory, given by offsets, writable without a fault.
bool we_prefetch(const we_inst *i, const we_region *ranges, size_t n);

// we_cpu is the CPU time in ns that the instance has used, the current poll included. During a poll it must
// be called on the polling thread.
uint64_t we_cpu(const we_inst *i);

void we_failure_get(we_inst *i, size_t max_frames, we_failure *out);
void we_failure_free(we_failure *f);

#endif
