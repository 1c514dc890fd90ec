//! What the step from layer 2 into layer 3 costs beyond the virtual call that it ends in.
//!
//! `cargo bench -p caps-logic --features testing` prints one line of JSON. Both ways run the same module with the same arguments, in turns;
//! the fastest round of each counts, because whatever else the machine does only ever adds.

use std::hint::black_box;
use std::sync::Arc;

use caps_logic::Module;
use caps_logic::module::{Attribute, Fault, Halt, Method, Name, Principal, Record, Schema, Transaction, Value, ValueKind};
use caps_logic::privileges::module_group;
use caps_logic::testing::{World, record};
use caps_logic::transaction::Material;
use tokio::time::Instant;

fn main() {
    let module: Arc<dyn Module> = Arc::new(Adder);
    let host = World::new(7, vec![module.clone()]).host("bench");
    let principal =
        Principal::node("spiffe://bench.example/site/here/layer/4/bench").with_group(module_group(&Name::fixed("adders")), "adders");
    let (material, mut births) = (Material::default(), host.births());
    let mut tx = host.transaction(&principal, &material, &mut births);
    let arguments = record([("number", vec![Value::Int(1)])]);
    let (mut plain_ns, mut hosted_ns) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        plain_ns = plain_ns.min(nanoseconds(|| black_box(&module).call("add", &arguments, &mut tx)));
        hosted_ns = hosted_ns.min(nanoseconds(|| host.call_module("adder", "add", &arguments, &mut tx)));
    }
    let beyond_ns = hosted_ns - plain_ns;
    let met = beyond_ns < BEYOND_NS_AIM;
    println!(
        r#"{{"plain_ns":{plain_ns:.1},"hosted_ns":{hosted_ns:.1},"beyond_ns":{beyond_ns:.1},"aim":"below {BEYOND_NS_AIM}","met":{met}}}"#
    );
}

fn nanoseconds(mut call: impl FnMut() -> Result<Record, Halt>) -> f64 {
    let started = Instant::now();
    for _ in 0..CALLS {
        let _answer = black_box(call()).expect("the module has no objection");
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
}

/// A module with next to nothing to do.
#[derive(Debug)]
struct Adder;

impl Module for Adder {
    fn schema(&self) -> Schema {
        let add = Method {
            name: Name::fixed("add"),
            summary: String::new(),
            parameters: vec![Attribute::one("number", ValueKind::Int, "")],
            results: Vec::new(),
            callers: vec!["adders".to_owned()],
        };
        let module = Name::fixed("adder");
        Schema {
            module,
            version: 1,
            summary: String::new(),
            entities: Vec::new(),
            extensions: Vec::new(),
            relations: Vec::new(),
            methods: vec![add],
        }
    }

    fn call(&self, method: &str, arguments: &Record, _: &mut Transaction<'_>) -> Result<Record, Halt> {
        match (method, arguments.get("number").and_then(|values| values.first())) {
            ("add", Some(Value::Int(number))) => {
                black_box(number + 1);
                Ok(Record::new())
            }
            _ => Err(Fault::new("no such method").into()),
        }
    }
}

const ROUNDS: u32 = 20;
const CALLS: u32 = 200_000;
/// From the project's aims: a call into a module costs what a virtual call costs, and less than this.
const BEYOND_NS_AIM: f64 = 100.0;
