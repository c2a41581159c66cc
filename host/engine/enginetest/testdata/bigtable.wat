;; Needs a table of 500 elements from the start.
(module (table 500 funcref) (func (export "run")))
