;; Traps before it has answered: the client must get a 500.
(module
  (memory (export "memory") 1)
  (func $_start (export "_start") (unreachable)))
