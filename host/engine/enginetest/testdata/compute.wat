;; Computes for a while: the sum of i*i below n, n at address 0.
(module
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\00\09\3d\00") ;; 4,000,000
  (func (export "run") (local $i i64) (local $sum i64) (local $n i64)
    (local.set $n (i64.load32_u (i32.const 0)))
    (loop $l
      (local.set $sum (i64.add (local.get $sum) (i64.mul (local.get $i) (local.get $i))))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br_if $l (i64.lt_u (local.get $i) (local.get $n))))
    (call $report (local.get $sum)))
)
