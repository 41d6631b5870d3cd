//! A disk whose power can be cut: ext4 in a file, mounted where only those see it who are run "within". The mount ends
//! with the process that holds it, and that one ends with its standard input, so that nothing is left of a test.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// Bytes of the disk: the broker makes no stream that may grow beyond it. Sparse: it takes what is written.
const DISK_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// How it is mounted. After an error in itself it takes no more writes.
const OPTIONS: &str = "loop,errors=remount-ro";

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: from now on nothing reaches the disk, and what the page cache
/// holds is lost.
const CUT: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

pub(crate) struct Disk {
    folder: TempDir,
    /// Holds the mount namespace.
    holder: Child,
}

impl Disk {
    /// An empty disk, switched on.
    pub(crate) fn new() -> Disk {
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
        File::create(&image).unwrap().set_len(DISK_BYTES).unwrap();
        std::fs::create_dir(&mount).unwrap();
        succeed(Command::new("mkfs.ext4").arg("-q").arg(&image));
        Disk::mounted(folder, &["-o", OPTIONS, "image", "mount"])
    }

    /// A disk of memory, which may be full.
    pub(crate) fn of_memory(bytes: u64) -> Disk {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mount")).unwrap();
        Disk::mounted(folder, &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", "mount"])
    }

    fn mounted(folder: TempDir, arguments: &[&str]) -> Disk {
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", r#"mount "$@" && echo mounted && cat"#, "sh"])
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n");
        Disk { folder, holder }
    }

    /// What runs a program that sees the disk.
    pub(crate) fn within(&self) -> Vec<OsString> {
        ["nsenter", "-t", &self.holder.id().to_string(), "-m"].map(OsString::from).into()
    }

    /// Where the disk is for those.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// Where it is for everybody else.
    pub(crate) fn seen_from_outside(&self) -> PathBuf {
        let mount = self.path();
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(mount.strip_prefix("/").unwrap())
    }

    /// The power goes. Whoever writes from now on gets an error.
    pub(crate) fn cut(&self) {
        self.run(&["python3".as_ref(), "-c".as_ref(), CUT.as_ref(), self.path().as_os_str()]);
    }

    /// The power comes back. Nobody may have a file of it open any more.
    pub(crate) fn switch_on(&self) {
        let (image, mount) = (self.folder.path().join("image"), self.path());
        self.run(&["umount".as_ref(), mount.as_os_str()]);
        self.run(&["mount".as_ref(), "-o".as_ref(), OPTIONS.as_ref(), image.as_os_str(), mount.as_os_str()]);
    }

    /// The file system finds an error in itself, and takes no more writes.
    pub(crate) fn become_read_only(&self) {
        let trigger = r#"echo test > "/sys/fs/ext4/$(basename "$(findmnt -n -o SOURCE "$0")")/trigger_fs_error""#;
        self.run(&["sh".as_ref(), "-c".as_ref(), trigger.as_ref(), self.path().as_os_str()]);
    }

    /// Writes a file that takes all the room there is. Its path, from outside.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.seen_from_outside().join("filler");
        let mut file = File::create(&path).unwrap();
        let full = io::copy(&mut io::repeat(b'x'), &mut file).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        path
    }

    /// More room on a disk of memory.
    pub(crate) fn grow(&self, bytes: u64) {
        let options = format!("remount,size={bytes}");
        self.run(&["mount".as_ref(), "-o".as_ref(), options.as_ref(), self.path().as_os_str()]);
    }

    /// Removes a folder and what is in it.
    pub(crate) fn remove(&self, folder: &str) {
        std::fs::remove_dir_all(self.seen_from_outside().join(folder)).unwrap();
    }

    fn run(&self, line: &[&std::ffi::OsStr]) {
        let within = self.within();
        succeed(Command::new(&within[0]).args(&within[1..]).args(line));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
