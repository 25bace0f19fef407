//! The flags of TLS: whether it is spoken, and whom to trust.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use spacetime_network::id::VerifiedId;

use crate::key::KeyReaders;
use crate::value;

/// Whether connections are encrypted, and whom to trust.
#[derive(Clone, Debug, Args)]
pub(crate) struct TlsArgs {
    /// Encrypt connections and prove identities; whom to trust
    #[arg(long, value_enum, default_value_t = TlsMode::Off, value_name = "TRUST", help_heading = "TLS")]
    pub(crate) tls: TlsMode,
    /// With --tls pinned: trust the node with this id; may be given several times
    #[arg(long, value_name = "ID", value_delimiter = ',', help_heading = "TLS")]
    pub(crate) pin: Vec<VerifiedId>,
    /// With --tls ca: root certificates of the authority, PEM
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "TLS")]
    pub(crate) ca: Option<PathBuf>,
    /// With --tls ca: a name that certificates must be for; may be given several times [default: what is dialed]
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "TLS")]
    pub(crate) tls_name: Vec<String>,
    /// With --tls ca: our certificate and its intermediates, PEM
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// With --tls ca: our certificate's private key, PEM
    #[arg(long, value_parser = value::path(), value_name = "FILE", help_heading = "TLS")]
    pub(crate) tls_key: Option<PathBuf>,
    /// With --tls any or ca: the oldest TLS to speak; 1.2 is for others than nodes, which have 1.3
    #[arg(long, value_enum, default_value_t = TlsMin::V1_3, value_name = "VERSION", help_heading = "TLS")]
    pub(crate) tls_min: TlsMin,
    /// Use a private key that its group may read too (mode 0640), as where Kubernetes gives files to an fsGroup
    #[arg(long, help_heading = "TLS")]
    pub(crate) key_mode_group: bool,
}

impl TlsArgs {
    /// Who may read the private key.
    pub(crate) fn key_readers(&self) -> KeyReaders {
        KeyReaders::of_flag(self.key_mode_group)
    }
}

/// The oldest TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMin {
    /// TLS 1.2, with modern suites
    #[value(name = "1.2")]
    V1_2,
    /// TLS 1.3
    #[value(name = "1.3")]
    V1_3,
}

/// What those who dial us must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsClientsArg {
    /// A certificate and our protocol (ALPN), as every node has them
    Required,
    /// Nothing, if they have nothing: their ids are claims then, as in plain text
    Optional,
}

/// Whom to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    /// No TLS: anybody can read and change what is sent
    Off,
    /// Anybody; only protects from those who merely listen
    Any,
    /// Whoever answers first at an address, and then nobody else there
    FirstUse,
    /// The nodes of --pin
    Pinned,
    /// Nodes with a certificate of the authority of --ca
    Ca,
}

impl TlsMode {
    /// Whether there is TLS at all.
    pub(crate) fn is_on(self) -> bool {
        self != TlsMode::Off
    }

    /// As it is given on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
