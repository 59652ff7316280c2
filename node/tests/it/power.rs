//! Power cuts: a process runs with `scripts/faults/powercut.c` loaded before it, which keeps an image
//! of what is durable in a folder; a cut kills the process and puts the image in the folder's place.

use crate::net::{Node, Place};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sources of the faults.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../scripts/faults")
        .join(name)
}

fn compile(name: &str, flags: &[&str], out: &Path) {
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror"])
        .args(flags)
        .arg("-o")
        .arg(out)
        .arg(source(name))
        .args(["-ldl", "-lpthread"])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{name} does not compile"
    );
}

/// How a disk treats what it is told to keep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    Honest,
    /// Says that it kept it and has not.
    Lying,
}

/// The compiled shim.
pub(crate) struct Shim {
    library: PathBuf,
    images: PathBuf,
    disk: Disk,
}

impl Shim {
    pub(crate) fn new(place: &Place, disk: Disk) -> Self {
        let library = place.dir.join("powercut.so");
        compile("powercut.c", &["-shared", "-fPIC"], &library);
        let images = place.dir.join("images");
        std::fs::create_dir(&images).expect("the folder of images is made");
        Self {
            library,
            images,
            disk,
        }
    }

    fn image(&self, folder: &Path) -> PathBuf {
        self.images
            .join(folder.file_name().expect("a folder has a name"))
    }

    /// The words to put before a command so that `folder` can be cut.
    pub(crate) fn prefix(&self, folder: &Path) -> Vec<String> {
        let mut words = vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("POWERCUT_ROOT={}", folder.display()),
            format!("POWERCUT_IMAGE={}", self.image(folder).display()),
            // A sync takes a while, so that many cuts fall between a write and its sync.
            "POWERCUT_DELAY=2000".to_owned(),
        ];
        if self.disk == Disk::Lying {
            words.push("POWERCUT_LIE=1".to_owned());
        }
        words
    }

    /// Cuts the power of a node.
    pub(crate) fn cut(&self, node: &mut Node) {
        node.kill();
        self.restore(&node.home);
    }

    /// Puts the image in place of the folder, whose process is gone. Without an image the process
    /// never got so far as to change anything.
    pub(crate) fn restore(&self, folder: &Path) {
        let image = self.image(folder);
        if image.exists() {
            let root = std::fs::read_to_string(image.join("root")).expect("the image has a root");
            std::fs::remove_dir_all(folder).expect("the folder goes");
            build(&image, &root, folder);
            std::fs::remove_dir_all(&image).expect("the image goes");
        }
        let _ = std::fs::remove_dir_all(image.with_extension("new"));
    }
}

/// Makes `folder` from the listing of the directory `key`.
fn build(image: &Path, key: &str, folder: &Path) {
    std::fs::create_dir(folder).expect("a folder is made");
    let listing = std::fs::read_to_string(image.join("dirs").join(key)).unwrap_or_default();
    for line in listing.lines() {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("a line of the image has four words");
        let (kind, key, mode, name) = (word(), word(), word(), word());
        let path = folder.join(name);
        if kind == "d" {
            build(image, key, &path);
        } else {
            let bytes = std::fs::read(image.join("files").join(key)).unwrap_or_default();
            std::fs::write(&path, bytes).expect("a file is made");
        }
        set_mode(&path, mode);
    }
}

fn set_mode(path: &Path, octal: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = u32::from_str_radix(octal, 8).expect("a mode is octal");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("the mode is set");
}

/// The shim itself must lose what a careless program does not sync, and nothing else.
#[test]
fn what_is_not_synced_is_lost_and_nothing_else() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let place = Place::new("shim");
    let shim = Shim::new(&place, Disk::Honest);
    let writer = place.dir.join("writer");
    compile("writer.c", &[], &writer);
    let folder = place.dir.join("home");
    std::fs::create_dir(&folder).expect("a folder is made");
    std::fs::write(folder.join("before"), "there").expect("a file is made");
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(shim.prefix(&folder))
        .arg(&writer)
        .arg(&folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let mut line = String::new();
    let out = child.stdout.take().expect("it has an output");
    BufReader::new(out).read_line(&mut line).expect("it speaks");
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(line, "done\n");
    assert_eq!(
        std::fs::read(folder.join("log")).expect("log"),
        b"Xurable lost"
    );
    assert!(!folder.join("page").exists() && folder.join("folder/file").exists());

    shim.restore(&folder);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert_eq!(read("before"), "there");
    assert_eq!(
        read("log"),
        "durable",
        "neither the appended nor the changed bytes were synced"
    );
    assert_eq!(
        read("page"),
        "abaa",
        "the change was synced, the removal was not"
    );
    assert_eq!(
        read("cut"),
        "12",
        "the shortening was synced, the growth was not"
    );
    assert_eq!(
        read("current"),
        "new",
        "the first replacement was synced, the second was not"
    );
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    assert_eq!(names, ["before", "current", "cut", "log", "page"]);
}
