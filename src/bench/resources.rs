//! What has a process taken, and what a folder? As Linux tells it; elsewhere nobody knows.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Blocks that a file's size on disk is told in.
const BLOCK_BYTES: u64 = 512;

/// CPU time of a process so far, of all its threads, for itself and in the kernel.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let ticks = cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// The name may contain anything, spaces and brackets too, so what counts begins behind the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11); // The 14th and 15th of all: utime and stime.
    let mut ticks = || times.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// The most memory that a process ever had, in bytes.
pub fn resident_peak(pid: u32) -> Option<u64> {
    peak_bytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Bytes that all files below a folder take on the disk; 0 if there is none.
///
/// # Errors
/// As the operating system says.
pub fn bytes_on_disk(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_on_disk(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(bytes)
}

/// Whether a folder is in memory, where an fsync costs nothing and keeps nothing.
pub fn is_in_memory(dir: &Path) -> bool {
    let Ok(dir) = dir.canonicalize() else { return false };
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // The innermost of those that it is below; of those at one place, the last.
    let innermost = places.filter(|(place, _)| dir.starts_with(place)).max_by_key(|(place, _)| place.len());
    innermost.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read() {
        let stat =
            "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 0 0 0 250 30 7 8 20 0 9 0 12345 1000000 500 18446744073709551615";
        assert_eq!(cpu_ticks(stat), Some(280));
        assert_eq!(cpu_ticks("42 (nginx"), None);
    }

    #[test]
    fn the_peak_is_read() {
        assert_eq!(peak_bytes("VmPeak:\t  900 kB\nVmHWM:\t   512 kB\nVmRSS:\t  400 kB\n"), Some(524_288));
        assert_eq!(peak_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn a_folder_has_the_blocks_of_its_files() {
        let dir = tempfile::tempdir().expect("there is a temporary folder");
        fs::create_dir(dir.path().join("inner")).expect("it is ours");
        fs::write(dir.path().join("inner/file"), vec![1; 10_000]).expect("it is ours");
        fs::File::open(dir.path().join("inner/file")).and_then(|file| file.sync_all()).expect("it is ours");
        assert!(bytes_on_disk(dir.path()).expect("it is there") >= 10_000);
        assert_eq!(bytes_on_disk(&dir.path().join("none")).expect("nothing takes nothing"), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn we_have_taken_something() {
        assert!(resident_peak(std::process::id()) > Some(1_000_000));
        assert!(cpu_time(std::process::id()).is_some());
        assert!(cpu_time(u32::MAX).is_none());
        assert!(is_in_memory(Path::new("/dev/shm")) || !Path::new("/dev/shm").exists());
        assert!(!is_in_memory(Path::new("/proc")));
    }
}
