//! From what the file says of lines and links to what makes sense; or one clear complaint and its place.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::file::{Figures, Link};
use super::{Access, LinkFigures, Network, quantity};
use crate::deployment::check::{Complaint, complain};
use crate::deployment::file;
use crate::deployment::profile::Profile;
use crate::deployment::region::Region;

/// Checks the network of a file whose sites and nodes are known to be good.
pub(in crate::deployment) fn network(path: &Path, text: &str, file: &file::File) -> Result<Network, Complaint> {
    let mut network = Network { path: path.to_owned(), sites: BTreeMap::new(), nodes: BTreeMap::new(), links: BTreeMap::new() };
    for site in &file.site {
        network.sites.insert(site.name.get_ref().clone(), access(text, site)?);
    }
    for node in &file.node {
        if let Some(line) = &node.line {
            network.nodes.insert(node.name.get_ref().clone(), profile(line)?);
        }
    }
    for link in &file.link {
        add_link(link, &mut network)?;
    }
    Ok(network)
}

fn access(text: &str, site: &file::Site) -> Result<Access, Complaint> {
    Ok(Access {
        line: site.line.as_ref().map_or(Ok(Profile::of_sites()), profile)?,
        region: site.region.as_ref().map(region).transpose()?,
        declared_line: file::line_of(text, site.name.span().start),
    })
}

fn profile(name: &Spanned<String>) -> Result<&'static Profile, Complaint> {
    let not_one = || complain(name, format!("there is no line {:?}; there are {}", name.get_ref(), Profile::names()));
    Profile::named(name.get_ref()).ok_or_else(not_one)
}

fn region(name: &Spanned<String>) -> Result<Region, Complaint> {
    let not_one = || {
        let problem = format!("there is no region {:?}; there are {}; a site elsewhere needs a [[link]]", name.get_ref(), Region::names());
        complain(name, problem)
    };
    Region::named(name.get_ref()).ok_or_else(not_one)
}

fn add_link(link: &Link, network: &mut Network) -> Result<(), Complaint> {
    let (one, other, there, back) = network.understand(link)?;
    if network.links.contains_key(&(one.clone(), other.clone())) {
        let problem = format!("{one} and {other} have a link already: keep one, with back = {{ ... }} if its directions differ");
        return Err(complain(&link.between, problem));
    }
    network.links.insert((one.clone(), other.clone()), there);
    network.links.insert((other, one), back);
    Ok(())
}

pub(super) fn ends(link: &Link, network: &Network) -> Result<(String, String), Complaint> {
    let [one, other] = link.between.get_ref().as_slice() else {
        return Err(complain(&link.between, "a link is between two sites: write between = [\"ONE\", \"OTHER\"]".to_owned()));
    };
    for site in [one, other] {
        if !network.sites.contains_key(site.get_ref()) {
            let known: Vec<&str> = network.sites.keys().map(String::as_str).collect();
            return Err(complain(site, format!("there is no site {:?}; the file has {}", site.get_ref(), known.join(", "))));
        }
    }
    let ends = (one.get_ref().clone(), other.get_ref().clone());
    if ends.0 == ends.1 {
        return Err(complain(other, format!("a link from {} to itself: name two sites", ends.0)));
    }
    Ok(ends)
}

/// What a link does from its first site to its second, and back.
pub(super) fn directions(link: &Link) -> Result<(LinkFigures, LinkFigures), Complaint> {
    let profile = link.profile.as_ref().map(profile).transpose()?;
    let mut base =
        profile.map_or((LinkFigures::ideal(Duration::ZERO), LinkFigures::ideal(Duration::ZERO)), |profile| (profile.up, profile.down));
    let rtt = link.rtt.as_ref().map(|rtt| quantity::duration("rtt", rtt, DELAY_MOST * 2)).transpose()?;
    let back_delay = link.back.as_ref().and_then(|back| back.delay.as_ref());
    if let (Some(_), Some(delay)) = (rtt, link.delay.as_ref().or(back_delay)) {
        return Err(complain(delay, "rtt is the sum of both delays: give one or the other".to_owned()));
    }
    if let Some(rtt) = rtt {
        (base.0.delay, base.1.delay) = (rtt / 2, rtt - rtt / 2);
    } else if profile.is_none() && link.delay.is_none() {
        return Err(complain(&link.between, "nothing says how long this link takes: add a profile, an rtt or a delay".to_owned()));
    }
    let there = link.figures();
    let back = link.back.clone().map_or(there.clone(), |back| back.or(there.clone()));
    Ok((overridden(base.0, &there)?, overridden(base.1, &back)?))
}

/// The figures with what the file says instead.
fn overridden(mut figures: LinkFigures, written: &Figures) -> Result<LinkFigures, Complaint> {
    if let Some(delay) = &written.delay {
        figures.delay = quantity::duration("delay", delay, DELAY_MOST)?;
    }
    if let Some(jitter) = &written.jitter {
        figures.jitter = quantity::duration("jitter", jitter, JITTER_MOST)?;
    }
    if let Some(mtu) = &written.mtu {
        figures.mtu_bytes = mtu_bytes(mtu)?;
    }
    override_bottleneck(&mut figures, written)?;
    override_mishaps(&mut figures, written)?;
    Ok(figures)
}

fn override_bottleneck(figures: &mut LinkFigures, written: &Figures) -> Result<(), Complaint> {
    if let Some(rate) = &written.rate {
        let rate_bps = quantity::rate_bps(rate)?;
        figures.rate_bps = Some(rate_bps);
        figures.queue_bytes = (rate_bps / 8 * QUEUE_MS / 1000).max(QUEUE_LEAST_BYTES);
    }
    if let Some(queue) = &written.queue {
        figures.queue_bytes = quantity::size_bytes("queue", queue, u64::from(figures.mtu_bytes))?;
    }
    if let Some(mark_above) = &written.mark_above {
        figures.mark_above_bytes = Some(quantity::size_bytes("mark_above", mark_above, 0)?);
    }
    match (figures.rate_bps, &written.queue, &written.mark_above) {
        (None, Some(place), _) | (None, None, Some(place)) => {
            Err(complain(place, "nothing waits in front of a link without a rate: add rate = \"20Mbit/s\"".to_owned()))
        }
        (Some(_), _, Some(place)) if figures.mark_above_bytes >= Some(figures.queue_bytes) => {
            let problem = format!("mark_above of {} is never reached: the queue holds {} bytes", place.get_ref(), figures.queue_bytes);
            Err(complain(place, problem))
        }
        _ => Ok(()),
    }
}

fn override_mishaps(figures: &mut LinkFigures, written: &Figures) -> Result<(), Complaint> {
    if let Some(loss) = &written.loss {
        figures.loss = quantity::share("loss", loss)?;
    }
    if let Some(burst) = &written.burst {
        figures.burst = quantity::number("burst", burst, 1.0, BURST_MOST)?;
        if figures.loss == 0.0 {
            return Err(complain(burst, "burst says how many datagrams in a row are lost, but none is: add loss = \"1%\"".to_owned()));
        }
    }
    if let Some(duplicate) = &written.duplicate {
        figures.duplicate = quantity::share("duplicate", duplicate)?;
    }
    if let Some(reorder) = &written.reorder {
        figures.reorder = quantity::share("reorder", reorder)?;
        if figures.reorder > 0.0 && figures.delay.is_zero() {
            let problem = "reorder holds datagrams back by half a delay more, but there is no delay: add delay = \"5ms\"";
            return Err(complain(reorder, problem.to_owned()));
        }
    }
    Ok(())
}

fn mtu_bytes(mtu: &Spanned<super::file::Written>) -> Result<u16, Complaint> {
    let bytes = quantity::number("mtu", mtu, MTU_LEAST_BYTES, MTU_MOST_BYTES)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are those of jumbo frames, far inside u16")]
    Ok(bytes.round() as u16)
}

/// The farthest line in use, over a geostationary satellite, takes a third of a second; ten seconds leave room for any experiment.
const DELAY_MOST: Duration = Duration::from_secs(10);

/// A line whose datagrams wander by more than a second is broken rather than slow.
const JITTER_MOST: Duration = Duration::from_secs(1);

/// The queue of a link whose file gives a rate and no queue: what leaves it in this time, as routers are set up by default, or a dozen datagrams.
const QUEUE_MS: u64 = 100;
const QUEUE_LEAST_BYTES: u64 = 18_000;

const BURST_MOST: f64 = 1000.0;

/// QUIC needs 1,200 bytes of payload (RFC 9000, section 14) behind 48 bytes of IPv6 and UDP headers.
const MTU_LEAST_BYTES: f64 = 1248.0;
const MTU_MOST_BYTES: f64 = 9216.0;
