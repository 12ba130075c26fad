"""Loads the rows of a Weir data folder into another engine, in that engine's own best form, and answers questions over them;
started by `weir bench query`.

Arguments: engine (duckdb, clickhouse, or parquet: DuckDB over Weir's own files), the data folder, a folder for the engine's
files (used again by a later run), threads, bytes of memory.
Standard input: one JSON object a line, {"sql": …}. Standard output: one JSON object a line; first {"version": …, "load_s": …,
"bytes": {table: bytes on disk}}, then for each question {"ms": …, "rows": [[…]]} or {"error": …}. Times are UTC nanoseconds, but
for ClickHouse's cut to minutes, which are seconds.
"""

import decimal
import io
import json
import os
import sys
import time

engine, data, folder, threads, memory = sys.argv[1:]
threads, memory = int(threads), int(memory)
tables = sorted(os.listdir(os.path.join(data, "tables")))


def files(table):
    return os.path.join(data, "tables", table, "**", "*.parquet")


def say(answer):
    print(json.dumps(answer, default=str), flush=True)


def rows_of(table):
    """An Arrow table's rows: times as integers, text as text."""
    import pyarrow as pa

    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns", column.type.tz)).cast(pa.int64())
        values = column.to_pylist()
        # DuckDB's sums are 128 bits wide, which Arrow has as decimals.
        plain = {bytes: bytes.decode, decimal.Decimal: int}
        columns.append([plain.get(type(value), lambda value: value)(value) for value in values])
    return [list(row) for row in zip(*columns)]


class DuckDb:
    """`is_native`: its own table files, one a table. Rows keep the order of Weir's files, which is that of time, so its zone maps
    serve it; the newest storage format, which compresses text best."""

    def __init__(self, is_native):
        import duckdb

        self.version = ("duckdb " if is_native else "duckdb, our files ") + duckdb.__version__
        self.bytes = {}
        config = {"threads": threads, "memory_limit": f"{memory}B", "temp_directory": os.path.join(folder, "temp")}
        self.connection = duckdb.connect(config=config)
        # Its progress would be in the answers' way.
        self.connection.execute("SET enable_progress_bar = false")
        self.connection.execute("SET TimeZone = 'UTC'")
        # Footers kept from one question to the next, as Weir keeps them.
        self.connection.execute("SET parquet_metadata_cache = true")
        for table in tables:
            source = f"read_parquet('{files(table)}', hive_partitioning = false)"
            if not is_native:
                self.connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {source}")
                continue
            path = os.path.join(folder, f"{table}.duckdb")
            is_there = os.path.exists(path)
            making = path if is_there else path + ".making"
            if not is_there and os.path.exists(making):
                os.remove(making)
            if not is_there:
                self.connection.execute(f"ATTACH '{making}' AS making (STORAGE_VERSION 'latest')")
                self.connection.execute(f"CREATE TABLE making.{table} AS SELECT * FROM {source}")
                self.connection.execute("CHECKPOINT making")
                self.connection.execute("DETACH making")
                os.rename(making, path)
            self.connection.execute(f"ATTACH '{path}' AS {table}_file (READ_ONLY)")
            self.connection.execute(f"CREATE VIEW {table} AS SELECT * FROM {table}_file.main.{table}")
            self.bytes[table] = os.path.getsize(path)

    def ask(self, sql):
        start = time.perf_counter()
        answer = self.connection.sql(sql).to_arrow_table()
        return (time.perf_counter() - start) * 1000, rows_of(answer)


# How people who know ClickHouse lay out such tables: by time and who for flows (as Weir's own files are), as OpenTelemetry's own
# exporter for spans; low cardinality where texts repeat, no nulls where an empty text says the same, a codec for each kind of
# column, and skip indices on what is looked up.
ORDER = {
    "flows": "toStartOfTenMinutes(time), client_namespace, client_workload, client_ip, server_ip",
    "spans": "service, operation, toDateTime(time)",
    "tls_handshakes": "toStartOfMinute(time), server_ip, client_ip",
    "drops": "toStartOfMinute(time), node, reason",
}
LOOKED_UP = {
    "flows": ["client_ip", "server_ip", "client_pod", "server_pod", "connection_id", "trace_id"],
    "spans": ["trace_id"],
}


class ClickHouse:
    def __init__(self):
        import chdb
        from chdb import session

        path = os.path.join(folder, "clickhouse")
        self.session = session.Session(path)
        self.version = "clickhouse " + str(self.session.query("SELECT version()", "TSV")).strip()
        self.settings = f" SETTINGS max_threads = {threads}, max_memory_usage = {memory}"
        self.session.query("SET use_hive_partitioning = 0")
        self.session.query("CREATE DATABASE IF NOT EXISTS bench")
        self.session.query("USE bench")
        known = str(self.session.query("SELECT name FROM system.tables WHERE database = 'bench'", "TSV")).split()
        for table in tables:
            if table not in known:
                self.load(table)
        sizes = "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench' GROUP BY table"
        sizes = str(self.session.query(sizes, "TSV")).splitlines()
        self.bytes = {line.split("\t")[0]: int(line.split("\t")[1]) for line in sizes}

    def load(self, table):
        source = f"file('{files(table)}', Parquet)"
        described = json.loads(str(self.session.query(f"DESCRIBE {source}", "JSON")))["data"]
        names = [column["name"] for column in described]
        # A part of the rows says how often texts repeat, all of them whether there are nulls.
        nulls = ", ".join(f"countIf(isNull(`{name}`))" for name in names)
        nulls = json.loads(str(self.session.query(f"SELECT {nulls} FROM {source}", "JSONCompact")))["data"][0]
        distinct = ", ".join(f"uniq(`{name}`)" for name in names)
        part = f"(SELECT * FROM {source} LIMIT 500000)"
        distinct = json.loads(str(self.session.query(f"SELECT {distinct} FROM {part}", "JSONCompact")))["data"][0]
        columns = []
        for column, null, values in zip(described, map(int, nulls), map(int, distinct)):
            name, kind = column["name"], column["type"]
            if kind.startswith("Nullable(") and ("String" in kind or null == 0):
                kind = kind[len("Nullable(") : -1]
            codec = "ZSTD(1)"
            if kind == "String" and values < 20_000:
                kind = "LowCardinality(String)"
            elif "DateTime64" in kind:
                codec = "Delta(8), ZSTD(1)"
            elif kind == "Map(String, Nullable(String))" or kind == "Map(String, String)":
                kind = "Map(LowCardinality(String), String)"
            columns.append(f"`{name}` {kind} CODEC({codec})")
        columns += [
            f"INDEX by_{name} {name} TYPE bloom_filter(0.01) GRANULARITY 1" for name in LOOKED_UP.get(table, [])
        ]
        self.session.query(
            f"CREATE TABLE {table}_making ({', '.join(columns)}) ENGINE = MergeTree PARTITION BY toDate(time) "
            f"ORDER BY ({ORDER.get(table, 'time')})"
        )
        self.session.query(
            f"INSERT INTO {table}_making SELECT * FROM {source} SETTINGS max_memory_usage = {memory}, max_threads = {threads}"
        )
        # Merged, as a table is that was written some time ago.
        self.session.query(f"OPTIMIZE TABLE {table}_making FINAL")
        self.session.query(f"RENAME TABLE {table}_making TO {table}")

    def ask(self, sql):
        import pyarrow as pa

        start = time.perf_counter()
        answer = self.session.query(sql + self.settings, "ArrowStream")
        took = (time.perf_counter() - start) * 1000
        return took, rows_of(pa.ipc.open_stream(io.BytesIO(answer.bytes())).read_all())


os.makedirs(folder, exist_ok=True)
start = time.perf_counter()
rival = ClickHouse() if engine == "clickhouse" else DuckDb(engine == "duckdb")
say({"version": rival.version, "load_s": time.perf_counter() - start, "bytes": rival.bytes})
for line in sys.stdin:
    try:
        ms, rows = rival.ask(json.loads(line)["sql"])
        say({"ms": ms, "rows": rows})
    except Exception as error:  # whatever it is, the one who asked has to know
        say({"error": str(error)})
