//! JSON that is meant to hurt, and a command on which the aggregate's code panics. Where there is a reply address, the
//! sender is told; where there is none, the quarantine keeps it.

use hapax::Service;
use hapax::samples::Account;

use crate::common::nats::NatsServer;
use crate::common::raw::RawSocket;
use crate::common::row::{Row, Verdict};
use crate::forms::{block, with_body};
use crate::plain::Plain;
use crate::processor::{RunningProcessor, samples};
use crate::trial::{Poison, inbox, print_table, try_all};
use crate::vessel::{BURSTS, Vessel};

/// The most that a body may have.
const BODY_BYTES_MAX: usize = 256 * 1024;

fn forms() -> Vec<Poison> {
    let nested = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"amount":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    let deep = "nested deeper than 64";
    vec![
        with_body("256 KiB of opening brackets", vec![b'['; BODY_BYTES_MAX], "not JSON"),
        with_body("256 KiB of opening braces", vec![b'{'; BODY_BYTES_MAX], "not JSON"),
        with_body("131,000 nested arrays", nested("[", "]", 131_000), deep),
        with_body("43,000 nested objects", nested(r#"{"":"#, "}", 43_000), deep),
        with_body("65 nested arrays", nested("[", "]", 65), deep),
        with_body("131,000 empty arrays side by side", format!("[{}1]", "[],".repeat(87_000)), "not a JSON object"),
        with_body("a key twice", r#"{"amount":1,"amount":2}"#, "comes twice"),
        with_body("a key twice, once in escapes", r#"{"amount":1,"\u0061mount":2}"#, "comes twice"),
        with_body("1e400", r#"{"amount":1e400}"#, "body"),
        with_body("a number of 200,000 digits", format!(r#"{{"amount":{}}}"#, "9".repeat(200_000)), "body"),
        with_body("not UTF-8", *b"{\"amount\":\"a\xffb\"}", "not JSON"),
        with_body("half of a surrogate pair", r#"{"amount":"\ud800"}"#, "body"),
        with_body("a NUL", *b"{\"amount\":1}\0", "not JSON"),
        with_body("a byte order mark", *b"\xef\xbb\xbf{\"amount\":1}", "not JSON"),
        with_body("300 KiB", vec![b' '; 300 * 1024], "body"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json() {
    try_all("poison: hostile JSON, nobody to be told", forms(), samples).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_is_answered_where_somebody_listens() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    let mut socket = RawSocket::connect(nats.port());
    let mut rows = Vec::new();
    for form in forms() {
        let mut inbox = inbox(&alice).await;
        let headers = block(format!("Hapax-Reply-To: {}\r\n\r\n", inbox.subject).as_bytes());
        let form = Poison { headers, ..form }.in_round(rows.len() as u64);
        socket.publish(&form.subject, &form.headers, &form.body);
        socket.flush();
        let (code, reason) = inbox.next().await.verdict();
        assert!([400, 413].contains(&code), "{}: {code}", form.name);
        rows.push([form.name.to_owned(), "-".to_owned(), format!("no: told {code} {reason}"), "-".to_owned()]);
    }
    alice.until_counted("refused", rows.len() as u64).await;
    alice.until_counted("quarantined", 0).await;
    alice.until_nothing_waits().await;
    print_table(&rows);
    processor.stop().await;
    Row::whole("poison: hostile JSON, its sender is told", rows.len(), &Verdict::default());
}

fn with_vessels() -> Service {
    Service::new().with::<Account>().with::<Vessel<BURSTS>>()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_panics() {
    let burst = Poison { subject: b"cmd.alice.vessel.9.burst".to_vec(), ..with_body("decide panics", "", "it bursts") };
    try_all("poison: decide panics", vec![burst], with_vessels).await;
}
