//! Arguments → a command line without secrets.
//!
//! What can't be told from a secret counts as one: from a secret's mark (a name such as `password` before `=` or `:`, a
//! flag, `Bearer`) to its argument's end all is replaced by [`HIDDEN`]. The program and the names of flags stay. Not
//! found: a secret that no name announces and that looks like a word.

/// What a secret is replaced by.
const HIDDEN: &str = "***";
/// Bytes of arguments that are looked at; what is beyond them is left out.
pub(super) const MAX_COMMAND_LINE: usize = 4_096;

/// Names, or ends of a name's part, that announce a secret.
const STRONG: &[&str] = &[
    "password",
    "passwd",
    "passwort",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "authkey",
    "signingkey",
    "encryptionkey",
    "masterkey",
    "credential",
    "authorization",
    "cookie",
    "signature",
    "sessionid",
    "bearer",
    "key",
    "pass",
    "requirepass",
    "masterauth",
    "pw",
];
/// The same, where they are a name's last part.
const LAST: &[&str] = &["auth", "pin", "pat", "otp", "sig", "psk", "cred", "creds", "jwt", "sid", "sas"];
/// Last parts of names whose value is about the secret, not the secret.
const HARMLESS: &[&str] = &[
    "file",
    "path",
    "dir",
    "directory",
    "size",
    "ttl",
    "type",
    "timeout",
    "expiry",
    "length",
    "format",
    "mode",
    "algorithm",
    "policy",
    "port",
    "host",
    "lifetime",
    "duration",
    "interval",
    "count",
    "enabled",
    "disabled",
    "required",
];
/// Flags whose value is `user:secret`.
const USERS: &[&str] = &["-u", "-U", "--user", "--proxy-user", "--userpwd", "--username"];
/// Single-letter flags that take a secret in some programs only.
const BY_PROGRAM: &[(&str, &str)] =
    &[("redis-cli", "-a"), ("ldap", "-w"), ("openssl", "-k"), ("openssl", "-K")];
/// What begins with `-p` and is no password.
const NO_PASSWORDS: &[&str] = &[
    "-pass",
    "-passin",
    "-passout",
    "-passphrase",
    "-passwd",
    "-password",
    "-pwd",
    "-path",
    "-pid",
    "-pidfile",
    "-port",
    "-prefix",
    "-print",
    "-print0",
    "-profile",
    "-proto",
    "-protocol",
    "-proxy",
    "-prune",
    "-public",
    "-publish",
    "-project",
    "-plugin",
    "-parallel",
    "-persist",
    "-prof",
    "-policy",
    "-period",
];
/// Random words of so many characters.
const RANDOM_WORD: usize = 24;
/// Random words that may be paths, or lower case throughout.
const RANDOM_LONG: usize = 32;

/// The command line out of `/proc/PID/cmdline`; `None` if there is none.
pub(super) fn command_line(bytes: &[u8]) -> Option<String> {
    let is_cut = bytes.len() > MAX_COMMAND_LINE;
    let mut bytes = &bytes[..bytes.len().min(MAX_COMMAND_LINE)];
    if is_cut {
        // A part of a secret may lack the mark that would tell it.
        bytes = &bytes[..bytes.iter().rposition(|&byte| byte == 0).map_or(0, |at| at + 1)];
    }
    // Programs that write their own title leave zeros behind it.
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    if end == 0 {
        return is_cut.then(|| HIDDEN.to_owned());
    }
    let text = String::from_utf8_lossy(&bytes[..end]);
    // Zeros part arguments; other control characters would only disturb a terminal.
    let clean = |argument: &str| argument.replace(|c: char| c.is_control(), " ");
    let mut line = line(text.split('\0').map(clean));
    if is_cut {
        line.push_str(" …");
    }
    Some(line)
}

fn line(mut arguments: impl Iterator<Item = String>) -> String {
    let first = arguments.next().unwrap_or_default();
    // A title that the program wrote itself is all in the first argument.
    let (program, title) = first.split_at(first.find(' ').unwrap_or(first.len()));
    let mut line = program.to_owned();
    line.push_str(&argument(program, title));
    let mut is_announced = announces(program, title);
    let mut is_user = false;
    for text in arguments {
        line.push(' ');
        let is_flag = text.starts_with("--") && text.len() > 2;
        if is_announced && !is_flag {
            line.push_str(HIDDEN);
            is_announced = false;
            continue;
        }
        let shown = match secret_behind_user(&text).filter(|_| is_user) {
            Some(begin) => format!("{}{HIDDEN}", &text[..begin]),
            None => argument(program, &text),
        };
        is_announced = announces(program, &text);
        is_user = USERS.contains(&text.as_str());
        if text.is_empty() || text.contains(' ') {
            line.push('\'');
            line.push_str(&shown);
            line.push('\'');
        } else {
            line.push_str(&shown);
        }
    }
    line
}

/// Whether the whole next argument is a secret.
fn announces(program: &str, argument: &str) -> bool {
    let word = argument.rsplit(' ').next().unwrap_or_default();
    let bare = word.trim_end_matches([':', '=']);
    if bare.len() < word.len() {
        return is_secret_name(bare.trim_matches(['"', '\'']), false);
    }
    is_secret_flag(program, word)
        || ["password", "passphrase", "requirepass", "bearer"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
}

/// A flag whose value is the next word.
fn is_secret_flag(program: &str, word: &str) -> bool {
    let program = program.rsplit('/').next().unwrap_or_default();
    let is_of_program = |(name, flag): &(&str, &str)| program.starts_with(name) && word == *flag;
    word.starts_with('-')
        && (word == "-p"
            || BY_PROGRAM.iter().any(is_of_program)
            || is_secret_name(word.trim_start_matches('-'), true))
}

/// An argument without its secrets.
fn argument(program: &str, text: &str) -> String {
    let end = mark(program, text).unwrap_or(text.len());
    let mut shown = hide_random(&hide_users(text, end));
    if end < text.len() && !shown.ends_with(HIDDEN) {
        shown.push_str(HIDDEN);
    }
    shown
}

/// Where the first secret that something announces begins.
fn mark(program: &str, text: &str) -> Option<usize> {
    let mut first = named_value(text);
    let mut at = 0;
    for word in text.split(' ') {
        let (begin, end) = (at, at + word.len());
        at = end + 1;
        if first.is_some_and(|first| first <= begin) {
            break;
        }
        let trimmed = word.trim_start_matches(['"', '\'']);
        let begin = begin + word.len() - trimmed.len();
        let attached = USERS.iter().find_map(|flag| trimmed.strip_prefix(flag));
        let attached = attached.and_then(|user| Some((end - user.len(), secret_behind_user(user)?)));
        let found = if let Some((begin, secret)) = attached {
            Some(begin + secret)
        } else if is_attached_password(trimmed) {
            Some(begin + 2)
        } else if end < text.len() && is_announcing_word(program, trimmed) {
            Some(at)
        } else if end < text.len() && USERS.contains(&trimmed) {
            secret_behind_user(&text[at..]).map(|secret| at + secret)
        } else {
            None
        };
        first = [first, found].into_iter().flatten().min();
    }
    first
}

fn is_announcing_word(program: &str, word: &str) -> bool {
    is_secret_flag(program, word)
        || ["bearer", "password", "passphrase", "requirepass"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
}

/// `-pSECRET`, as MySQL's programs have it.
fn is_attached_password(word: &str) -> bool {
    let name = word.split(['=', ':']).next().unwrap_or_default();
    word.len() > 2 && word.starts_with("-p") && !NO_PASSWORDS.contains(&name)
}

/// Behind the first `name=` or `name:` whose name announces a secret; also in quotes, as JSON has it.
fn named_value(text: &str) -> Option<usize> {
    for (at, separator) in text.match_indices(['=', ':']) {
        let before = text[..at].trim_end_matches(['"', '\'', ' ', ']', '\\']);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let begin = before.rfind(|c| !is_part(c)).map_or(0, |at| {
            // The character there may be longer than a byte.
            at + before[at..].chars().next().map_or(1, char::len_utf8)
        });
        let is_address = text[at..].starts_with("://");
        if !is_address && is_secret_name(before[begin..].trim_start_matches('-'), separator == "=") {
            return Some(at + 1);
        }
    }
    None
}

/// Whether a name announces a secret: `password`, `DB_PASS`, `dbPassword`, `spring.datasource.password`; by any part, or
/// only by the last.
fn is_secret_name(name: &str, by_any_part: bool) -> bool {
    let parts = parts(name);
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    let Some(last) = parts.last() else { return false };
    if HARMLESS.contains(last) {
        return false;
    }
    let is_one_of = |part: &str, names: &[&str]| {
        names.contains(&part) || part.strip_suffix('s').is_some_and(|part| names.contains(&part))
    };
    let is_secret = |part: &str| {
        let ends =
            |name: &&str| name.len() > 3 && part.trim_end_matches('s').ends_with(name.trim_end_matches('s'));
        is_one_of(part, STRONG)
            || STRONG.iter().any(|name| ends(name) && *name != "pass")
            || part.ends_with("pwd")
            || part.contains("password")
            || part.contains("secret")
    };
    is_one_of(last, LAST)
        || if by_any_part { parts.iter().any(|part| is_secret(part)) } else { is_secret(last) }
}

/// A name's parts in lower case: at `-`, `_`, `.`, and where capitals begin.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let is_parting = !c.is_ascii_alphanumeric();
        if is_parting || (was_lower && c.is_ascii_uppercase()) {
            parts.push(String::new());
        }
        if let (false, Some(part)) = (is_parting, parts.last_mut()) {
            part.push(c.to_ascii_lowercase());
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Where the secret of `user:secret` begins; numbers on both sides are a user's and a group's.
fn secret_behind_user(text: &str) -> Option<usize> {
    let (user, secret) = text.split_once(':')?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ids = is_number(user) && is_number(secret);
    (!secret.is_empty() && !is_ids).then(|| user.len() + 1)
}

/// The text up to `end`, without what is between `user:` and `@` in URLs and elsewhere.
fn hide_users(text: &str, end: usize) -> String {
    let mut shown = String::with_capacity(end);
    let (mut at, mut told) = (0, 0);
    for word in text.split(' ') {
        if let Some((begin, behind)) = secret_of_user(word)
            && at + begin < end
        {
            shown.push_str(&text[told..at + begin]);
            shown.push_str(HIDDEN);
            told = (at + behind).min(end);
        }
        at += word.len() + 1;
    }
    shown.push_str(&text[told..end]);
    shown
}

fn secret_of_user(word: &str) -> Option<(usize, usize)> {
    let authority = word.find("://").map_or(0, |at| at + 3);
    // A secret may have `@`, `/` and `:` in it, though it shouldn't.
    let end = word.rfind('@').filter(|end| *end >= authority)?;
    let begin = authority + word[authority..end].find(':')? + 1;
    let is_port = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        (1..=5).contains(&digits) && text[digits..].starts_with('/')
    };
    // `http://host:8080/@scope`: no user.
    let is_user = authority == 0 || !is_port(&word[begin..end]);
    (is_user && begin < end).then_some((begin, end))
}

/// Replaces words that only a machine would make up: hex, base64 and such.
fn hide_random(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    let is_wide = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '_' | '-' | '=');
    while !rest.is_empty() {
        let length = rest.find(|c| !is_wide(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        shown.push_str(&hide_in_word(word));
        let next = after.find(is_wide).unwrap_or(after.len());
        shown.push_str(&after[..next]);
        rest = &after[next..];
    }
    shown
}

fn hide_in_word(word: &str) -> String {
    if word.len() < RANDOM_WORD {
        return word.to_owned();
    }
    // As a whole it may be a path, so it must look very random.
    let whole = word.trim_end_matches('=');
    let is_plain = whole.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let kinds = Kinds::of(whole);
    let is_mixed = kinds.least() >= 1 && kinds.changes * 4 >= whole.len();
    if is_plain && !whole.starts_with('/') && whole.len() >= RANDOM_LONG && is_mixed {
        return HIDDEN.to_owned();
    }
    let mut shown = String::with_capacity(word.len());
    for (at, part) in word.split('/').enumerate() {
        if at > 0 {
            shown.push('/');
        }
        for (at, part) in part.split('=').enumerate() {
            if at > 0 {
                shown.push('=');
            }
            shown.push_str(if is_random(part) { HIDDEN } else { part });
        }
    }
    shown
}

fn is_random(part: &str) -> bool {
    let kinds = Kinds::of(part);
    let has_all = part.len() >= RANDOM_WORD && kinds.least() >= 2;
    let longest = part.split(['-', '_', '+']).max_by_key(|run| run.len()).unwrap_or_default();
    let kinds = Kinds::of(longest);
    // Hex has ten digits of sixteen: a word of letters only is no number, nor is one with a few digits at its end.
    has_all || (longest.len() >= RANDOM_LONG && kinds.digits >= 4 && kinds.lower + kinds.upper >= 4)
}

/// How many characters of each kind.
struct Kinds {
    lower: usize,
    upper: usize,
    digits: usize,
    /// Between neighbours of different kinds.
    changes: usize,
}

impl Kinds {
    fn of(text: &str) -> Kinds {
        let kind = |byte: u8| (byte.is_ascii_lowercase(), byte.is_ascii_uppercase(), byte.is_ascii_digit());
        let count = |is_it: fn(&u8) -> bool| text.bytes().filter(is_it).count();
        Kinds {
            lower: count(u8::is_ascii_lowercase),
            upper: count(u8::is_ascii_uppercase),
            digits: count(u8::is_ascii_digit),
            changes: text.as_bytes().windows(2).filter(|two| kind(two[0]) != kind(two[1])).count(),
        }
    }

    fn least(&self) -> usize {
        self.lower.min(self.upper).min(self.digits)
    }
}

#[cfg(test)]
mod tests;
