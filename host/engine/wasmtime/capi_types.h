// The types of wasmtime's C API that this package uses, declared here because a cgo package cannot reach
// the headers of another module. TestDeclarations compiles them against the real headers: a difference in
// size, in the place of a field or in a prototype is a compile error there.
#ifndef WASMEDGE_CAPI_TYPES_H
#define WASMEDGE_CAPI_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_byte_vec_t {
  size_t size;
  char *data;
} wasm_byte_vec_t;

typedef struct wasm_valtype_vec_t {
  size_t size;
  struct wasm_valtype_t **data;
} wasm_valtype_vec_t;

typedef struct wasm_frame_vec_t {
  size_t size;
  struct wasm_frame_t **data;
} wasm_frame_vec_t;

typedef struct wasmtime_instance {
  uint64_t store_id;
  size_t __private;
} wasmtime_instance_t;

typedef struct wasmtime_func {
  uint64_t store_id;
  void *__private;
} wasmtime_func_t;

typedef struct wasmtime_table {
  struct {
    uint64_t store_id;
    uint32_t __private1;
  };
  uint32_t __private2;
} wasmtime_table_t;

typedef struct wasmtime_memory {
  struct {
    uint64_t store_id;
    uint32_t __private1;
  };
  uint32_t __private2;
} wasmtime_memory_t;

typedef struct wasmtime_global {
  uint64_t store_id;
  uint32_t __private1;
  uint32_t __private2;
  uint32_t __private3;
} wasmtime_global_t;

typedef union wasmtime_extern_union {
  wasmtime_func_t func;
  wasmtime_global_t global;
  wasmtime_table_t table;
  wasmtime_memory_t memory;
  struct wasmtime_sharedmemory *sharedmemory;
} wasmtime_extern_union_t;

typedef struct wasmtime_extern {
  uint8_t kind;
  wasmtime_extern_union_t of;
} wasmtime_extern_t;

typedef union wasmtime_val_raw {
  int32_t i32;
  int64_t i64;
  float f32;
  double f64;
  uint8_t v128[16];
  uint32_t externref;
  void *funcref;
} wasmtime_val_raw_t;

typedef struct wasmtime_val {
  uint8_t kind;
  union {
    int64_t i64;
    uint8_t v128[16];
    struct { // the largest reference
      uint64_t store_id;
      uint32_t __private1, __private2;
      void *__private3;
    } ref;
  } of;
} wasmtime_val_t;

typedef struct wasmtime_async_continuation_t {
  bool (*callback)(void *env);
  void *env;
  void (*finalizer)(void *);
} wasmtime_async_continuation_t;

#endif
