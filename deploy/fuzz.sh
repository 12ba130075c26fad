#!/usr/bin/env bash
# Coverage-guided fuzzing of a parser of outside bytes.   usage: deploy/fuzz.sh TARGET [SECONDS]
# The corpus stays in collector/dissect/fuzz/corpus and starts from the test captures; what breaks something is put into
# collector/dissect/fuzz/artifacts, and the run fails.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-} seconds=${2:-60} version=0.13.2
targets=$(cd collector/dissect/fuzz/fuzz_targets && ls | sed 's/\.rs$//' | paste -sd' ')
case " $targets " in *" $target "*) ;; *) echo "fuzz: T=<target> [SECONDS=60]; targets: $targets" >&2; exit 64 ;; esac
bin=$PWD/.tools/fuzz/bin
if [ ! -x "$bin/cargo-fuzz" ] || ! "$bin/cargo-fuzz" --version | grep -q " $version$"; then
  echo "    building cargo-fuzz $version (about a minute, once)"
  cargo install --quiet --locked --debug --root .tools/fuzz --version $version cargo-fuzz
fi
export PATH="$bin:$PATH"
cd collector/dissect
mkdir -p "fuzz/corpus/$target"
[ "$target" != packets ] || cp -n ../pipeline/tests/fixtures/*.pcap fuzz/corpus/packets/
# Coverage needs an unstable flag, which the pinned compiler takes with this. There is no unsafe code here for a
# sanitizer to watch.
RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=30000 -print_final_stats=1
