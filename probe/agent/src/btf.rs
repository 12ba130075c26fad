//! Kernel types (BTF): where a field of a kernel struct lies, what an enum's values are called, how many arguments a
//! tracepoint has.
//!
//! Reads what `/sys/kernel/btf/vmlinux` has (`Documentation/bpf/btf.rst`): header, types, strings. Only structs,
//! unions and what stands between them and their members, enums, and tracepoints' types are looked at. Never panics on damaged input.

use std::collections::HashMap;

/// Why an offset could not be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Not BTF, of another byte order, or cut short.
    #[error("not readable at byte {0}")]
    Malformed(usize),
    /// This kernel has no such field; the caller says what can't work without it.
    #[error("this kernel has no field {0}")]
    NoField(String),
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNCTION: u32 = 13;
const MEMBER_SIZE: usize = 12;
const ENUMERATOR_SIZE: usize = 8;

/// Types of a kernel.
pub(crate) struct Types<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// Where each type begins, by id; 0 is void.
    positions: Vec<usize>,
    structs: HashMap<&'a [u8], usize>,
}

impl<'a> Types<'a> {
    /// Indexes the types.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] with the offset that can't be read.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Types<'a>, BtfError> {
        let magic = bytes.get(..2).ok_or(BtfError::Malformed(0))?;
        if u16::from_ne_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(BtfError::Malformed(0));
        }
        let header = word(bytes, 4)? as usize;
        let start = header + word(bytes, 8)? as usize;
        let end = start + word(bytes, 12)? as usize;
        let strings = header + word(bytes, 16)? as usize;
        let mut types = Types { bytes, strings, positions: vec![0], structs: HashMap::new() };
        let mut at = start;
        while at < end {
            let id = types.positions.len();
            types.positions.push(at);
            let (kind, members) = kind_of(word(bytes, at + 4)?);
            if kind == KIND_STRUCT {
                types.structs.entry(types.name_at(at)?).or_insert(id);
            }
            at += 12 + tail(kind, members).ok_or(BtfError::Malformed(at))?;
        }
        Ok(types)
    }

    /// The offset in bytes of `struct.member.member…`; anonymous structs and unions are looked through.
    ///
    /// # Errors
    /// [`BtfError::NoField`] if there is none or it is a bit field.
    pub(crate) fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let missing = || BtfError::NoField(path.to_owned());
        let mut parts = path.split('.');
        let name = parts.next().ok_or_else(missing)?;
        let mut id = *self.structs.get(name.as_bytes()).ok_or_else(missing)?;
        let mut bits = 0;
        for member in parts {
            let (offset, member_type) = self.member(id, member.as_bytes())?.ok_or_else(missing)?;
            bits += offset;
            id = member_type;
        }
        if bits % 8 == 0 { Ok(bits / 8) } else { Err(missing()) }
    }

    /// All values of all enums: the enum's name, the value's name, the value.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] with the offset that can't be read.
    pub(crate) fn enumerators(&self) -> Result<Vec<(&'a str, &'a str, u32)>, BtfError> {
        let mut found = Vec::new();
        for at in self.positions.iter().skip(1).copied() {
            let (kind, values) = kind_of(word(self.bytes, at + 4)?);
            if kind != KIND_ENUM {
                continue;
            }
            let of = self.text_at(at)?;
            for index in 0..values {
                let value = at + 12 + index * ENUMERATOR_SIZE;
                found.push((of, self.text_at(value)?, word(self.bytes, value + 4)?));
            }
        }
        Ok(found)
    }

    /// How many arguments a tracepoint has; `None` if there is no such tracepoint.
    ///
    /// # Errors
    /// [`BtfError::Malformed`] with the offset that can't be read.
    pub(crate) fn tracepoint_arguments(&self, name: &str) -> Result<Option<u32>, BtfError> {
        for at in self.positions.iter().skip(1).copied() {
            let is_it = kind_of(word(self.bytes, at + 4)?).0 == KIND_TYPEDEF
                && self.name_at(at)?.strip_prefix(b"btf_trace_") == Some(name.as_bytes());
            if !is_it {
                continue;
            }
            // A pointer to a function whose first argument is the tracepoint's own.
            let pointer = self.position(word(self.bytes, at + 8)? as usize)?;
            let function = self.position(word(self.bytes, pointer + 8)? as usize)?;
            let (kind, arguments) = kind_of(word(self.bytes, function + 4)?);
            return Ok((kind == KIND_FUNCTION).then(|| (arguments as u32).saturating_sub(1)));
        }
        Ok(None)
    }

    /// Offset in bits and type of a member.
    fn member(&self, id: usize, name: &[u8]) -> Result<Option<(u32, usize)>, BtfError> {
        let at = self.position(self.strip(id)?)?;
        let info = word(self.bytes, at + 4)?;
        let (kind, members) = kind_of(info);
        if kind != KIND_STRUCT && kind != KIND_UNION {
            return Ok(None);
        }
        let has_bit_fields = info >> 31 == 1;
        for index in 0..members {
            let member = at + 12 + index * MEMBER_SIZE;
            let member_type = word(self.bytes, member + 4)? as usize;
            let raw = word(self.bytes, member + 8)?;
            let offset = if has_bit_fields { raw & 0x00ff_ffff } else { raw };
            let member_name = self.name_at(member)?;
            if member_name == name {
                return Ok(Some((offset, member_type)));
            }
            if member_name.is_empty()
                && let Some((inner, inner_type)) = self.member(member_type, name)?
            {
                return Ok(Some((offset + inner, inner_type)));
            }
        }
        Ok(None)
    }

    /// Through typedefs, qualifiers and tags to the type itself.
    fn strip(&self, mut id: usize) -> Result<usize, BtfError> {
        // A chain longer than this is a loop.
        for _ in 0..32 {
            let at = self.position(id)?;
            match kind_of(word(self.bytes, at + 4)?).0 {
                8..=11 | 18 => id = word(self.bytes, at + 8)? as usize,
                _ => return Ok(id),
            }
        }
        Err(BtfError::Malformed(self.position(id)?))
    }

    fn position(&self, id: usize) -> Result<usize, BtfError> {
        self.positions.get(id).copied().filter(|_| id != 0).ok_or(BtfError::Malformed(id))
    }

    fn text_at(&self, at: usize) -> Result<&'a str, BtfError> {
        std::str::from_utf8(self.name_at(at)?).map_err(|_| BtfError::Malformed(at))
    }

    fn name_at(&self, at: usize) -> Result<&'a [u8], BtfError> {
        let start = self.strings + word(self.bytes, at)? as usize;
        let rest = self.bytes.get(start..).ok_or(BtfError::Malformed(start))?;
        let end = rest.iter().position(|&byte| byte == 0).ok_or(BtfError::Malformed(start))?;
        Ok(&rest[..end])
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let word = bytes.get(at..at.saturating_add(4)).ok_or(BtfError::Malformed(at))?;
    Ok(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}

fn kind_of(info: u32) -> (u32, usize) {
    ((info >> 24) & 0x1f, (info & 0xffff) as usize)
}

/// Bytes that follow a type's first twelve.
fn tail(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        KIND_STRUCT | KIND_UNION | 15 | 19 => members * MEMBER_SIZE,
        KIND_ENUM | KIND_FUNCTION => members * 8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int first; struct { int hidden; }; handle held; }`, `typedef struct inner handle`,
    /// `struct inner { int deep; }` at odd places.
    fn kernel() -> Vec<u8> {
        let strings = b"\0outer\0first\0hidden\0held\0handle\0inner\0deep\0";
        let name = |text: &str| {
            let needle = format!("{text}\0");
            strings.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap_or(0) as u32
        };
        let structure = |text: &str, members: u32| [name(text), KIND_STRUCT << 24 | members, 64];
        let mut types: Vec<u32> = Vec::new();
        types.extend([name("first"), 1 << 24, 4, 32]); // 1: int
        types.extend(structure("inner", 1)); // 2
        types.extend([name("deep"), 1, 96]);
        types.extend([name("handle"), 8 << 24, 2]); // 3: typedef
        types.extend(structure("", 1)); // 4
        types.extend([name("hidden"), 1, 32]);
        types.extend(structure("outer", 3)); // 5
        types.extend([name("first"), 1, 0, name("none"), 4, 64, name("held"), 3, 256]);
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_through_anonymous_structs_and_typedefs() {
        let bytes = kernel();
        let types = Types::read(&bytes).expect("reads");
        for (path, offset) in
            [("outer.first", 0), ("outer.hidden", 12), ("outer.held", 32), ("outer.held.deep", 44)]
        {
            assert_eq!(types.offset(path), Ok(offset), "{path}");
        }
        assert_eq!(types.offset("outer.gone"), Err(BtfError::NoField("outer.gone".to_owned())));
    }

    #[test]
    fn tracepoints_and_enums_of_the_running_kernel_are_read() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let types = Types::read(&bytes).expect("reads");
        assert_eq!(types.tracepoint_arguments("inet_sock_set_state"), Ok(Some(3)));
        assert_eq!(types.tracepoint_arguments("gone"), Ok(None));
        let values = types.enumerators().expect("reads");
        assert!(values.contains(&("bpf_cmd", "BPF_MAP_CREATE", 0)));
    }

    #[test]
    fn damaged_types_are_an_error_at_every_length() {
        let bytes = kernel();
        for length in 0..bytes.len() {
            if let Ok(types) = Types::read(&bytes[..length]) {
                let _ = types.offset("outer.held.deep");
                let _ = types.enumerators();
                let _ = types.tracepoint_arguments("gone");
            }
        }
    }

    #[test]
    fn the_running_kernel_has_every_field_that_the_programs_read() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let types = Types::read(&bytes).expect("reads");
        for path in weir_abi::FIELD_NAMES {
            types.offset(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
}
