;; Growing memory and table against limits.
(module
  (import "env" "report" (func $report (param i64)))
  (memory (export "memory") 1)
  (table $t 10 funcref)
  (func $grow (param i32) (call $report (i64.extend_i32_s (memory.grow (local.get 0)))))
  (func (export "memory_by_3") (call $grow (i32.const 3)))
  (func (export "memory_by_1") (call $grow (i32.const 1)))
  (func (export "memory_by_65535") (call $grow (i32.const 65535)))
  (func $tgrow (param i32) (call $report (i64.extend_i32_s (table.grow $t (ref.null func) (local.get 0)))))
  (func (export "table_by_5") (call $tgrow (i32.const 5)))
  (func (export "table_by_1") (call $tgrow (i32.const 1)))
  (func (export "table_by_all") (call $tgrow (i32.const 0x7fffffff)))
)
