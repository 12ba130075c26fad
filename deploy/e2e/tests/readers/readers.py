"""Reads the files of a Weir store with a tool that knows nothing of Weir, and says what it found in each column.

Arguments: the tool (duckdb, pyarrow, spark) and the store's folder `tables`. Standard input: JSON {"from": ns, "until": ns,
"tables": {table: {column: kind}}}: rows of that time count. Standard output: JSON {table: {column: [measures]}}. What is measured
of which kind stands in `readers.rs`; docs/readers.md has the ways of opening the files.
"""

import json
import os
import sys

tool, folder = sys.argv[1:]
asked = json.load(sys.stdin)
begin, end = asked["from"], asked["until"]


def with_duckdb(table, columns):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    source = f"read_parquet('{folder}/{table}/**/*.parquet', hive_partitioning = true)"
    measures = {
        "time": "count({0}), min(epoch_ns({0})), max(epoch_ns({0})), sum(epoch_ns({0}) - {1})",
        "text": "count({0}), count(DISTINCT {0}), min({0}), max({0}), sum(length({0}))",
        "int": "count({0}), sum({0}), min({0}), max({0})",
        "bool": "count({0}), count_if({0})",
        "float": "count({0}), sum({0})",
        "list": "sum(len({0})), sum(length(array_to_string({0}, '')))",
        "map": "sum(cardinality({0})), sum(length(array_to_string(map_values({0}), '')))",
    }
    parts = [measures[kind].format(f'"{name}"', begin) for name, kind in columns.items()]
    sql = f"SELECT {', '.join(parts)} FROM {source} WHERE epoch_ns(time) >= {begin} AND epoch_ns(time) < {end}"
    return list(connection.execute(sql).fetchone())


def with_pyarrow(table, columns):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    rows = ds.dataset(f"{folder}/{table}", format="parquet", partitioning="hive").to_table()
    time = rows["time"].cast(pa.int64())
    rows = rows.filter(pc.and_(pc.greater_equal(time, begin), pc.less(time, end)))
    found = []
    for name, kind in columns.items():
        column = rows[name]
        if kind == "time":
            assert column.type == pa.timestamp("ns", "UTC"), column.type
            column = column.cast(pa.int64())
            found += [pc.count(column), pc.min(column), pc.max(column), pc.sum(pc.subtract(column, begin))]
        elif kind == "text":
            distinct = pc.count_distinct(column)
            found += [pc.count(column), distinct, pc.min(column), pc.max(column), pc.sum(pc.utf8_length(column))]
        elif kind == "int":
            found += [pc.count(column), pc.sum(column), pc.min(column), pc.max(column)]
        elif kind == "bool":
            found += [pc.count(column), pc.sum(column)]
        elif kind == "float":
            found += [pc.count(column), pc.sum(column)]
        else:
            entries = pc.list_flatten(column) if kind == "list" else pa.array(
                [value for row in column.to_pylist() for _, value in row or []], pa.string()
            )
            found += [len(entries), pc.sum(pc.utf8_length(entries))]
    return [value.as_py() if isinstance(value, pa.Scalar) else value for value in found]


class Spark:
    """One session for all tables: starting it takes longer than reading them."""

    def __init__(self):
        from pyspark.sql import SparkSession

        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        builder = SparkSession.builder.master("local[2]").appName("readers")
        for name, value in {
            # Spark knows no nanoseconds: without this it refuses the files, with it times are BIGINT, nanoseconds.
            "spark.sql.legacy.parquet.nanosAsLong": "true",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            # Hundreds of measures at a time make more code than it pays to compile.
            "spark.sql.codegen.wholeStage": "false",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "1g",
        }.items():
            builder = builder.config(name, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")

    def __call__(self, table, columns):
        rows = self.session.read.parquet(f"{folder}/{table}")
        measures = {
            "time": "count({0}), min({0}), max({0}), sum({0} - {1})",
            "text": "count({0}), size(collect_set({0})), min({0}), max({0}), sum(length({0}))",
            "int": "count({0}), sum({0}), min({0}), max({0})",
            "bool": "count({0}), count_if({0})",
            "float": "count({0}), sum({0})",
            "list": "sum(size({0})), sum(length(array_join({0}, '')))",
            "map": "sum(size({0})), sum(length(array_join(map_values({0}), '')))",
        }
        parts = [measures[kind].format(f"`{name}`", begin) for name, kind in columns.items()]
        rows.where(f"time >= {begin} AND time < {end}").createOrReplaceTempView("rows")
        return list(self.session.sql(f"SELECT {', '.join(parts)} FROM rows").collect()[0])


reader = {"duckdb": lambda: with_duckdb, "pyarrow": lambda: with_pyarrow, "spark": Spark}[tool]()
widths = {"time": 4, "text": 5, "int": 4, "bool": 2, "float": 2, "list": 2, "map": 2}
answer = {}
for table, columns in asked["tables"].items():
    values = reader(table, columns)
    answer[table] = {}
    for name, kind in columns.items():
        answer[table][name], values = values[: widths[kind]], values[widths[kind] :]
    assert not values, f"{table}: {len(values)} values too many"
# Numbers as text, so that none is rounded on the way.
plain = lambda value: value if value is None or isinstance(value, str) else str(float(value) if isinstance(value, float) else int(value))
print(json.dumps({t: {c: [plain(v) for v in vs] for c, vs in cs.items()} for t, cs in answer.items()}))
