//! Which relay, and how to talk to it.

use std::{fmt, net::IpAddr};

use super::super::smtp::Domain;

/// A relay's address.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) credentials: Option<(String, String)>,
}

/// What is asked of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Nothing: it is not used.
    Off,
    /// STARTTLS if it is offered, with any certificate.
    Opportunistic,
    /// STARTTLS with the host's certificate.
    Required,
    /// TLS from the first byte on, with the host's certificate (RFC 8314).
    Implicit,
}

/// Why an address of a relay is none. The configuration is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// It begins otherwise.
    #[error("relay: the address begins with neither smtp:// nor smtps://")]
    Scheme,
    /// The host is neither a name nor an IP address.
    #[error("relay: {host:?} is neither a host name nor an IP address")]
    Host {
        /// What stands there.
        host: String,
    },
    /// The port is none.
    #[error("relay: {port:?} is not a port")]
    Port {
        /// What stands there.
        port: String,
    },
    /// Before the `@` stands something else than `user:password`, with `%` and two digits for what is special in an address.
    #[error("relay: before the @ stands no user:password in percent encoding")]
    Credentials,
    /// Behind the `?` stands something else than what is known.
    #[error("relay: {option:?} is not tls=off, tls=opportunistic or tls=required, or smtps has no use for it")]
    Option {
        /// What stands there.
        option: String,
    },
    /// The authorities to be trusted cannot be read.
    #[error("relay: the certificates of authorities cannot be read: {reason}")]
    Authorities {
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up here.
    #[error("relay: TLS cannot be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, RelayUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(RelayUrlError::Scheme)?;
        // First of all, so that no piece of a password is taken for something that may be shown.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(parse_credentials(credentials)?), rest),
            None => (None, rest),
        };
        let (place, option) = match rest.split_once('?') {
            Some((place, option)) => (place, Some(option)),
            None => (rest, None),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (security, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "smtp" => (parse_security(option, credentials.is_some())?, SMTP_PORT),
            "smtps" if option.is_none() => (Security::Implicit, SMTPS_PORT),
            "smtps" => return Err(bad_option(option)),
            _ => return Err(RelayUrlError::Scheme),
        };
        let (host, port) = parse_place(place, default_port)?;
        Ok(Self { host, port, security, credentials })
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        let Self { host, port, security, .. } = self;
        f.debug_struct("Target").field("host", host).field("port", port).field("security", security).field("user", &user).finish()
    }
}

fn parse_security(option: Option<&str>, has_password: bool) -> Result<Security, RelayUrlError> {
    match option {
        None if has_password => Ok(Security::Required),
        None | Some("tls=opportunistic") => Ok(Security::Opportunistic),
        Some("tls=required") => Ok(Security::Required),
        Some("tls=off") => Ok(Security::Off),
        Some(_) => Err(bad_option(option)),
    }
}

fn bad_option(option: Option<&str>) -> RelayUrlError {
    RelayUrlError::Option { option: option.unwrap_or_default().to_owned() }
}

fn parse_place(place: &str, default_port: u16) -> Result<(String, u16), RelayUrlError> {
    let bad_host = || RelayUrlError::Host { host: place.to_owned() };
    let (host, port) = match place.strip_prefix('[') {
        Some(opened) => {
            let (host, port) = opened.split_once(']').ok_or_else(bad_host)?;
            (host.parse::<std::net::Ipv6Addr>().map_err(|_| bad_host())?.to_string(), port)
        }
        None => {
            let (host, port) = place.split_at(place.find(':').unwrap_or(place.len()));
            let is_host = host.parse::<IpAddr>().is_ok() || Domain::parse(host).is_some();
            (is_host.then(|| host.to_owned()).ok_or_else(bad_host)?, port)
        }
    };
    let bad_port = || RelayUrlError::Port { port: port.to_owned() };
    let port = match port.strip_prefix(':') {
        Some(number) => number.parse::<u16>().ok().filter(|number| *number > 0).ok_or_else(bad_port)?,
        None if port.is_empty() => default_port,
        None => return Err(bad_port()),
    };
    Ok((host, port))
}

fn parse_credentials(text: &str) -> Result<(String, String), RelayUrlError> {
    let (user, password) = text.split_once(':').ok_or(RelayUrlError::Credentials)?;
    let user = percent_decode(user).filter(|user| !user.is_empty());
    user.zip(percent_decode(password)).ok_or(RelayUrlError::Credentials)
}

/// RFC 3986 section 2.1. A NUL byte would end a part of SASL's PLAIN (RFC 4616).
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control))
}

/// RFC 5321 section 4.5.4.2 and RFC 8314 section 7.3.
const SMTP_PORT: u16 = 25;
const SMTPS_PORT: u16 = 465;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Target {
        Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn addresses_of_relays_are_read() {
        let table = [
            ("smtp://mail.example", "mail.example", 25, Security::Opportunistic),
            ("SMTP://mail.example:587/", "mail.example", 587, Security::Opportunistic),
            ("smtp://mail.example?tls=off", "mail.example", 25, Security::Off),
            ("smtp://mail.example?tls=required", "mail.example", 25, Security::Required),
            ("smtp://u:p@mail.example", "mail.example", 25, Security::Required),
            ("smtp://u:p@127.0.0.1:2525?tls=off", "127.0.0.1", 2525, Security::Off),
            ("smtps://mail.example", "mail.example", 465, Security::Implicit),
            ("smtps://[2001:db8::1]:4650", "2001:db8::1", 4650, Security::Implicit),
        ];
        for (url, host, port, security) in table {
            let target = parse(url);
            assert_eq!((target.host.as_str(), target.port, target.security), (host, port, security), "{url}");
        }
        let credentials = parse("smtps://anna%40example.org:p%C3%A5%3A%2F@mail.example").credentials;
        assert_eq!(credentials, Some(("anna@example.org".to_owned(), "p\u{e5}:/".to_owned())));
    }

    #[test]
    fn wrong_parts_are_named() {
        let error = |url: &str| Target::parse(url).unwrap_err().to_string();
        for url in ["", "mail.example", "http://mail.example", "smtp:/mail.example"] {
            assert!(error(url).contains("begins with"), "{url}");
        }
        for url in ["smtp://", "smtp://a b", "smtp://a_b", "smtp://[::1", "smtp://[10.0.0.1]", "smtp://a\r\nb", "smtp://a/b"] {
            assert!(error(url).contains("is neither a host name"), "{url}");
        }
        for url in ["smtp://a:", "smtp://a:0", "smtp://a:65536", "smtp://a:x", "smtp://[::1]x"] {
            assert!(error(url).contains("is not a port"), "{url}");
        }
        for url in ["smtp://u@a", "smtp://:p@a", "smtp://u:%@a", "smtp://u:%4@a", "smtp://u:%+1@a", "smtp://u:%ff@a", "smtp://u:%00@a"] {
            assert!(error(url).contains("user:password"), "{url}");
        }
        for url in ["smtp://a?", "smtp://a?tls=on", "smtps://a?tls=off"] {
            assert!(error(url).contains("tls=off"), "{url}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let target = parse("smtps://anna:secret@mail.example");
        assert!(!format!("{target:?}").contains("secret"));
        for url in
            ["smtps://anna:secret@mail example", "smtp://anna:pass?secret@mail.example?tls=on", "smtp://anna:secret?x@mail.example:x"]
        {
            let error = Target::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
    }
}
