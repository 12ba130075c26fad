#!/usr/bin/env bash
# Builds Jaeger 2.13 (memory store, no page) into .tools/jaeger, once; takes minutes, so `make test` does without it.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.76.0 # the module's name for the release that has 2.13 in it
to=$PWD/.tools/jaeger
[ -x "$to/jaeger" ] && [ "$(cat "$to/version" 2>/dev/null)" = "$version" ] && exit 0
export PATH="$PWD/.tools/go/bin:$PATH" CGO_ENABLED=0
echo "building Jaeger $version into .tools/jaeger (5 min on 2 cores, once)"
mkdir -p "$to/source"
# Its go.mod replaces modules, which only counts where it is the main one: built in a copy of its source.
from=$(cd "$to" && go mod download -json "github.com/jaegertracing/jaeger@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
cp -r "$from/." "$to/source/"
chmod -R u+w "$to/source"
# The page isn't in the module, and something has to be embedded in its place.
page=$to/source/cmd/jaeger/internal/extension/jaegerquery/internal/ui/actual
[ ! -d "$(dirname "$page")" ] || { mkdir -p "$page" && touch "$page/.keep"; }
(cd "$to/source" && go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$to/jaeger" ./cmd/jaeger)
rm -rf "$to/source"
echo "$version" > "$to/version"
