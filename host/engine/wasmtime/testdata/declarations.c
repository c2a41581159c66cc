// Compiled by TestDeclarations against wasmtime's real headers. Our types take other names meanwhile.
#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Versions differ in what they call const, which matters to no caller.
#define const
#include <wasm.h>
#include <wasmtime.h>

#define wasm_byte_vec_t own_wasm_byte_vec_t
#define wasm_valtype_vec_t own_wasm_valtype_vec_t
#define wasm_frame_vec_t own_wasm_frame_vec_t
#define wasmtime_instance own_wasmtime_instance
#define wasmtime_instance_t own_wasmtime_instance_t
#define wasmtime_func own_wasmtime_func
#define wasmtime_func_t own_wasmtime_func_t
#define wasmtime_table own_wasmtime_table
#define wasmtime_table_t own_wasmtime_table_t
#define wasmtime_memory own_wasmtime_memory
#define wasmtime_memory_t own_wasmtime_memory_t
#define wasmtime_global own_wasmtime_global
#define wasmtime_global_t own_wasmtime_global_t
#define wasmtime_extern_union own_wasmtime_extern_union
#define wasmtime_extern_union_t own_wasmtime_extern_union_t
#define wasmtime_extern own_wasmtime_extern
#define wasmtime_extern_t own_wasmtime_extern_t
#define wasmtime_val_raw own_wasmtime_val_raw
#define wasmtime_val_raw_t own_wasmtime_val_raw_t
#define wasmtime_val own_wasmtime_val
#define wasmtime_val_t own_wasmtime_val_t
#define wasmtime_async_continuation_t own_wasmtime_async_continuation_t
#include "capi_types.h"
#undef wasm_byte_vec_t
#undef wasm_valtype_vec_t
#undef wasm_frame_vec_t
#undef wasmtime_instance
#undef wasmtime_instance_t
#undef wasmtime_func
#undef wasmtime_func_t
#undef wasmtime_table
#undef wasmtime_table_t
#undef wasmtime_memory
#undef wasmtime_memory_t
#undef wasmtime_global
#undef wasmtime_global_t
#undef wasmtime_extern_union
#undef wasmtime_extern_union_t
#undef wasmtime_extern
#undef wasmtime_extern_t
#undef wasmtime_val_raw
#undef wasmtime_val_raw_t
#undef wasmtime_val
#undef wasmtime_val_t
#undef wasmtime_async_continuation_t

#define SAME_TYPE(t)                                                                  \
  _Static_assert(sizeof(own_##t) == sizeof(t), "size of " #t);                        \
  _Static_assert(_Alignof(own_##t) == _Alignof(t), "alignment of " #t)
#define SAME_FIELD(t, f)                                                              \
  _Static_assert(offsetof(own_##t, f) == offsetof(t, f), "place of " #t "." #f);      \
  _Static_assert(sizeof(((own_##t *)0)->f) == sizeof(((t *)0)->f), "size of " #t "." #f)

SAME_TYPE(wasm_byte_vec_t);
SAME_FIELD(wasm_byte_vec_t, size);
SAME_FIELD(wasm_byte_vec_t, data);
SAME_TYPE(wasm_valtype_vec_t);
SAME_FIELD(wasm_valtype_vec_t, size);
SAME_FIELD(wasm_valtype_vec_t, data);
SAME_TYPE(wasm_frame_vec_t);
SAME_FIELD(wasm_frame_vec_t, size);
SAME_FIELD(wasm_frame_vec_t, data);
SAME_TYPE(wasmtime_instance_t);
SAME_TYPE(wasmtime_func_t);
SAME_TYPE(wasmtime_table_t);
SAME_TYPE(wasmtime_memory_t);
SAME_TYPE(wasmtime_global_t);
SAME_TYPE(wasmtime_extern_t);
SAME_FIELD(wasmtime_extern_t, kind);
SAME_FIELD(wasmtime_extern_t, of);
SAME_FIELD(wasmtime_extern_t, of.func);
SAME_FIELD(wasmtime_extern_t, of.global);
SAME_FIELD(wasmtime_extern_t, of.memory);
SAME_TYPE(wasmtime_val_raw_t);
SAME_FIELD(wasmtime_val_raw_t, i32);
SAME_FIELD(wasmtime_val_raw_t, i64);
SAME_FIELD(wasmtime_val_raw_t, f32);
SAME_FIELD(wasmtime_val_raw_t, f64);
SAME_TYPE(wasmtime_val_t);
SAME_FIELD(wasmtime_val_t, kind);
SAME_FIELD(wasmtime_val_t, of);
SAME_FIELD(wasmtime_val_t, of.i64);
SAME_FIELD(wasmtime_val_t, of.v128);
SAME_TYPE(wasmtime_async_continuation_t);
SAME_FIELD(wasmtime_async_continuation_t, callback);
SAME_FIELD(wasmtime_async_continuation_t, env);
SAME_FIELD(wasmtime_async_continuation_t, finalizer);

// From here on capi.h repeats, with the real types, what the real headers declare: the compiler compares.
#include "capi.h"

#define SAME_NUMBER(own, real) _Static_assert((int)own == (int)real, #own)
SAME_NUMBER(CAPI_I32, WASM_I32);
SAME_NUMBER(CAPI_I64, WASM_I64);
SAME_NUMBER(CAPI_F32, WASM_F32);
SAME_NUMBER(CAPI_F64, WASM_F64);
SAME_NUMBER(CAPI_EXTERN_FUNC, WASMTIME_EXTERN_FUNC);
SAME_NUMBER(CAPI_EXTERN_GLOBAL, WASMTIME_EXTERN_GLOBAL);
SAME_NUMBER(CAPI_EXTERN_MEMORY, WASMTIME_EXTERN_MEMORY);
SAME_NUMBER(CAPI_OPT_LEVEL_SPEED, WASMTIME_OPT_LEVEL_SPEED);
SAME_NUMBER(CAPI_PROFILING_STRATEGY_PERFMAP, WASMTIME_PROFILING_STRATEGY_PERFMAP);
SAME_NUMBER(CAPI_TRAP_CODE_STACK_OVERFLOW, WASMTIME_TRAP_CODE_STACK_OVERFLOW);
SAME_NUMBER(CAPI_TRAP_CODE_MEMORY_OUT_OF_BOUNDS, WASMTIME_TRAP_CODE_MEMORY_OUT_OF_BOUNDS);
SAME_NUMBER(CAPI_TRAP_CODE_TABLE_OUT_OF_BOUNDS, WASMTIME_TRAP_CODE_TABLE_OUT_OF_BOUNDS);
SAME_NUMBER(CAPI_TRAP_CODE_INDIRECT_CALL_TO_NULL, WASMTIME_TRAP_CODE_INDIRECT_CALL_TO_NULL);
SAME_NUMBER(CAPI_TRAP_CODE_BAD_SIGNATURE, WASMTIME_TRAP_CODE_BAD_SIGNATURE);
SAME_NUMBER(CAPI_TRAP_CODE_INTEGER_OVERFLOW, WASMTIME_TRAP_CODE_INTEGER_OVERFLOW);
SAME_NUMBER(CAPI_TRAP_CODE_INTEGER_DIVISION_BY_ZERO, WASMTIME_TRAP_CODE_INTEGER_DIVISION_BY_ZERO);
SAME_NUMBER(CAPI_TRAP_CODE_BAD_CONVERSION_TO_INTEGER, WASMTIME_TRAP_CODE_BAD_CONVERSION_TO_INTEGER);
SAME_NUMBER(CAPI_TRAP_CODE_UNREACHABLE_CODE_REACHED, WASMTIME_TRAP_CODE_UNREACHABLE_CODE_REACHED);
