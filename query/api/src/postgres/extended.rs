//! The extended protocol: statements that are prepared, and bound to values as portals.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Parse, ParseComplete, TARGET_TYPE_BYTE_STATEMENT,
};
use weir_query::postgres::{Command, Scalar, Type, statements};
use weir_query::{Caller, Described, Engine, Question, ScalarValue};

use super::answering::{Failure, columns, description};
use super::commands::shown;
use super::copy::placed;
use super::parameters;
use super::portals::Portal;
use super::refusal::Refusal;
use super::session::Session;

/// Statements and portals that a session may have, and the bytes of their texts and values.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 8 << 20;

/// A statement that was prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Where it is no question and has one in it, that one's.
    pub(super) text: String,
    /// `None` where it says nothing.
    pub(super) command: Option<Command>,
    parameters: Vec<Type>,
    /// The numbers of these types as the client said them, where it did: it wants to hear the same.
    oids: Vec<u32>,
    /// The columns of its answer; `None` where it has none, or where that depends on a cursor.
    pub(super) columns: Option<SchemaRef>,
}

impl Prepared {
    /// A question without parameters, whose answer has these columns.
    pub(super) fn question(text: String, columns: SchemaRef) -> Prepared {
        Prepared {
            text,
            command: Some(Command::Ask),
            parameters: Vec::new(),
            oids: Vec::new(),
            columns: Some(columns),
        }
    }
}

impl Session {
    pub(super) async fn parse(&mut self, parse: Parse) -> Result<(), Failure> {
        let name = parse.name.unwrap_or_default();
        let text = parse.query;
        self.room(text.len())?;
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(Refusal::new("42P05", format!("prepared statement {name:?} already exists")).into());
        }
        let mut statements = statements(&text).map_err(|err| Refusal::of(&err, &text))?;
        if statements.len() > 1 {
            let message = "sql.several: one statement at a time can be prepared";
            return Err(Refusal::new("42601", message).into());
        }
        let prepared = match statements.pop() {
            None => Prepared { text, command: None, parameters: Vec::new(), oids: Vec::new(), columns: None },
            Some(statement) => {
                self.allow(&statement.command)?;
                match &statement.command {
                    Command::Ask | Command::Declare(_) | Command::Copy(_) => {
                        let question =
                            Question { text: statement.text, parameters: Vec::new(), limits: self.limits() };
                        let asked = prepare(&self.engine, &self.caller, question, &parse.type_oids).await;
                        let asked = match &statement.command {
                            Command::Copy(copy) => asked.map_err(|failure| placed(copy, failure))?,
                            _ => asked?,
                        };
                        let columns = asked.columns.filter(|_| statement.command == Command::Ask);
                        Prepared { command: Some(statement.command), columns, ..asked }
                    }
                    command => {
                        let columns = match command {
                            Command::Show(name) => Some(shown(name, "").schema()),
                            _ => None,
                        };
                        let command = Some(statement.command);
                        Prepared { text, command, parameters: Vec::new(), oids: Vec::new(), columns }
                    }
                }
            }
        };
        self.prepared.insert(name, Arc::new(prepared));
        self.wire.put(&ParseComplete::new())?;
        Ok(())
    }

    pub(super) fn bind(&mut self, bind: &Bind) -> Result<(), Failure> {
        let name = bind.portal_name.clone().unwrap_or_default();
        let prepared = self.named(bind.statement_name.as_deref().unwrap_or_default())?.clone();
        let bytes = bind.parameters.iter().flatten().map(Bytes::len).sum();
        self.room(bytes)?;
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Refusal::new("42P03", format!("portal {name:?} already exists")).into());
        }
        if let Some(command) = &prepared.command {
            self.allow(command)?;
        }
        let values =
            parameters::values(&prepared.parameters, &bind.parameter_format_codes, &bind.parameters)?;
        let mut columns = self.columns_of(&prepared).as_ref().map(columns).unwrap_or_default();
        match bind.result_column_format_codes.as_slice() {
            [] => {}
            [format] => columns.iter_mut().for_each(|column| column.is_binary = *format == 1),
            formats if formats.len() == columns.len() => {
                columns.iter_mut().zip(formats).for_each(|(column, format)| column.is_binary = *format == 1);
            }
            formats => {
                let message = format!("{} formats for {} columns", formats.len(), columns.len());
                return Err(Refusal::protocol(message).into());
            }
        }
        let question = Question { text: prepared.text.clone(), parameters: values, limits: self.limits() };
        self.portals.insert(name, Portal::new(prepared, question, bytes, columns));
        self.wire.put(&BindComplete::new())?;
        Ok(())
    }

    pub(super) fn describe(&mut self, asked: &Describe) -> Result<(), Failure> {
        let name = asked.name.as_deref().unwrap_or_default();
        let (schema, columns) = if asked.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let prepared = self.named(name)?.clone();
            self.wire.put(&ParameterDescription::new(prepared.oids.clone()))?;
            let schema = self.columns_of(&prepared);
            let columns = schema.as_ref().map(columns).unwrap_or_default();
            (schema, columns)
        } else {
            let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
            (self.columns_of(&portal.prepared), portal.columns.clone())
        };
        match schema {
            Some(schema) => self.wire.put(&description(&schema, &columns))?,
            None => self.wire.put(&NoData::new())?,
        }
        Ok(())
    }

    pub(super) fn close(&mut self, close: &Close) -> Result<(), Failure> {
        let name = close.name.as_deref().unwrap_or_default();
        if close.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.prepared.remove(name);
        } else {
            self.portals.remove(name);
        }
        self.wire.put(&CloseComplete::new())?;
        Ok(())
    }

    /// The columns of a statement's answer, where it has one: a `FETCH` has its cursor's.
    fn columns_of(&self, prepared: &Prepared) -> Option<SchemaRef> {
        match &prepared.command {
            Some(Command::Fetch(fetch)) if !fetch.is_move => {
                self.portals.get(&fetch.cursor)?.prepared.columns.clone()
            }
            _ => prepared.columns.clone(),
        }
    }

    fn named(&self, name: &str) -> Result<&Arc<Prepared>, Refusal> {
        let missing = || Refusal::new("26000", format!("prepared statement {name:?} does not exist"));
        self.prepared.get(name).ok_or_else(missing)
    }

    /// A portal, until it is put back.
    pub(super) fn taken(&mut self, name: &str) -> Result<Portal, Refusal> {
        self.portals.remove(name).ok_or_else(|| no_portal(name))
    }

    /// Whether there is room for one more statement or portal of so many bytes.
    pub(super) fn room(&self, bytes: usize) -> Result<(), Refusal> {
        let kept: usize = self.prepared.values().map(|prepared| prepared.text.len()).sum();
        let bound: usize = self.portals.values().map(|portal| portal.bytes).sum();
        if self.prepared.len() + self.portals.len() >= MOST || kept + bound + bytes > MOST_BYTES {
            let message =
                format!("a session keeps {MOST} statements and portals, of {} MiB", MOST_BYTES >> 20);
            let hint = Some("close, or DEALLOCATE, those that are not used any more".to_owned());
            return Err(Refusal { hint, ..Refusal::new("53400", message) });
        }
        Ok(())
    }
}

fn no_portal(name: &str) -> Refusal {
    Refusal::new("34000", format!("portal {name:?} does not exist"))
}

/// A question whose parameters have the types that the client says, else those that their places ask for, else text.
async fn prepare(
    engine: &Engine,
    caller: &Caller,
    question: Question,
    oids: &[u32],
) -> Result<Prepared, Failure> {
    let described = described(engine, caller, question.clone()).await?;
    let count = described.parameters.len();
    if oids.len() > count {
        return Err(Refusal::protocol(format!("{} types for {count} parameters", oids.len())).into());
    }
    let mut types = Vec::with_capacity(count);
    let mut is_told = true;
    for (index, kind) in described.parameters.iter().enumerate() {
        types.push(match (kind, oids.get(index).copied().unwrap_or_default()) {
            // 705 is a type that nobody knows yet.
            (Some(kind), 0 | 705) => Type::of_data(kind),
            (_, oid) => {
                is_told = false;
                let oid = if oid == 0 { Scalar::Text.oid() } else { oid };
                Type::by_oid(oid).ok_or_else(|| unknown(index, oid))?
            }
        });
    }
    let columns = if is_told {
        described.schema
    } else {
        let nulls = types.iter().map(|kind| parameters::null(*kind)).collect::<Result<Vec<ScalarValue>, _>>();
        let parameters =
            nulls.map_err(|what| Refusal::new("42704", format!("sql.parameter: no NULL of {what}")))?;
        self::described(engine, caller, Question { parameters, ..question.clone() }).await?.schema
    };
    let told = types.iter().enumerate().map(|(index, kind)| match oids.get(index) {
        None | Some(0 | 705) => kind.oid(),
        Some(oid) => *oid,
    });
    Ok(Prepared { oids: told.collect(), parameters: types, ..Prepared::question(question.text, columns) })
}

fn unknown(index: usize, oid: u32) -> Refusal {
    let message =
        format!("sql.parameter: ${} has a type of number {oid}, which is not known here", index + 1);
    let hint = "bind it as text or a number, and CAST it where it is used";
    Refusal { hint: Some(hint.to_owned()), ..Refusal::new("42704", message) }
}

async fn described(engine: &Engine, caller: &Caller, question: Question) -> Result<Described, Failure> {
    let text = question.text.clone();
    let refused = |err| Refusal::of(&err, &text);
    let engine = engine.asked_by(caller.clone()).await.map_err(refused)?;
    Ok(engine.describe(question).await.map_err(refused)?)
}
