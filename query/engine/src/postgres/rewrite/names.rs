//! Tables and functions of `pg_catalog`, which PostgreSQL finds without its name, and also with it.

use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, ObjectNamePart};

use super::parts;
use crate::postgres::catalog::{self, PG_CATALOG, PUBLIC};

/// A table of the catalogue gets its schema, unless one of Weir's has that name.
pub(super) fn relation(name: &mut ObjectName) {
    let names = parts(name);
    let [table] = names.as_slice() else { return };
    let is_ours = weir_model::tables::by_name(table).is_some();
    if !is_ours && catalog::is_catalogue(table) {
        name.0.insert(0, ObjectNamePart::Identifier(Ident::new(PG_CATALOG.0)));
    }
}

/// A function loses its schema: there is one of each name. So do columns that are told with it (`pg_catalog.pg_class.oid`).
pub(super) fn function(expr: &mut Expr) {
    match expr {
        Expr::Function(function) => unqualified(&mut function.name),
        Expr::CompoundIdentifier(idents) if idents.len() == 3 && idents[0].value == PG_CATALOG.0 => {
            idents.remove(0);
        }
        _ => {}
    }
}

pub(super) fn unqualified(name: &mut ObjectName) {
    if name.0.len() == 2 && [PG_CATALOG.0, PUBLIC.0].contains(&parts(name)[0].as_str()) {
        name.0.remove(0);
    }
}
