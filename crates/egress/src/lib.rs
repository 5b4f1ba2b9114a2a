//! The only way out to strangers: which addresses may be talked to, and HTTP with them (or a bare connection).
//!
//! Git servers, forges' APIs and whoever is to be notified are all named by users. What is called here is what the
//! operator's rules ([`Egress`]) admit, however a name or an answer tries to lead elsewhere.
//!
//! **Architecture Invariants:** the only addresses dialled, and the only connections used again, are those to an address
//! that [`Egress`] admitted for this very call, or the operator's proxy · a connection is used again only with the certificates it was made with ·
//! nothing is redirected, decompressed or read from the environment · bodies are read up to a limit.
//!
//! **API Boundary:** nothing here has a timeout or a fault point: whoever calls does so within `Outside::call`.

mod dial;
mod egress;
mod http;
mod proxy;
mod url;

pub use dial::{Answer, Connections, NoAnswer, Reading, dial};
pub use egress::{Egress, InvalidNetwork, Network, NotAdmitted, Resolve, Route, SystemResolver, Via};
pub use http::Http;
pub use proxy::{InvalidProxy, Login, Proxy};
pub use url::{InvalidRemoteUrl, RemoteUrl};
