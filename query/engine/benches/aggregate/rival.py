"""Answers questions over the store's own Parquet files with DuckDB, for `benches/aggregate.rs`.

Arguments: the folder of one table's files, the number of threads. Standard input: one JSON object a line, {"sql": …}.
Standard output: one JSON object a line: {"ms": …, "rows": [[…]]}; the first line is {"version": …}.
"""

import json
import sys
import time

import duckdb

folder, threads = sys.argv[1:]
connection = duckdb.connect(config={"threads": int(threads)})
# Footers kept from one question to the next, as Weir keeps them.
connection.execute("SET parquet_metadata_cache = true")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(f"CREATE VIEW flows AS SELECT * FROM read_parquet('{folder}/**/*.parquet', hive_partitioning = false)")


def say(answer):
    print(json.dumps(answer, default=str), flush=True)


say({"version": duckdb.__version__})
for line in sys.stdin:
    sql = json.loads(line)["sql"]
    start = time.perf_counter()
    rows = connection.execute(sql).fetchall()
    say({"ms": (time.perf_counter() - start) * 1000, "rows": rows})
