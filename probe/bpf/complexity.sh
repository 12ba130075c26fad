#!/bin/sh
# Prints what the kernel's verifier processed for each program, beside the committed figures, so that growth is seen.
# Fails where a program is refused. It gives up at a million instructions; the figures differ a little between kernels.
#
#   complexity.sh WEIR_PROBE           print
#   complexity.sh WEIR_PROBE --write   print, and take the figures over into complexity.txt
set -eu

probe=$1
known=$(cd "$(dirname "$0")" && pwd)/complexity.txt
if [ "$(id -u)" != 0 ]; then
    echo "complexity: not looked at, loading programs needs root (sudo make bpf)"
    exit 0
fi
now=$(mktemp)
trap 'rm -f "$now"' EXIT
"$probe" --verify --level packets >"$now"
kernel=$(uname -r | cut -d. -f1,2)
awk -v kernel="$kernel" '
    NR == FNR { if ($1 == "#") was_on = $NF; else { verified[$1] = $2; jited[$1] = $4 } next }
    FNR == 1 {
        printf "what the verifier processed on Linux %s (committed: on %s)\n", kernel, was_on
        printf "  %-16s %9s %9s %12s %12s %7s\n", "program", "verified", "before", "instructions", "jited bytes", "before"
        next
    }
    {
        before = $1 in verified ? verified[$1] : "-"; jited_before = $1 in jited ? jited[$1] : "-"; note = ""
        if (before == "-") note = "  new"
        else if ($2 > before * 1.02) note = sprintf("  grew by %.0f %%", ($2 / before - 1) * 100)
        if ($2 > 500000) note = note "  more than half of what the verifier allows"
        printf "  %-16s %9s %9s %12s %12s %7s%s\n", $1, $2, before, $3, $4, jited_before, note
        changed = changed || note != ""
    }
    END { if (changed) print "  wanted? then: probe/bpf/complexity.sh target/debug/weir-probe --write" }
' "$known" "$now"
if [ "${2:-}" = --write ]; then
    { echo "# What the verifier processed, written by probe/bpf/complexity.sh --write, on Linux $kernel"; cat "$now"; } >"$known"
fi
