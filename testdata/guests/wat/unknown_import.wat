;; Imports a hostcall that does not exist, and calls it only after it has answered: linking must refuse it by name,
;; unless unknown imports were asked to trap when called; then the client gets the answer.
(module
  (import "fastly_http_resp" "new" (func $resp_new (param i32) (result i32)))
  (import "fastly_http_resp" "send_downstream" (func $send (param i32 i32 i32) (result i32)))
  (import "fastly_http_body" "new" (func $body_new (param i32) (result i32)))
  (import "fastly_nonsense" "does_not_exist" (func $unknown (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (func $_start (export "_start")
    (drop (call $resp_new (i32.const 0)))
    (drop (call $body_new (i32.const 4)))
    (drop (call $send (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.const 0)))
    (drop (call $unknown (i32.const 0) (i64.const 0)))))
