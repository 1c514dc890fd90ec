//! From what the file says of other databases to what is read and written there.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use caps_adapters::sql::{Extract, Target};
use caps_frontend::sql;
use caps_frontend::sql::Source;
use caps_model::{Filter, Name, Value};
use toml::Spanned;

use super::check::is_label;
use super::{Export, Import, file};
use crate::deployment::check::{Complaint, complain};

/// Imports, whose names differ. `base` is where relative files start.
pub(super) fn imports(base: &Path, written: &[Spanned<file::Import>]) -> Result<Vec<Import>, Complaint> {
    let mut known = BTreeSet::new();
    written.iter().map(|import| self::import(base, import.get_ref(), &mut known)).collect()
}

/// Exports, whose names differ.
pub(super) fn exports(base: &Path, written: &[Spanned<file::Export>]) -> Result<Vec<Export>, Complaint> {
    let mut known = BTreeSet::new();
    written.iter().map(|export| self::export(base, export.get_ref(), &mut known)).collect()
}

fn import(base: &Path, written: &file::Import, known: &mut BTreeSet<String>) -> Result<Import, Complaint> {
    let file::Import { name, from, query, key, cursor, call, map, set, every } = written;
    let (module, method) = call
        .get_ref()
        .split_once('.')
        .ok_or_else(|| complain(call, format!("{:?} names no method: write MODULE.METHOD", call.get_ref())))?;
    let word = |text: &str| Name::new(text).map_err(|error| complain(call, error.to_string()));
    if map.get_ref().is_empty() {
        return Err((map.span().start, "no column becomes an argument: write map = { PARAMETER = \"COLUMN\" }".to_owned()));
    }
    let of_rows = map.get_ref().keys().map(|parameter| Ok((self::word(parameter)?, Source::Column)));
    let always = set.iter().map(|(parameter, written)| {
        let value: Value = written.get_ref().parse().map_err(|problem| complain(written, problem))?;
        Ok((self::word(parameter)?, Source::Always(value)))
    });
    Ok(Import {
        name: label(name, known)?,
        plan: sql::Import {
            target: target(base, from)?,
            extract: Extract {
                query: query.clone(),
                columns: map.get_ref().values().cloned().collect(),
                key: key.clone(),
                cursor: cursor.clone(),
            },
            module: word(module)?,
            method: word(method)?,
            parameters: of_rows.chain(always).collect::<Result<_, _>>()?,
        },
        every: every.as_ref().map_or(Ok(EVERY), duration)?,
    })
}

fn export(base: &Path, written: &file::Export, known: &mut BTreeSet<String>) -> Result<Export, Complaint> {
    let file::Export { name, to, table, entity, filter, columns } = written;
    let filter = filter
        .as_ref()
        .map(|filter| filter.get_ref().parse().map_err(|error: caps_model::query::ParseFilterError| complain(filter, error.to_string())));
    Ok(Export {
        name: label(name, known)?,
        plan: sql::Export {
            target: target(base, to)?,
            table: table.clone().unwrap_or_else(|| entity.get_ref().clone()),
            entity: word(entity)?,
            filter: filter.transpose()?.unwrap_or(Filter::All),
            attributes: columns.iter().map(word).collect::<Result<_, _>>()?,
            follow: true,
        },
    })
}

fn label(name: &Spanned<String>, known: &mut BTreeSet<String>) -> Result<String, Complaint> {
    if !is_label(name.get_ref()) {
        return Err(complain(name, format!("{:?} is no name for this: letters, digits and - make one", name.get_ref())));
    }
    match known.insert(name.get_ref().clone()) {
        true => Ok(name.get_ref().clone()),
        false => Err(complain(name, format!("{} is there twice: give the other one another name", name.get_ref()))),
    }
}

/// It may hold a password: it is not repeated.
fn target(base: &Path, url: &Spanned<String>) -> Result<Target, Complaint> {
    Target::parse(url.get_ref()).map(|target| target.below(base)).map_err(|error| complain(url, error.to_string()))
}

fn word(text: &Spanned<String>) -> Result<Name, Complaint> {
    Name::new(text.get_ref()).map_err(|error| complain(text, error.to_string()))
}

fn duration(written: &Spanned<String>) -> Result<Duration, Complaint> {
    let wrong = |_| complain(written, format!("{:?} is not a duration: write it as 30s or 5m", written.get_ref()));
    let every = humantime::parse_duration(written.get_ref()).map_err(wrong)?;
    match every < EVERY_MIN {
        true => Err(complain(written, format!("rows are looked for every {} at most", humantime::format_duration(EVERY_MIN)))),
        false => Ok(every),
    }
}

/// Between the end of an import and the next one, if the file does not say, and at least.
const EVERY: Duration = Duration::from_secs(60);
const EVERY_MIN: Duration = Duration::from_secs(1);
