//! The flags of WebSocket: where browsers may come, and from whose pages.

use clap::Args;

use crate::value::ListenAddress;

/// Whether browsers may be peers.
#[derive(Clone, Debug, Args)]
pub(crate) struct WebSocketArgs {
    /// Accept WebSocket connections here, as browsers open them, port 0 for any free one; with --tls it is wss; may be given
    /// several times [default: none]
    #[arg(long, value_name = "ADDR", value_delimiter = ',', conflicts_with = "no_listen", help_heading = "Network")]
    pub(crate) listen_ws: Vec<ListenAddress>,
    /// With --listen-ws: let pages of this origin connect, as SCHEME://HOST, "*" for all; may be given several times
    /// [default: pages of the same host only]
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',', value_parser = origin, requires = "listen_ws",
          help_heading = "Network")]
    pub(crate) ws_origin: Vec<String>,
}

/// An origin as browsers write it: scheme, host, and the port where it is not the scheme's own.
fn origin(text: &str) -> Result<String, String> {
    if text == "*" || text == "null" {
        return Ok(text.to_owned());
    }
    let expected = || "expected an origin like https://example.org or http://localhost:8000, without a path".to_owned();
    let (scheme, host) = text.split_once("://").ok_or_else(expected)?;
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
    if is_scheme && is_host { Ok(text.to_owned()) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        for good in
            ["*", "null", "https://example.org", "http://localhost:8000", "http://[::1]:1", "chrome-extension://abc"]
        {
            assert_eq!(origin(good), Ok(good.to_owned()));
        }
        for bad in ["", "example.org", "https://", "https://example.org/", "https://a b", "https://u@a"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
