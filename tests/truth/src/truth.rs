//! What really happened: requests, and the exchanges each of them consists of.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use http::Method;

/// Everything the driver caused, and who was there.
#[derive(Clone, Debug)]
pub struct Truth {
    pub ids: IdSpace,
    pub programs: Vec<ProgramInfo>,
    /// By [`Cell::scenario`].
    pub scenarios: Vec<ScenarioInfo>,
    /// By [`RequestId`].
    pub requests: Vec<Request>,
    /// Processes that were seen to belong to a program.
    pub members: HashMap<u32, Program>,
}

impl Truth {
    /// Whether what its connections carry refers to what they carried before the agent looked.
    pub fn is_late_stream(&self, cell: &Cell) -> bool {
        let scenario = self.scenarios.get(cell.scenario);
        let sharing = scenario.map(|scenario| scenario.sharing);
        cell.attach == Attach::Late && sharing == Some(Sharing::Streams)
    }
}

/// One request of the driver with all that it led to.
#[derive(Clone, Debug)]
pub struct Request {
    pub cell: Cell,
    /// `None`: it got no answer, or was sent to open a connection before the agent looked. Its
    /// spans are neither expected nor refused.
    pub exchanges: Option<Vec<Exchange>>,
    pub sent: SystemTime,
    pub answered: SystemTime,
}

/// One side of one HTTP exchange: what should have become one span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub program: Program,
    pub kind: Kind,
    pub process: Process,
    pub method: Method,
    pub path: String,
    /// `None`: not known.
    pub status: Option<Status>,
    /// Index of the exchange that caused this one, in the same request.
    pub parent: Option<usize>,
    pub link: LinkClass,
}

/// How an exchange was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Http(u16),
    /// gRPC, by its name: `NOT_FOUND`.
    Rpc(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Server,
    Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The process named itself.
    Pid(u32),
    /// Some process of the program; it does not tell which.
    Unnamed,
}

/// What it takes to find a span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkClass {
    /// There is none.
    Root,
    /// A server span under the client span at the other end of the connection.
    Hop,
    /// A client span under the server span its program was working on.
    InProcess,
}

impl LinkClass {
    pub const ALL: [LinkClass; 3] = [LinkClass::Root, LinkClass::Hop, LinkClass::InProcess];
}

/// Index into [`Truth::programs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Program(pub usize);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    pub name: String,
    pub model: Model,
}

/// How a program runs its requests: decides whether in-process links can be had from threads alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// One thread or process works on one request at a time.
    Blocking,
    /// One thread works on many requests in turn, or hands them around.
    Interleaved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioInfo {
    pub name: String,
    pub sharing: Sharing,
}

/// What the driver's clients have of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sharing {
    /// Each has its own.
    Own,
    /// Each has streams of one that all share (HTTP/2).
    Streams,
}

/// Under which conditions a request was made; figures are kept apart by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// Index of the scenario.
    pub scenario: usize,
    pub attach: Attach,
    pub clients: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attach {
    /// The agent was there before the programs.
    Early,
    /// The agent came when the connections were already open and used.
    Late,
}

/// Index into [`Truth::requests`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u32);

/// The ids of one run: 16 hexadecimal digits, of which the first half is the run's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdSpace {
    prefix: String,
}

impl IdSpace {
    pub fn new(nonce: u32) -> Self {
        Self {
            prefix: format!("{nonce:08x}"),
        }
    }

    pub fn text(&self, id: RequestId) -> String {
        format!("{}{:08x}", self.prefix, id.0)
    }

    /// The first id in `text`, of however it is quoted and surrounded.
    pub fn find(&self, text: &str) -> Option<RequestId> {
        text.match_indices(&self.prefix).find_map(|(at, prefix)| {
            let number = text.get(at + prefix.len()..at + prefix.len() + 8)?;
            u32::from_str_radix(number, 16).ok().map(RequestId)
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Server => "server",
            Kind::Client => "client",
        })
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Sharing::Own => "connections",
            Sharing::Streams => "streams",
        })
    }
}

impl From<u16> for Status {
    fn from(status: u16) -> Self {
        Self::Http(status)
    }
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Attach::Early => "early",
            Attach::Late => "late",
        })
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Model::Blocking => "blocking",
            Model::Interleaved => "interleaved",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_where_they_stand() {
        let ids = IdSpace::new(0xdead_beef);
        let id = RequestId(77);
        for text in [
            "/hop/deadbeef0000004d",
            "http://127.0.0.1:80/slow/5/deadbeef0000004d?via=",
            "/deadbeefx/deadbeef0000004d",
        ] {
            assert_eq!(ids.find(text), Some(id), "{text}");
        }
        for text in ["", "/deadbeef", "/deadbeef0000004", "/deadbeef0000004é"] {
            assert_eq!(ids.find(text), None, "{text}");
        }
    }
}
