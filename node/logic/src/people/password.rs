//! Passwords: argon2id, always on a worker.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};

/// The PHC string of a password. Takes 20 ms and 19 MiB (argon2id, 2 passes, 1 lane: OWASP's parameters, and the crate's defaults).
///
/// `None` if the library refuses the password, which it does for none within the bounds of the schema.
pub(crate) fn hash_password(password: &str, salt: [u8; 16]) -> Option<String> {
    let salt = SaltString::encode_b64(&salt).ok()?;
    Some(Argon2::default().hash_password(password.as_bytes(), &salt).ok()?.to_string())
}

/// Whether the password is the one that was hashed; in constant time for hashes with equal parameters.
pub(crate) fn verify_password(password: &str, phc: &str) -> bool {
    PasswordHash::new(phc).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// The hash of a password that nobody knows: whoever logs in as a user that does not exist, or has no password, waits as long for the no.
pub(crate) fn matches_nobody() -> &'static str {
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_verifies_and_nobody_costs_as_much_work() {
        let phc = hash_password("correct horse", [7; 16]).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(verify_password("correct horse", &phc));
        assert!(!verify_password("wrong horse", &phc));
        assert!(!verify_password("correct horse", "no hash at all"));
        let nobody = PasswordHash::new(matches_nobody()).unwrap();
        let somebody = PasswordHash::new(&phc).unwrap();
        assert_eq!(nobody.params, somebody.params);
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
    }
}
