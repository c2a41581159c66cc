//go:build cgo && (linux || darwin) && (amd64 || arm64)

#define _GNU_SOURCE // RUSAGE_THREAD
#include "shim.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

// Between we_poll's frame and the place where Go callbacks run lie the frames of wasmtime's poll down to the
// switch to the fiber, under 3 KiB in wasmtime 39.
#define HOST_STACK_GAP (32 << 10)

// crosscall2 of runtime/cgo calls the Go function whose code is at fn. It is what the C functions that cgo makes of
// exported Go functions come down to; they wait for Go to be initialised first, and copy arguments and results, which is
// a tenth of the way. SWIG relies on it, too, so that its signature is fixed.
extern void crosscall2(void (*fn)(void *), void *arg, int size, size_t ctxt);

// The code of the Go function for hostcalls.
static void (*go_hostcall)(void *);

void we_set_hostcall(uintptr_t code) { go_hostcall = (void (*)(void *))code; }

// we_call_on calls crosscall(fn, arg, 0, 0) with the stack pointer at sp and comes back on the present stack.
void we_call_on(void *sp, void (*crosscall)(void (*)(void *), void *, int, size_t), void (*fn)(void *),
                void *arg) __asm__("we_call_on");

#if defined(__linux__)
#define ELF_SIZE ".type we_call_on, %function\n.size we_call_on, .-we_call_on\n"
#else
#define ELF_SIZE
#endif

#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".globl we_call_on\n"
        "we_call_on:\n"
        ".cfi_startproc\n"
        "pushq %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset %rbp, -16\n"
        "movq %rsp, %rbp\n"
        ".cfi_def_cfa_register %rbp\n"
        "movq %rdi, %rsp\n"
        "movq %rsi, %rax\n"
        "movq %rdx, %rdi\n"
        "movq %rcx, %rsi\n"
        "xorl %edx, %edx\n"
        "xorl %ecx, %ecx\n"
        "callq *%rax\n"
        "movq %rbp, %rsp\n"
        "popq %rbp\n"
        ".cfi_def_cfa %rsp, 8\n"
        "ret\n"
        ".cfi_endproc\n" ELF_SIZE);
#elif defined(__aarch64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".globl we_call_on\n"
        "we_call_on:\n"
        ".cfi_startproc\n"
        "stp x29, x30, [sp, #-16]!\n"
        ".cfi_def_cfa_offset 16\n"
        ".cfi_offset x29, -16\n"
        ".cfi_offset x30, -8\n"
        "mov x29, sp\n"
        ".cfi_def_cfa x29, 16\n"
        "mov sp, x0\n"
        "mov x9, x1\n"
        "mov x0, x2\n"
        "mov x1, x3\n"
        "mov x2, xzr\n"
        "mov x3, xzr\n"
        "blr x9\n"
        "mov sp, x29\n"
        "ldp x29, x30, [sp], #16\n"
        ".cfi_def_cfa sp, 0\n"
        "ret\n"
        ".cfi_endproc\n" ELF_SIZE);
#endif

static char *message_of(wasmtime_error_t *error) {
  if (error == NULL) return NULL;
  wasm_byte_vec_t m;
  wasmtime_error_message(error, &m);
  wasmtime_error_delete(error);
  char *s = malloc(m.size + 1);
  memcpy(s, m.data, m.size);
  s[m.size] = 0;
  wasm_byte_vec_delete(&m);
  return s;
}

bool we_reserve(size_t size, bool writable) {
  int protection = writable ? PROT_READ | PROT_WRITE : PROT_NONE;
  void *p = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return false;
  munmap(p, size);
  return true;
}

static void on_suspend(void *, wasmtime_caller_t *, const wasmtime_val_t *, size_t, wasmtime_val_t *, size_t,
                       wasm_trap_t **, wasmtime_async_continuation_t *);

static wasm_functype_t *function_type(const uint8_t *params, size_t nparams, const uint8_t *results, size_t nresults) {
  wasm_valtype_vec_t p, r;
  wasm_valtype_vec_new_uninitialized(&p, nparams);
  for (size_t k = 0; k < nparams; k++) p.data[k] = wasm_valtype_new(params[k]);
  wasm_valtype_vec_new_uninitialized(&r, nresults);
  for (size_t k = 0; k < nresults; k++) r.data[k] = wasm_valtype_new(results[k]);
  return wasm_functype_new(&p, &r);
}

we_engine *we_engine_new(const we_config *k) {
  wasm_config_t *c = wasm_config_new();
  if (wasmtime_config_async_support_set != NULL) wasmtime_config_async_support_set(c, true);
  wasmtime_config_epoch_interruption_set(c, true);
  wasmtime_config_max_wasm_stack_set(c, k->wasm_stack);
  wasmtime_config_async_stack_size_set(c, k->fiber_stack);
  wasmtime_config_parallel_compilation_set(c, true);
  wasmtime_config_cranelift_opt_level_set(c, CAPI_OPT_LEVEL_SPEED);
  wasmtime_config_memory_init_cow_set(c, true);
  wasmtime_config_memory_may_move_set(c, false);
  wasmtime_config_memory_reservation_set(c, k->memory_reservation);
  wasmtime_config_memory_guard_size_set(c, k->memory_guard);
  // Only profilers and debuggers read it; backtraces of guests follow frame pointers.
  wasmtime_config_native_unwind_info_set(c, k->profile);
#if defined(__linux__)
  if (k->profile) wasmtime_config_profiler_set(c, CAPI_PROFILING_STRATEGY_PERFMAP);
#endif
#if defined(__APPLE__)
  // Go handles the Unix signals; both chain to one another, whereas Mach ports would see Go's own faults first.
  wasmtime_config_macos_use_mach_ports_set(c, false);
#endif

  wasmtime_config_wasm_simd_set(c, true);
  wasmtime_config_wasm_relaxed_simd_set(c, true);
  wasmtime_config_wasm_relaxed_simd_deterministic_set(c, true);
  wasmtime_config_wasm_bulk_memory_set(c, true);
  wasmtime_config_wasm_reference_types_set(c, true);
  wasmtime_config_wasm_multi_value_set(c, true);
  wasmtime_config_wasm_tail_call_set(c, true);
  wasmtime_config_wasm_threads_set(c, false);
  wasmtime_config_wasm_memory64_set(c, false);
  wasmtime_config_wasm_multi_memory_set(c, false);
  wasmtime_config_wasm_function_references_set(c, k->gc);
  wasmtime_config_wasm_gc_set(c, k->gc);
  wasmtime_config_wasm_exceptions_set(c, k->exceptions);

  wasmtime_pooling_allocation_config_t *p = wasmtime_pooling_allocation_config_new();
  wasmtime_pooling_allocation_config_total_core_instances_set(p, k->instances);
  wasmtime_pooling_allocation_config_total_component_instances_set(p, 0);
  wasmtime_pooling_allocation_config_total_memories_set(p, k->instances);
  wasmtime_pooling_allocation_config_total_tables_set(p, k->instances * k->tables_per_module);
  wasmtime_pooling_allocation_config_total_stacks_set(p, k->instances);
  wasmtime_pooling_allocation_config_total_gc_heaps_set(p, k->instances);
  wasmtime_pooling_allocation_config_max_tables_per_module_set(p, k->tables_per_module);
  wasmtime_pooling_allocation_config_max_memories_per_module_set(p, 1);
  wasmtime_pooling_allocation_config_max_core_instance_size_set(p, 4 << 20);
  wasmtime_pooling_allocation_config_max_memory_size_set(p, k->memory_size);
  wasmtime_pooling_allocation_config_table_elements_set(p, k->table_elements);
  wasmtime_pooling_allocation_config_max_unused_warm_slots_set(p, k->instances);
  // Clearing so much of a table by hand costs less than giving its pages back.
  wasmtime_pooling_allocation_config_table_keep_resident_set(p, 32 << 10);
  wasmtime_pooling_allocation_strategy_set(c, p);
  wasmtime_pooling_allocation_config_delete(p);

  we_engine *e = calloc(1, sizeof *e);
  e->engine = wasm_engine_new_with_config(c);
  e->linker = wasmtime_linker_new(e->engine);
  wasm_functype_t *type = function_type(NULL, 0, NULL, 0);
  free(message_of(wasmtime_linker_define_async_func(e->linker, "", 0, "suspend", 7, type, on_suspend, NULL, NULL)));
  wasm_functype_delete(type);
  return e;
}

void we_engine_delete(we_engine *e) {
  wasmtime_linker_delete(e->linker);
  wasm_engine_delete(e->engine);
  free(e);
}

void we_engine_tick(const we_engine *e) { wasmtime_engine_increment_epoch(e->engine); }

char *we_wat2wasm(const char *wat, size_t size, wasm_byte_vec_t *out) {
  return message_of(wasmtime_wat2wasm(wat, size, out));
}

char *we_module_new(const we_engine *engine, const uint8_t *wasm, size_t size, wasmtime_module_t **out) {
  return message_of(wasmtime_module_new(engine->engine, wasm, size, out));
}

char *we_module_load(const we_engine *engine, const char *path, wasmtime_module_t **out) {
  return message_of(wasmtime_module_deserialize_file(engine->engine, path, out));
}

char *we_module_serialize(wasmtime_module_t *module, wasm_byte_vec_t *out) {
  return message_of(wasmtime_module_serialize(module, out));
}

// CPU time. What a guest is charged for is the time that its thread was on a CPU, so that a guest is not killed
// for a busy machine. The clock that tells it costs a system call, 0.3 to 0.6 us, which is too much for each of two
// ends of each poll. So a short poll is charged by the wall clock: it was hardly ever interrupted. For a
// long poll the thread's clock is read at its end and compared with the last reading in this thread,
// which is never much older than the poll.
#define LONG_POLL 500000   // ns
#define OLD_READING 1000000 // ns

static __thread struct {
  uint64_t cpu, at;
} reading;

static uint64_t clock_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void start_meter(we_inst *i) {
  i->started = clock_ns(CLOCK_MONOTONIC);
  if (i->started - reading.at > OLD_READING) {
    reading.cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    reading.at = i->started;
  }
  i->reading = reading.cpu; // a hostcall may run another guest on this thread
}

// meter is the charge for the current poll so far.
static uint64_t meter(const we_inst *i) {
  uint64_t now = clock_ns(CLOCK_MONOTONIC);
  uint64_t wall = now - i->started;
  if (wall < LONG_POLL) return wall;
  uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - i->reading;
  return cpu < wall ? cpu : wall;
}

static void stop_meter(we_inst *i) {
  uint64_t now = clock_ns(CLOCK_MONOTONIC);
  uint64_t charge = now - i->started;
  if (charge >= LONG_POLL) {
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    if (cpu - i->reading < charge) charge = cpu - i->reading;
    reading.cpu = cpu;
    reading.at = now;
  }
  i->cpu += charge;
}

// Whether a poll was free of page faults. A page that the guest, or Go in a hostcall, writes to for the first time
// faults in the thread that polls; so where the count of its faults has not changed, no page has become private, and
// a reset need not look for any. The system call is a tenth of that look.
static __thread struct {
  long faults;         // at the last reading
  uint64_t generation; // how often a reading has differed from the one before
} faulting;

#if defined(__linux__)
static uint64_t fault_generation(void) {
  struct rusage u;
  if (getrusage(RUSAGE_THREAD, &u) != 0) return ++faulting.generation;
  long faults = u.ru_minflt + u.ru_majflt;
  if (faults != faulting.faults) {
    faulting.faults = faults;
    faulting.generation++;
  }
  return faulting.generation;
}
#else
static uint64_t fault_generation(void) { return ++faulting.generation; }
#endif

uint64_t we_cpu(const we_inst *i) { return i->polling ? i->cpu + meter(i) : i->cpu; }

// The fields of a hostcall that Go must see are brought up to date before each call to Go, because the guest
// may have grown its memory since.
static void see_memory(we_inst *i, wasmtime_caller_t *caller) {
  if (!i->has_memory) {
    // Only in a start function: we_poll looks the memory up once the instance exists.
    wasmtime_extern_t e;
    if (i->instantiated || !wasmtime_caller_export_get(caller, "memory", 6, &e)) return;
    if (e.kind != CAPI_EXTERN_MEMORY) return;
    i->memory = e.of.memory;
    i->has_memory = true;
  }
  size_t size = wasmtime_memory_data_size(i->context, &i->memory);
  if (size == i->memory_size) return; // memory moves only when it grows, if then
  i->memory_base = wasmtime_memory_data(i->context, &i->memory);
  i->memory_size = size;
}

// to_go runs a hostcall in Go. Go does not accept a call from a stack that it does not know, so it is made on
// the stack of the thread, below the frames of the poll that runs the guest.
static int to_go(we_inst *i, const we_call *c, int mode) {
  i->call = c->index;
  i->mode = mode;
  we_call_on(i->host_sp, crosscall2, go_hostcall, i);
  return i->answer;
}

static bool when_answered(void *env) { return ((const we_inst *)env)->answered; }

static void on_suspend(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args, size_t nargs,
                       wasmtime_val_t *results, size_t nresults, wasm_trap_t **trap,
                       wasmtime_async_continuation_t *continuation) {
  continuation->callback = when_answered;
  continuation->env = wasmtime_context_get_data(wasmtime_caller_context(caller));
  continuation->finalizer = NULL;
}

// wait_for_go suspends the guest until Go has answered c. To suspend is the privilege of async functions, but for
// wasmtime to call one costs an allocation and several copies whether it waits or not. So hostcalls are plain
// functions, and one that must wait calls the only async function there is. "Unchecked" is the call for that: the
// fiber is there already, and there are no values to check.
static bool wait_for_go(we_inst *i, const we_call *c) {
  if (!i->has_suspend) {
    wasmtime_extern_t e;
    if (!wasmtime_linker_get(i->template->engine->linker, i->context, "", 0, "suspend", 7, &e)) return false;
    i->suspend = e.of.func;
    i->has_suspend = true;
  }
  i->answered = false;
  i->waiting = c;
  wasm_trap_t *trap = NULL;
  wasmtime_val_raw_t none;
  wasmtime_error_t *error = wasmtime_func_call_unchecked(i->context, &i->suspend, &none, 0, &trap);
  i->waiting = NULL;
  // It fails when the suspended guest is dropped.
  if (trap != NULL) wasm_trap_delete(trap);
  if (error != NULL) wasmtime_error_delete(error);
  return trap == NULL && error == NULL;
}

static wasm_trap_t *on_hostcall(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *values, size_t n) {
  const we_call *c = env;
  we_inst *i = wasmtime_context_get_data(wasmtime_caller_context(caller));
  // A narrow value is read as such: a wide read of what has just been written narrowly makes the CPU wait.
  if (c->wide)
    for (size_t k = 0; k < c->params; k++) i->slots[k] = (uint64_t)values[k].i64;
  else
    for (size_t k = 0; k < c->params; k++) i->slots[k] = (uint32_t)values[k].i32;
  see_memory(i, caller);
  int answer = WE_NOT_READY;
  if (!c->may_block)
    answer = to_go(i, c, WE_RUN);
  else if (c->ask)
    answer = to_go(i, c, WE_TRY);
  if (answer == WE_NOT_READY && wait_for_go(i, c)) answer = WE_ANSWERED;
  if (answer != WE_ANSWERED) return wasmtime_trap_new("ended by a hostcall", 19); // Go has kept the reason
  for (size_t k = 0; k < c->results; k++) values[k].i64 = (int64_t)i->slots[k];
  return NULL;
}

wasmtime_linker_t *we_linker_new(const we_engine *e) { return wasmtime_linker_new(e->engine); }

char *we_linker_define(wasmtime_linker_t *linker, const char *module, size_t module_size, const char *name,
                       size_t name_size, const uint8_t *param_kinds, const uint8_t *result_kinds, const we_call *call) {
  we_call *c = malloc(sizeof *c);
  *c = *call;
  wasm_functype_t *type = function_type(param_kinds, c->params, result_kinds, c->results);
  wasmtime_error_t *error =
      wasmtime_linker_define_func_unchecked(linker, module, module_size, name, name_size, type, on_hostcall, c, free);
  wasm_functype_delete(type);
  return message_of(error);
}

char *we_linker_define_traps(wasmtime_linker_t *linker, wasmtime_module_t *module) {
  return message_of(wasmtime_linker_define_unknown_imports_as_traps(linker, module));
}

char *we_template_new(const we_engine *engine, wasmtime_linker_t *linker, wasmtime_module_t *module, uint32_t slots,
                      we_template **out) {
  wasmtime_instance_pre_t *pre = NULL;
  char *message = message_of(wasmtime_linker_instantiate_pre(linker, module, &pre));
  if (message != NULL) return message;
  we_template *t = calloc(1, sizeof *t);
  t->engine = engine;
  t->pre = pre;
  t->slots = slots;
  *out = t;
  return NULL;
}

void we_template_delete(we_template *t) {
  wasmtime_instance_pre_delete(t->pre);
  we_template_free_state(t);
  free(t);
}

we_inst *we_inst_new(const we_template *t, uint32_t handle, int64_t max_memory, int64_t max_table_elements) {
  we_inst *i = calloc(1, sizeof *i + t->slots * sizeof(uint64_t));
  i->template = t;
  i->handle = handle;
  i->slots = (uint64_t *)(i + 1);
  i->faulted = true; // nothing is known of its pages yet
  i->store = wasmtime_store_new(t->engine->engine, i, NULL);
  i->context = wasmtime_store_context(i->store);
  wasmtime_store_limiter(i->store, max_memory, max_table_elements, -1, -1, -1);
  wasmtime_context_set_epoch_deadline(i->context, 1);
  wasmtime_context_epoch_deadline_async_yield_and_update(i->context, 1);
  return i;
}

// finish ends a future that has given its result.
static int finish(we_inst *i) {
  wasmtime_call_future_delete(i->future);
  i->future = NULL;
  bool failed = i->trap != NULL || i->error != NULL;
  if (!i->instantiated) {
    if (failed) return WE_FAILED;
    i->instantiated = true;
    wasmtime_extern_t e;
    i->has_memory = wasmtime_instance_export_get(i->context, &i->instance, "memory", 6, &e) && e.kind == CAPI_EXTERN_MEMORY;
    if (i->has_memory) i->memory = e.of.memory;
  }
  if (i->has_memory) see_memory(i, NULL);
  return failed ? WE_FAILED : WE_DONE;
}

// SET_HOST_SP is a macro because it is about the frame that it stands in.
#define SET_HOST_SP(i) \
  ((i)->host_sp = (char *)(((uintptr_t)__builtin_frame_address(0) - HOST_STACK_GAP) & ~(uintptr_t)63))

int we_poll(we_inst *i) {
  SET_HOST_SP(i);
  start_meter(i);
  i->polling = true;
  uint64_t generation = faulting.generation; // faults since that reading count as this poll's
  bool done = wasmtime_call_future_poll(i->future);
  if (!i->faulted && fault_generation() != generation) i->faulted = true;
  i->polling = false;
  stop_meter(i);
  if (done) return finish(i);
  return i->waiting != NULL ? WE_WAITING : WE_YIELDED;
}

int we_instantiate(we_inst *i) {
  i->future = wasmtime_instance_pre_instantiate_async(i->template->pre, i->context, &i->instance, &i->trap, &i->error);
  return we_poll(i);
}

we_inst *we_inst_open(const we_template *t, uint32_t handle, int64_t max_memory, int64_t max_table_elements) {
  we_inst *i = we_inst_new(t, handle, max_memory, max_table_elements);
  SET_HOST_SP(i); // nothing should call Go here, but a null stack pointer is no way to find out
  i->future = wasmtime_instance_pre_instantiate_async(t->pre, i->context, &i->instance, &i->trap, &i->error);
  i->status = wasmtime_call_future_poll(i->future) ? finish(i) : WE_YIELDED;
  return i;
}

int we_call_export(we_inst *i, const char *name, size_t name_size) {
  wasmtime_extern_t e;
  if (!wasmtime_instance_export_get(i->context, &i->instance, name, name_size, &e) || e.kind != CAPI_EXTERN_FUNC)
    return WE_NO_EXPORT;
  i->future = wasmtime_func_call_async(i->context, &e.of.func, NULL, 0, NULL, 0, &i->trap, &i->error);
  return we_poll(i);
}

void we_inst_delete(we_inst *i) {
  // The future first: dropping it unwinds a suspended guest, which needs the store.
  if (i->future != NULL) wasmtime_call_future_delete(i->future);
  if (i->trap != NULL) wasm_trap_delete(i->trap);
  if (i->error != NULL) wasmtime_error_delete(i->error);
  wasmtime_store_delete(i->store);
  free(i->globals);
  free(i);
}

void we_failure_get(we_inst *i, size_t max_frames, we_failure *f) {
  memset(f, 0, sizeof *f);
  if (i->trap != NULL) {
    f->has_code = wasmtime_trap_code(i->trap, &f->code);
    wasm_trap_message(i->trap, &f->message);
    wasm_trap_trace(i->trap, &f->trace);
  } else if (i->error != NULL) {
    wasmtime_error_message(i->error, &f->message);
    wasmtime_error_wasm_trace(i->error, &f->trace);
  } else {
    return;
  }
  f->nframes = f->trace.size < max_frames ? f->trace.size : max_frames;
  f->frames = calloc(f->nframes + 1, sizeof *f->frames);
  for (size_t k = 0; k < f->nframes; k++) {
    const wasm_frame_t *frame = f->trace.data[k];
    const wasm_byte_vec_t *name = wasmtime_frame_func_name(frame);
    f->frames[k].index = wasm_frame_func_index(frame);
    f->frames[k].offset = wasm_frame_module_offset(frame);
    if (name != NULL) {
      f->frames[k].name = name->data;
      f->frames[k].name_size = name->size;
    }
  }
}

void we_failure_free(we_failure *f) {
  if (f->message.data != NULL) wasm_byte_vec_delete(&f->message);
  if (f->trace.data != NULL) wasm_frame_vec_delete(&f->trace);
  free(f->frames);
}
