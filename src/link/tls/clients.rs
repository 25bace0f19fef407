//! What is asked of those who dial us: a node shows who it is, and others have nothing to show.

/// What those who dial us must show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsClients {
    /// A certificate, and that they speak our protocol (ALPN), as every node does.
    #[default]
    Required,
    /// Nothing, if they have nothing: browsers, tools and .NET's SslStream, which have no identity then and are known by what they
    /// claim, as in plain text. Whoever shows something is judged by it.
    Optional,
}
