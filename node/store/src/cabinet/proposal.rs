//! What a normal entry of the log asks for, and how it becomes the data of an entry: everything that may be obliterated one day, in a slot of
//! its own. JOURNAL.md says in which order.

use caps_model::commit::OBLITERATIONS_MAX;
use caps_model::{Author, Change, Commit, CommitId, DecodeError, Effect, Name, ObjectId, Position, Query, Read, Record, Value, codec};
use caps_overlay::Rng;

use crate::journal::envelope::{BadDecision, Builder, Class, Decision, Envelope, Slots, TooLarge};

/// What a normal entry of the replicated log asks for; an empty entry asks for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// To make a commit, if everything it relies on still holds.
    Commit(Commit),
    /// To see to it that a commit that has not happened never will.
    Seal(CommitId),
    /// To take values away for ever.
    Obliterate(Obliteration),
}

/// The order to take values away: from the present, from every earlier version, and from the commits that set them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obliteration {
    /// Its name, chosen by whoever asks for it; it happens at most once, like any commit.
    pub id: CommitId,
    /// Who asked for it, and why.
    pub author: Author,
    /// When it was asked for: microseconds since 1970.
    pub time: i64,
    /// What is to go; at most [`OBLITERATIONS_MAX`].
    pub targets: Vec<Target>,
}

/// Values that are to go: those that commits from one position to another gave an attribute of an object, in all versions that carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The object.
    pub object: ObjectId,
    /// The attribute.
    pub attribute: Name,
    /// The first of those commits.
    pub from: Position,
    /// The last of them.
    pub to: Position,
}

/// A proposal as an entry of the log carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// What is proposed. Where something is [`missing`](Self::missing), it holds no value.
    pub proposal: Proposal,
    /// When the leader proposed it, by its own clock: microseconds since 1970.
    pub time: i64,
    /// What of it enters the chain.
    pub digest: [u8; 32],
    /// What was decided about it before something was taken out of it, or of an entry before it.
    pub decision: Option<Decision>,
    /// What was taken out of it.
    pub missing: Missing,
}

/// What was obliterated of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Values of attributes.
    pub values: Vec<(ObjectId, Name)>,
    /// Something among its reason, its result and the arguments of its effects.
    pub words: bool,
    /// Queries that it relied on.
    pub queries: bool,
}

/// What a slot of a commit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds<'a> {
    /// The reason, the result, or the arguments of an effect.
    Words,
    /// A query.
    Query,
    /// An attribute's values.
    Values(ObjectId, &'a Name),
}

/// The data of an entry is not a proposal that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum BadProposal {
    /// It has another structure.
    #[error("its data is not an envelope")]
    NoEnvelope,
    /// Another release wrote it.
    #[error("its version is {0}, known is {SCHEMA}")]
    Version(u8),
    /// The decision about it.
    #[error(transparent)]
    Decision(#[from] BadDecision),
    /// What it says makes no sense.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// It says something that nothing says.
    #[error("it has a {0} that is unknown")]
    Unknown(&'static str),
    /// It has fewer or more slots than it speaks of.
    #[error("its slots do not fit what it says")]
    Slots,
    /// Something was taken out of it, and nobody wrote down what had been decided.
    #[error("values were obliterated before it was decided about")]
    Undecided,
}

/// A proposal that does not fit an entry.
#[derive(Debug, thiserror::Error)]
pub enum TooMuch {
    /// It has too many values, or too large ones.
    #[error(transparent)]
    Slots(#[from] TooLarge),
    /// A part of it is too large.
    #[error(transparent)]
    Part(#[from] caps_model::EncodeError),
}

impl Proposal {
    /// The data of an entry that proposes this. Salts are drawn from `rng`; `time` is when it is proposed, see [`stamp`].
    pub fn encode(&self, time: i64, rng: &Rng) -> Result<Vec<u8>, TooMuch> {
        match self {
            Self::Commit(commit) => encode_commit(commit, time, rng),
            Self::Seal(id) => {
                let mut writer = Writer::begin(Class::Ordinary, time, rng);
                writer.fixed(&(SEAL, *id))?;
                Ok(writer.0.finish()?)
            }
            Self::Obliterate(order) => {
                let mut writer = Writer::begin(Class::Obliteration, time, rng);
                writer.fixed(&(OBLITERATE, order.id, &order.author, order.time))?;
                writer.fixed(&order.targets.len())?;
                for target in &order.targets {
                    writer.fixed(&(target.object, &target.attribute, target.from, target.to))?;
                }
                Ok(writer.0.finish()?)
            }
        }
    }
}

/// What [`Proposal::encode`] makes of a commit that nobody has to part with.
pub(crate) fn encode_commit(commit: &Commit, time: i64, rng: &Rng) -> Result<Vec<u8>, TooMuch> {
    let mut writer = Writer::begin(Class::Ordinary, time, rng);
    writer.fixed(&COMMIT)?;
    writer.commit(commit)?;
    Ok(writer.0.finish()?)
}

/// Sets the time at which an encoded proposal is proposed.
///
/// # Panics
/// When the data is not that of a proposal.
pub fn stamp(data: &mut [u8], time: i64) {
    data[STAMP..STAMP + 8].copy_from_slice(&time.to_le_bytes());
}

impl Proposed {
    /// The proposal in the data of the entry with this index and term.
    pub fn decode(data: &[u8], index: u64, term: u64) -> Result<Self, BadProposal> {
        let envelope = Envelope::parse(data).ok_or(BadProposal::NoEnvelope)?;
        Self::within(&envelope, envelope.digest(), index, term)
    }

    /// The same of an entry that the journal has verified, and so knows what of it enters the chain.
    pub(crate) fn verified(data: &[u8], digest: [u8; 32], index: u64, term: u64) -> Result<Self, BadProposal> {
        let envelope = Envelope::parse(data).ok_or(BadProposal::NoEnvelope)?;
        Self::within(&envelope, digest, index, term)
    }

    fn within(envelope: &Envelope<'_>, digest: [u8; 32], index: u64, term: u64) -> Result<Self, BadProposal> {
        let decision = envelope.decision(index, term)?;
        let (proposal, time, missing) = open(envelope, |_| {})?;
        if decision.is_none() && missing != Missing::default() {
            return Err(BadProposal::Undecided);
        }
        Ok(Self { proposal, time, digest, decision, missing })
    }
}

/// Takes an envelope apart; `see` is told what each slot holds, in order.
pub(crate) fn open(envelope: &Envelope<'_>, see: impl FnMut(Holds<'_>)) -> Result<(Proposal, i64, Missing), BadProposal> {
    let (&version, rest) = envelope.fixed.split_first().ok_or(BadProposal::Version(0))?;
    if version != SCHEMA {
        return Err(BadProposal::Version(version));
    }
    let (time, fixed) = rest.split_first_chunk().ok_or(BadProposal::Unknown("length"))?;
    let mut reader = Reader { fixed, slots: envelope.slots(), missing: Missing::default(), see };
    let kind: u8 = reader.fixed()?;
    let proposal = match (kind, envelope.class) {
        (COMMIT, Class::Ordinary) => Proposal::Commit(reader.commit()?),
        (SEAL, Class::Ordinary) => Proposal::Seal(reader.fixed()?),
        (OBLITERATE, Class::Obliteration) => Proposal::Obliterate(reader.obliteration()?),
        _ => return Err(BadProposal::Unknown("kind")),
    };
    codec::finish(reader.fixed)?;
    if reader.slots.next().is_some() {
        return Err(BadProposal::Slots);
    }
    Ok((proposal, i64::from_le_bytes(*time), reader.missing))
}

struct Writer<'a>(Builder<'a>);

impl<'a> Writer<'a> {
    fn begin(class: Class, time: i64, rng: &'a Rng) -> Self {
        let mut writer = Self(Builder::new(class, rng));
        writer.0.fixed().push(SCHEMA);
        writer.0.fixed().extend_from_slice(&time.to_le_bytes());
        writer
    }

    fn fixed<T: bincode::Encode>(&mut self, part: &T) -> Result<(), TooMuch> {
        Ok(codec::append(part, self.0.fixed())?)
    }

    fn slot<T: bincode::Encode>(&mut self, part: &T) -> Result<(), TooMuch> {
        Ok(self.0.slot(|bytes| codec::append(part, bytes))?)
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), TooMuch> {
        let author = &commit.author;
        self.fixed(&(commit.id, commit.time, author.user, &author.front_end, &author.host))?;
        self.fixed(&(&author.module, author.module_version, &author.method))?;
        self.optional(author.reason.as_ref())?;
        self.fixed(&commit.reads.len())?;
        for read in &commit.reads {
            match read {
                Read::Object { object, version } => self.fixed(&(READ_OBJECT, *object, *version))?,
                Read::Query { query, at } => {
                    self.fixed(&(READ_QUERY, *at))?;
                    self.slot(query)?;
                }
            }
        }
        self.fixed(&commit.changes.len())?;
        for change in &commit.changes {
            match change {
                Change::Create { object, entity, ancestors, attributes } => {
                    self.fixed(&(CREATE, *object, entity, ancestors))?;
                    self.attributes(attributes)?;
                }
                Change::Update { object, attributes } => {
                    self.fixed(&(UPDATE, *object))?;
                    self.attributes(attributes)?;
                }
                Change::Delete { object } => self.fixed(&(DELETE, *object))?,
            }
        }
        self.fixed(&commit.effects.len())?;
        for effect in &commit.effects {
            self.fixed(&(&effect.kind, effect.object, &effect.key))?;
            self.slot(&effect.arguments)?;
        }
        self.optional(Some(&commit.result).filter(|result| !result.is_empty()))
    }

    fn attributes(&mut self, attributes: &Record) -> Result<(), TooMuch> {
        self.fixed(&attributes.len())?;
        for (name, values) in attributes {
            self.fixed(name)?;
            self.optional(Some(values).filter(|values| !values.is_empty()))?;
        }
        Ok(())
    }

    /// Whether there is something, and it.
    fn optional<T: bincode::Encode>(&mut self, part: Option<&T>) -> Result<(), TooMuch> {
        self.fixed(&part.is_some())?;
        part.map_or(Ok(()), |part| self.slot(part))
    }
}

struct Reader<'a, S> {
    fixed: &'a [u8],
    slots: Slots<'a>,
    missing: Missing,
    see: S,
}

impl<S: FnMut(Holds<'_>)> Reader<'_, S> {
    fn fixed<T: bincode::Decode<()>>(&mut self) -> Result<T, BadProposal> {
        Ok(codec::take(&mut self.fixed)?)
    }

    /// What is in the next slot; `None`: that was obliterated.
    fn slot<T: bincode::Decode<()>>(&mut self, holds: Holds<'_>) -> Result<Option<T>, BadProposal> {
        let slot = self.slots.next().ok_or(BadProposal::Slots)?;
        (self.see)(holds);
        let Some(mut value) = slot.value else { return Ok(None) };
        let part = codec::take(&mut value)?;
        codec::finish(value)?;
        Ok(Some(part))
    }

    /// Reads as many as the next number says, each at least a byte long.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, BadProposal>) -> Result<Vec<T>, BadProposal> {
        let count: usize = self.fixed()?;
        if count > self.fixed.len() {
            return Err(BadProposal::Unknown("length"));
        }
        (0..count).map(|_| item(self)).collect()
    }

    fn commit(&mut self) -> Result<Commit, BadProposal> {
        let (id, time, user, front_end, host) = self.fixed()?;
        let (module, module_version, method) = self.fixed()?;
        let reason = match self.fixed()? {
            true => self.words()?,
            false => None,
        };
        let author = Author { user, front_end, host, module, module_version, method, reason };
        let reads = self.list(Self::read)?.into_iter().flatten().collect();
        let changes = self.list(Self::change)?;
        let effects = self.list(Self::effect)?;
        let result = match self.fixed()? {
            true => self.words()?.unwrap_or_default(),
            false => Record::new(),
        };
        Ok(Commit { id, author, time, reads, changes, effects, result })
    }

    fn words<T: bincode::Decode<()>>(&mut self) -> Result<Option<T>, BadProposal> {
        let words = self.slot(Holds::Words)?;
        self.missing.words |= words.is_none();
        Ok(words)
    }

    /// `None`: it was of a query that is missing.
    fn read(&mut self) -> Result<Option<Read>, BadProposal> {
        match self.fixed()? {
            READ_OBJECT => {
                let (object, version) = self.fixed()?;
                Ok(Some(Read::Object { object, version }))
            }
            READ_QUERY => {
                let at = self.fixed()?;
                let query: Option<Query> = self.slot(Holds::Query)?;
                self.missing.queries |= query.is_none();
                Ok(query.map(|query| Read::Query { query, at }))
            }
            _ => Err(BadProposal::Unknown("kind of read")),
        }
    }

    fn change(&mut self) -> Result<Change, BadProposal> {
        let (kind, object): (u8, ObjectId) = self.fixed()?;
        match kind {
            CREATE => {
                let (entity, ancestors) = self.fixed()?;
                Ok(Change::Create { object, entity, ancestors, attributes: self.attributes(object)? })
            }
            UPDATE => Ok(Change::Update { object, attributes: self.attributes(object)? }),
            DELETE => Ok(Change::Delete { object }),
            _ => Err(BadProposal::Unknown("kind of change")),
        }
    }

    fn attributes(&mut self, object: ObjectId) -> Result<Record, BadProposal> {
        let attribute = |reader: &mut Self| {
            let (name, has_values): (Name, bool) = reader.fixed()?;
            let values: Option<Vec<Value>> = match has_values {
                true => reader.slot(Holds::Values(object, &name))?,
                false => Some(Vec::new()),
            };
            let values = values.unwrap_or_else(|| {
                reader.missing.values.push((object, name.clone()));
                Vec::new()
            });
            Ok((name, values))
        };
        Ok(self.list(attribute)?.into_iter().collect())
    }

    fn effect(&mut self) -> Result<Effect, BadProposal> {
        let (kind, object, key) = self.fixed()?;
        let arguments = self.words()?.unwrap_or_default();
        Ok(Effect { kind, object, key, arguments })
    }

    fn obliteration(&mut self) -> Result<Obliteration, BadProposal> {
        let (id, author, time) = self.fixed()?;
        let target = |reader: &mut Self| {
            let (object, attribute, from, to) = reader.fixed()?;
            Ok(Target { object, attribute, from, to })
        };
        let targets = self.list(target)?;
        if targets.len() > OBLITERATIONS_MAX {
            return Err(BadProposal::Unknown("number of targets"));
        }
        Ok(Obliteration { id, author, time, targets })
    }
}

/// 3: values stand in slots; the leader says when it proposed.
const SCHEMA: u8 = 3;

/// Where the leader's time is: after the header of the envelope and the version.
const STAMP: usize = 17;

const COMMIT: u8 = 0;
const SEAL: u8 = 1;
const OBLITERATE: u8 = 2;

const READ_OBJECT: u8 = 0;
const READ_QUERY: u8 = 1;

const CREATE: u8 = 0;
const UPDATE: u8 = 1;
const DELETE: u8 = 2;
