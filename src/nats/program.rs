//! Which nats-server is started, where one is? The search is the one of `scripts/nats-server`, which also fetches one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::connect::SERVER_VERSION_MIN;

/// There is no program to start.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} a nats-server {}.{}.{} or newer; run scripts/nats-server, which fetches one, or set NATS_SERVER to the path \
     of one",
    SERVER_VERSION_MIN.0, SERVER_VERSION_MIN.1, SERVER_VERSION_MIN.2
)]
pub struct NoServer {
    what: String,
}

/// The first that is recent enough: `$NATS_SERVER`, those on PATH, those that `scripts/nats-server` has fetched.
///
/// # Errors
/// [`NoServer`].
pub fn find() -> Result<PathBuf, NoServer> {
    if let Some(path) = variable("NATS_SERVER").map(PathBuf::from) {
        let what = format!("NATS_SERVER={} is not", path.display());
        return if is_recent(&path) { Ok(path) } else { Err(NoServer { what }) };
    }
    // All on PATH: the first one may be an old one of the distribution, in front of a recent one.
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let on_path = on_path.unwrap_or_default().into_iter().map(|folder| folder.join("nats-server"));
    let mut found = on_path.filter(|path| path.is_file()).chain(fetched());
    found.find(|path| is_recent(path)).ok_or_else(|| NoServer { what: "neither PATH nor the cache has".to_owned() })
}

/// In the cache. Those of another machine do not run, and so say no version.
fn fetched() -> Vec<PathBuf> {
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
    let Some(entries) = cache.and_then(|cache| std::fs::read_dir(cache.join("hapax")).ok()) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_server =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("nats-server-"));
    let mut found: Vec<PathBuf> = paths.filter(is_server).collect();
    found.sort();
    found
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn is_recent(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    output
        .ok()
        .and_then(|output| version(&String::from_utf8(output.stdout).ok()?))
        .is_some_and(|version| version >= SERVER_VERSION_MIN)
}

/// From `nats-server: v2.15.1`.
fn version(text: &str) -> Option<(u16, u16, u16)> {
    let text = text.trim().strip_prefix("nats-server: ")?;
    let mut numbers = text.strip_prefix('v').unwrap_or(text).splitn(3, '.');
    let mut number = || {
        let part = numbers.next()?;
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse().ok()
    };
    Some((number()?, number()?, number()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(version("nats-server: 2.9.10"), Some((2, 9, 10)));
        assert_eq!(version("nats-server: v2.14.0-RC.1"), Some((2, 14, 0)));
        assert_eq!(version("nginx 1.2.3"), None);
    }
}
