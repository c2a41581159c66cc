;; Imports a table, which no host offers.
(module (import "env" "table" (table 1 funcref)) (func (export "run")))
