//! Certificates and keys in PEM.

use caps_adapters::{
    mail::{deliver::Relay, smtp::Domain},
    tls::Tls,
};

/// A certificate and a key, divided by a NUL byte, and the same as an authority.
pub(super) fn pem(input: &[u8]) {
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let (chain, key) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
    for refused in [Tls::for_web(chain, key).err(), Tls::for_mail(chain, key).err()].into_iter().flatten() {
        assert!(refused.to_string().len() <= 400, "{refused}");
    }
    let domain = Domain::parse("here.example").expect("it is a domain");
    let relay = Relay::parse("smtp://mx.example?tls=off", &domain).expect("it is a relay");
    if let Err(refused) = relay.trust(input) {
        assert!(refused.to_string().len() <= 400, "{refused}");
    }
}

pub(super) const PEMS: &[&[u8]] = &[
    b"-----BEGIN CERTIFICATE-----\nMIIBAA==\n-----END CERTIFICATE-----\n\0-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n\0-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----\n",
    b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----",
];
