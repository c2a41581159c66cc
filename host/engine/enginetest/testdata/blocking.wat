;; Alternates between plain hostcalls and those that may wait.
(module
  (import "env" "wait" (func $wait (param i32 i64) (result i32)))
  (import "env" "plain" (func $plain (param i32) (result i32)))
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (func $rounds (param $n i32) (local $i i32) (local $sum i32)
    (loop $l
      (local.set $sum (i32.add (local.get $sum) (call $wait (local.get $i) (i64.const 0x100000000))))
      (local.set $sum (i32.add (local.get $sum) (call $plain (local.get $i))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $l (i32.lt_u (local.get $i) (local.get $n))))
    (call $report (i64.extend_i32_u (local.get $sum))))
  (func (export "once") (call $rounds (i32.const 1)))
  (func (export "hundred") (call $rounds (i32.const 100)))
  (func (export "thousand") (call $rounds (i32.const 1000)))
)
