#!/usr/bin/env bash
# Scores the inference of who asked whom on each set of exchanges in a folder that has score.py, beside simple rules.
# Usage: stitch.sh WEIR FOLDER
set -euo pipefail
weir=$1 sets=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for set in "$sets"/*.csv.gz; do
    name=$(basename "$set" .csv.gz)
    gzip -dc "$set" > "$work/$name.csv"
    # What is inferred from has no truth in it.
    cut -d, -f1-8 "$work/$name.csv" > "$work/$name.blind.csv"
    "$weir" bench stitch --out "$work/$name.links" "$work/$name.blind.csv" 2> "$work/$name.report"
    printf '%s\n  inferred      ' "$name"
    "$sets/score.py" "$work/$name.csv" "$work/$name.links"
    printf '  simple rules  '
    "$sets/score.py" --baseline "$work/$name.csv" | sed "s/^$name *//"
    printf '  throughput    '
    sed -n 's/.* ms: //p' "$work/$name.report"
    "$weir" bench stitch --out /dev/null "$work/$name.csv" 2>&1 | sed -n '/^  confidence/,$p'
done
