"""Asks a running Weir by psycopg, as any Python program would; fails where an answer isn't what it must be.

usage: postgres.py PORT
"""

import datetime
import decimal
import sys
import threading
import time

import psycopg
from psycopg.rows import tuple_row

connection = psycopg.connect(
    host="127.0.0.1", port=int(sys.argv[1]), user="ann", dbname="weir", autocommit=True, row_factory=tuple_row
)


def ask(query, parameters=None, **how):
    return connection.execute(query, parameters, **how).fetchall()


def refused(query, state, *words, parameters=None):
    try:
        ask(query, parameters)
    except psycopg.Error as error:
        assert error.sqlstate == state, f"{query}: {error.sqlstate} {error}"
        for word in words:
            assert word in str(error), f"{query}: {word!r} is not in {error}"
        return
    raise AssertionError(f"{query} was answered")


utc = datetime.timezone.utc
assert connection.info.server_version == 160000, connection.info.server_version
assert connection.info.parameter_status("server_version").startswith("16.0 (Weir 0."), "the version"

# Values by their type, as text and as binary.
at = datetime.datetime(2026, 1, 2, 3, 4, 5, 600000)
columns = {
    "true": True,
    "arrow_cast(7, 'Int16')": 7,
    "arrow_cast(7, 'Int32')": 7,
    "9007199254740993": 9007199254740993,
    "arrow_cast(18446744073709551615, 'UInt64')": decimal.Decimal("18446744073709551615"),
    "CAST(-123.45 AS DECIMAL(10, 2))": decimal.Decimal("-123.45"),
    "arrow_cast(0.5, 'Float32')": 0.5,
    "CAST(1e300 AS DOUBLE)": 1e300,
    "'ä'": "ä",
    "NULL": None,
    "X'00ff'": b"\x00\xff",
    "DATE '1999-12-31'": datetime.date(1999, 12, 31),
    "TIMESTAMP '2026-01-02 03:04:05.6'": at,
    "arrow_cast('2026-01-02T03:04:05.6Z', 'Timestamp(Nanosecond, Some(\"UTC\"))')": at.replace(tzinfo=utc),
    "INTERVAL '1 day 90 minutes'": datetime.timedelta(days=1, minutes=90),
    "['a', NULL, 'b c']": ["a", None, "b c"],
    "[1, 2]": [1, 2],
}
for binary in (False, True):
    (row,) = connection.execute("SELECT " + ", ".join(columns), binary=binary, prepare=True).fetchall()
    for (text, expected), value in zip(columns.items(), row):
        assert value == expected and type(value) is type(expected), f"{text}: {value!r}, binary {binary}"
    (row,) = connection.execute("SELECT time, client_process, client_bytes FROM flows ORDER BY time LIMIT 1", binary=binary)
    assert row[0].tzinfo is not None and row[1:] == ("curl", 100), row

# An answer without rows has its columns and their types.
for nothing in ("WHERE false", "LIMIT 0"):
    cursor = connection.execute(f"SELECT client_bytes, time FROM flows {nothing}")
    assert [column.type_code for column in cursor.description] == [20, 1184], cursor.description

# Parameters: as text, as binary, of types that are told and that aren't.
long_ago = datetime.datetime(2001, 1, 1, tzinfo=utc)
for placeholder in ("%s", "%b", "%t"):
    port = f"SELECT count(*) FROM flows WHERE server_port = {placeholder}"
    assert ask(port, (443,)) == [(5,)], placeholder
    assert ask(f"{port} AND client_process = {placeholder}", (443, "curl")) == [(1,)], placeholder
    assert ask(f"SELECT count(*) FROM flows WHERE time > {placeholder}", (long_ago,)) == [(10,)], placeholder
    assert ask(f"SELECT count(*) FROM flows WHERE client_process = {placeholder}", ("x' OR '1'='1",)) == [(0,)]
    assert ask(f"SELECT {placeholder}, {placeholder}", (None, "ä")) == [(None, "ä")], placeholder
    assert ask(f"SELECT count(*) FROM flows WHERE server_port = ANY({placeholder})", ([443, 80],)) == [(10,)], placeholder
assert ask("SELECT count(*) FROM flows WHERE time > %s", ("2001-01-01T00:00:00Z",)) == [(10,)]
assert ask("SELECT count(*) FROM flows WHERE client_bytes > %s", (decimal.Decimal("104.5"),)) == [(5,)]
for port, expected in ((443, 5), (80, 5), (1, 0)):
    assert ask("SELECT count(*) FROM flows WHERE server_port = %s", (port,), prepare=True) == [(expected,)], port

# Rows a few at a time: a portal that is run again and again.
with connection.pipeline():
    cursors = [connection.execute("SELECT value FROM generate_series(1, 9) WHERE value <= %s", (count,)) for count in (1, 2, 3)]
    assert [len(cursor.fetchall()) for cursor in cursors] == [1, 2, 3]
with connection.cursor() as cursor:
    rows = [value for (value,) in cursor.stream("SELECT value FROM generate_series(1, 100000) ORDER BY value", size=1)]
    assert rows == list(range(1, 100001)), len(rows)

# The same by cursors with names, which go with their transactions unless they are held.
connection.autocommit = False
for binary in (False, True):
    with connection.cursor(name="rows", binary=binary) as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT value FROM generate_series(1, 100000) WHERE value <= %s ORDER BY value", (10000,))
        assert [column.type_code for column in cursor.description] == [20], cursor.description
        assert cursor.fetchone() == (1,) and cursor.fetchmany(2) == [(2,), (3,)]
        cursor.scroll(5)
        assert [value for (value,) in cursor] == list(range(9, 10001)), binary
        assert cursor.fetchone() is None
with connection.cursor(name="held", withhold=True) as cursor:
    cursor.execute("SELECT 'a' UNION ALL SELECT 'a'")
    connection.commit()
    assert cursor.fetchall() == [("a",), ("a",)]
connection.commit()
refused("FETCH 1 FROM held", "34000")
connection.rollback()
connection.autocommit = True
refused("DECLARE c CURSOR FOR SELECT 1", "25P01")

# Rows as a file: as text, and in binary as readers of whole tables want it.
with connection.cursor() as cursor:
    with cursor.copy("COPY (SELECT value, NULL, 'a\tb' FROM generate_series(1, 3) ORDER BY value) TO STDOUT") as copy:
        assert list(copy.rows()) == [(str(value), None, "a\tb") for value in (1, 2, 3)]
    for rows in (3, 0):
        with cursor.copy(f"COPY (SELECT value, NULL, 'a', ['x'] FROM generate_series(1, {rows}) ORDER BY value) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "text", "text", "text[]"])
            assert list(copy.rows()) == [(value, None, "a", ["x"]) for value in range(1, rows + 1)]
    with cursor.copy("COPY flows (client_process, client_bytes) TO STDOUT (FORMAT csv, HEADER)") as copy:
        lines = b"".join(copy).decode().splitlines()
        assert lines[0] == "client_process,client_bytes" and len(lines) == 11, lines
    with cursor.copy("COPY (SELECT value FROM generate_series(1, 9) WHERE value > %s) TO STDOUT", (7,)) as copy:
        assert sorted(copy.rows()) == [("8",), ("9",)]
assert ask("SELECT 1") == [(1,)]

# What is wrong has its state, code and hint; nothing can be changed.
refused("SELECT clint_ip FROM flows", "42703", "sql.unknown_column", "did you mean client_ip?")
refused("DROP TABLE flows", "25006", "sql.read_only")
refused("INSERT INTO flows (node) VALUES (%s)", "25006", parameters=("x",))
refused("SELECT 1; SELECT %s", "42601", parameters=(1,))
refused("SELECT count(*) FROM flows WHERE time > %s", "22P02", "sql.parameter", parameters=("soon",))
refused("SELECT 100 / (value - 60000) FROM generate_series(1, 100000)", "42000", "ivide by zero")
refused("COPY flows FROM STDIN", "25006")

# A transaction remembers its error until it ends.
connection.autocommit = False
assert ask("SELECT 1") == [(1,)]
refused("SELECT x", "42703")
refused("SELECT 1", "25P02")
connection.rollback()
assert ask("SELECT 1") == [(1,)]
connection.commit()
connection.autocommit = True

# One connection ends what another is doing; the same connection goes on.
endless = "SELECT max(a.value + b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b"
canceller = threading.Timer(0.5, connection.cancel_safe)
canceller.start()
began = time.monotonic()
refused(endless, "57014", "cancelled")
assert time.monotonic() - began < 15
canceller.join()
assert ask("SELECT count(*), sum(client_bytes) FROM flows") == [(10, 1045)]

# Leaving in the midst of a question ends it; the test's other half looks whether it did.
leaver = threading.Timer(0.5, connection.pgconn.finish)
leaver.start()
connection.pgconn.send_query(endless.encode())
leaver.join()
print("asked")
