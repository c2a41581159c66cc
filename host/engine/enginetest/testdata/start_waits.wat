;; A start function that waits in a hostcall.
(module
  (import "env" "wait" (func $wait))
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (global $g (mut i64) (i64.const 0))
  (func $start (call $wait) (global.set $g (i64.const 9)))
  (start $start)
  (func (export "run") (call $report (global.get $g)))
)
