use std::process::{Command, Stdio};

use super::*;

/// Takes all probes and counts them.
#[derive(Default)]
struct Counter {
    asked: Vec<(u64, u64)>,
    refuses: bool,
}

impl Prober for Counter {
    fn probe(&mut self, _: &File, offset: u64, cookie: u64) -> Result<Probed, LoadError> {
        self.asked.push((offset, weir_abi::call_of(cookie)));
        if self.refuses { Err(LoadError::NotInObject("weir_certificate")) } else { Ok(Probed::default()) }
    }
}

fn look_at_all(libraries: &mut Libraries, kernel: &mut Counter) {
    while !libraries.waiting.is_empty() {
        libraries.follow(&[], kernel);
    }
}

fn check(line: &str, expected: Option<&str>) {
    assert_eq!(library_in(line), expected, "{line}");
}

#[test]
fn libraries_are_told_from_what_else_is_in_memory() {
    let path = "/opt/app 1/lib/libcrypto-0f1e.so.3";
    check(&format!("7f0-7f1 r-xp 00000000 08:01 77   {path}"), Some(path));
    check("7f0-7f1 r-xp 0 08:01 77 /usr/lib/libgnutls.so.30.34.3", Some("/usr/lib/libgnutls.so.30.34.3"));
    for other in [
        "7f0-7f1 r--p 0 08:01 77 /usr/lib/libcrypto.so.3",
        "7f0-7f1 r-xp 0 08:01 77 /usr/lib/libcrypto.so.3 (deleted)",
        "7f0-7f1 r-xp 0 08:01 77 /usr/lib/libcrypto/ossl.txt",
        "7f0-7f1 r-xp 0 08:01 77 /usr/lib/libc.so.6",
        "7f0-7f1 r-xp 0 00:00 0 [vdso]",
        "7f0-7f1 r-xp",
        "",
    ] {
        check(other, None);
    }
}

#[test]
fn a_file_is_probed_once_and_let_go_after_its_last_user() {
    let (mut libraries, mut kernel) = (Libraries::default(), Counter::default());
    let mut program = Command::new("openssl");
    program.args(["s_server", "-accept", "127.0.0.1:0", "-nocert"]);
    program.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut children = [program.spawn().unwrap(), program.spawn().unwrap()];
    let pids = children.each_ref().map(std::process::Child::id);
    // Both have executed by the time that they map libcrypto.
    for pid in pids {
        let began = std::time::Instant::now();
        while mapped(pid).is_empty() {
            assert!(began.elapsed().as_secs() < 20, "openssl maps no libcrypto");
            std::thread::yield_now();
        }
    }
    let began = pids.map(|pid| Change::Began(pid, (0, 0)));
    libraries.follow(&began, &mut kernel);
    look_at_all(&mut libraries, &mut kernel);
    let openssl = kernel.asked.iter().filter(|(_, call)| *call == CALL_POINTER).count();
    assert!(openssl >= 1, "{:?}", kernel.asked);
    let asked = kernel.asked.len();
    assert_eq!(libraries.probes(), asked);
    for pid in pids {
        libraries.spoke(pid);
    }
    look_at_all(&mut libraries, &mut kernel);
    assert_eq!(kernel.asked.len(), asked, "nothing is probed twice");
    libraries.follow(&[Change::Ended(pids[0])], &mut kernel);
    assert_eq!(libraries.probes(), asked, "the other still uses them");
    libraries.follow(&[Change::Ended(pids[1])], &mut kernel);
    assert_eq!((libraries.probes(), libraries.files.len(), libraries.namespaces.len()), (0, 0, 0));
    for child in &mut children {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[test]
fn what_the_kernel_refuses_is_counted() {
    let (mut libraries, mut kernel) = (Libraries::default(), Counter { refuses: true, ..Counter::default() });
    libraries.follow(&[Change::Began(std::process::id(), (0, 0))], &mut kernel);
    look_at_all(&mut libraries, &mut kernel);
    assert_eq!(libraries.not_probed, kernel.asked.len() as u64);
    assert!(!kernel.asked.is_empty() && libraries.probes() == 0);
}

/// Links that leave the container's own root would name files of the node.
#[test]
fn a_link_out_of_the_root_stays_within() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/openssl", root.path().join("usr/lib/libcrypto.so.3")).unwrap();
    std::os::unix::fs::symlink("../../../../usr/bin/openssl", root.path().join("usr/lib/libcrypto.so.1"))
        .unwrap();
    nix::unistd::mkfifo(&root.path().join("usr/lib/libgnutls.so.30"), Mode::S_IRUSR).unwrap();
    let opened = nix::fcntl::open(root.path(), OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    let paths = installed(&opened);
    assert_eq!(paths.len(), 3, "{paths:?}");
    let (mut libraries, mut kernel) = (Libraries::default(), Counter::default());
    let files = paths.iter().filter_map(|path| open_within(&opened, path));
    assert_eq!(files.filter_map(|file| libraries.consider(&file, &mut kernel)).count(), 0);
}

/// As `go build -ldflags='-s -w'` makes it: no symbols.
#[test]
fn a_stripped_program_of_go_s_has_its_functions_found() {
    let files = tempfile::tempdir().unwrap();
    let source = "package main\nimport \"crypto/tls\"\n\
        func main() {\n\
        \ttls.Dial(\"tcp\", \"weir.test:1\", nil)\n\
        \tlistener, _ := tls.Listen(\"tcp\", \":0\", &tls.Config{})\n\
        \tlistener.Accept()\n\
        }\n";
    std::fs::write(files.path().join("main.go"), source).unwrap();
    std::fs::write(files.path().join("go.mod"), "module little\n\ngo 1.21\n").unwrap();
    let build = |name: &str, arguments: &[&str]| {
        let built = Command::new("go")
            .current_dir(files.path())
            .args(["build", "-o", name])
            .args(arguments)
            .arg(".")
            .env("GOFLAGS", "-buildvcs=false")
            .output()
            .expect("go is installed");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let mut found = functions(&File::open(files.path().join(name)).unwrap());
        found.sort_unstable();
        found
    };
    let (named, stripped) = (build("named", &[]), build("stripped", &["-ldflags=-s -w"]));
    let calls = |found: &[(u64, u64)]| {
        let mut calls: Vec<u64> = found.iter().map(|(_, cookie)| weir_abi::call_of(*cookie)).collect();
        calls.sort_unstable();
        calls
    };
    assert_eq!(calls(&named), [CALL_GO_SLICES, CALL_GO_STRUCT, CALL_GO_BEGINS, CALL_GO_BEGINS]);
    // The text is the same, wherever each has it.
    let distances =
        |found: &[(u64, u64)]| -> Vec<u64> { found.iter().map(|(offset, _)| offset - found[0].0).collect() };
    assert_eq!(distances(&named), distances(&stripped));
    assert_eq!(calls(&build("anywhere", &["-buildmode=pie", "-ldflags=-s -w"])), calls(&named));
}
