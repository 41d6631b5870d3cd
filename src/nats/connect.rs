//! How do we get a connection to the broker, and is it a broker that we can work with?

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, ServerAddr, jetstream};

/// Where a server is looked for if nobody names one.
pub const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

/// The oldest server we work with. Earlier ones lack fixes of security holes in what we rely on.
pub const SERVER_VERSION_MIN: (u16, u16, u16) = (2, 12, 6);

/// How long a request to the server may take if nobody says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a server that says nothing is asked whether it is there. The library drops a connection at the third question
/// in a row without an answer, so one that is half-open is made anew after 9 s. Its own default, a minute, would leave a
/// processor deaf for three.
const PING_EVERY: Duration = Duration::from_secs(3);

/// Pause between two attempts of a processor that waits for its broker.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// Who we say we are. One of them: mixing the user of a flag with the file of a context would log in as somebody else.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A `.creds` file: a JWT and its nkey seed.
    File(PathBuf),
    /// A file with an nkey seed.
    Nkey(PathBuf),
    /// User and password.
    User {
        /// The user.
        name: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
}

/// Secrets stay out of logs.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::File(path) => f.debug_tuple("File").field(path).finish(),
            Credentials::Nkey(path) => f.debug_tuple("Nkey").field(path).finish(),
            Credentials::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
            Credentials::Token(_) => f.write_str("Token(…)"),
        }
    }
}

/// How to connect. Whatever is not set comes from the next source ([`ConnectOptions::or`]), and at last from NATS' own
/// defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectOptions {
    /// Server URLs; none: [`DEFAULT_SERVER`].
    pub servers: Vec<String>,
    /// Who we say we are.
    pub credentials: Option<Credentials>,
    /// Certificate authorities, in addition to the system's.
    pub tls_ca: Option<PathBuf>,
    /// Our certificate; counts only together with its key.
    pub tls_cert: Option<PathBuf>,
    /// The key of our certificate.
    pub tls_key: Option<PathBuf>,
    /// TLS before the server's first word, instead of after it.
    pub tls_first: bool,
    /// Prefix of our inboxes; where permissions are strict, `_INBOX.<principal>`.
    pub inbox_prefix: Option<String>,
    /// JetStream domain of the streams.
    pub js_domain: Option<String>,
    /// Prefix of the JetStream API, for streams of another account; counts before the domain.
    pub js_api_prefix: Option<String>,
    /// How long connecting, or one request, may take.
    pub timeout: Option<Duration>,
    /// What the server shows as this connection's name.
    pub name: Option<String>,
    /// Whether to wait for a server that cannot be reached yet. A processor does, a command on a terminal does not.
    pub wait_for_server: bool,
}

impl ConnectOptions {
    /// These settings, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: ConnectOptions) -> ConnectOptions {
        ConnectOptions {
            servers: if self.servers.is_empty() { other.servers } else { self.servers },
            credentials: self.credentials.or(other.credentials),
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
            tls_first: self.tls_first || other.tls_first,
            inbox_prefix: self.inbox_prefix.or(other.inbox_prefix),
            js_domain: self.js_domain.or(other.js_domain),
            js_api_prefix: self.js_api_prefix.or(other.js_api_prefix),
            timeout: self.timeout.or(other.timeout),
            name: self.name.or(other.name),
            wait_for_server: self.wait_for_server || other.wait_for_server,
        }
    }

    /// The JetStream API as seen with these settings.
    pub fn jetstream(&self, client: Client) -> jetstream::Context {
        let builder = jetstream::ContextBuilder::new().timeout(self.timeout.unwrap_or(DEFAULT_TIMEOUT));
        match (&self.js_api_prefix, &self.js_domain) {
            (Some(prefix), _) => builder.api_prefix(prefix.trim_end_matches('.')).build(client),
            (None, Some(domain)) => builder.domain(domain).build(client),
            (None, None) => builder.build(client),
        }
    }

    fn addresses(&self) -> Result<Vec<ServerAddr>, ConnectError> {
        let named = self.servers.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|url| !url.is_empty());
        let mut addresses = named
            .map(|url| url.parse().map_err(|source| ConnectError::Server { url: url.into(), source }))
            .collect::<Result<Vec<ServerAddr>, ConnectError>>()?;
        if addresses.is_empty() {
            addresses.push(DEFAULT_SERVER.parse().expect("the default is an address"));
        }
        Ok(addresses)
    }

    async fn library_options(&self) -> Result<async_nats::ConnectOptions, ConnectError> {
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let mut options = async_nats::ConnectOptions::new()
            .connection_timeout(timeout)
            .request_timeout(Some(timeout))
            .ping_interval(PING_EVERY);
        options = match &self.credentials {
            None => options,
            Some(Credentials::File(path)) => {
                options.credentials_file(path).await.map_err(|source| ConnectError::file(path, source))?
            }
            Some(Credentials::Nkey(path)) => options.nkey(read_seed(path)?),
            Some(Credentials::User { name, password }) => options.user_and_password(name.clone(), password.clone()),
            Some(Credentials::Token(token)) => options.token(token.clone()),
        };
        if let Some(ca) = &self.tls_ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        if self.tls_first {
            options = options.tls_first();
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        Ok(options.name(self.name.as_deref().unwrap_or("hapax")))
    }
}

/// The seed in a file as `nk` writes it: lines of comment may stand around it.
fn read_seed(path: &Path) -> Result<String, ConnectError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConnectError::file(path, source))?;
    let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
    seed.map(String::from).ok_or_else(|| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, "no line begins with SU: not a user's seed");
        ConnectError::file(path, source)
    })
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A server's URL cannot be read. Mend it.
    #[error("{url} is not a server's URL")]
    Server {
        /// The URL.
        url: String,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// A file of credentials cannot be read. Mend it or its path.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server does not let us in. Other credentials are needed; trying again changes nothing.
    #[error("the server at {servers} refuses these credentials")]
    Refused {
        /// Where we tried.
        servers: String,
        /// What the server said.
        #[source]
        source: async_nats::ConnectError,
    },
    /// No server answers. Start it, or name another.
    #[error("no NATS server can be reached at {servers}")]
    Unreachable {
        /// Where we tried.
        servers: String,
        /// What happened.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The server is older than [`SERVER_VERSION_MIN`]. Take a newer one.
    #[error("the NATS server is version {version}; 2.12.6 or newer is needed")]
    TooOld {
        /// Its version.
        version: String,
    },
}

impl ConnectError {
    fn file(path: &Path, source: std::io::Error) -> ConnectError {
        ConnectError::File { path: path.to_path_buf(), source }
    }
}

/// Connects, and checks the server's version. The connection is kept up from then on: after a disconnect the library
/// tries again for ever.
///
/// # Errors
/// [`ConnectError`]. With `wait_for_server` a server that cannot be reached is no error: this then returns when there is
/// one. Dropping the future gives up.
pub async fn connect(options: &ConnectOptions) -> Result<Client, ConnectError> {
    connect_listening(options, |event| {
        tell(&event);
        tracing::debug!(%event, "nats");
    })
    .await
}

/// The same, with somebody who listens to what the server says by itself, like that a permission is denied.
///
/// # Errors
/// As [`connect`].
pub async fn connect_listening(
    options: &ConnectOptions,
    listener: impl Fn(Event) + Send + Sync + Clone + 'static,
) -> Result<Client, ConnectError> {
    let addresses = options.addresses()?;
    let servers = addresses.iter().map(shown).collect::<Vec<_>>().join(", ");
    let library_options = options.library_options().await?.event_callback(move |event| {
        listener(event);
        std::future::ready(())
    });
    loop {
        // Not the library's `retry_on_initial_connect`: it returns a client that has no server yet, so that there is no
        // version to check and wrong credentials look like a slow network.
        match library_options.clone().connect(&addresses[..]).await {
            Ok(client) => return check_version(client),
            Err(source) => match source.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    return Err(ConnectError::Refused { servers, source });
                }
                _ if options.wait_for_server => {
                    tracing::warn!(%servers, error = %source, "no NATS server can be reached; waiting for it");
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                _ => return Err(ConnectError::Unreachable { servers, source }),
            },
        }
    }
}

/// What keeps this process from opening anything, a connection too: it has as many files open as it may.
///
/// # Errors
/// What the operating system says.
pub fn can_open_more() -> std::io::Result<()> {
    std::fs::File::open("/").map(drop) // It is there on every machine.
}

/// Tells why there is no connection, where the library only says that there is none.
pub fn tell(event: &Event) {
    if let Event::ClientError(_) = event
        && let Err(error) = can_open_more()
    {
        tracing::error!(%error, "no connection to NATS can be made: raise the limit of open files");
    }
}

/// An address without the password that its URL may hold.
fn shown(address: &ServerAddr) -> String {
    format!("{}:{}", address.host(), address.port())
}

fn check_version(client: Client) -> Result<Client, ConnectError> {
    let (major, minor, patch) = SERVER_VERSION_MIN;
    if client.is_server_compatible(major.into(), minor.into(), patch.into()) {
        Ok(client)
    } else {
        Err(ConnectError::TooOld { version: client.server_info().version })
    }
}

/// Whether the server knows who its clients are. If it does not, a principal is only a claim.
pub fn authenticates(client: &Client) -> bool {
    client.server_info().auth_required
}
