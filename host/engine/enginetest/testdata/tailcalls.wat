;; Two functions that hand over to one another for ever in constant stack.
(module
  (func $a (return_call $b))
  (func $b (return_call $a))
  (func (export "run") (call $a))
)
