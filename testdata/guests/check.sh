#!/usr/bin/env bash
# Checks that the committed guests come from the sources beside them: builds them again in another folder and compares.
# With the tools that TOOLS names, every byte must be the same. With other ones it is enough that everything builds, and
# a difference is only told.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"$here/build.sh" -o "$dir" rust assemblyscript c wat
same_tools=true
if ! "$here/build.sh" tools | diff "$here/TOOLS" - >"$dir/tools.diff"; then
	same_tools=false
	echo "these tools are not those that built the committed guests:"
	sed 's/^/    /' "$dir/tools.diff"
fi
compared=0
differing=()
while IFS= read -r file; do
	name=${file#"$dir/"}
	compared=$((compared + 1))
	cmp -s "$file" "$here/$name" || differing+=("$name")
done < <(find "$dir" -name '*.wasm' | sort)
if [ ${#differing[@]} -eq 0 ]; then
	echo "$compared guests: all as committed"
	exit 0
fi
echo "${#differing[@]} of $compared guests differ from the committed ones: ${differing[*]}"
if $same_tools; then
	echo "check.sh: the committed files do not come from these sources: run testdata/guests/build.sh and commit the result" >&2
	exit 1
fi
