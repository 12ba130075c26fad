//! Which packets are captured, in words close to tcpdump's:
//!
//! ```text
//! filter = any of ("or"), each all of ("and"), each may begin with "not"; ( ) group
//! term   = [src | dst | client | server] (host ADDRESS | net ADDRESS/PREFIX | port NUMBER[-NUMBER])
//!        | tcp | udp | icmp | icmp6 | sctp | proto NUMBER | ip | ip6
//!        | process NAME | pid NUMBER | netns INODE | cgroup ID | container ID | pod UID
//! ```
//!
//! A protocol may stand before a term without "and" (`tcp port 443`), and after `src host`, `port` and the like a list
//! is written with "or" (`port 80 or port 443`). Never here: how the kernel is told.

use std::fmt;
use std::net::IpAddr;

use smol_str::SmolStr;

/// Most terms in one filter: what the kernel program has room for.
pub const MOST_TERMS: usize = 32;
/// Longest text.
const MOST_TEXT: usize = 4_096;
/// Deepest nesting of `not` and parentheses.
const DEEPEST: usize = 32;
/// Length of a process's name in the kernel.
const MOST_NAME: usize = 15;

/// Which packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every one.
    Everything,
    /// Those that pass this test.
    Term(Term),
    /// Those that the inner one leaves.
    Not(Box<Filter>),
    /// Those that all of them take.
    All(Vec<Filter>),
    /// Those that any of them takes.
    Any(Vec<Filter>),
}

/// One test of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Whose address or port; [`End::Either`] where the test is about neither.
    pub end: End,
    /// What is tested.
    pub test: Test,
}

/// Whose address or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Of one of the two.
    Either,
    /// Who sent this packet.
    Source,
    /// Whom it was sent to.
    Destination,
    /// Who opened the connection.
    Client,
    /// The other one.
    Server,
}

/// What is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// IP protocol number.
    Protocol(u8),
    /// IP version: 4 or 6.
    Version(u8),
    /// The address is in this network; a host has the whole length as its prefix.
    Net {
        /// The network's address, with nothing behind the prefix.
        address: IpAddr,
        /// Bits that must be equal.
        prefix: u8,
    },
    /// The port is one of these, both included.
    Ports {
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// Name of the process that holds the socket.
    Process(SmolStr),
    /// Its process id, on its node.
    Pid(u32),
    /// Inode of the network namespace.
    Netns(u32),
    /// Id (inode) of the socket's cgroup.
    Cgroup(u64),
    /// Container id, or its beginning (12 digits or more).
    Container(SmolStr),
    /// UID of the Kubernetes pod.
    Pod(SmolStr),
}

/// Why a text is no filter, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// Byte offset of the word that can't stand there; the text's length where something is missing at its end.
    pub at: usize,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Filter {
    /// Reads a filter; blanks alone are [`Filter::Everything`].
    ///
    /// # Errors
    /// [`FilterError`] at the first word that can't stand where it stands.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.len() > MOST_TEXT {
            let message = format!("a filter has at most {MOST_TEXT} bytes, this has {}", text.len());
            return Err(FilterError { at: MOST_TEXT, message, hint: None });
        }
        let words = words(text)?;
        if words.is_empty() {
            return Ok(Filter::Everything);
        }
        let mut parser = Parser { words, next: 0, end: text.len(), terms: 0 };
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(word) if word.text == ")" => Err(wrong(word, "no parenthesis is open here", None)),
            Some(word) => {
                Err(wrong(word, "here the filter could end, or go on", Some("join terms with and, or")))
            }
        }
    }

    /// How many terms it has.
    pub fn terms(&self) -> usize {
        match self {
            Filter::Everything => 0,
            Filter::Term(_) => 1,
            Filter::Not(inner) => inner.terms(),
            Filter::All(parts) | Filter::Any(parts) => parts.iter().map(Filter::terms).sum(),
        }
    }
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
struct Word<'a> {
    at: usize,
    text: &'a str,
    is_quoted: bool,
}

/// Cuts a text into words; parentheses and `!` stand alone, `"…"` holds blanks together.
fn words(text: &str) -> Result<Vec<Word<'_>>, FilterError> {
    let mut words = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        match letter {
            _ if letter.is_whitespace() => {}
            '(' | ')' | '!' => words.push(Word { at, text: &text[at..=at], is_quoted: false }),
            '"' => {
                let Some(length) = text[at + 1..].find('"') else {
                    let message = "a quotation mark without its other half".to_owned();
                    return Err(FilterError { at, message, hint: None });
                };
                let end = at + 1 + length;
                words.push(Word { at, text: &text[at + 1..end], is_quoted: true });
                while rest.next_if(|(at, _)| *at <= end).is_some() {}
            }
            _ => {
                let is_inside = |letter: char| !letter.is_whitespace() && !matches!(letter, '(' | ')' | '"');
                let mut end = at + letter.len_utf8();
                while let Some((at, letter)) = rest.next_if(|(_, letter)| is_inside(*letter)) {
                    end = at + letter.len_utf8();
                }
                words.push(Word { at, text: &text[at..end], is_quoted: false });
            }
        }
    }
    Ok(words)
}

struct Parser<'a> {
    words: Vec<Word<'a>>,
    next: usize,
    end: usize,
    terms: usize,
}

const TERMS_HINT: &str = "host, net, port (after src, dst, client or server if you like), tcp, udp, process, pid, netns, cgroup, container, pod";

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<Word<'a>> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    fn take_if(&mut self, texts: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| !word.is_quoted && texts.contains(&word.text));
        self.next += usize::from(found);
        found
    }

    fn missing(&self, message: &str, hint: &str) -> FilterError {
        FilterError { at: self.end, message: message.to_owned(), hint: Some(hint.to_owned()) }
    }

    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.take_if(&["or", "||"]) {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let mut parts = vec![self.one(depth)?];
        while self.take_if(&["and", "&&"]) {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth == DEEPEST {
            let at = self.peek().map_or(self.end, |word| word.at);
            let message = format!("nested more than {DEEPEST} deep");
            return Err(FilterError { at, message, hint: None });
        }
        if self.take_if(&["not", "!"]) {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take_if(&["("]) {
            let inner = self.any(depth + 1)?;
            if self.take_if(&[")"]) {
                return Ok(inner);
            }
            return Err(match self.peek() {
                Some(word) => wrong(word, "here a parenthesis should close", Some("join terms with and, or")),
                None => self.missing("a parenthesis is not closed", "close it with )"),
            });
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        let Some(word) = self.take() else {
            return Err(self.missing("a term is missing at the end", TERMS_HINT));
        };
        self.terms += 1;
        if self.terms > MOST_TERMS {
            let hint = Some("a net or a range of ports takes the place of many");
            return Err(wrong(word, &format!("a filter has at most {MOST_TERMS} terms"), hint));
        }
        let either = |test| Filter::Term(Term { end: End::Either, test });
        let protocol = match word.text {
            "tcp" => Some(6),
            "udp" => Some(17),
            "icmp" => Some(1),
            "icmp6" => Some(58),
            "sctp" => Some(132),
            _ => None,
        };
        if let Some(protocol) = protocol {
            let protocol = either(Test::Protocol(protocol));
            // As in tcpdump: `tcp port 443`, `udp and port 53`.
            let follows = ["src", "dst", "client", "server", "host", "net", "port"];
            if self.peek().is_some_and(|word| follows.contains(&word.text)) {
                return Ok(Filter::All(vec![protocol, self.term()?]));
            }
            return Ok(protocol);
        }
        let end = match word.text {
            "src" => End::Source,
            "dst" => End::Destination,
            "client" => End::Client,
            "server" => End::Server,
            _ => End::Either,
        };
        let what = if end == End::Either { word } else { self.value("host, net or port", word.text)? };
        let test = match what.text {
            "host" => host(self.value("an address", "host")?)?,
            "net" => net(self.value("a network, such as 10.0.0.0/8", "net")?)?,
            "port" => ports(self.value("a port", "port")?)?,
            _ if end != End::Either => {
                let message = format!("after {} comes host, net or port, not {:?}", word.text, what.text);
                return Err(wrong(what, &message, None));
            }
            "ip" => Test::Version(4),
            "ip6" => Test::Version(6),
            "proto" => {
                Test::Protocol(number(self.value("a protocol's number", "proto")?, "a protocol's number")?)
            }
            "process" => process(self.value("a process's name", "process")?)?,
            "pid" => Test::Pid(number(self.value("a process id", "pid")?, "a process id")?),
            "netns" => {
                Test::Netns(number(self.value("a namespace's inode", "netns")?, "a namespace's inode")?)
            }
            "cgroup" => Test::Cgroup(number(self.value("a cgroup's id", "cgroup")?, "a cgroup's id")?),
            "container" => Test::Container(hex_id(self.value("a container's id", "container")?, 12, 64)?),
            "pod" => Test::Pod(hex_id(self.value("a pod's UID", "pod")?, 36, 36)?),
            other => {
                let message = format!("{other:?} is no term");
                return Err(wrong(word, &message, Some(TERMS_HINT)));
            }
        };
        Ok(Filter::Term(Term { end, test }))
    }

    /// The word after `before`.
    fn value(&mut self, what: &str, before: &str) -> Result<Word<'a>, FilterError> {
        self.take().ok_or_else(|| self.missing(&format!("after {before} comes {what}"), "it ends here"))
    }
}

fn wrong(word: Word<'_>, message: &str, hint: Option<&str>) -> FilterError {
    FilterError { at: word.at, message: message.to_owned(), hint: hint.map(str::to_owned) }
}

fn host(word: Word<'_>) -> Result<Test, FilterError> {
    let Ok(address) = word.text.parse::<IpAddr>() else {
        let hint = Some("names are not looked up: write the address");
        return Err(wrong(word, &format!("{:?} is no address", word.text), hint));
    };
    let address = address.to_canonical();
    Ok(Test::Net { address, prefix: bits(address) })
}

fn net(word: Word<'_>) -> Result<Test, FilterError> {
    let no_net =
        |why: &str| wrong(word, &format!("{:?} is no network: {why}", word.text), Some("such as 10.0.0.0/8"));
    let Some((address, prefix)) = word.text.split_once('/') else { return Err(no_net("it has no prefix")) };
    let Ok(address) = address.parse::<IpAddr>() else { return Err(no_net("no address before the slash")) };
    let Some(prefix) = prefix.parse::<u8>().ok().filter(|prefix| *prefix <= bits(address)) else {
        return Err(no_net(&format!("its prefix is 0 to {}", bits(address))));
    };
    let masked = match address {
        IpAddr::V4(v4) => {
            IpAddr::V4((u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            IpAddr::V6((u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).into())
        }
    };
    if masked != address {
        let message = format!("{address} has bits behind its prefix of {prefix}");
        return Err(wrong(word, &message, Some(&format!("{masked}/{prefix} is the network"))));
    }
    Ok(Test::Net { address, prefix })
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn ports(word: Word<'_>) -> Result<Test, FilterError> {
    let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(Test::Ports { first, last }),
        _ => {
            let message = format!("{:?} is no port", word.text);
            Err(wrong(word, &message, Some("a number up to 65535, or a range such as 8000-8080")))
        }
    }
}

fn number<T: std::str::FromStr>(word: Word<'_>, what: &str) -> Result<T, FilterError> {
    word.text.parse().map_err(|_| wrong(word, &format!("{:?} is not {what}", word.text), None))
}

fn process(word: Word<'_>) -> Result<Test, FilterError> {
    if word.text.is_empty() || word.text.contains(char::is_control) {
        return Err(wrong(word, "a process's name has letters", None));
    }
    // The kernel keeps that much of a name; longer ones are its beginning, as `ps -o comm` shows.
    let mut end = word.text.len().min(MOST_NAME);
    while !word.text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(Test::Process(SmolStr::new(&word.text[..end])))
}

fn hex_id(word: Word<'_>, least: usize, most: usize) -> Result<SmolStr, FilterError> {
    let is_id = word.text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_id && (least..=most).contains(&word.text.len()) {
        return Ok(SmolStr::new(word.text.to_ascii_lowercase()));
    }
    let length = if least == most { most.to_string() } else { format!("{least} to {most}") };
    Err(wrong(word, &format!("{:?} is not an id of {length} hexadecimal digits", word.text), None))
}

/// In the language that it is read from.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Filter], word: &str| {
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Filter::All(_) | Filter::Any(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Filter::Everything => Ok(()),
            Filter::Term(term) => write!(f, "{term}"),
            Filter::Not(inner) if matches!(**inner, Filter::Term(_) | Filter::Not(_)) => {
                write!(f, "not {inner}")
            }
            Filter::Not(inner) => write!(f, "not ({inner})"),
            Filter::All(parts) => joined(f, parts, "and"),
            Filter::Any(parts) => joined(f, parts, "or"),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.end {
            End::Either => "",
            End::Source => "src ",
            End::Destination => "dst ",
            End::Client => "client ",
            End::Server => "server ",
        })?;
        match &self.test {
            Test::Protocol(6) => f.write_str("tcp"),
            Test::Protocol(17) => f.write_str("udp"),
            Test::Protocol(1) => f.write_str("icmp"),
            Test::Protocol(58) => f.write_str("icmp6"),
            Test::Protocol(132) => f.write_str("sctp"),
            Test::Protocol(number) => write!(f, "proto {number}"),
            Test::Version(6) => f.write_str("ip6"),
            Test::Version(_) => f.write_str("ip"),
            Test::Net { address, prefix } if *prefix == bits(*address) => write!(f, "host {address}"),
            Test::Net { address, prefix } => write!(f, "net {address}/{prefix}"),
            Test::Ports { first, last } if first == last => write!(f, "port {first}"),
            Test::Ports { first, last } => write!(f, "port {first}-{last}"),
            Test::Process(name) => write!(f, "process \"{name}\""),
            Test::Pid(pid) => write!(f, "pid {pid}"),
            Test::Netns(inode) => write!(f, "netns {inode}"),
            Test::Cgroup(id) => write!(f, "cgroup {id}"),
            Test::Container(id) => write!(f, "container {id}"),
            Test::Pod(uid) => write!(f, "pod {uid}"),
        }
    }
}

#[cfg(test)]
mod tests;
