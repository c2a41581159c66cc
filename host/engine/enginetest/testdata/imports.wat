;; Imports and exports of several kinds of signature. Only "known" calls a hostcall that the tests offer.
(module
  (import "env" "known" (func $known (param i32) (result i32)))
  (import "other" "unknown" (func $unknown (param i64 f32) (result f64)))
  (import "env" "known" (func $again (param i32) (result i32)))
  (memory (export "memory") 2 3)
  (table (export "table") 4 funcref)
  (global (export "global") (mut i32) (i32.const 1))
  (func (export "known") (drop (call $known (i32.const 1))) (drop (call $again (i32.const 1))))
  (func $calls_unknown (export "unknown") (drop (call $unknown (i64.const 1) (f32.const 1))))
  (func (export "with_types") (param i32 i64) (result f32) (f32.const 0))
)
