;; Imports a memory, which no host offers.
(module (import "env" "memory" (memory 1)) (func (export "run")))
