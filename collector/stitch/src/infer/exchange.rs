//! What comes in and what goes out.

/// The short form of a service's or an operation's name, by [`super::Inference::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub(super) u32);

/// From the request's first byte to the answer's last, ns since the epoch, by one end's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The request was sent (by a client), or had come (to a server).
    pub start: i64,
    /// The answer had come, or was sent.
    pub end: i64,
}

/// One request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// Its key; no other exchange has it.
    pub id: u64,
    /// Who asked. `None`: somebody outside, for whom no cause is looked for.
    pub client: Option<Name>,
    /// Who answered.
    pub server: Name,
    /// What was asked for.
    pub operation: Name,
    /// As the client saw it. `None` where only the server was watched.
    pub client_time: Option<Span>,
    /// As the server saw it. `None` where only the client was watched.
    pub server_time: Option<Span>,
    /// Lengths of the request and of the answer, bytes, as the client saw them.
    pub client_bytes: Option<[i64; 2]>,
    /// The same as the server saw them.
    pub server_bytes: Option<[i64; 2]>,
    /// What the probe knows of why it was made.
    pub cause: Option<Cause>,
}

/// The exchange that one was made for, as the probe saw it by thread, goroutine or event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its id.
    pub parent: u64,
    /// How many it could have been.
    pub candidates: u32,
}

impl Cause {
    /// Whether nothing is left to infer.
    pub fn is_certain(&self) -> bool {
        self.candidates <= 1
    }
}

/// Which exchange a call was made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The call.
    pub child: u64,
    /// The request that it was made for. `None`: for none that was seen, or it's not sure enough for which: a trace begins.
    pub parent: Option<u64>,
    /// How that is known.
    pub method: Method,
    /// How likely it is, of all that it could be: 1 is certain. Told of the likeliest, also where that is not enough.
    pub confidence: f32,
}

/// How a link is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The probe saw that the thread or task had only this request.
    Thread,
    /// Gaps and patterns that were learned.
    Timing,
}

impl Method {
    /// The value of `weir.link.method`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Thread => "thread",
            Method::Timing => "timing",
        }
    }
}
