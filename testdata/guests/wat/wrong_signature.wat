;; Imports a hostcall that exists, with parameters that it does not have.
(module
  (import "fastly_http_resp" "new" (func $resp_new (param i64 i64) (result i64)))
  (memory (export "memory") 1)
  (func $_start (export "_start") (drop (call $resp_new (i64.const 0) (i64.const 0)))))
