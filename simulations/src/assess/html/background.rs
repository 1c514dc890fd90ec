//! How it was found out, and what the words mean.

use super::super::findings::Assessment;
use super::super::words::about;
use super::markup::{escaped, section};

/// How it was found out, and how to find the same again.
pub(super) fn method(assessment: &Assessment) -> String {
    let body = format!(
        "<p>The programs that run in production, with their real encryption and their real replication, ran in a simulated world in which every \
         line has the delay, rate, queue and loss that the deployment file gives it, and in which the people named in the file did their work \
         for {}. Where the time goes was found by taking one thing after the other out of that world; what breaks, by taking a site away; \
         advice, by making the change.</p>\n\
         <p>The same seed finds the same, to the last digit:</p>\n<pre><code>{} --html report.html</code></pre>\n\
         <p>What it cannot know: figures of lines that the file does not say, other traffic on shared lines, and what people really do. \
         Measure the lines, record real work, and assess again.</p>\n",
        escaped(&about(assessment.rehearsed_seconds * 1e3)),
        escaped(&assessment.command())
    );
    section("method", "How this was found out", "", &body)
}

/// The words of the page.
pub(super) fn glossary() -> String {
    let words: String = GLOSSARY.iter().map(|(word, meaning)| format!("<div><dt>{word}</dt><dd>{meaning}</dd></div>\n")).collect();
    section("words", "Words", "", &format!("<dl class=\"words\">\n{words}</dl>\n"))
}

const GLOSSARY: [(&str, &str); 14] = [
    ("site", "A place that fails together and is near together, such as an office or a data centre."),
    ("front end", "A program that people use, at a desk or on the road, or a gateway that takes in mail."),
    ("host", "A program that runs the business logic; front ends talk to hosts."),
    ("cabinet", "Where all data is kept, as copies (replicas) at several sites."),
    ("replica, leader", "A copy of the cabinet. One of them leads: every change passes it."),
    ("commit", "A change that is safe: a majority of replicas have it on their disks."),
    ("operation", "Something a person does, such as to open a list or to close a case."),
    ("p50, p95, p99", "Within this time 50, 95 or 99 of 100 are done. The page judges by p95."),
    ("limit", "What the deployment file calls acceptable for an operation."),
    ("round trip", "One way there and back between sites. Ten of them, one after the other, take ten times as long on any line."),
    ("shaking hands", "Setting up an encrypted connection, where none is open."),
    ("waiting for others", "Time in a queue because others use the same line or machine."),
    ("line", "How a site or a front end reaches the network, for example fibre, LTE or a satellite (GEO, LEO)."),
    ("lost", "Packets that did not arrive; they are sent again, which takes time."),
];
