;; Imports a global, which no host offers.
(module (import "env" "global" (global i32)) (func (export "run")))
