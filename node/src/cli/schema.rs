//! `caps schema`.

use caps_model::schema::{Attribute, Check, Constraint, Rule};
use clap::Args;
use serde_json::{Value as Json, json};

use super::Global;
use super::connect::with_client;
use crate::output::say;

/// Show what the modules declare: entities, their attributes, and methods.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  caps schema\n  caps schema casedesk --json")]
pub(super) struct Schema {
    /// Only this module.
    module: Option<String>,
}

impl Schema {
    pub(super) async fn run(&self, global: &Global) -> anyhow::Result<()> {
        with_client(global, async |client| {
            let mut schemas = client.schemas().await?.schemas;
            if let Some(module) = &self.module {
                schemas.retain(|schema| schema.module == **module);
                anyhow::ensure!(!schemas.is_empty(), "the host has no module {module:?}; `caps schema` lists what it has");
            }
            if global.json {
                say!("{}", schemas.iter().map(json).collect::<Json>());
                return Ok(());
            }
            for schema in &schemas {
                say!("module {} version {}: {}", schema.module, schema.version, schema.summary);
                for entity in &schema.entities {
                    say!("\n  entity {}: {}", entity.name, entity.summary);
                    entity.attributes.iter().for_each(print_attribute);
                }
                for method in &schema.methods {
                    say!("\n  method {}.{}: {} (for {})", schema.module, method.name, method.summary, method.callers.join(", "));
                    method.parameters.iter().for_each(print_attribute);
                }
                say!("");
            }
            Ok(())
        })
        .await
    }
}

fn print_attribute(attribute: &Attribute) {
    let rules: Vec<String> = attribute.rules.iter().map(rule).collect();
    let rules = if rules.is_empty() { String::new() } else { format!(" [{}]", rules.join("; ")) };
    say!("    {:<18} {:<10} {:<9} {}{rules}", attribute.name, kind(attribute), arity(attribute), attribute.summary);
}

fn kind(attribute: &Attribute) -> String {
    let kind = match attribute.choices.as_slice() {
        [] => attribute.kind.to_string(),
        choices => choices.iter().map(|choice| choice.word.as_str()).collect::<Vec<_>>().join("<"),
    };
    if attribute.is_map { format!("map of {kind}") } else { kind }
}

fn arity(attribute: &Attribute) -> String {
    let computed = if attribute.computed { " computed" } else { "" };
    let count = match (attribute.arity.min, attribute.arity.max) {
        (1, 1) => "one".to_owned(),
        (0, 1) => "optional".to_owned(),
        (min, max) => format!("{min}..{max}"),
    };
    count + computed
}

fn rule(rule: &Rule) -> String {
    let when = match rule.check {
        Check::Input => " (on input)",
        Check::Result => "",
        Check::Hint => " (a hint)",
    };
    constraint(&rule.constraint) + when
}

fn constraint(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Range { from, to } => format!("{from} to {to}"),
        Constraint::Size { min, max } => format!("{min} to {max} bytes"),
        Constraint::Selection(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "),
        Constraint::Pattern(pattern) => format!("like {pattern}"),
        Constraint::Resolution(step) => format!("in steps of {step}"),
        Constraint::Distinct => "distinct".to_owned(),
        Constraint::ReadOnly => "read-only".to_owned(),
        Constraint::Unique => "unique".to_owned(),
        Constraint::Unchangeable => "unchangeable".to_owned(),
        Constraint::RefersTo(entity) => format!("refers to {entity}"),
        Constraint::Transitions(pairs) => pairs.iter().map(|(from, to)| format!("{from}->{to}")).collect::<Vec<_>>().join(" "),
    }
}

fn json(schema: &caps_model::Schema) -> Json {
    let attribute = |a: &Attribute| {
        json!({
            "name": a.name.as_str(), "kind": a.kind.to_string(), "map": a.is_map,
            "choices": a.choices.iter().map(|choice| choice.word.as_str()).collect::<Vec<_>>(), "min": a.arity.min, "max": a.arity.max, "computed": a.computed,
            "constraints": a.rules.iter().map(rule).collect::<Vec<_>>(), "summary": a.summary,
        })
    };
    let attributes = |list: &[Attribute]| list.iter().map(attribute).collect::<Vec<_>>();
    json!({
        "module": schema.module.as_str(),
        "version": schema.version,
        "entities": schema.entities.iter().map(|e| json!({"name": e.name.as_str(), "summary": e.summary, "attributes": attributes(&e.attributes)})).collect::<Vec<_>>(),
        "methods": schema.methods.iter().map(|m| json!({
            "name": m.name.as_str(), "summary": m.summary, "callers": m.callers,
            "parameters": attributes(&m.parameters), "results": attributes(&m.results),
        })).collect::<Vec<_>>(),
    })
}
