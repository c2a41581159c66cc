;; Guests of the benchmarks and of the tests that measure.
(module
  (import "env" "plain" (func $plain (param i32 i32 i32) (result i32)))
  (import "env" "ready" (func $ready (param i32 i32 i32) (result i32)))
  (import "env" "wait" (func $wait (param i32 i32 i32) (result i32)))
  (import "env" "count" (func $count (result i64)))
  (import "env" "exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 1024) "some data")
  (func (export "empty"))
  (func (export "touch") (i32.store (i32.const 1024) (i32.const 1)))
  (func (export "exit") (call $exit (i32.const 0)))
  (func (export "plain") (local $n i64)
    (local.set $n (call $count))
    (loop $l
      (drop (call $plain (i32.const 1) (i32.const 2) (i32.const 3)))
      (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
  (func (export "ready") (local $n i64)
    (local.set $n (call $count))
    (loop $l
      (drop (call $ready (i32.const 1) (i32.const 2) (i32.const 3)))
      (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
  (func (export "wait") (local $n i64)
    (local.set $n (call $count))
    (loop $l
      (drop (call $wait (i32.const 1) (i32.const 2) (i32.const 3)))
      (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
  (func (export "turns") (local $n i64)
    (local.set $n (call $count))
    (loop $l
      (br_if $l (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0)))))
  (func (export "loop") (loop $l (br $l)))
)
