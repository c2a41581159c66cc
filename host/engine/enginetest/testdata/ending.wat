;; A hostcall ends the guest from some frames deep.
(module
  (import "env" "end" (func $end (param i32)))
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (func $deep (param i32) (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (call $end (i32.const 5)))))
  (func (export "run") (call $deep (i32.const 10)) (call $report (i64.const 1)))
  (func (export "again") (call $end (i32.const 6)))
)
