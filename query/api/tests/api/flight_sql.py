"""Asks a running Weir by ADBC's Flight SQL driver, as any Python program would; fails where an answer isn't what it must be.

usage: client.py grpc://ADDRESS:PORT
"""

import datetime
import sys

import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow

connection = adbc_driver_flightsql.dbapi.connect(sys.argv[1], autocommit=True)


def ask(query, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def refused(query, *words, parameters=None):
    try:
        ask(query, parameters)
    except adbc_driver_manager.Error as error:
        for word in words:
            assert word in str(error), f"{query}: {word!r} is not in {error}"
        return
    raise AssertionError(f"{query} was answered")


# Statements.
assert ask("SELECT count(*), sum(client_bytes) FROM flows") == [(10, 1045)]
with connection.cursor() as cursor:
    cursor.execute("SELECT time, client_process, client_bytes FROM flows ORDER BY time")
    table = cursor.fetch_arrow_table()
assert table.num_rows == 10, table
assert table.schema.field("time").type == pyarrow.timestamp("ns", tz="UTC"), table.schema
assert table.schema.field("client_process").type == pyarrow.string(), table.schema
with connection.cursor() as cursor:
    cursor.execute("SELECT value FROM generate_series(1, 300000)")
    assert cursor.fetch_arrow_table().num_rows == 300_000

# Prepared statements with parameters.
assert ask("SELECT count(*) FROM flows WHERE server_port = $1", (443,)) == [(5,)]
assert ask("SELECT count(*) FROM flows WHERE server_port = $1 AND client_process = $2", (443, "curl")) == [(1,)]
long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
assert ask("SELECT count(*) FROM flows WHERE time > $1", (long_ago,)) == [(10,)]
assert ask("SELECT count(*) FROM flows WHERE client_process = $1", ("x' OR '1'='1",)) == [(0,)]
with connection.cursor() as cursor:
    for port, expected in ((443, 5), (80, 5), (1, 0)):
        cursor.execute("SELECT count(*) FROM flows WHERE server_port = $1", (port,))
        assert cursor.fetchall() == [(expected,)], port
    schema = cursor.adbc_prepare("SELECT count(*) FROM flows WHERE server_port = $1 AND client_ip = $2")
    assert [field.name for field in schema] == ["$1", "$2"], schema

# The catalogue.
assert connection.adbc_get_table_types() == ["BASE TABLE"]
objects = connection.adbc_get_objects(depth="columns").read_all().to_pylist()
assert [catalog["catalog_name"] for catalog in objects] == ["weir"], objects
(schema,) = objects[0]["catalog_db_schemas"]
assert schema["db_schema_name"] == "public", schema
tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
assert {"flows", "spans", "tls_handshakes"} <= set(tables), set(tables)
columns = {column["column_name"] for column in tables["flows"]["table_columns"]}
assert {"time", "client_ip", "server_bytes"} <= columns, columns
assert connection.adbc_get_table_schema("flows").field("client_bytes").type == pyarrow.int64()
info = connection.adbc_get_info()
assert info["vendor_name"] == "Weir", info

# What is wrong has its code, place and hint; nothing can be changed.
refused("SELECT clint_ip FROM flows", "sql.unknown_column", "line 1, column 8", "did you mean client_ip?")
refused("DROP TABLE flows", "sql.read_only")
refused("SELECT $1, $2", "sql.parameter", parameters=(1,))
refused("SELECT 100 / (value - 60000) FROM generate_series(1, 100000)", "ivide by zero")
try:
    with connection.cursor() as cursor:
        cursor.adbc_ingest("mine", pyarrow.table({"x": [1]}), mode="create")
    raise AssertionError("a table was made")
except adbc_driver_manager.Error as error:
    assert "sql.read_only" in str(error) or "not" in str(error).lower(), error
assert ask("SELECT count(*), sum(client_bytes) FROM flows") == [(10, 1045)]

# Leaving in the midst of an answer ends it; the test's other half looks whether it did.
cursor = connection.cursor()
cursor.execute("SELECT value FROM generate_series(1, 1000000000000)")
reader = cursor.fetch_record_batch()
assert reader.read_next_batch().num_rows > 0
cursor.close()
connection.close()
print("asked")
