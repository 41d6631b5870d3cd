//! What do the `nats` command line's contexts say? They are read, so that whoever has one need not name server and
//! credentials again; they are never written.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::connect::{ConnectOptions, Credentials};

/// A context's file: all fields are strings that may be missing or empty. Others are not ours.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ContextFile {
    url: String,
    user: String,
    password: String,
    token: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    inbox_prefix: String,
    jetstream_domain: String,
    jetstream_api_prefix: String,
    tls_first: bool,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// There is no context of that name. `nats context ls` lists them.
    #[error("there is no NATS context {name:?} ({path})")]
    Unknown {
        /// The name.
        name: String,
        /// The file that would hold it.
        path: PathBuf,
    },
    /// A name that would lead out of the folder of contexts. Take another.
    #[error("{0:?} is not a context's name")]
    Name(String),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not the JSON of a context.
    #[error("{path} is not a NATS context")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Where the `nats` command line keeps its contexts: `$XDG_CONFIG_HOME/nats`, else `~/.config/nats`; `None`: this user
/// has no home.
pub fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config"))).map(|config| config.join("nats"))
}

/// The name of the context that the user has selected; `None`: there is none.
///
/// # Errors
/// [`ContextError::Io`].
pub fn selected(folder: &Path) -> Result<Option<String>, ContextError> {
    let path = folder.join("context.txt");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_string()).filter(|name| !name.is_empty())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ContextError::Io { path, source }),
    }
}

/// The settings of a context.
///
/// # Errors
/// [`ContextError`].
pub fn load(folder: &Path, name: &str) -> Result<ConnectOptions, ContextError> {
    if name.is_empty() || name.contains(['/', '\\']) || name.contains("..") {
        return Err(ContextError::Name(name.into()));
    }
    let path = folder.join("context").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ContextError::Unknown { name: name.into(), path: path.clone() },
        _ => ContextError::Io { path: path.clone(), source },
    })?;
    let file: ContextFile = serde_json::from_str(&text).map_err(|source| ContextError::Json { path, source })?;
    Ok(file.into_options())
}

impl ContextFile {
    fn into_options(self) -> ConnectOptions {
        ConnectOptions {
            credentials: self.credentials(),
            servers: text(self.url).into_iter().collect(),
            tls_ca: path(&self.ca),
            tls_cert: path(&self.cert),
            tls_key: path(&self.key),
            tls_first: self.tls_first,
            inbox_prefix: text(self.inbox_prefix),
            js_domain: text(self.jetstream_domain),
            js_api_prefix: text(self.jetstream_api_prefix),
            ..ConnectOptions::default()
        }
    }

    /// The order is the `nats` command line's: what a context holds more than one of, it tries in this one.
    fn credentials(&self) -> Option<Credentials> {
        if let Some(name) = text(self.user.clone()) {
            return Some(Credentials::User { name, password: self.password.clone() });
        }
        let file = path(&self.creds).map(Credentials::File).or_else(|| path(&self.nkey).map(Credentials::Nkey));
        file.or_else(|| text(self.token.clone()).map(Credentials::Token))
    }
}

fn text(value: String) -> Option<String> {
    Some(value).filter(|value| !value.is_empty())
}

/// A path; `~/` is the home, as in the `nats` command line.
fn path(value: &str) -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    match value.strip_prefix("~/") {
        _ if value.is_empty() => None,
        Some(rest) => Some(home().map_or_else(|| PathBuf::from(value), |home| home.join(rest))),
        None => Some(PathBuf::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_ignores_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("context")).unwrap();
        let json = r#"{"url":"nats://a:1,nats://b:2","creds":"/c.creds","user":"","inbox_prefix":"_INBOX.alice",
            "jetstream_domain":"hub","tls_first":true,"color_scheme":"blue"}"#;
        std::fs::write(folder.path().join("context/work.json"), json).unwrap();
        std::fs::write(folder.path().join("context.txt"), "work\n").unwrap();

        assert_eq!(selected(folder.path()).unwrap().as_deref(), Some("work"));
        let wanted = ConnectOptions {
            servers: vec!["nats://a:1,nats://b:2".into()],
            credentials: Some(Credentials::File("/c.creds".into())),
            inbox_prefix: Some("_INBOX.alice".into()),
            js_domain: Some("hub".into()),
            tls_first: true,
            ..ConnectOptions::default()
        };
        assert_eq!(load(folder.path(), "work").unwrap(), wanted);
    }

    #[test]
    fn a_path_may_begin_at_home() {
        let home = PathBuf::from(std::env::var_os("HOME").expect("tests run with a home"));
        assert_eq!(path("~/nats/ca.pem"), Some(home.join("nats/ca.pem")));
        assert_eq!(path("/etc/~/ca.pem"), Some("/etc/~/ca.pem".into()));
        assert_eq!(path(""), None);
    }

    #[test]
    fn a_missing_context_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(selected(folder.path()).unwrap(), None);
        assert!(matches!(load(folder.path(), "work"), Err(ContextError::Unknown { .. })));
        assert!(matches!(load(folder.path(), "../work"), Err(ContextError::Name(_))));
    }
}
