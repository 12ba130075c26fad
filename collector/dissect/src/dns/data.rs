//! A record's data → text: master-file form (RFC 1035 §5.1) of what people read, RFC 3597's generic form of the rest.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smol_str::{SmolStr, ToSmolStr};

use super::codes::type_name;
use super::name;

/// Longest text that is kept of one record's data.
const MAX_TEXT: usize = 1_024;

/// The text of the data that lies at `at..end` of the message, and the address if it is one. `None`: it isn't what its
/// type says.
pub(super) fn text(message: &[u8], kind: u16, at: usize, end: usize) -> Option<(SmolStr, Option<IpAddr>)> {
    let data = message.get(at..end)?;
    let text = match kind {
        1 | 28 => {
            let address = address(data)?;
            return ((kind == 1) == address.is_ipv4()).then(|| (address.to_smolstr(), Some(address)));
        }
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME
        2..=5 | 7..=9 | 12 | 39 => return Some((name_at(message, at, end)?.0, None)),
        6 => soa(message, at, end)?,
        // MX, AFSDB, KX
        15 | 18 | 36 => format!("{} {}", be16(data, 0)?, name_at(message, at + 2, end)?.0),
        // HINFO, TXT, SPF
        13 | 16 | 99 => strings(data)?,
        33 => {
            let target = name_at(message, at + 6, end)?.0;
            format!("{} {} {} {target}", be16(data, 0)?, be16(data, 2)?, be16(data, 4)?)
        }
        46 => rrsig(message, data, at, end)?,
        64 | 65 => service(message, data, at, end)?,
        257 => {
            let (flags, length) = (*data.first()?, usize::from(*data.get(1)?));
            let (tag, value) = (data.get(2..2 + length)?, data.get(2 + length..)?);
            format!("{flags} {} {}", printable(tag), quoted(value))
        }
        _ => generic(data),
    };
    Some((bounded(text), None))
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        _ => None,
    }
}

/// A name within the data: the bytes it takes there must be the data's.
fn name_at(message: &[u8], at: usize, end: usize) -> Option<(SmolStr, usize)> {
    name::read(message, at).filter(|(_, behind)| *behind <= end)
}

fn soa(message: &[u8], at: usize, end: usize) -> Option<String> {
    let (primary, at) = name_at(message, at, end)?;
    let (mailbox, at) = name_at(message, at, end)?;
    let numbers = message.get(at..end)?;
    let mut text = format!("{primary} {mailbox}");
    for index in 0..5 {
        let _ = write!(text, " {}", be32(numbers, 4 * index)?);
    }
    Some(text)
}

/// What is signed and by whom; the signature itself tells nobody anything.
fn rrsig(message: &[u8], data: &[u8], at: usize, end: usize) -> Option<String> {
    let signer = name_at(message, at + 18, end)?.0;
    Some(format!(
        "{} {} {} {} {} {} {} {signer}",
        type_name(be16(data, 0)?),
        data.get(2)?,
        data.get(3)?,
        be32(data, 4)?,
        be32(data, 8)?,
        be32(data, 12)?,
        be16(data, 16)?
    ))
}

/// SVCB and HTTPS (RFC 9460): priority, target, parameters.
fn service(message: &[u8], data: &[u8], at: usize, end: usize) -> Option<String> {
    let (target, mut next) = name_at(message, at + 2, end)?;
    let mut text = format!("{} {target}", be16(data, 0)?);
    while next < end && text.len() < MAX_TEXT {
        let (key, length) = (be16(message, next)?, usize::from(be16(message, next + 2)?));
        let value = message.get(next + 4..next + 4 + length).filter(|_| next + 4 + length <= end)?;
        next += 4 + length;
        let parameter = match key {
            1 => format!("alpn={}", protocols(value)?),
            2 => "no-default-alpn".to_owned(),
            3 => format!("port={}", be16(value, 0)?),
            4 => format!("ipv4hint={}", hints(value, 4)?),
            6 => format!("ipv6hint={}", hints(value, 16)?),
            5 => "ech".to_owned(),
            other => format!("key{other}"),
        };
        text.push(' ');
        text.push_str(&parameter);
    }
    Some(text)
}

fn protocols(mut value: &[u8]) -> Option<String> {
    let mut names = Vec::new();
    while let Some((length, rest)) = value.split_first() {
        let (name, behind) = rest.split_at_checked(usize::from(*length))?;
        names.push(printable(name));
        value = behind;
    }
    Some(names.join(","))
}

fn hints(value: &[u8], size: usize) -> Option<String> {
    let addresses: Option<Vec<String>> =
        value.chunks(size).map(|hint| Some(address(hint)?.to_string())).collect();
    Some(addresses?.join(","))
}

/// Character strings: each behind its length, each in quotes.
fn strings(mut data: &[u8]) -> Option<String> {
    let mut text = String::new();
    while let Some((length, rest)) = data.split_first() {
        let (string, behind) = rest.split_at_checked(usize::from(*length))?;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&quoted(string));
        data = behind;
        if text.len() > MAX_TEXT {
            break;
        }
    }
    Some(text)
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", printable(bytes).replace('"', "\\\""))
}

fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(*byte)),
            other => {
                let _ = write!(text, "\\{other:03}");
            }
        }
    }
    text
}

fn generic(data: &[u8]) -> String {
    format!("\\# {} {}", data.len(), hex::encode(&data[..data.len().min(MAX_TEXT / 2)]))
}

/// Cut where a character ends; text here is ASCII.
fn bounded(mut text: String) -> SmolStr {
    text.truncate(MAX_TEXT);
    SmolStr::new(text)
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
