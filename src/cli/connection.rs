//! Which server, and as whom? Flags, then environment, then the `nats` command line's context, then the defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::Failure;
use crate::client::Client;
use crate::model::Principal;
use crate::nats::{ConnectOptions, Credentials, context};

/// The environment that counts as connection flags.
pub(super) const VARIABLES: [&str; 10] = [
    "NATS_URL",
    "NATS_CONTEXT",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_CA",
    "NATS_CERT",
    "NATS_KEY",
    "NATS_TIMEOUT",
];

/// The flags and variables of the `nats` command line.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The NATS server, or several with commas between them [default: nats://127.0.0.1:4222]
    #[arg(short, long, env = "NATS_URL", value_name = "URL", hide_env_values = true)]
    server: Option<String>,

    /// Settings of the `nats` command line to use; without it, those that are selected there
    #[arg(long, env = "NATS_CONTEXT", value_name = "NAME", hide_env_values = true)]
    context: Option<String>,

    /// Use no context, neither a named nor the selected one
    #[arg(long)]
    no_context: bool,

    /// File with a JWT and its nkey seed
    #[arg(long, env = "NATS_CREDS", value_name = "FILE", hide_env_values = true)]
    creds: Option<PathBuf>,

    /// File with an nkey seed
    #[arg(long, env = "NATS_NKEY", value_name = "FILE", hide_env_values = true)]
    nkey: Option<PathBuf>,

    /// User name, or a token if there is no password
    #[arg(long, env = "NATS_USER", value_name = "NAME", hide_env_values = true)]
    user: Option<String>,

    /// Password of the user
    #[arg(long, env = "NATS_PASSWORD", value_name = "TEXT", hide_env_values = true)]
    password: Option<String>,

    /// Certificate authorities, in addition to the system's
    #[arg(long, env = "NATS_CA", value_name = "FILE", hide_env_values = true)]
    tlsca: Option<PathBuf>,

    /// Our certificate
    #[arg(long, env = "NATS_CERT", value_name = "FILE", hide_env_values = true)]
    tlscert: Option<PathBuf>,

    /// The key of our certificate
    #[arg(long, env = "NATS_KEY", value_name = "FILE", hide_env_values = true)]
    tlskey: Option<PathBuf>,

    /// Speak TLS before the server's first word
    #[arg(long)]
    tlsfirst: bool,

    /// Prefix of the connection's inboxes [default: _INBOX.<principal> for a sender]
    #[arg(long, value_name = "PREFIX")]
    inbox_prefix: Option<String>,

    /// JetStream domain of the streams
    #[arg(long, value_name = "NAME")]
    js_domain: Option<String>,

    /// How long it may take to connect, or to get an answer or an outcome [default: 5s, an outcome 30s]
    #[arg(long, env = "NATS_TIMEOUT", value_name = "TIME", value_parser = duration, hide_env_values = true)]
    pub(super) timeout: Option<Duration>,
}

/// Who asks, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Sender {
    /// In whose name: the token of the subject that NATS permissions bind to the user
    #[arg(long, env = "HAPAX_PRINCIPAL", value_name = "NAME", default_value = "me", value_parser = Principal::parse)]
    #[arg(hide_env_values = true)]
    pub(super) principal: Principal,

    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Connection {
    /// All sources together.
    pub(super) fn options(&self) -> Result<ConnectOptions, Failure> {
        let flags = ConnectOptions {
            servers: self.server.iter().cloned().collect(),
            credentials: self.credentials(),
            tls_ca: self.tlsca.clone(),
            tls_cert: self.tlscert.clone(),
            tls_key: self.tlskey.clone(),
            tls_first: self.tlsfirst,
            inbox_prefix: self.inbox_prefix.clone(),
            js_domain: self.js_domain.clone(),
            timeout: self.timeout,
            ..ConnectOptions::default()
        };
        Ok(flags.or(self.context_options()?))
    }

    fn credentials(&self) -> Option<Credentials> {
        let file = self.creds.clone().map(Credentials::File).or_else(|| self.nkey.clone().map(Credentials::Nkey));
        file.or_else(|| match (self.user.clone()?, self.password.clone()) {
            (name, Some(password)) => Some(Credentials::User { name, password }),
            (token, None) => Some(Credentials::Token(token)),
        })
    }

    fn context_options(&self) -> Result<ConnectOptions, Failure> {
        let Some(folder) = context::folder().filter(|_| !self.no_context) else {
            return match &self.context {
                Some(name) => Err(Failure::usage(format!("no home directory, so there is no context {name:?}"))),
                None => Ok(ConnectOptions::default()),
            };
        };
        let name = match &self.context {
            Some(name) => Some(name.clone()),
            None => context::selected(&folder)?,
        };
        Ok(name.map(|name| context::load(&folder, &name)).transpose()?.unwrap_or_default())
    }
}

impl Sender {
    /// Connects.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let defaults = ConnectOptions {
            // Where permissions are strict, nothing else may be subscribed to.
            inbox_prefix: Some(format!("_INBOX.{}", self.principal)),
            ..ConnectOptions::default()
        };
        let options = self.connection.options()?.or(defaults);
        Ok(Client::connect_with(&options, self.principal.clone()).await?)
    }

    /// How long a command may take.
    pub(super) fn deadline(&self) -> Duration {
        self.connection.timeout.unwrap_or(crate::client::DEADLINE_DEFAULT)
    }

    /// The flags that a further command line needs to ask the same server for the same principal.
    pub(super) fn flags(&self) -> String {
        let server = self.connection.server.as_ref().map(|server| format!(" --server {server}")).unwrap_or_default();
        let context = self.connection.context.as_ref().map(|name| format!(" --context {name}")).unwrap_or_default();
        let principal =
            if self.principal.as_str() == "me" { String::new() } else { format!(" --principal {}", self.principal) };
        format!("{principal}{context}{server}")
    }
}

/// Reads `500ms`, `5s`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u32 = text[..digits].parse().map_err(|_| "a time is written like 500ms, 5s, 2m or 1h".to_string())?;
    match &text[digits..] {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        "h" => Ok(Duration::from_secs(u64::from(number) * 3_600)),
        _ => Err("a time is written like 500ms, 5s, 2m or 1h".into()),
    }
}
