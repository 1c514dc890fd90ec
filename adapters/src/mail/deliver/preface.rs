//! What comes before lettre: the connection, and TLS on it.

use tokio::net::TcpStream;

use super::{
    Domain,
    failure::{Failure, Reply, Stage},
    target::{Security, Target},
    tls,
    wire::{Transport, Wire},
};

/// Connects, and encrypts as far as the target asks for it. On the wire that comes back a session begins with a greeting.
pub(super) async fn connect(target: &Target, client_name: &Domain, tls: &tls::Configuration, stage: &mut Stage) -> Result<Wire, Failure> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    match target.security {
        Security::Off => Ok(Wire::new(Transport::Plain(stream))),
        Security::Implicit => {
            *stage = Stage::Tls;
            Ok(Wire::new(encrypted(target, tls, stream).await?))
        }
        Security::Opportunistic | Security::Required => {
            *stage = Stage::Greeting;
            start_tls(target, client_name, tls, stream, stage).await
        }
    }
}

/// RFC 3207. The greeting is given again to whoever comes next, and EHLO said again.
async fn start_tls(
    target: &Target,
    client_name: &Domain,
    tls: &tls::Configuration,
    stream: TcpStream,
    stage: &mut Stage,
) -> Result<Wire, Failure> {
    let mut wire = Wire::new(Transport::Plain(stream));
    let greeting = positive(&mut wire).await?;
    wire.send(&format!("EHLO {client_name}")).await?;
    let extensions = positive(&mut wire).await?;
    let is_offered = extensions.iter().skip(1).any(|line| line.trim().eq_ignore_ascii_case("STARTTLS"));
    let greeting = format!("220 {}", greeting.last().map_or("", String::as_str));
    if !is_offered && target.security == Security::Opportunistic {
        let transport = wire.into_transport().ok_or_else(unasked)?;
        return Ok(Wire::after(&greeting, transport));
    }
    *stage = Stage::Tls;
    if !is_offered {
        return Err(Failure::Broken("the relay offers no STARTTLS, which is required".to_owned()));
    }
    wire.send("STARTTLS").await?;
    positive(&mut wire).await?;
    let Some(Transport::Plain(stream)) = wire.into_transport() else {
        return Err(unasked());
    };
    Ok(Wire::after(&greeting, encrypted(target, tls, stream).await?))
}

async fn encrypted(target: &Target, tls: &tls::Configuration, stream: TcpStream) -> Result<Transport, Failure> {
    Ok(Transport::Tls(Box::new(tls.connect(&target.host, stream).await?)))
}

/// The texts of a reply that is positive.
async fn positive(wire: &mut Wire) -> Result<Vec<String>, Failure> {
    let mut texts = Vec::new();
    while texts.len() < REPLY_LINES_MAX {
        let line = wire.next_line().await?;
        let (code, rest) = line.split_at_checked(3).ok_or_else(|| no_reply(&line))?;
        let code: u16 = code.parse().map_err(|_| no_reply(&line))?;
        let is_last = !rest.starts_with('-');
        texts.push(rest.get(1..).unwrap_or_default().to_owned());
        if is_last && code >= 400 {
            return Err(Failure::Answered(Reply::new(code, &texts.join(" "))));
        }
        if is_last {
            return Ok(texts);
        }
    }
    Err(Failure::Broken("the relay says more than is read".to_owned()))
}

fn no_reply(line: &str) -> Failure {
    let beginning: String = line.chars().take(80).collect();
    Failure::Broken(format!("{beginning:?} is not a reply of SMTP"))
}

/// CVE-2011-0411, from the other side.
fn unasked() -> Failure {
    Failure::Broken("the relay said more than it was asked, before TLS".to_owned())
}

/// EHLO is answered with one line an extension.
const REPLY_LINES_MAX: usize = 100;
