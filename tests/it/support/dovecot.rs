//! A real Dovecot in a folder of its own: a mailbox behind IMAP over TLS, by a throw-away authority.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::mail::{is_there, run};

const DOVECOT: &str = "/usr/sbin/dovecot";
/// The mailbox's password.
pub(crate) const PASSWORD: &str = "hush-hush";

/// Whether a Dovecot can be started here: it is installed, and root starts it. Only on a laptop may it be otherwise.
pub(crate) fn is_available() -> bool {
    let is_root = run(Command::new("id").arg("-u")).stdout.starts_with(b"0\n");
    assert!(
        is_root || std::env::var("CI").as_deref() != Ok("true"),
        "only root starts a Dovecot: in CI no test of it may be skipped"
    );
    if !is_root {
        println!("skipped: only root starts a Dovecot");
    }
    is_root && is_there(DOVECOT) && is_there("/usr/bin/openssl")
}

/// Waits for what comes by itself.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within 30 seconds");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

/// An instance; stopped when the test drops it.
pub(crate) struct Dovecot {
    folder: tempfile::TempDir,
    pub(crate) port: u16,
    delivered: AtomicU32,
}

impl Dovecot {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        // Its processes run as users of their own.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["run", "state", "mail"] {
            fs::create_dir(path.join(name)).expect("a folder");
        }
        certify(path);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let root = path.display();
        let settings = format!(
            "base_dir = {root}/run\nstate_dir = {root}/state\nlog_path = {root}/log\nprotocols = imap\n\
             listen = 127.0.0.1\nssl = required\nssl_cert = <{root}/cert.pem\nssl_key = <{root}/key.pem\n\
             first_valid_uid = 1\nmail_location = maildir:{root}/mail\nmail_uid = nobody\nmail_gid = nogroup\n\
             default_vsz_limit = 128M\n\
             service imap-login {{\n inet_listener imap {{\n port = 0\n }}\n inet_listener imaps {{\n address = 127.0.0.1\n \
             port = {port}\n ssl = yes\n }}\n}}\n\
             passdb {{\n driver = static\n args = password={PASSWORD}\n}}\n\
             userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={root}/mail\n}}\n\
             namespace inbox {{\n inbox = yes\n mailbox Junk {{\n auto = create\n special_use = \\Junk\n }}\n}}\n"
        );
        fs::write(path.join("dovecot.conf"), settings).expect("written");
        let dovecot = Self { folder, port, delivered: AtomicU32::new(0) };
        Self::own(&dovecot.path("mail"));
        dovecot.go_on();
        dovecot
    }

    /// Starts it, or starts it again.
    pub(crate) fn go_on(&self) {
        // Its processes would hold the ends of pipes.
        let none = Stdio::null;
        let mut command = Command::new(DOVECOT);
        command.arg("-c").arg(self.path("dovecot.conf")).stdin(none()).stdout(none()).stderr(none());
        let status = command.status().expect("started");
        assert!(status.success(), "{status}: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
        until("Dovecot listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Stops it, as an outage does; what it holds stays.
    pub(crate) fn pause(&self) {
        // At once, with all that it has started: what serves a client outlives a proper stop for a while.
        let master = fs::read_to_string(self.path("run/master.pid")).expect("its process id");
        let output = run(Command::new("kill").args(["-KILL", "--", &format!("-{}", master.trim())]));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Its process id stays taken until somebody asks how it ended.
        fs::remove_file(self.path("run/master.pid")).expect("removed");
        until("Dovecot has ended", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err());
    }

    /// What lies in its folder: `ca.pem`, `log`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn own(path: &Path) {
        assert!(run(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(path)).status.success());
    }

    /// Puts a message into a folder, as its delivery agent does: in maildir's `tmp` first.
    pub(crate) fn deliver(&self, junk: bool, message: &str) {
        let folder = if junk { self.path("mail/.Junk") } else { self.path("mail") };
        let number = self.delivered.fetch_add(1, Ordering::SeqCst);
        for name in ["tmp", "new", "cur"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let name = format!("{}.M{number}.test", 1_796_000_000 + number);
        fs::write(folder.join("tmp").join(&name), message).expect("written");
        Self::own(&folder);
        fs::rename(folder.join("tmp").join(&name), folder.join("new").join(&name)).expect("delivered");
    }

    /// How many messages its folders hold.
    pub(crate) fn messages(&self) -> usize {
        let folders = ["mail/new", "mail/cur", "mail/.Junk/new", "mail/.Junk/cur"];
        folders.iter().filter_map(|name| fs::read_dir(self.path(name)).ok()).flatten().count()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // By the process id in its own folder.
        drop(Command::new("/usr/bin/doveadm").arg("-c").arg(self.path("dovecot.conf")).arg("stop").output());
        if std::thread::panicking() {
            println!("{}", fs::read_to_string(self.path("log")).unwrap_or_default());
        }
    }
}

/// Makes `ca.pem`, and `cert.pem` with `key.pem` by it, for localhost.
fn certify(path: &Path) {
    let openssl = |args: &str| {
        let output = run(Command::new("/usr/bin/openssl").current_dir(path).args(args.split(' ')));
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 2 -subj /CN=relaywatch-test-authority -keyout ca.key -out ca.pem"));
    openssl(&format!("req {key} -subj /CN=localhost -keyout key.pem -out request.pem"));
    let extensions = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n";
    fs::write(path.join("extensions"), extensions).expect("written");
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem",
    );
}
