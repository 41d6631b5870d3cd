//! Who may ask: what a projection shows is folded from what everybody has done. The users are those of the README.

use std::fs;
use std::time::{Duration, Instant};

use hapax::nats::{ConnectOptions, Credentials};
use hapax::serve::Settings;

use crate::common::nats::NatsServer;
use crate::processor::{RunningProcessor, samples, settings};
use crate::program::{Running, code, hapax, run, stderr, stdout};

const README: &str = include_str!("../../README.md");

/// How long what is decided may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The block of the README that begins so, with a password for everybody.
fn users() -> String {
    let from = README.find("  { user: projector").expect("the README says who may what");
    let block = &README[from..from + README[from..].find("```").unwrap()];
    format!(
        "authorization {{ users = [\n {{ user: processor, password: secret }}\n{}\n",
        block.replace('…', "secret") + "}"
    )
}

fn as_user(user: &'static str) -> ConnectOptions {
    let credentials = Credentials::User { name: user.into(), password: "secret".into() };
    ConnectOptions { credentials: Some(credentials), ..ConnectOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_can_ask() {
    let (data, kept, folder) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = folder.path().join("nats.conf");
    fs::write(&config, users()).unwrap();
    let config: &'static str = Box::leak(config.display().to_string().into_boxed_str());
    let nats = NatsServer::start_with(Box::leak(Box::new(["-c", config])));
    let url = nats.url();
    let options = ConnectOptions { servers: vec![nats.url()], ..as_user("processor") };
    let settings = Settings { nats: options, ..settings(nats.url(), data.path()) };
    let processor = RunningProcessor::start_with(samples(), settings).await;
    let common = |user| ["--server", &url, "--user", user, "--password", "secret"];
    let open = ["send", "account/1", "open", r#"{"owner":"bob"}"#, "--principal", "bob"];
    let opened = run(&[&open[..], &common("bob")].concat());
    assert_eq!(code(&opened), 0, "{}", stderr(&opened));

    let mut command = hapax(&["project", "balances", "--inbox-prefix", "_INBOX.projector"]);
    let mut projecting = Running::start(command.args(common("projector")).arg("--data").arg(kept.path()));
    projecting.until("ready");
    let ask = |user: &str, more: &[&str]| {
        let who = ["ask", "balances", "--principal", user, "--timeout", "2s", "--server", &url, "--password", "secret"];
        let output = run(&[&who[..], &["--user", user], more].concat());
        let exit = code(&output);
        assert!(exit == 0 || stderr(&output).contains("not permitted"), "{}", stderr(&output));
        (exit, stdout(&output).to_owned())
    };
    // The auditor may ask everything, bob for himself; alice, who may ask the processor about every aggregate, nothing.
    let deadline = Instant::now() + PATIENCE; // The feed may be a moment behind the outcome.
    while !ask("auditor", &["bob"]).1.contains(r#"{"accounts":1,"balance":0}"#) {
        assert!(Instant::now() < deadline, "the account is never seen");
    }
    assert_eq!(ask("auditor", &[]).0, 0);
    assert_eq!(ask("auditor", &["eve of the hill"]).0, 0);
    assert!(ask("bob", &["bob"]).1.contains(r#"{"accounts":1,"balance":0}"#));
    for (user, more) in
        [("bob", &["ann"][..]), ("bob", &["eve of the hill"]), ("bob", &[]), ("alice", &["bob"]), ("alice", &[])]
    {
        assert_eq!(ask(user, more).0, 6, "{user} {more:?}");
    }
    // Nor in another's name.
    let lent =
        run(&[&["ask", "balances", "bob", "--principal", "auditor", "--timeout", "2s"][..], &common("bob")].concat());
    assert_eq!(code(&lent), 6, "{}", stderr(&lent));
    projecting.stop();
    processor.stop().await;
}
