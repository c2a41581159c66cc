;; One export for each reason to trap, each two named functions deep.
(module
  (type $void (func))
  (type $int (func (param i32)))
  (memory (export "memory") 1)
  (table 4 funcref)
  (elem (i32.const 0) $takes_int)
  (func $takes_int (param i32))                                                                  ;; 0
  (func $inner_unreachable unreachable)                                                          ;; 1
  (func $outer_unreachable (export "unreachable") (call $inner_unreachable))                     ;; 2
  (func $inner_load (drop (i32.load (i32.const 0x7fffffff))))                                    ;; 3
  (func $outer_load (export "load") (call $inner_load))                                          ;; 4
  (func $inner_fill (memory.fill (i32.const 65530) (i32.const 0) (i32.const 100)))               ;; 5
  (func $outer_fill (export "fill") (call $inner_fill))                                          ;; 6
  (func $inner_tableget (drop (table.get 0 (i32.const 100))))                                      ;; 7
  (func $outer_tableget (export "tableget") (call $inner_tableget))                              ;; 8
  (func $inner_callfar (call_indirect (type $void) (i32.const 100)))                             ;; 9
  (func $outer_callfar (export "callfar") (call $inner_callfar))                                 ;; 10
  (func $inner_callnull (call_indirect (type $void) (i32.const 1)))                              ;; 11
  (func $outer_callnull (export "callnull") (call $inner_callnull))                              ;; 12
  (func $inner_signature (call_indirect (type $void) (i32.const 0)))                             ;; 13
  (func $outer_signature (export "signature") (call $inner_signature))                           ;; 14
  (func $inner_overflow (drop (i32.div_s (i32.const 0x80000000) (i32.load (i32.const 4)))))      ;; 15
  (func $outer_overflow (export "overflow") (i32.store (i32.const 4) (i32.const -1)) (call $inner_overflow)) ;; 16
  (func $inner_division (drop (i64.rem_u (i64.const 5) (i64.load (i32.const 16)))))              ;; 17
  (func $outer_division (export "division") (call $inner_division))                              ;; 18
  (func $inner_conversion (drop (i32.trunc_f64_s (f64.load (i32.const 8)))))                     ;; 19
  (func $outer_conversion (export "conversion") (f64.store (i32.const 8) (f64.const nan)) (call $inner_conversion)) ;; 20
  (func $inner_range (drop (i32.trunc_f32_s (f32.load (i32.const 8)))))                          ;; 21
  (func $outer_range (export "range") (f32.store (i32.const 8) (f32.const 1e30)) (call $inner_range)) ;; 22
  (func $inner_stack (param i64) (result i64)                                                    ;; 23
    (i64.add (call $inner_stack (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func $outer_stack (export "stack") (drop (call $inner_stack (i64.const 0))))                  ;; 24
)
