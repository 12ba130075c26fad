//! JA3 and JA3S: MD5 of what a hello offers, in its order, GREASE left out.

use std::fmt::Write;

use md5::{Digest, Md5};
use smol_str::SmolStr;

use super::hello::{ClientHello, ServerHello};
use super::names::is_grease;

/// JA3 of a client: MD5 of [`ja3_text`], as hex.
pub fn ja3(hello: &ClientHello<'_>) -> SmolStr {
    md5_hex(&ja3_text(hello))
}

/// What JA3 is the MD5 of: `version,ciphers,extensions,groups,point formats`, decimal, joined by dashes.
pub fn ja3_text(hello: &ClientHello<'_>) -> String {
    let mut text = String::with_capacity(512);
    let _ = write!(text, "{},", hello.legacy_version);
    join(&mut text, hello.ciphers.iter().copied());
    text.push(',');
    join(&mut text, hello.extensions.iter().map(|(number, _)| *number));
    text.push(',');
    join(&mut text, hello.groups());
    text.push(',');
    join(&mut text, hello.point_formats().iter().map(|format| u16::from(*format)));
    text
}

/// JA3S of a server: MD5 of [`ja3s_text`], as hex.
pub fn ja3s(hello: &ServerHello<'_>) -> SmolStr {
    md5_hex(&ja3s_text(hello))
}

/// What JA3S is the MD5 of: `version,cipher,extensions`.
pub fn ja3s_text(hello: &ServerHello<'_>) -> String {
    let mut text = String::with_capacity(64);
    let _ = write!(text, "{},{},", hello.legacy_version, hello.cipher);
    join(&mut text, hello.extensions.iter().map(|(number, _)| *number));
    text
}

fn join(text: &mut String, values: impl IntoIterator<Item = u16>) {
    for (nth, value) in values.into_iter().filter(|value| !is_grease(*value)).enumerate() {
        if nth > 0 {
            text.push('-');
        }
        let _ = write!(text, "{value}");
    }
}

fn md5_hex(text: &str) -> SmolStr {
    SmolStr::new(hex::encode(Md5::digest(text.as_bytes())))
}
