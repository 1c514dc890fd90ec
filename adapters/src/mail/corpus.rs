//! The demo's mails, which are also the corpus of this adapter: every file is read, and changed at random and read again.

use std::{collections::BTreeMap, fs};

use proptest::{prelude::*, test_runner::RngSeed};

use super::{Limits, Message, Refusal};

/// What is expected of a message that is accepted.
struct Accepted {
    file: &'static str,
    from: &'static str,
    subject: &'static str,
    /// A piece of the text, with characters that its encoding could break.
    says: &'static str,
    /// The first message of its thread as it names it, and what it answers.
    thread: Option<(&'static str, &'static str)>,
    attachments: &'static [&'static str],
}

#[test]
fn every_message_is_read_as_expected() {
    for expected in ACCEPTED {
        let file = expected.file;
        let message = Message::parse(&read(file), &Limits::default()).unwrap_or_else(|refusal| panic!("{file}: {refusal}"));
        assert_eq!(message.from.address, expected.from, "{file}");
        assert_eq!(message.subject, expected.subject, "{file}");
        assert!(message.text.contains(expected.says), "{file}: {}", message.text);
        let root = message.references.first().map(|id| id.as_str());
        assert_eq!(root, expected.thread.map(|(root, _)| root), "{file}");
        let parent = message.in_reply_to.first().map_or("", |id| id.as_str());
        assert_eq!(parent, expected.thread.map_or("", |(_, parent)| parent), "{file}");
        let names: Vec<_> = message.attachments.iter().map(|attachment| attachment.name.as_str()).collect();
        assert_eq!(names, expected.attachments, "{file}");
        assert_eq!(message.auto_submitted, AUTO_SUBMITTED.contains(&file), "{file}");
        assert_eq!(message.text_damaged, DAMAGED_TEXT.contains(&file), "{file}");
        assert_eq!(message.sent_at.is_none(), UNDATED.contains(&file), "{file}");
    }
}

#[test]
fn every_bad_message_is_refused_for_its_reason() {
    for (file, reason) in REFUSED {
        let refusal = Message::parse(&read(file), &Limits::default()).unwrap_err();
        assert_eq!(refusal.to_string(), *reason, "{file}");
    }
}

#[test]
fn no_file_is_forgotten() {
    let mut expected: Vec<_> = ACCEPTED.iter().map(|accepted| accepted.file).collect();
    expected.extend(REFUSED.iter().map(|(file, _)| *file));
    let found: Vec<_> = all().into_keys().collect();
    assert_eq!(found, expected);
}

#[test]
fn attachments_arrive_byte_for_byte() {
    let attachment = |file: &str, index: usize| {
        let message = Message::parse(&read(file), &Limits::default()).unwrap();
        message.attachments[index].clone()
    };
    let readings = attachment("05-re-dewatering-pump-crew", 0);
    assert_eq!(readings.media_type, "text/csv");
    assert!(readings.content.starts_with(b"time;level_cm\r\n02:00;112\r\n"));
    assert_eq!(readings.size_bytes, readings.content.len());
    let picture = attachment("08-aw-ersatzteile-angebot", 0);
    assert!(picture.content.starts_with(b"\x89PNG\r\n\x1a\n") && picture.content.ends_with(b"IEND\xaeB`\x82"));
    let forwarded = attachment("23-fwd-typgodkannande", 0);
    let inner = Message::parse(&forwarded.content, &Limits::default()).unwrap();
    assert_eq!(inner.message_id.as_str(), "svy-88172@class-society.example");
    let broken = attachment("34-warranty-broken-base64", 0);
    assert!(broken.damaged && broken.content.starts_with(b"/9j/"));
}

#[test]
fn files_with_line_feeds_only_say_the_same() {
    for expected in ACCEPTED {
        let file = expected.file;
        let with_crlf = read(file);
        let with_lf: Vec<u8> = with_crlf.iter().copied().filter(|byte| *byte != b'\r').collect();
        let strict = Message::parse(&with_crlf, &Limits::default()).unwrap();
        let lenient = Message::parse(&with_lf, &Limits::from_file()).unwrap();
        assert_eq!(lenient.message_id, strict.message_id, "{file}");
        assert_eq!(lenient.subject, strict.subject, "{file}");
        assert_eq!(lenient.text, strict.text, "{file}");
        assert_eq!(lenient.attachments.len(), strict.attachments.len(), "{file}");
        let refused = Message::parse(&with_lf, &Limits::default());
        assert_eq!(refused, Err(Refusal::BareLineFeed { line: 1 }), "{file}");
    }
}

/// A change to a message: bytes removed at a place, others put there.
#[derive(Debug, Clone)]
struct Edit {
    at: prop::sample::Index,
    removed: usize,
    inserted: Vec<u8>,
}

fn edit() -> impl Strategy<Value = Edit> {
    let piece =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..8), prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),];
    (any::<prop::sample::Index>(), 0..40_usize, piece).prop_map(|(at, removed, inserted)| Edit { at, removed, inserted })
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let start = self.at.index(bytes.len() + 1);
        let end = (start + self.removed).min(bytes.len());
        bytes.splice(start..end, self.inserted.iter().copied());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_are_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        read_within_bounds(&bytes);
    }

    #[test]
    fn arbitrary_fields_are_read_within_bounds(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40),
        field in prop::sample::select(FIELDS),
    ) {
        let value = pieces.concat();
        let message = format!("Message-ID: <a@b>\r\n{field}: {value}\r\nFrom: a@b\r\n\r\n{value}");
        read_within_bounds(message.as_bytes());
    }

    #[test]
    fn arbitrary_bytes_in_any_charset_are_read_within_bounds(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        charset in prop::sample::select(CHARSETS),
    ) {
        let quoted: String = bytes.iter().map(|byte| format!("={byte:02X}")).collect();
        let percent = quoted.replace('=', "%");
        let message = format!(
            "From: =?{charset}?Q?{quoted}?= <a@b>\r\nMessage-ID: <a@b>\r\nSubject: =?{charset}?Q?{quoted}?=\r\n\
             Content-Disposition: attachment; filename*={charset}''{percent}\r\n\
             Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{quoted}"
        );
        read_within_bounds(message.as_bytes());
        read_within_bounds(message.replace("Content-Disposition", "X").as_bytes());
    }

    #[test]
    fn changed_messages_are_read_within_bounds(
        chosen in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..6),
    ) {
        let corpus = all();
        let mut bytes = chosen.get(&corpus.into_values().collect::<Vec<_>>()).clone();
        for edit in &edits {
            edit.apply(&mut bytes);
        }
        read_within_bounds(&bytes);
    }
}

/// The same cases in every run; `PROPTEST_CASES` asks for more of them.
fn config() -> ProptestConfig {
    ProptestConfig { rng_seed: RngSeed::Fixed(0x5322), failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads strictly and leniently, within tight limits, and checks that what is accepted keeps them.
fn read_within_bounds(bytes: &[u8]) {
    let strict = Limits {
        message_bytes_max: 16 * 1024,
        parts_max: 6,
        depth_max: 3,
        recipients_max: 3,
        references_max: 2,
        subject_bytes_max: 30,
        text_bytes_max: 100,
        ..Limits::default()
    };
    let lenient = Limits { line_endings: super::LineEndings::FromFile, ..strict.clone() };
    for limits in [strict, lenient] {
        match Message::parse(bytes, &limits) {
            Ok(message) => assert_bounded(&message, &limits),
            Err(refusal) => assert!(refusal.to_string().len() < 1024),
        }
    }
}

fn assert_bounded(message: &Message, limits: &Limits) {
    assert!(message.subject.len() <= limits.subject_bytes_max);
    assert!(message.text.len() <= limits.text_bytes_max);
    assert!(message.to.len() + message.cc.len() <= limits.recipients_max);
    assert!(message.references.len() <= limits.references_max);
    assert!(message.in_reply_to.len() <= limits.references_max);
    assert!(message.attachments.len() <= limits.parts_max);
    let content_bytes: usize = message.attachments.iter().map(|attachment| attachment.content.len()).sum();
    assert!(content_bytes <= message.size_bytes);
    assert!(message.attachments.iter().all(|attachment| attachment.name.len() <= 255));
    let shown = [&message.subject, &message.text];
    assert!(shown.iter().all(|text| !text.contains(['\r', '\0', '\u{1b}', '\u{202e}'])));
}

/// Every file of the corpus by its name without `.eml`.
fn all() -> BTreeMap<&'static str, Vec<u8>> {
    let names = fs::read_dir(FOLDER).expect("the corpus is part of the repository").map(|entry| {
        let name = entry.expect("a readable folder").file_name();
        name.into_string().expect("the corpus is named in ASCII")
    });
    let eml = names.filter_map(|name| name.strip_suffix(".eml").map(|name| &*name.to_owned().leak()));
    eml.map(|name| (name, read(name))).collect()
}

fn read(file: &str) -> Vec<u8> {
    fs::read(format!("{FOLDER}/{file}.eml")).unwrap_or_else(|error| panic!("{file}: {error}"))
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/demo/mail");

const AUTO_SUBMITTED: &[&str] = &["09-abwesenheit", "29-order-confirmation-bot"];
const DAMAGED_TEXT: &[&str] = &["32-unknown-charset"];
const UNDATED: &[&str] = &["33-no-date-old-client"];

/// What the grammars of mail turn on.
const PIECES: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "<",
    ">",
    "\"",
    "\\",
    "(",
    ")",
    ",",
    ";",
    ":",
    "@",
    "=",
    "*",
    "'",
    "/",
    "%",
    "--",
    "=?",
    "?=",
    "?Q?",
    "?B?",
    "=?utf-8?Q?",
    "=?utf-8?B?w6U=?=",
    "a@b",
    "<a@b>",
    "name",
    "filename*0*=",
    "charset=utf-16",
    "multipart/mixed; boundary=b",
    "boundary=\"b\"",
    "\r\n--b\r\n",
    "\r\n--b--\r\n",
    "message/rfc822",
    "text/html",
    "<!--",
    "-->",
    "</div>",
    "&amp;",
    "&#x10ffff;",
    "Content-Type: ",
    "From: ",
    "Mon, 03 Nov 2025 06:52:14 +0100",
    "99999999999",
    "å",
    "\t",
    " ",
];

const FIELDS: &[&str] = &[
    "From",
    "To",
    "Cc",
    "Date",
    "Subject",
    "References",
    "In-Reply-To",
    "Content-Type",
    "Content-Disposition",
    "Content-Transfer-Encoding",
    "Auto-Submitted",
];

const CHARSETS: &[&str] = &[
    "utf-8",
    "utf-7",
    "utf-16",
    "utf-16be",
    "utf-16le",
    "iso-8859-1",
    "iso-8859-8",
    "iso-8859-15",
    "windows-1252",
    "windows-874",
    "koi8-r",
    "koi8-u",
    "ibm866",
    "macintosh",
    "tis-620",
    "iso-2022-jp",
    "iso-2022-kr",
    "shift_jis",
    "euc-jp",
    "euc-kr",
    "big5",
    "gbk",
    "gb2312",
    "gb18030",
    "hz-gb-2312",
    "x-user-defined",
    "us-ascii",
    "x-unknown",
];

const ACCEPTED: &[Accepted] = &[
    Accepted {
        file: "01-pump-larmar-mejeriet",
        from: "gunilla.astrom@ronnemejeriet.example",
        subject: "Pump P3 larmar för övertemperatur",
        says: "94 grader",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "02-re-pump-larmar-lagerbyte",
        from: "gunilla.astrom@ronnemejeriet.example",
        subject: "Re: Pump P3 larmar för övertemperatur",
        says: "9,8 mm/s",
        thread: Some(("20251103065214.GA2241@ronnemejeriet.example", "lund.20251103.0917.k3@nordpump.example")),
        attachments: &[],
    },
    Accepted {
        file: "03-re-pump-larmar-vibration",
        from: "jorgen.ek@nordpump.example",
        subject: "Re: Pump P3 larmar för övertemperatur",
        says: "Har ni möjlighet att läsa av",
        thread: Some(("20251103065214.GA2241@ronnemejeriet.example", "20251103065214.GA2241@ronnemejeriet.example")),
        attachments: &[],
    },
    Accepted {
        file: "04-dewatering-pump-seal",
        from: "neil.torrance@loussa-mining.example",
        subject: "URGENT - dewatering pump 740-B, mechanical seal blown, water rising",
        says: "What we need, in this order:",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "05-re-dewatering-pump-crew",
        from: "neil.torrance@loussa-mining.example",
        subject: "RE: URGENT - dewatering pump 740-B, mechanical seal blown, water rising [case 40817]",
        says: "throttled the drill water",
        thread: Some(("DU2PR0402MB5511.740B@loussa-mining.example", "kir-40817-1@nordpump.example")),
        attachments: &["sump-740.csv"],
    },
    Accepted {
        file: "06-re-dewatering-pump-dry",
        from: "control-room@loussa-mining.example",
        subject: "Re: URGENT - dewatering pump 740-B, mechanical seal blown, water rising [case 40817]",
        says: "Päivi",
        thread: Some(("DU2PR0402MB5511.740B@loussa-mining.example", "")),
        attachments: &[],
    },
    Accepted {
        file: "07-ersatzteile-angebot",
        from: "j.grosshans@brauhaus-foehr.example",
        subject: "Anfrage Ersatzteile für Maischepumpe NP-220, Baujahr 2011",
        says: "benötigen wir ein Angebot",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "08-aw-ersatzteile-angebot",
        from: "j.grosshans@brauhaus-foehr.example",
        subject: "AW: Anfrage Ersatzteile für Maischepumpe NP-220",
        says: "damit beim Laufrad nichts schiefgeht",
        thread: Some(("7f1c6f2e-6a0b-4d0e-9a64-0c9c2f2d8e11@brauhaus-foehr.example", "angebot-25-1187@nordpump.example")),
        attachments: &["Typenschild.png", "Bestellung Föhr 2025-41.pdf"],
    },
    Accepted {
        file: "09-abwesenheit",
        from: "j.grosshans@brauhaus-foehr.example",
        subject: "Automatische Antwort: Auftragsbestätigung 25-1187",
        says: "bis einschließlich 21. November",
        thread: Some(("angebot-25-1187@nordpump.example", "ab-25-1187@nordpump.example")),
        attachments: &[],
    },
    Accepted {
        file: "10-chaufferie-lycee",
        from: "h.mercier@lycee-valombre.example",
        subject: "Chaufferie du lycée : plus de chauffage dans le bâtiment C",
        says: "(1 450 € par an, n° FR-2210)",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "11-re-chaufferie-depuis-mon-telephone",
        from: "helene.mercier.perso@example.net",
        subject: "Re: Chaufferie du lycée : plus de chauffage dans le bâtiment C",
        says: "J'écris depuis mon adresse personnelle",
        thread: Some(("CAF0x_lycee.1762410920@mail.lycee-valombre.example", "got-2025-3391.a@nordpump.example")),
        attachments: &[],
    },
    Accepted {
        file: "12-lampopumppu-jaassa",
        from: "markku.saarinen@pohjanlampo.example",
        subject: "Ulkoyksikkö jäässä, Muonion terveyskeskus",
        says: "umpijäässä",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "13-vs-lampopumppu-anturi",
        from: "markku.saarinen@pohjanlampo.example",
        subject: "VS: Ulkoyksikkö jäässä, Muonion terveyskeskus",
        says: "Hinta 84 €",
        thread: Some(("1762586040.M48.muonio@pohjanlampo.example", "1762586040.M48.muonio@pohjanlampo.example")),
        attachments: &[],
    },
    Accepted {
        file: "14-faktura-pomylka",
        from: "a.wojcik@cieplownia-zawisle.example",
        subject: "Błąd na fakturze 2025/10/774 – podwójna pozycja",
        says: "księgowość",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "15-odp-faktura-korekta",
        from: "a.wojcik@cieplownia-zawisle.example",
        subject: "Odp: Błąd na fakturze 2025/10/774 – podwójna pozycja",
        says: "Dziękuję, korekta dotarła",
        thread: Some(("f774.20251112@cieplownia-zawisle.example", "asa.kredit.774@nordpump.example")),
        attachments: &[],
    },
    Accepted {
        file: "16-shindou-onsen",
        from: "k.sato@yukimi-onsen.example",
        subject: "循環ポンプの振動について",
        says: "雪見温泉の佐藤です",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "17-re-shindou-onsen-sokutei",
        from: "k.sato@yukimi-onsen.example",
        subject: "Re: 循環ポンプの振動について",
        says: "結果を添付いたします。",
        thread: Some(("20251113172005.8C11.KSATO@yukimi-onsen.example", "vib-1502-0419.2@nordpump.example")),
        attachments: &["測定結果.txt"],
    },
    Accepted {
        file: "18-tilbud-hotell",
        from: "solveig@fjellhotell-ranten.example",
        subject: "Pris på bassengpumpe",
        says: "Basseng 16 × 8 m\nTemperatur 29 °C",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "19-solicitud-manual",
        from: "ibarrenechea@aguas-del-norte.example",
        subject: "Manual en español de la bomba NP-450 «serie M»",
        says: "sueco… ¿Podrían",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "20-antlia-ydreusi",
        from: "d.papadakis@ydreusi-naxos.example",
        subject: "Η αντλία σταματά κάθε βράδυ",
        says: "Δεν είναι επείγον",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "21-madkhat-alriyadh",
        from: "sami.alharbi@rawda-towers.example",
        subject: "طلب عرض سعر لمضخات تعزيز الضغط",
        says: "نحتاج إلى عرض سعر",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "22-zapchasti-koi8",
        from: "l.kovalchuk@teplo-servis.example",
        subject: "Нет связи с контроллером насоса",
        says: "Индикатор мигает",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "23-fwd-typgodkannande",
        from: "po.oberg@varvet-hisingen.example",
        subject: "Vb: Typgodkännande för länspump",
        says: "dockhyra",
        thread: None,
        attachments: &["message.eml"],
    },
    Accepted {
        file: "24-sv-typgodkannande-intyg",
        from: "po.oberg@varvet-hisingen.example",
        subject: "SV: Vb: Typgodkännande för länspump",
        says: "satt på håret",
        thread: Some(("svy-88172@class-society.example", "typ600m.20251120@nordpump.example")),
        attachments: &[],
    },
    Accepted {
        file: "25-sjukhuset-reservkraft",
        from: "drift@norrlandssjukhus.example",
        subject: "Prio 1: tryckfall i värmekulvert, operationsavdelningen",
        says: "från 4,2 till 2,6 bar",
        thread: None,
        attachments: &["trend.png", "signature.asc"],
    },
    Accepted {
        file: "26-re-sjukhuset-backventil",
        from: "drift@norrlandssjukhus.example",
        subject: "Re: Prio 1: tryckfall i värmekulvert, operationsavdelningen",
        says: "Backventilen bytt 11:55",
        thread: Some(("dc-20251120-070058@norrlandssjukhus.example", "dc-20251120-070058@norrlandssjukhus.example")),
        attachments: &[],
    },
    Accepted {
        file: "27-abschaltung-stadtwerke",
        from: "leitwarte@stadtwerke-oderaue.example",
        subject: "Netzabschaltung 29.11. - Fernwartung nicht erreichbar",
        says: "Station Süd",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "28-auslegung-netzpumpen",
        from: "thalmann@ib-thalmann.example",
        subject: "Auslegung Netzpumpen, Unterlagen",
        says: "im gruenen Bereich",
        thread: None,
        attachments: &["kennlinie.csv", "notizen.txt"],
    },
    Accepted {
        file: "29-order-confirmation-bot",
        from: "no-reply@strandholm-fjernvarme.example",
        subject: "Purchase order 4500118823",
        says: "Leveringsadresse Værkstedet",
        thread: None,
        attachments: &["PO4500118823.pdf"],
    },
    Accepted {
        file: "30-bergvarme-villaagare",
        from: "kerstin.h@example.org",
        subject: "Det är kallt hemma 🥶",
        says: "Jag är 78 år",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "31-bergvarme-villaagare-igen",
        from: "kerstin.h@example.org",
        subject: "Re: Det är kallt hemma",
        says: "bara 15 grader inne",
        thread: Some(("CAKerstin77+q=2@mail.example.org", "CAKerstin77+q=2@mail.example.org")),
        attachments: &[],
    },
    Accepted {
        file: "32-unknown-charset",
        from: "kontor@soderbergs-vvs.example",
        subject: "Best. packningar",
        says: "S\u{fffd}derbergs VVS",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "33-no-date-old-client",
        from: "workshop@harbour-tugs.example",
        subject: "Fire pump test certificate",
        says: "flow test",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "34-warranty-broken-base64",
        from: "aoife.brennan@glenshee-distillery.example",
        subject: "Warranty claim, cooling pump",
        says: "a crack in the volute",
        thread: None,
        attachments: &["crack.jpg"],
    },
    Accepted {
        file: "35-re-warranty-photo",
        from: "aoife.brennan@glenshee-distillery.example",
        subject: "Re: Warranty claim, cooling pump",
        says: "Sent from the still house",
        thread: Some(("claim-0093@glenshee-distillery.example", "w-1502-0388@nordpump.example")),
        attachments: &["crack.png"],
    },
    Accepted {
        file: "36-reserapport-kiruna",
        from: "aslak.utsi@nordpump.example",
        subject: "Reserapport v. 47 (Loussa, Norrlandssjukhuset)",
        says: "strypt till 0,6 bar. Gruvan",
        thread: Some(("DU2PR0402MB5511.740B@loussa-mining.example", "")),
        attachments: &[],
    },
    Accepted {
        file: "37-rumore-pompa-terme",
        from: "c.bellandi@terme-belvento.example",
        subject: "Rumore alla pompa di calore, non è urgente",
        says: "gli ospiti lo notano la sera",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "38-flow-meter-question",
        from: "t.zielony@example.com",
        subject: "",
        says: "pulse output",
        thread: None,
        attachments: &[],
    },
    Accepted {
        file: "39-complaint-long-thread",
        from: "bosse@brf-kajen7.example",
        subject: "Sv: Sv: Sv: Varmvatten saknas i trapphus C, nu för fjärde gången sedan midsommar och styrelsen börjar tappa tålamodet",
        says: "34 lägenheter",
        thread: Some(("kajen7-1@brf-kajen7.example", "kajen7-3@brf-kajen7.example")),
        attachments: &[],
    },
    Accepted {
        file: "40-tack",
        from: "bosse@brf-kajen7.example",
        subject: "Sv: Varmvatten saknas i trapphus C",
        says: "Shuntventilen",
        thread: Some(("kajen7-1@brf-kajen7.example", "kajen7-4@brf-kajen7.example")),
        attachments: &[],
    },
];

const REFUSED: &[(&str, &str)] = &[
    ("90-bad-empty", "message: is empty"),
    ("91-bad-no-from", "From: is missing"),
    ("92-bad-two-from", "From: is given more than once"),
    ("93-bad-no-message-id", "Message-ID: is missing"),
    ("94-bad-bare-cr-smuggling", "line 8: holds a carriage return that does not end the line"),
    ("95-bad-nul-bytes", "line 8: holds a NUL byte"),
    ("96-bad-unclosed-multipart", "body: the multipart with boundary \"cut-here-17\" is never closed, the message is cut short"),
    ("97-bad-address-garbage", "From: \"sales at example dot com, click here!\" is not a mail address"),
    ("98-bad-header-too-long", "header section: is longer than 65536 bytes"),
    ("99-bad-malformed-message-id", "Message-ID: \"webform submission #1127\" is not of the form <left@right>"),
    ("9A-bad-mixed-line-endings", "line 7: ends in a line feed without a carriage return"),
    ("9B-bad-line-in-header", "header section: \"From cron@example.org Wed Nov 19 03:31:00 2025\" is not a field"),
];
