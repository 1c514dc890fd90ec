//! The company at work, until Ctrl-C.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use caps_certs_gen::Layer;
use caps_frontend::Client;
use caps_model::{Name, Query};
use tokio::time::sleep;

use super::company::Company;
use super::database::Database;
use super::gateway::{Gateway, Report};
use super::sink::Sink;
use crate::cli::{Picture, interrupted};
use crate::output;
use crate::output::say;

/// Files the mails, prints what to try, and shows nodes and cases as they change.
pub(super) async fn show(company: &mut Company, sink: &Sink, database: &Database) -> anyhow::Result<()> {
    super::people::settle(company).await?;
    company.serve().await?;
    say!("three sites are up; a front end files the mail");
    let reports = Gateway::start(company, "gateway-malmo", &[company.mail()], &[])?.finish().await?;
    let filed = reports.iter().filter(|report| matches!(report, Report::Filed(_))).count();
    for report in &reports {
        if let Report::Refused { file, reason } = report {
            say!("refused {}: {reason}", file.rsplit('/').next().unwrap_or(file));
        }
    }
    say!("{filed} mails filed\n\n{}", hints(company, database));
    let trickle = Gateway::start(company, "gateway-lund", &[company.mail()], &["--repeat", "0", "--interval", "3s", "--tag", "x"])?;
    let reader = company.client("desk-malmo", Duration::from_secs(10)).await?;
    let shown = tokio::select! {
        // An interruption first: the show has no end of its own.
        biased;
        () = interrupted() => Ok(()),
        shown = refresh(company, &reader, sink) => shown,
    };
    reader.overlay().drain(Duration::from_secs(1)).await;
    trickle.stop().await?;
    shown
}

async fn refresh(company: &Company, reader: &Client, sink: &Sink) -> anyhow::Result<()> {
    // Without a terminal one picture is enough.
    let lively = std::io::stdout().is_terminal();
    let mut lines = 0;
    loop {
        let picture = Picture::take(company.deployment(), company.deployment().cabinet(), company.administrator()).await?.table();
        let cases = latest_cases(reader).await?;
        let sent = sent(sink);
        let screen = format!("{picture}\n\nlatest cases:\n{cases}\n\n{sent}\nCtrl-C ends the demo\n");
        if lively && lines > 0 {
            print!("\x1b[{lines}A\x1b[J");
        }
        print!("{screen}");
        std::io::stdout().flush()?;
        lines = screen.lines().count();
        sleep(if lively { Duration::from_secs(1) } else { Duration::from_secs(3_600) }).await;
    }
}

async fn latest_cases(reader: &Client) -> anyhow::Result<String> {
    let cases = reader.query(Query::all(Name::fixed("case")).by(Name::fixed("number"), true).limit(8)).await?;
    let mut table = output::table(&["CASE", "STATUS", "PRIORITY", "DUE", "MESSAGES", "SUBJECT"]);
    for case in &cases.objects {
        let cell = |name: &str| output::values(case.values(name));
        table.add_row([
            cell("number"),
            cell("status"),
            cell("priority"),
            cell("due_at"),
            case.values("messages").len().to_string(),
            cell("subject"),
        ]);
    }
    Ok(table.to_string())
}

/// What the company has sent.
fn sent(sink: &Sink) -> String {
    let (count, latest) = sink.mails();
    let mut text = format!("mail sent out: {count}\n");
    for mail in latest {
        text.push_str(&format!("  to {}: {} | {}\n", mail.to, mail.subject, mail.beginning));
    }
    text
}

fn hints(company: &Company, database: &Database) -> String {
    let caps = std::env::current_exe().map_or_else(|_| "caps".to_owned(), |path| path.display().to_string());
    let config = company.config().display();
    let mut outside = String::new();
    for node in company.serving() {
        if let Some(web) = &node.front_end.web {
            outside.push_str(&format!(
                "console at {}: http://{}/   log in as astrid or bjorn, {}\n",
                node.site,
                web.listen,
                super::people::PASSWORD
            ));
        }
        if let Some(listen) = node.front_end.mail.as_ref().and_then(|mail| mail.listen) {
            outside
                .push_str(&format!("mail by SMTP: {listen}, for desk@{}; what agents reply is shown below\n", company.deployment().domain));
        }
    }
    if let Some(hint) = table_hint(company, database) {
        outside.push_str(&format!("the cases as tables, for anybody who speaks SQL:\n  {hint}\n"));
    }
    format!(
        "{outside}\ntry from another terminal:\n  export CAPS_CONFIG={config}\n  alias caps={caps}\n  \
         caps status\n  caps query case 'status = new and number <= 10' --columns number,status,subject\n  caps watch case --as desk-kiruna\n  \
         echo {password} | caps login astrid && caps query case 'status = new' --limit 5\n  \
         caps mail send FILE             (an RFC 5322 file, by SMTP)\n  caps ping store-lund            (refused: a front end has no business with layer 1)\n  caps ping store-lund --as admin\n  \
         kill -9 the process of a node, look at caps status, and start it again with caps run --node NAME\n",
        password = super::people::PASSWORD,
    )
}

/// How to look into the tables of the first replica, if it keeps its state in a database of the demo's.
fn table_hint(company: &Company, database: &Database) -> Option<String> {
    let deployment = company.deployment();
    let node = deployment.layer(Layer::Cabinet).next()?;
    match deployment.state_of(node, deployment.cabinet()).ok()? {
        caps_store::StateKind::Sql(place) => database.hint(&place.space),
        _ => None,
    }
}
