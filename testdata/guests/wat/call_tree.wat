;; Computes as good as for ever without a single loop: each function calls the one below it twice, 60 levels deep.
(module
  (memory (export "memory") 1)
  (func $tree (param $depth i32)
    (if (i32.eqz (local.get $depth)) (then (return)))
    (call $tree (i32.sub (local.get $depth) (i32.const 1)))
    (call $tree (i32.sub (local.get $depth) (i32.const 1))))
  (func $_start (export "_start") (call $tree (i32.const 60))))
