import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/** Asks a running Weir by PostgreSQL's JDBC driver; fails where an answer isn't what it must be. Its argument is the port. */
public class Postgres {
    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/weir?user=ann";
        try (Connection connection = DriverManager.getConnection(url)) {
            catalogue(connection.getMetaData());
            questions(connection);
        }
        // With statements prepared at once, and all values as text.
        for (String more : List.of("&prepareThreshold=1", "&binaryTransfer=false", "&preferQueryMode=simple")) {
            try (Connection connection = DriverManager.getConnection(url + more)) {
                questions(connection);
            }
        }
        System.out.println("asked");
    }

    private static void catalogue(DatabaseMetaData metadata) throws SQLException {
        equal("PostgreSQL", metadata.getDatabaseProductName());
        equal(16, metadata.getDatabaseMajorVersion());
        equal(List.of("weir"), texts(metadata.getCatalogs(), "TABLE_CAT"));
        equal(List.of("information_schema", "pg_catalog", "public"), texts(metadata.getSchemas(), "TABLE_SCHEM"));
        List<String> tables = texts(metadata.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME");
        check(tables.contains("flows") && tables.contains("spans"), tables.toString());
        try (ResultSet columns = metadata.getColumns(null, "public", "flows", "%")) {
            List<String> names = new ArrayList<>();
            while (columns.next()) {
                String name = columns.getString("COLUMN_NAME");
                names.add(name);
                switch (name) {
                    case "time" -> {
                        equal(Types.TIMESTAMP, columns.getInt("DATA_TYPE"));
                        equal("timestamptz", columns.getString("TYPE_NAME"));
                        equal("NO", columns.getString("IS_NULLABLE"));
                        check(columns.getString("REMARKS") != null, "the column is described");
                    }
                    case "client_bytes" -> equal(Types.BIGINT, columns.getInt("DATA_TYPE"));
                    case "client_ip" -> equal(Types.VARCHAR, columns.getInt("DATA_TYPE"));
                    default -> { }
                }
            }
            equal("time", names.get(0));
            check(names.contains("client_bytes") && names.contains("client_ip"), names.toString());
        }
        equal(List.of(), texts(metadata.getPrimaryKeys(null, "public", "flows"), "COLUMN_NAME"));
        equal(List.of(), texts(metadata.getImportedKeys(null, "public", "flows"), "FKCOLUMN_NAME"));
        equal(List.of(), texts(metadata.getIndexInfo(null, "public", "flows", false, false), "INDEX_NAME"));
        check(texts(metadata.getTypeInfo(), "TYPE_NAME").contains("int8"), "types");
        texts(metadata.getTableTypes(), "TABLE_TYPE");
        texts(metadata.getFunctions(null, "%", "%"), "FUNCTION_NAME");
        texts(metadata.getProcedures(null, "%", "%"), "PROCEDURE_NAME");
    }

    private static void questions(Connection connection) throws SQLException {
        String counted = "SELECT count(*) AS n, sum(client_bytes) FROM flows WHERE server_port = ? AND time > ? AND client_process <> ?";
        try (PreparedStatement statement = connection.prepareStatement(counted)) {
            // Beyond the fifth time the driver prepares it by name, with binary values.
            for (int time = 0; time < 8; time++) {
                statement.setInt(1, 443);
                statement.setTimestamp(2, Timestamp.valueOf("2001-01-01 00:00:00"));
                statement.setString(3, "x' OR '1'='1");
                try (ResultSet rows = statement.executeQuery()) {
                    check(rows.next(), "a row");
                    equal(5L, rows.getLong("n"));
                    equal(525L, rows.getLong(2));
                    check(!rows.next(), "one row");
                }
            }
        }
        try (Statement statement = connection.createStatement()) {
            try (ResultSet rows = statement.executeQuery("SELECT time, client_port, ['a', 'b'] AS words, NULL AS nothing FROM flows ORDER BY time")) {
                check(rows.next(), "a row");
                check(rows.getTimestamp("time").toInstant().toEpochMilli() > 1_700_000_000_000L, rows.getString("time"));
                equal(40_000, rows.getInt("client_port"));
                equal("b", ((Object[]) rows.getArray("words").getArray())[1]);
                equal(null, rows.getString("nothing"));
            }
        }
        // A few rows at a time, which the driver does in transactions.
        connection.setAutoCommit(false);
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(1_000);
            try (ResultSet rows = statement.executeQuery("SELECT value FROM generate_series(1, 10500) ORDER BY value")) {
                long last = 0;
                while (rows.next()) {
                    equal(last + 1, rows.getLong(1));
                    last++;
                }
                equal(10_500L, last);
            }
        }
        connection.commit();
        connection.setReadOnly(true);
        try (Statement statement = connection.createStatement()) {
            statement.executeQuery("SELECT clint_ip FROM flows");
            throw new AssertionError("an unknown column was answered");
        } catch (SQLException error) {
            equal("42703", error.getSQLState());
        }
        connection.rollback();
        connection.setReadOnly(false);
        connection.setAutoCommit(true);
        check(connection.isValid(5), "it goes on");
    }

    private static List<String> texts(ResultSet rows, String column) throws SQLException {
        List<String> texts = new ArrayList<>();
        while (rows.next()) {
            texts.add(rows.getString(column));
        }
        return texts;
    }

    private static void equal(Object expected, Object found) {
        check(expected == null ? found == null : expected.equals(found), "expected " + expected + ", found " + found);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
