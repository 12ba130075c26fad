#!/usr/bin/env bash
# A real Chromium against the real binary with real traffic: starts `weir up` with the probe on free ports and a
# temporary store, and `weir demo` for traffic, runs ui/e2e, and stops what it started. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "$(id -u)" = 0 ] || { echo "the browser test needs root: the probe and the demo do" >&2; exit 1; }
weir=${WEIR_BIN:-target/debug/weir}
[ -x "$weir" ] || { echo "$weir is missing: run make build" >&2; exit 1; }
work=$(mktemp -d)
pids=()
stop() {
  status=$?
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  if [ $status -ne 0 ]; then
    for log in "$work"/*.log; do echo "--- ${log##*/}, last lines"; tail -n 25 "$log"; done
    # What failed comes last, for a reader who has only the end.
    if [ -s "$work/failures" ]; then echo "--- what failed"; sed -n '/^  1) /,$p' "$work/failures" | tail -n 60; fi
  fi
  rm -rf "$work"
  exit $status
}
trap stop EXIT

"$weir" up --data-dir "$work/data" --http 127.0.0.1:0 --jaeger 127.0.0.1:0 --flight 127.0.0.1:0 \
  --otlp-grpc 127.0.0.1:0 --otlp-http 127.0.0.1:0 --jaeger-grpc 127.0.0.1:0 --jaeger-storage 127.0.0.1:0 --flight-sql 127.0.0.1:0 \
  --postgres 127.0.0.1:0 --ready-file "$work/ready.json" >"$work/up.log" 2>&1 &
pids+=($!)
# Waits for the state itself; the bound is there only to end a start that never comes.
for _ in $(seq 600); do
  [ -s "$work/ready.json" ] && break
  kill -0 "${pids[0]}" 2>/dev/null || { echo "weir up ended before it was ready" >&2; exit 1; }
  sleep 0.1
done
[ -s "$work/ready.json" ] || { echo "weir up was not ready within a minute" >&2; exit 1; }
field() { python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/ready.json" "$1"; }
[ "$(field probe)" = running ] || { echo "the probe does not run; weir doctor says why:" >&2; "$weir" doctor >&2 || true; exit 1; }

"$weir" demo --rate 10 --otlp "http://$(field otlp_http)" --ui "http://$(field http)" >"$work/demo.log" 2>&1 &
pids+=($!)

cd ui
BASE_URL="http://$(field http)" npm run --silent e2e -- "$@" | tee "$work/failures"
