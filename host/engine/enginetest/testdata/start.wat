;; A start function that makes a hostcall and writes memory.
(module
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (func $start (call $report (i64.const 1)) (i32.store (i32.const 0) (i32.const 42)))
  (start $start)
  (func (export "run") (call $report (i64.extend_i32_u (i32.load (i32.const 0)))))
)
