//! Tokens in forms that prove that a page of this site was seen by whoever holds a secret.
//!
//! A token is derived from the secret, so nothing is kept for it, and masked anew in every page, so that a compressed page that also holds what an
//! attacker wrote gives nothing away by its length.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The token for a secret, masked by 16 fresh random bytes.
pub fn masked(secret: &[u8], mask: [u8; 16]) -> String {
    let token = plain(secret);
    let mut text = String::with_capacity(64);
    for byte in mask.iter().copied().chain(token.iter().zip(mask).map(|(token, mask)| token ^ mask)) {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

/// Whether this is a token for the secret, under whatever mask.
pub fn is_for(text: &str, secret: &[u8]) -> bool {
    let Some(bytes) = bytes(text) else { return false };
    let (mask, masked) = bytes.split_at(16);
    // Differences add up before anybody decides: the time tells nothing about where they are.
    let difference =
        plain(secret).iter().zip(mask).zip(masked).fold(0, |difference, ((token, mask), masked)| difference | (token ^ mask ^ masked));
    difference == 0
}

fn plain(secret: &[u8]) -> [u8; 16] {
    let digest = Sha256::new().chain_update(b"form token ").chain_update(secret).finalize();
    let mut token = [0; 16];
    token.copy_from_slice(&digest[..16]);
    token
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = (digit(0)? << 4) | digit(1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_one_secret_and_never_look_alike() {
        let (one, other) = (masked(b"secret", [1; 16]), masked(b"secret", [2; 16]));
        assert!(is_for(&one, b"secret") && is_for(&other, b"secret") && one != other);
        assert!(!is_for(&one, b"other"));
        for text in ["", "00", &"0".repeat(64), &"å".repeat(32), &"g".repeat(64)] {
            assert!(!is_for(text, b"secret"), "{text}");
        }
    }
}
