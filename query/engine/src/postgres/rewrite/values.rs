//! Values: types and operators by PostgreSQL's names, lists written as text, and functions that are about this session.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, Value,
};

use super::{literal, parsed, parts};
use crate::postgres::Session;
use crate::postgres::catalog::{DATABASE, PG_CATALOG, PUBLIC};

/// Types whose values are names of objects, which have numbers, too.
const OBJECTS: [&str; 3] = ["regclass", "regnamespace", "regtype"];

/// Changes one expression whose parts were changed already.
pub(super) fn expression(expr: &mut Expr, session: &Session) {
    match expr {
        Expr::Collate { expr: inner, .. } => *expr = std::mem::replace(inner.as_mut(), literal("")),
        Expr::BinaryOp { op, .. } => operator(op),
        Expr::AnyOp { compare_op, .. } | Expr::AllOp { compare_op, .. } => operator(compare_op),
        Expr::Cast { .. } => cast(expr),
        Expr::Function(function) => {
            if let Some(known) = known(function, session) {
                *expr = known;
            }
        }
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            if is_about_session(&ident.value)
                && let Some(value) = constant(&ident.value.to_lowercase(), session)
            {
                *expr = value;
            }
        }
        _ => {}
    }
}

/// Whether a name that stands alone is no column's.
pub(super) fn is_about_session(name: &str) -> bool {
    ["current_role", "current_schema", "current_catalog", "current_user", "session_user"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `OPERATOR(pg_catalog.~)` is `~`.
fn operator(operator: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(names) = operator else { return };
    *operator = match names.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("~~*") => BinaryOperator::PGILikeMatch,
        Some("!~~") => BinaryOperator::PGNotLikeMatch,
        Some("!~~*") => BinaryOperator::PGNotILikeMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("+") => BinaryOperator::Plus,
        Some("||") => BinaryOperator::StringConcat,
        _ => return,
    };
}

fn cast(expr: &mut Expr) {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return };
    let name = type_name(data_type);
    // x::regclass::text is a name; x::regclass alone is a number, but where it is shown.
    let is_text = matches!(data_type, DataType::Text | DataType::Varchar(_))
        || ["text", "name"].contains(&name.as_str());
    if let Expr::Function(function) = inner.as_mut()
        && let Some(object) = object_of(function)
    {
        if is_text {
            function.name = ObjectName::from(vec![Ident::new(format!("{object}_name"))]);
        }
        *data_type = if is_text { DataType::Text } else { DataType::BigInt(None) };
        return;
    }
    if OBJECTS.contains(&name.as_str()) {
        *expr = call(&format!("{name}_oid"), std::mem::replace(inner.as_mut(), literal("")));
        return;
    }
    if ["regproc", "regprocedure", "regoper", "regrole"].contains(&name.as_str()) {
        *expr = call("regproc_name", std::mem::replace(inner.as_mut(), literal("")));
        return;
    }
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(of, _)) = data_type {
        if let Some(of) = plain(&type_name(of)) {
            *data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(of), None));
        }
        if let Expr::Value(value) = inner.as_ref()
            && let Value::SingleQuotedString(text) = &value.value
            && let Some(list) = list(text)
        {
            **inner = list;
        }
        return;
    }
    if let Some(kind) = plain(&name) {
        *data_type = kind;
    }
}

/// The object whose number a function gives, of those that casts become.
fn object_of(function: &Function) -> Option<&'static str> {
    let name = parts(&function.name).pop()?;
    OBJECTS.into_iter().find(|object| name.strip_suffix("_oid") == Some(object))
}

/// Shows the name of what is shown as one.
pub(super) fn shown(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && let Some(object) = object_of(function)
    {
        function.name = ObjectName::from(vec![Ident::new(format!("{object}_name"))]);
    }
}

/// A type's name, in lower case and without its schema.
fn type_name(kind: &DataType) -> String {
    match kind {
        DataType::Custom(name, _) => {
            let quoted = name
                .0
                .last()
                .and_then(|part| part.as_ident())
                .is_some_and(|ident| ident.quote_style.is_some());
            let name = parts(name).pop().unwrap_or_default();
            if quoted && name == "char" { "text".to_owned() } else { name }
        }
        DataType::Regclass => "regclass".to_owned(),
        DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::JSON
        | DataType::JSONB
        | DataType::Uuid => "text".to_owned(),
        _ => String::new(),
    }
}

/// A type of that name, as the engine has it.
fn plain(name: &str) -> Option<DataType> {
    Some(match name {
        "oid" | "xid" | "xid8" | "cid" | "int8" => DataType::BigInt(None),
        "int4" => DataType::Int(None),
        "int2" => DataType::SmallInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "bool" => DataType::Boolean,
        "bytea" => DataType::Bytea,
        "text" | "name" | "char" | "bpchar" | "varchar" | "json" | "jsonb" | "xml" | "uuid" | "inet"
        | "cidr" | "unknown" | "citext" | "anyarray" => DataType::Text,
        _ => return None,
    })
}

/// `'{a,b}'` as a list of texts; `None` where it is more than that.
fn list(text: &str) -> Option<Expr> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['{', '}', '"', '\\']) {
        return None;
    }
    let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(|item| format!("'{}'", item.replace('\'', "''"))).collect::<Vec<_>>();
    parsed(&format!("[{}]", items.join(", ")))
}

/// A call of a function with one argument.
fn call(name: &str, argument: Expr) -> Expr {
    let mut call = parsed(&format!("{name}(NULL)")).unwrap_or_else(|| literal(""));
    if let Expr::Function(Function { args: FunctionArguments::List(list), .. }) = &mut call {
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))];
    }
    call
}

/// A function about this session, whose value is known.
fn known(function: &Function, session: &Session) -> Option<Expr> {
    let name = parts(&function.name).pop()?;
    let arguments: Vec<&Expr> = match &function.args {
        FunctionArguments::None => Vec::new(),
        FunctionArguments::List(list) => list
            .args
            .iter()
            .filter_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect(),
        FunctionArguments::Subquery(_) => return None,
    };
    let text = |at: usize| match arguments.get(at) {
        Some(Expr::Value(value)) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.as_str()),
            _ => None,
        },
        _ => None,
    };
    match (name.as_str(), arguments.len()) {
        ("current_schemas", 1) => {
            let with_catalogue = arguments[0].to_string().eq_ignore_ascii_case("true");
            let catalogue = if with_catalogue { format!("'{}', ", PG_CATALOG.0) } else { String::new() };
            parsed(&format!("[{catalogue}'{}']", PUBLIC.0))
        }
        ("current_setting", 1 | 2) => Some(match session.settings.get(text(0)?) {
            Some(value) => literal(value),
            None => Expr::Value(Value::Null.with_empty_span()),
        }),
        // A session's settings are the door's: it sets by SET only.
        ("set_config", 3) => text(1).map(literal),
        (_, 0) => constant(&name, session),
        _ => None,
    }
}

fn constant(name: &str, session: &Session) -> Option<Expr> {
    Some(match name {
        "version" => {
            literal(&format!("PostgreSQL {}", session.settings.get("server_version").unwrap_or_default()))
        }
        "current_database" | "current_catalog" => literal(DATABASE),
        "current_schema" => literal(PUBLIC.0),
        "current_user" | "session_user" | "user" | "current_role" => literal(session.user()),
        "pg_backend_pid" => parsed(&session.number.to_string())?,
        _ => return None,
    })
}
