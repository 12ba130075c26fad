//! `pg_catalog`'s tables that have rows: databases, schemas, tables, columns, types, roles, settings.

use super::routines::{self, ROUTINES};
use super::spec::Rows;
use super::{DATABASE, INFORMATION, OWNER, PG_CATALOG, PUBLIC, RELATIONS, row};
use crate::postgres::types::{Scalar, Type};

/// Name and columns, as PostgreSQL 16 has them.
pub(super) const TABLES: &[(&str, &str)] = &[
    ("pg_am", "oid:o amname:n amhandler:t amtype:c"),
    (
        "pg_attribute",
        "attrelid:o attname:n atttypid:o attlen:2 attnum:2 attcacheoff:4 atttypmod:4 attndims:2 attbyval:b attalign:c attstorage:c attcompression:c attnotnull:b atthasdef:b atthasmissing:b attidentity:c attgenerated:c attisdropped:b attislocal:b attinhcount:2 attstattarget:2 attcollation:o attacl:T attoptions:T attfdwoptions:T attmissingval:t",
    ),
    (
        "pg_authid",
        "oid:o rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolbypassrls:b rolconnlimit:4 rolpassword:t rolvaliduntil:t",
    ),
    (
        "pg_class",
        "oid:o relname:n relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o reltablespace:o relpages:4 reltuples:f relallvisible:4 reltoastrelid:o relhasindex:b relisshared:b relpersistence:c relkind:c relnatts:2 relchecks:2 relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b relispopulated:b relreplident:c relispartition:b relrewrite:o relfrozenxid:o relminmxid:o relacl:T reloptions:T relpartbound:t",
    ),
    (
        "pg_database",
        "oid:o datname:n datdba:o encoding:4 datlocprovider:c datistemplate:b datallowconn:b datconnlimit:4 datfrozenxid:o datminmxid:o dattablespace:o datcollate:t datctype:t daticulocale:t daticurules:t datcollversion:t datacl:T",
    ),
    ("pg_description", "objoid:o classoid:o objsubid:4 description:t"),
    ("pg_get_keywords", "word:t catcode:c barelabel:b catdesc:t baredesc:t"),
    ("pg_namespace", "oid:o nspname:n nspowner:o nspacl:T"),
    (
        "pg_proc",
        "oid:o proname:n pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o prosupport:t prokind:c prosecdef:b proleakproof:b proisstrict:b proretset:b provolatile:c proparallel:c pronargs:2 pronargdefaults:2 prorettype:o proargtypes:t proallargtypes:O proargmodes:T proargnames:T proargdefaults:t prosrc:t probin:t prosqlbody:t proconfig:T proacl:T",
    ),
    (
        "pg_roles",
        "rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b rolconnlimit:4 rolpassword:t rolvaliduntil:t rolbypassrls:b rolconfig:T oid:o",
    ),
    (
        "pg_settings",
        "name:t setting:t unit:t category:t short_desc:t extra_desc:t context:t vartype:t source:t min_val:t max_val:t enumvals:T boot_val:t reset_val:t sourcefile:t sourceline:4 pending_restart:b",
    ),
    (
        "pg_shadow",
        "usename:n usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:t useconfig:T",
    ),
    (
        "pg_tables",
        "schemaname:n tablename:n tableowner:n tablespace:n hasindexes:b hasrules:b hastriggers:b rowsecurity:b",
    ),
    ("pg_tablespace", "oid:o spcname:n spcowner:o spcacl:T spcoptions:T"),
    (
        "pg_type",
        "oid:o typname:n typnamespace:o typowner:o typlen:2 typbyval:b typtype:c typcategory:c typispreferred:b typisdefined:b typdelim:c typrelid:o typsubscript:t typelem:o typarray:o typinput:t typoutput:t typreceive:t typsend:t typmodin:t typmodout:t typanalyze:t typalign:c typstorage:c typnotnull:b typbasetype:o typtypmod:4 typndims:4 typcollation:o typdefaultbin:t typdefault:t typacl:T",
    ),
    (
        "pg_user",
        "usename:n usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t valuntil:t useconfig:T",
    ),
];

/// Words that a client must quote to use as names.
const KEYWORDS: [&str; 24] = [
    "all", "and", "as", "by", "case", "cast", "distinct", "else", "end", "from", "group", "having", "in",
    "is", "join", "limit", "not", "null", "on", "or", "order", "select", "union", "where",
];

/// Numbers of catalogues that clients know by heart.
pub(super) fn known_oid(name: &str) -> Option<i64> {
    Some(match name {
        "pg_type" => 1247,
        "pg_attribute" => 1249,
        "pg_proc" => 1255,
        "pg_class" => 1259,
        "pg_authid" => 1260,
        "pg_database" => 1262,
        "pg_constraint" => 2606,
        "pg_description" => 2609,
        "pg_index" => 2610,
        "pg_namespace" => 2615,
        "pg_trigger" => 2620,
        _ => return None,
    })
}

/// The rows of a table that is the same for all sessions; `None` where it isn't.
pub(super) fn rows(table: &str) -> Option<Rows> {
    Some(match table {
        "pg_am" => vec![row([("oid", 2.into()), ("amname", "heap".into()), ("amtype", "t".into())])],
        "pg_attribute" => attributes(),
        "pg_class" => classes(),
        "pg_database" => vec![row([
            ("oid", 16_383.into()),
            ("datname", DATABASE.into()),
            ("datdba", OWNER.into()),
            // UTF8
            ("encoding", 6.into()),
            ("datlocprovider", "c".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", 1663.into()),
            ("datcollate", "C".into()),
            ("datctype", "C".into()),
        ])],
        "pg_description" => descriptions(),
        "pg_get_keywords" => {
            KEYWORDS.iter().map(|word| row([("word", (*word).into()), ("catcode", "R".into())])).collect()
        }
        "pg_namespace" => [PG_CATALOG, PUBLIC, INFORMATION]
            .into_iter()
            .map(|(name, oid)| {
                row([("oid", oid.into()), ("nspname", name.into()), ("nspowner", OWNER.into())])
            })
            .collect(),
        "pg_proc" => routines::rows(),
        "pg_tables" => RELATIONS
            .iter()
            .map(|relation| {
                row([
                    ("schemaname", relation.schema.0.into()),
                    ("tablename", relation.name.into()),
                    ("tableowner", DATABASE.into()),
                ])
            })
            .collect(),
        "pg_tablespace" => {
            vec![row([("oid", 1663.into()), ("spcname", "pg_default".into()), ("spcowner", OWNER.into())])]
        }
        "pg_type" => types(),
        _ => return None,
    })
}

fn classes() -> Rows {
    let classes = RELATIONS.iter().map(|relation| {
        row([
            ("oid", relation.oid.into()),
            ("relname", relation.name.into()),
            ("relnamespace", relation.schema.1.into()),
            ("relowner", OWNER.into()),
            ("relam", 2.into()),
            ("relfilenode", relation.oid.into()),
            // Nobody has counted them.
            ("reltuples", (-1).into()),
            ("relpersistence", "p".into()),
            ("relkind", "r".into()),
            ("relnatts", (relation.columns.len() as i64).into()),
            ("relispopulated", true.into()),
            ("relreplident", "n".into()),
        ])
    });
    classes.collect()
}

fn attributes() -> Rows {
    let attributes = RELATIONS.iter().flat_map(|relation| {
        relation.columns.iter().zip(1_i64..).map(|(column, number)| {
            row([
                ("attrelid", relation.oid.into()),
                ("attname", column.name.as_str().into()),
                ("atttypid", i64::from(column.kind.oid()).into()),
                ("attlen", i64::from(column.kind.size()).into()),
                ("attnum", number.into()),
                ("attcacheoff", (-1).into()),
                ("atttypmod", (-1).into()),
                ("attndims", i64::from(column.kind.is_list).into()),
                ("attalign", "i".into()),
                ("attstorage", "p".into()),
                ("attcompression", "".into()),
                ("attnotnull", (!column.is_nullable).into()),
                ("attidentity", "".into()),
                ("attgenerated", "".into()),
                ("attislocal", true.into()),
                ("attstattarget", (-1).into()),
            ])
        })
    });
    attributes.collect()
}

fn descriptions() -> Rows {
    let mut rows = Rows::new();
    for relation in RELATIONS.iter() {
        let columns = relation.columns.iter().map(|column| column.description);
        for (number, description) in (0_i64..).zip(std::iter::once(relation.description).chain(columns)) {
            if !description.is_empty() {
                rows.push(row([
                    ("objoid", relation.oid.into()),
                    ("classoid", 1259.into()),
                    ("objsubid", number.into()),
                    ("description", description.into()),
                ]));
            }
        }
    }
    rows.extend(ROUTINES.iter().filter(|routine| !routine.description.is_empty()).map(|routine| {
        row([
            ("objoid", routine.oid.into()),
            ("classoid", 1255.into()),
            ("description", routine.description.as_str().into()),
        ])
    }));
    rows
}

fn types() -> Rows {
    let mut rows = Rows::new();
    for scalar in Scalar::all() {
        let (one, list) = (Type::one(scalar), Type { scalar, is_list: true });
        let name = scalar.name();
        for (kind, name) in [(one, name.to_owned()), (list, format!("_{name}"))] {
            let (element, array) = if kind.is_list { (one.oid(), 0) } else { (0, list.oid()) };
            let input = if kind.is_list { "array_in".to_owned() } else { format!("{name}in") };
            rows.push(row([
                ("oid", i64::from(kind.oid()).into()),
                ("typname", name.into()),
                ("typnamespace", PG_CATALOG.1.into()),
                ("typowner", OWNER.into()),
                ("typlen", i64::from(kind.size()).into()),
                ("typtype", "b".into()),
                ("typcategory", if kind.is_list { "A" } else { scalar.category() }.into()),
                ("typisdefined", true.into()),
                ("typdelim", ",".into()),
                ("typelem", i64::from(element).into()),
                ("typarray", i64::from(array).into()),
                ("typinput", input.into()),
                ("typalign", "i".into()),
                ("typstorage", "p".into()),
                ("typtypmod", (-1).into()),
            ]));
        }
    }
    rows
}

/// The settings of a session: name, value, description.
pub(super) fn settings<'a>(settings: impl Iterator<Item = (&'static str, &'a str, &'static str)>) -> Rows {
    let rows = settings.map(|(name, value, description)| {
        row([
            ("name", name.into()),
            ("setting", value.into()),
            ("category", "Client Connection Defaults".into()),
            ("short_desc", description.into()),
            ("context", "user".into()),
            ("vartype", "string".into()),
            ("source", "default".into()),
            ("boot_val", value.into()),
            ("reset_val", value.into()),
        ])
    });
    rows.collect()
}

/// Whoever asks: nobody else is known.
pub(super) fn role(user: &str) -> Rows {
    vec![row([
        ("oid", OWNER.into()),
        ("rolname", user.into()),
        ("rolinherit", true.into()),
        ("rolcanlogin", true.into()),
        ("rolconnlimit", (-1).into()),
        ("usename", user.into()),
        ("usesysid", OWNER.into()),
    ])]
}
