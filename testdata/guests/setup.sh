#!/usr/bin/env bash
# Installs what build.sh needs on Debian: compilers for Rust and C guests, wabt, binaryen. AssemblyScript and JavaScript
# guests need Node.js with npm besides, which is expected to be there. Needs root; a second run is quick.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if ! command -v apt-get >/dev/null; then
	echo "setup.sh: this script knows only Debian. Install by hand: clang with the wasm32 builtins, wasi-libc, lld, wabt," >&2
	echo "binaryen, and Rust with its wasm32-wasip1 target." >&2
	exit 1
fi
packages=(clang-19 libclang-rt-19-dev-wasm32 lld-19 wasi-libc wabt binaryen)
missing=()
for package in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	echo "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
bash "$here/setup-rust-wasm.sh"
