//! What PostgreSQL's clients ask of the catalogue, asked by themselves: psql's backslash commands and JDBC's metadata. Grafana's and
//! DBeaver's questions are texts here, as their sources have them.

use std::path::Path;
use std::process::Stdio;

use super::postgres::{Door, texts};
use super::*;

/// The tables that Grafana's query builder offers (`postgresMetaQuery.ts` of its PostgreSQL data source).
const GRAFANA_TABLES: &str = r#"SELECT
    CASE WHEN
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      THEN quote_ident(table_name)
      ELSE quote_ident(table_schema) || '.' || quote_ident(table_name)
    END AS "table"
    FROM information_schema.tables
    WHERE quote_ident(table_schema) NOT IN ('information_schema',
                             'pg_catalog',
                             '_timescaledb_cache',
                             '_timescaledb_catalog',
                             '_timescaledb_internal',
                             '_timescaledb_config',
                             'timescaledb_information',
                             'timescaledb_experimental')
    ORDER BY CASE WHEN
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          ) THEN 0 ELSE 1 END, 1"#;

/// The columns of one of them.
const GRAFANA_COLUMNS: &str = r#"SELECT quote_ident(column_name) AS "column", data_type AS "type"
    FROM information_schema.columns
    WHERE
      CASE WHEN array_length(parse_ident('flows'),1) = 2
        THEN quote_ident(table_schema) = (parse_ident('flows'))[1]
          AND quote_ident(table_name) = (parse_ident('flows'))[2]
        ELSE quote_ident(table_name) = 'flows'
          AND
          quote_ident(table_schema) IN (
          SELECT
            CASE WHEN trim(s[i]) = '"$user"' THEN user ELSE trim(s[i]) END
          FROM
            generate_series(
              array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)
            ) as i,
            string_to_array(current_setting('search_path'),',') s
          )
      END"#;

/// A panel's question, its macros as Grafana writes them out.
const GRAFANA_PANEL: &str = r#"SELECT
    floor(extract(epoch from "time")/60)*60 AS "time",
    count(*) AS "flows"
  FROM flows
  WHERE "time" BETWEEN '2001-01-01T00:00:00Z' AND '2101-01-01T00:00:00Z'
  GROUP BY 1 ORDER BY 1"#;

/// What DBeaver asks when it opens a connection and its tree, and how many rows it must get; `None`: any.
const DBEAVER: &[(&str, Option<usize>)] = &[
    ("SELECT current_schema(),session_user", Some(1)),
    (
        "SELECT n.oid,n.*,d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname",
        Some(3),
    ),
    (
        "SELECT n.nspname = ANY(current_schemas(true)), n.nspname, t.typname FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE t.oid = 1009",
        Some(1),
    ),
    (
        "SELECT typinput='pg_catalog.array_in'::regproc as is_array, typtype, typname, pg_type.oid   FROM pg_catalog.pg_type   LEFT JOIN (select ns.oid as nspoid, ns.nspname, r.r           from pg_namespace as ns           join ( select s.r, (current_schemas(false))[s.r] as nspname                    from generate_series(1, array_upper(current_schemas(false), 1)) as s(r) ) as r          using ( nspname )        ) as sp     ON sp.nspoid = typnamespace  WHERE pg_type.oid = 1009  ORDER BY sp.r, pg_type.oid DESC",
        Some(1),
    ),
    ("SELECT db.oid,db.* FROM pg_catalog.pg_database db WHERE datname='weir'", Some(1)),
    ("SELECT * FROM pg_catalog.pg_settings where name='standard_conforming_strings'", Some(1)),
    (
        "SELECT string_agg(word, ',' ) from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs,absolute,action,ada}'::text[])",
        Some(1),
    ),
    ("SELECT version()", Some(1)),
    ("SELECT * FROM pg_catalog.pg_enum WHERE 1<>1 LIMIT 1", Some(0)),
    ("SELECT reltype FROM pg_catalog.pg_class WHERE 1<>1 LIMIT 1", Some(0)),
    (
        "SELECT t.oid,t.*,c.relkind,format_type(nullif(t.typbasetype, 0), t.typtypmod) as base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid=t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid=t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid=d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')",
        Some(34),
    ),
    (
        "SELECT c.oid,c.*,d.description,pg_catalog.pg_get_expr(c.relpartbound, c.oid) as partition_expr,  pg_catalog.pg_get_partkeydef(c.oid) as partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass WHERE c.relnamespace=2200 AND c.relkind not in ('i','I','c')",
        None,
    ),
    (
        "select c.oid,pg_catalog.pg_total_relation_size(c.oid) as total_rel_size,pg_catalog.pg_relation_size(c.oid) as rel_size FROM pg_class c WHERE c.relnamespace=2200",
        None,
    ),
    (
        "SELECT c.relname,a.*,pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) as def_value,dsc.description,dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid=ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep on dep.refobjid = a.attrelid AND dep.deptype = 'i' and dep.refobjsubid = a.attnum and dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.oid='flows'::regclass ORDER BY a.attnum",
        None,
    ),
    (
        "SELECT i.*,i.indkey as keys,c.relname,c.relnamespace,c.relam,c.reltablespace,tc.relname as tabrelname,dsc.description,pg_catalog.pg_get_expr(i.indpred, i.indrelid) as pred_expr,pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) as expr,pg_catalog.pg_relation_size(i.indexrelid) as index_rel_size,pg_catalog.pg_stat_get_numscans(i.indexrelid) as index_num_scans FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid=i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid=i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid=dsc.objoid WHERE  i.indrelid=1 ORDER BY tabrelname, c.relname",
        Some(0),
    ),
    (
        "SELECT c.oid,c.*,t.relname as tabrelname,rt.relnamespace as refnamespace,d.description, case when c.contype='c' then \"substring\"(pg_get_constraintdef(c.oid), 7) else null end consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid=c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid=c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_constraint'::regclass WHERE c.conrelid=1 ORDER BY c.oid",
        Some(0),
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_what_there_is() {
    let world = World::new().await;
    let door = Door::of(&world).await;
    let tables = weir_model::tables::ALL.iter().map(|table| table.name).collect::<Vec<_>>();
    let listed = door.said(r"\dt").await;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split('|').nth(1)).collect();
    assert_eq!(names.len(), tables.len(), "{listed}");
    assert!(tables.iter().all(|table| names.contains(table)), "{listed}");
    assert!(listed.lines().all(|line| line.starts_with("public|") && line.contains("|table|")), "{listed}");

    let flows = door.said(r"\d flows").await;
    for line in [
        "time|timestamp with time zone||not null|",
        "client_ip|text|||",
        "client_port|integer|||",
        "client_bytes|bigint|||",
    ] {
        assert!(flows.lines().any(|found| found == line), "{line}: {flows}");
    }
    let described = door.said(r"\d+ tls_handshakes").await;
    assert!(described.contains("tls_alpn_offered|text[]"), "{described}");
    for (command, wanted) in [
        (r"\l", "weir|weir|UTF8|"),
        (r"\dn", "public|"),
        (r"\d", "public|flows|table|"),
        (r"\dt pg_catalog.pg_class", "pg_catalog|pg_class|table|"),
        (r"\du", "ann"),
        (r"\dS pg_namespace", "nspname|name"),
    ] {
        let said = door.said(command).await;
        assert!(said.contains(wanted), "{command}: {said}");
    }
    // There is nothing of the kind, and that is the answer.
    for command in [r"\di", r"\dv", r"\ds", r"\dx", r"\dT", r"\dp flows", r"\db", r"\dd", r"\dC", r"\des"] {
        let output = door.psql(&["-At", "-c", command]).await;
        let (out, err) = texts(&output);
        assert!(output.status.success() && !err.contains("ERROR"), "{command}: {out}\n{err}");
    }
    let unknown = texts(&door.psql(&["-At", "-c", r"\d tea"]).await);
    assert!(unknown.1.contains("Did not find any relation"), "{unknown:?}");
}

/// Weir's own without being asked for more, as psql shows a database's own functions; DataFusion's with `S`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_lists_functions() {
    let world = World::new().await;
    let door = Door::of(&world).await;
    let listed = door.said(r"\df").await;
    let lines: Vec<&str> = listed.lines().collect();
    for line in [
        "public|cidr_contains|boolean|network text, address text|func",
        "public|dns_suffix|text|name text|func",
        "public|dns_suffix|text|name text, labels bigint|func",
        "public|ip_family|bigint|address text|func",
        "public|p99|double precision|x double precision|agg",
    ] {
        assert!(lines.contains(&line), "{line}: {listed}");
    }
    let own: std::collections::BTreeSet<String> = world
        .engine
        .functions()
        .into_iter()
        .filter(|function| function.own)
        .map(|function| function.name)
        .collect();
    let names = lines.iter().filter_map(|line| line.split('|').nth(1).map(str::to_owned)).collect();
    assert_eq!(own, names, "{listed}");

    let all = door.said(r"\dfS").await;
    for line in ["pg_catalog|now|timestamp without time zone||func", "pg_catalog|row_number|numeric||window"]
    {
        assert!(all.lines().any(|found| found == line), "{line}: {all}");
    }
    for function in world.engine.functions() {
        assert!(all.lines().any(|line| line.split('|').nth(1) == Some(&function.name)), "{}", function.name);
    }
    assert!(door.said(r"\df ip*").await.starts_with("public|ip_family|"));
    assert!(door.said(r"\dfa").await.lines().all(|line| line.ends_with("|agg")));
    let described = door.said(r"\df+ ip_family").await;
    assert!(described.contains("4 or 6; NULL where it is no address."), "{described}");
    assert_eq!(door.said("SELECT public.ip_family('::1'), pg_catalog.abs(-1)").await, "6|1");
    assert_eq!(
        door.said("SELECT format_type(prorettype, NULL), proargtypes, prokind FROM pg_proc WHERE proname = 'cidr_contains'").await,
        "boolean|25 25|f"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grafana_builds_its_questions() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let tables = door.said(GRAFANA_TABLES).await;
    assert_eq!(tables.lines().count(), weir_model::tables::ALL.len(), "{tables}");
    assert!(tables.lines().any(|table| table == "flows"), "{tables}");
    let columns = door.said(GRAFANA_COLUMNS).await;
    assert!(
        columns.lines().any(|column| column == r#""time"|timestamp with time zone"#
            || column == "time|timestamp with time zone"),
        "{columns}"
    );
    assert!(columns.lines().any(|column| column == "client_bytes|bigint"), "{columns}");
    let panel = door.said(GRAFANA_PANEL).await;
    let flows: usize = panel.lines().filter_map(|line| line.split('|').nth(1)?.parse::<usize>().ok()).sum();
    assert_eq!(flows, 10, "{panel}");
    assert_eq!(door.said("SELECT current_setting('server_version_num')::int/100 AS version").await, "1600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dbeaver_shows_its_tree() {
    let world = World::new().await;
    let door = Door::of(&world).await;
    let mut wrong = Vec::new();
    for (sql, rows) in DBEAVER {
        let output = door.psql(&["-At", "-c", sql]).await;
        let (out, err) = texts(&output);
        if !err.is_empty() || rows.is_some_and(|rows| rows != out.lines().count()) {
            wrong.push(format!("{sql}\n  {} rows; {err}", out.lines().count()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The driver of DBeaver and of every Java program, with its own ideas of what to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jdbc_asks_as_it_asks_any_other_server() {
    let world = World::new().await.with_rows().await;
    let door = Door::of(&world).await;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let driver = here.join("../../.tools/jdbc/postgresql.jar");
    assert!(driver.exists(), "{} is missing: run deploy/setup.sh test", driver.display());
    let client = tokio::process::Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(driver)
        .arg(here.join("tests/api/Postgres.java"))
        .arg(door.address.port().to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("java (deploy/setup.sh test installs it)");
    let (out, err) = texts(&client);
    assert!(client.status.success() && out.contains("asked"), "{out}\n{err}");
    idle(&world.engine).await;
}

/// What this door adds is this door's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_doors_have_no_catalogue() {
    let world = World::new().await;
    for (sql, code) in [
        ("SELECT * FROM pg_catalog.pg_class", "sql.unknown_table"),
        ("SELECT * FROM pg_class", "sql.unknown_table"),
        ("SELECT pg_table_is_visible(1)", "sql.unknown_function"),
    ] {
        let answer = world.ask(sql, "application/json").await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (StatusCode::BAD_REQUEST, Some(code))
        );
    }
}
