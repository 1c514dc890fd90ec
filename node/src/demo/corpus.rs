//! The mails of the demo, carried inside the program.

use std::path::Path;

use anyhow::Context;

/// Writes each mail as a file of its own.
pub(super) fn write(directory: &Path) -> anyhow::Result<()> {
    for (name, bytes) in MAILS {
        let path = directory.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

macro_rules! mails {
    ($($name:literal,)*) => {
        &[$(($name, include_bytes!(concat!("../../demo/mail/", $name)).as_slice()),)*]
    };
}

/// File names and contents, in the order in which a gateway files them.
const MAILS: &[(&str, &[u8])] = mails![
    "01-pump-larmar-mejeriet.eml",
    "02-re-pump-larmar-lagerbyte.eml",
    "03-re-pump-larmar-vibration.eml",
    "04-dewatering-pump-seal.eml",
    "05-re-dewatering-pump-crew.eml",
    "06-re-dewatering-pump-dry.eml",
    "07-ersatzteile-angebot.eml",
    "08-aw-ersatzteile-angebot.eml",
    "09-abwesenheit.eml",
    "10-chaufferie-lycee.eml",
    "11-re-chaufferie-depuis-mon-telephone.eml",
    "12-lampopumppu-jaassa.eml",
    "13-vs-lampopumppu-anturi.eml",
    "14-faktura-pomylka.eml",
    "15-odp-faktura-korekta.eml",
    "16-shindou-onsen.eml",
    "17-re-shindou-onsen-sokutei.eml",
    "18-tilbud-hotell.eml",
    "19-solicitud-manual.eml",
    "20-antlia-ydreusi.eml",
    "21-madkhat-alriyadh.eml",
    "22-zapchasti-koi8.eml",
    "23-fwd-typgodkannande.eml",
    "24-sv-typgodkannande-intyg.eml",
    "25-sjukhuset-reservkraft.eml",
    "26-re-sjukhuset-backventil.eml",
    "27-abschaltung-stadtwerke.eml",
    "28-auslegung-netzpumpen.eml",
    "29-order-confirmation-bot.eml",
    "30-bergvarme-villaagare.eml",
    "31-bergvarme-villaagare-igen.eml",
    "32-unknown-charset.eml",
    "33-no-date-old-client.eml",
    "34-warranty-broken-base64.eml",
    "35-re-warranty-photo.eml",
    "36-reserapport-kiruna.eml",
    "37-rumore-pompa-terme.eml",
    "38-flow-meter-question.eml",
    "39-complaint-long-thread.eml",
    "40-tack.eml",
    "90-bad-empty.eml",
    "91-bad-no-from.eml",
    "92-bad-two-from.eml",
    "93-bad-no-message-id.eml",
    "94-bad-bare-cr-smuggling.eml",
    "95-bad-nul-bytes.eml",
    "96-bad-unclosed-multipart.eml",
    "97-bad-address-garbage.eml",
    "98-bad-header-too-long.eml",
    "99-bad-malformed-message-id.eml",
    "9A-bad-mixed-line-endings.eml",
    "9B-bad-line-in-header.eml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mail_of_the_directory_is_carried() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/mail");
        let mut inside: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".eml"))
            .collect();
        inside.sort();
        assert_eq!(inside, MAILS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    }
}
