;; Recurses for ever and tells the host each time.
(module
  (import "env" "deeper" (func $deeper))
  (func $down (param i64) (result i64)
    (call $deeper)
    (i64.add (call $down (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
  (func (export "run") (drop (call $down (i64.const 0))))
)
