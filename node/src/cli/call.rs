//! `caps call`.

use anyhow::{Context, bail};
use caps_frontend::MethodCall;
use caps_model::messages::host::Expected;
use caps_model::{CommitId, Name, ObjectId, Position, Record, Value};
use clap::Args;
use serde_json::json;

use super::Global;
use super::connect::with_client;
use crate::output;
use crate::output::say;

/// Call a method of a module.
///
/// Arguments are NAME=VALUE; an argument given several times is a list. Values: numbers, true, false, #object-id, @microseconds,
/// blob:HASH:SIZE, anything else is text ('quotes' make a text of anything). `caps schema` shows methods and what they take.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps call casedesk.close case=#01jd4m3v7q8z0r5t1x6y2w9k3n reason='pump replaced'\n  \
    caps call people.add_user login=astrid name='Astrid Lind' password=... groups=#... --as admin\n  \
    caps call casedesk.close case=#01jd4m3v7q8z0r5t1x6y2w9k3n --expect 01jd4m3v7q8z0r5t1x6y2w9k3n@812")]
pub(super) struct Call {
    /// Module and method.
    #[arg(value_name = "MODULE.METHOD")]
    method: String,
    /// Arguments.
    #[arg(value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// The id of the commit: give the one that an earlier, unanswered call printed, and nothing is done twice.
    #[arg(long, value_name = "ID")]
    commit: Option<CommitId>,
    /// Why, for whoever reads the history of what it changes.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only if this object is still of this version: of what others changed meanwhile nothing is written over unseen. May be given several times.
    #[arg(long = "expect", value_name = "OBJECT@VERSION", value_parser = expected)]
    expected: Vec<(ObjectId, Position)>,
}

impl Call {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        let (module, method) = method(&self.method)?;
        let arguments = arguments(&self.arguments)?;
        with_client(global, async |client| {
            let commit = self.commit.unwrap_or_else(|| client.new_commit());
            let call = MethodCall::new(commit, module, method, arguments).because(self.reason.clone()).expecting(self.expected());
            let called = client.call_with(call).await?;
            if global.json {
                let result = output::record(&called.result);
                let object =
                    json!({"commit": commit.to_string(), "position": called.position.0, "repeated": called.repeated, "result": result});
                say!("{object}");
                return Ok(());
            }
            for (name, values) in &called.result {
                say!("{name}: {}", output::values(values));
            }
            let again = if called.repeated { ", which had happened before" } else { "" };
            say!("commit {commit} at position {}{again}", called.position);
            Ok(())
        })
        .await
    }
}

impl Call {
    fn expected(&self) -> Vec<Expected> {
        self.expected.iter().map(|(object, version)| Expected { object: *object, versions: vec![*version] }).collect()
    }
}

/// `OBJECT@VERSION`.
fn expected(text: &str) -> Result<(ObjectId, Position), String> {
    let (object, version) = text.split_once('@').ok_or_else(|| format!("{text:?} is not OBJECT@VERSION, as `caps get` shows both"))?;
    let object = object.strip_prefix('#').unwrap_or(object).parse().map_err(|error| format!("{object:?}: {error}"))?;
    let version = version.parse().map_err(|_| format!("{version:?} is no version: give a whole number"))?;
    Ok((object, Position(version)))
}

/// `MODULE.METHOD`.
pub(super) fn method(text: &str) -> anyhow::Result<(Name, Name)> {
    let Some((module, method)) = text.split_once('.') else {
        bail!("{text:?} names no method: write MODULE.METHOD, for example casedesk.close");
    };
    Ok((Name::new(module)?, Name::new(method)?))
}

/// `NAME=VALUE`, each given as often as it has values.
pub(super) fn arguments(texts: &[String]) -> anyhow::Result<Record> {
    let mut arguments = Record::new();
    for text in texts {
        let (name, written) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE"))?;
        let name = Name::new(name).with_context(|| format!("{text:?}"))?;
        let value: Value = written.parse().map_err(anyhow::Error::msg).with_context(|| format!("{text:?}"))?;
        arguments.entry(name).or_default().push(value);
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_given_twice_are_lists() {
        let texts = ["to=a@example.com".to_owned(), "to=b@example.com".to_owned(), "n='5'".to_owned()];
        let arguments = arguments(&texts).unwrap();
        assert_eq!(arguments["to"].len(), 2);
        assert_eq!(arguments["n"], [Value::text("5")]);
        assert!(super::arguments(&["x".to_owned()]).is_err());
    }
}
