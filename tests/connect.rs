//! Which brokers we connect to, and what is said about the others.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use common::nats::NatsServer;
use hapax::nats::connect::authenticates;
use hapax::nats::provision::{ProvisionError, Wanted, broker_time, check_or_create};
use hapax::nats::{ConnectError, ConnectOptions, Credentials, connect};
use uuid::Uuid;

fn to(url: String) -> ConnectOptions {
    ConnectOptions { servers: vec![url], timeout: Some(Duration::from_secs(10)), ..ConnectOptions::default() }
}

fn user(name: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::User { name: name.into(), password: password.into() })
}

#[tokio::test]
async fn an_open_broker_lets_us_in_and_is_known_to_be_open() {
    let server = NatsServer::start();
    let client = connect(&to(server.url())).await.unwrap();
    assert!(!authenticates(&client));
}

#[tokio::test]
async fn wrong_credentials_are_told_from_a_server_out_of_reach() {
    let mut server = NatsServer::start_with(&["--user", "alice", "--pass", "secret"]);
    let right = ConnectOptions { credentials: user("alice", "secret"), ..to(server.url()) };
    assert!(authenticates(&connect(&right).await.unwrap()));

    // Waiting would not help: a processor with wrong credentials must not look like one whose broker is down.
    let wrong = ConnectOptions { credentials: user("alice", "guessed"), wait_for_server: true, ..to(server.url()) };
    assert!(matches!(connect(&wrong).await, Err(ConnectError::Refused { .. })));

    server.kill();
    let refused = connect(&right).await;
    let expected = format!("no NATS server can be reached at 127.0.0.1:{}", server.port());
    assert!(matches!(&refused, Err(error @ ConnectError::Unreachable { .. }) if error.to_string() == expected));
}

#[tokio::test]
async fn a_processor_waits_for_its_broker() {
    let mut server = NatsServer::start();
    server.kill();
    let options = ConnectOptions { wait_for_server: true, ..to(server.url()) };
    let mut waiting = Box::pin(connect(&options));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut waiting).await.is_err());
    server.start_again();
    waiting.await.unwrap();
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the connection.
    std::thread::spawn(move || {
        let mut socket = listener.accept().unwrap().0;
        let info = r#"{"server_id":"OLD","version":"2.9.10","proto":1,"headers":true,"max_payload":1048576}"#;
        socket.write_all(format!("INFO {info}\r\n").as_bytes()).unwrap();
        for line in BufReader::new(socket.try_clone().unwrap()).lines() {
            match line {
                Ok(line) if line == "PING" => socket.write_all(b"PONG\r\n").unwrap(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    });
    let refused = connect(&to(format!("nats://127.0.0.1:{port}"))).await;
    assert!(matches!(refused, Err(ConnectError::TooOld { version }) if version == "2.9.10"));
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let not_a_url = connect(&to("nats://a b".into())).await;
    assert!(matches!(not_a_url, Err(ConnectError::Server { url, .. }) if url == "nats://a b"));
    for credentials in [Credentials::File("/nowhere/x".into()), Credentials::Nkey("/nowhere/x".into())] {
        let options = ConnectOptions { credentials: Some(credentials), ..to("127.0.0.1:1".into()) };
        let refused = connect(&options).await;
        assert!(matches!(refused, Err(ConnectError::File { path, .. }) if path.ends_with("nowhere/x")));
    }
}

#[tokio::test]
async fn the_jetstream_domain_is_respected() {
    let server = NatsServer::start();
    let options = ConnectOptions { js_domain: Some("hub".into()), ..to(server.url()) };
    let client = connect(&options).await.unwrap();
    // This server has no domain, so that nobody listens where we ask.
    let wanted = Wanted { partitions: 1, store: Uuid::from_u128(1), create: true, take_over: false };
    let elsewhere = options.jetstream(client.clone());
    assert!(matches!(check_or_create(&elsewhere, &wanted).await, Err(ProvisionError::Broker { .. })));

    let here = to(server.url()).jetstream(client);
    check_or_create(&here, &wanted).await.unwrap();
    assert!(broker_time(&here).await.is_ok() && broker_time(&elsewhere).await.is_err());
}

#[test]
fn the_nearer_setting_counts_and_secrets_are_not_shown() {
    let flags = ConnectOptions { credentials: user("alice", "secret"), ..ConnectOptions::default() };
    let context = ConnectOptions {
        credentials: Some(Credentials::Token("token".into())),
        inbox_prefix: Some("_INBOX.bob".into()),
        ..to("nats://there:4222".into())
    };
    let both = flags.clone().or(context.clone());
    assert_eq!(both, ConnectOptions { credentials: flags.credentials, ..context.clone() });
    assert!(!format!("{both:?}{context:?}").contains("secret") && !format!("{context:?}").contains("\"token\""));
}
