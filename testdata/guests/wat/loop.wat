;; Computes for ever in one tight loop, without a hostcall.
(module
  (memory (export "memory") 1)
  (func $_start (export "_start")
    (loop $again (br $again))))
