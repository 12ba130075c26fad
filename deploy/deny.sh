#!/usr/bin/env bash
# cargo-deny, pinned, built once into .tools. Advisories need the RustSec database from its git repository; where
# that can't be reached the rest is still checked, and the run says so.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
bin=.tools/deny/bin/cargo-deny
if [ ! -x $bin ] || ! $bin --version | grep -q " $version$"; then
  echo "    building cargo-deny $version (about 3 min, once)"
  cargo install --quiet --locked --debug --root .tools/deny --no-default-features --version $version cargo-deny
fi
$bin --log-level warn --locked check --hide-inclusion-graph licenses bans sources
if $bin --log-level off fetch db 2>/dev/null; then
  $bin --log-level warn --locked check --hide-inclusion-graph advisories
else
  echo "    advisories NOT checked: the RustSec database can't be reached from this machine"
fi
