//! A key that is too long to compute with, shown by somebody who wants us to.

use std::sync::Arc;

use rcgen::CertificateParams;
use rustls::client::ClientConfig;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use super::{Error, Office, meet_as, remote, show, tls};
use crate::close::TlsFault;

/// A public key of 16384 bits that nobody has, and a signer who pretends to.
#[derive(Debug)]
struct Enormous(Vec<u8>);

impl Enormous {
    fn new() -> Self {
        // RSAPublicKey: an odd modulus of 2048 bytes with its highest bit set, and 65537.
        let modulus = [&[0x02, 0x82, 0x08, 0x01, 0x00, 0x80][..], &[0x5a; 2046], &[0x01]].concat();
        let content = [&modulus[..], &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        Enormous([&[0x30, 0x82][..], &length, &content].concat())
    }
}

impl rcgen::PublicKeyData for Enormous {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

impl SigningKey for Enormous {
    fn choose_scheme(&self, _: &[rustls::SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        Some(Box::new(Enormous(vec![0x42; 2048])))
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        rustls::SignatureAlgorithm::RSA
    }
}

impl rustls::sign::Signer for Enormous {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.clone())
    }

    fn scheme(&self) -> rustls::SignatureScheme {
        rustls::SignatureScheme::RSA_PSS_SHA256
    }
}

#[test]
fn a_key_of_16384_bits_makes_nobody_compute() {
    let (office, enormous) = (Office::open(), Enormous::new());
    let certificate =
        CertificateParams::new(vec!["node".to_owned()]).unwrap().signed_by(&enormous, &office.issuer).unwrap();
    let chain = vec![certificate.der().clone()];
    // Without an authority the kind of key ends it.
    assert_eq!(show(chain.clone(), Arc::new(Enormous::new())).accepting, Err(TlsFault::UnfitCertificate));
    // An authority may have signed it all the same; then it is too long for a signature to be looked at.
    let us = tls(&office.sign("us", |_| ()), office.trust(&["node"]));
    let them = tls(&office.sign("them", |_| ()), office.trust(&["us"]));
    let mut config = ClientConfig::clone(&them.client(remote()).0);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, Arc::new(enormous))));
    let met = meet_as(Arc::new(config), &them, us.server(), &us);
    assert!(matches!(met.accepting, Err(TlsFault::BadSignature | TlsFault::UnfitCertificate)), "{:?}", met.accepting);
}
