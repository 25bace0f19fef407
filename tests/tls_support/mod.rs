//! A client on rustls's own streams, as another program would have it.

pub(crate) mod anyone;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, StreamOwned};
use spacetime_network::link::tls::identity::Identity;

#[cfg(feature = "tls-aws-lc")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(not(feature = "tls-aws-lc"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// How a client ends its direction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    CloseNotify,
    CloseNotifyAndFin,
    /// Without a word of TLS.
    Fin,
}

impl By {
    pub(crate) fn end(self, stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<()> {
        use io::Write;
        if !matches!(self, By::Fin) {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        if !matches!(self, By::CloseNotify) {
            stream.sock.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// A client with this key, a PKCS #8 document.
pub(crate) fn client(address: SocketAddr, key: Vec<u8>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let certificate = CertificateDer::from(Identity::from_pkcs8(&key).unwrap().certificate().to_vec());
    let mut config = anyone::trusting(Arc::new(provider()))
        .with_client_auth_cert(vec![certificate], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"spacetime/2".to_vec()];
    let connection = ClientConnection::new(config.into(), "peer.invalid".try_into().unwrap()).unwrap();
    Ok(StreamOwned::new(connection, TcpStream::connect(address)?))
}
