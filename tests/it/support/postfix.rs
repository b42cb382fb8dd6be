//! A real Postfix in an instance of its own, and a server to which it brings mail.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use crate::mail::{Client, is_there, run};

const POSTFIX: &str = "/usr/sbin/postfix";

/// Whether a Postfix can be started here: it is installed, and root starts it. Only on a laptop may it be otherwise.
pub(crate) fn is_available() -> bool {
    let is_root = run(Command::new("id").arg("-u")).stdout.starts_with(b"0\n");
    assert!(
        is_root || std::env::var("CI").as_deref() != Ok("true"),
        "only root starts a Postfix: in CI no test of it may be skipped"
    );
    if !is_root {
        println!("skipped: only root starts a Postfix");
    }
    is_root && is_there(POSTFIX)
}

/// A server that refuses as Apple's do, by the recipient's local part.
pub(crate) struct Apple {
    pub(crate) address: SocketAddr,
}

impl Apple {
    pub(crate) fn start(texts: BTreeMap<String, String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let texts = Arc::new(texts);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let texts = Arc::clone(&texts);
                std::thread::spawn(move || Self::serve(stream, &texts));
            }
        });
        Self { address }
    }

    fn serve(mut stream: TcpStream, texts: &BTreeMap<String, String>) {
        let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        if !say("220 smtp1.privaterelay.appleid.com ESMTP") {
            return;
        }
        let mut refusal_of_content = None;
        while let Some(line) = lines.next() {
            let answer = match line.split(' ').next().unwrap_or_default() {
                "RCPT" => {
                    let local = line.split(['<', '@']).nth(1).unwrap_or_default();
                    match texts.get(local) {
                        // As Apple does it, some refusals come at the end of the content only.
                        Some(text) if text.contains("[CS01]") => {
                            refusal_of_content = Some(text.clone());
                            "250 2.1.5 Ok".to_owned()
                        }
                        Some(text) => text.clone(),
                        None => "250 2.1.5 Ok".to_owned(),
                    }
                }
                "DATA" => {
                    if !say("354 go") || !lines.by_ref().any(|line| line == ".") {
                        return;
                    }
                    refusal_of_content.take().unwrap_or_else(|| "250 2.0.0 Ok".to_owned())
                }
                "QUIT" => return,
                _ => "250 2.1.0 Ok".to_owned(),
            };
            if !say(&answer) {
                return;
            }
        }
    }
}

/// An instance of Postfix in a folder of its own; stopped when the test drops it.
pub(crate) struct Postfix {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// Starts one that brings relay mail to `apple` and bounces to `bounces` (a transport and its next hop).
    pub(crate) fn start(apple: SocketAddr, bounces: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        // Its daemons run as users of their own.
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
        for name in ["queue", "data", "etc"] {
            fs::create_dir(path.join(name)).expect("a folder");
        }
        assert!(run(Command::new("chown").arg("postfix").arg(path.join("data"))).status.success());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let root = path.display();
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {root}/queue\ndata_directory = {root}/data\n\
             command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
             setgid_group = postdrop\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mta.example.com\n\
             mydestination =\nmynetworks = 127.0.0.0/8\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
             smtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\nalias_maps =\nalias_database =\n\
             smtp_tls_security_level = may\nqueue_run_delay = 1s\nminimal_backoff_time = 1s\nmaximal_backoff_time = 1s\n\
             maillog_file = {root}/log\nmaillog_file_prefixes = {root}\n\
             transport_maps = inline:{{ {{privaterelay.appleid.com = smtp:[127.0.0.1]:{}}}, \
             {{bounces.example.com = {bounces}}} }}\n",
            apple.port()
        );
        fs::write(path.join("etc/main.cf"), main).expect("written");
        let mut master = format!("127.0.0.1:{port} inet n - n - - smtpd\n");
        for (service, private, wakeup, limit, program) in [
            ("cleanup unix", "n", "-", "0", "cleanup"),
            // Woken each second: what was deferred is looked at then.
            ("qmgr unix", "n", "1", "1", "qmgr"),
            ("tlsmgr unix", "-", "1000?", "1", "tlsmgr"),
            ("rewrite unix", "-", "-", "-", "trivial-rewrite"),
            ("bounce unix", "-", "-", "0", "bounce"),
            ("defer unix", "-", "-", "0", "bounce"),
            ("trace unix", "-", "-", "0", "bounce"),
            ("smtp unix", "-", "-", "-", "smtp"),
            ("lmtp unix", "-", "-", "-", "lmtp"),
            ("error unix", "-", "-", "-", "error"),
            ("retry unix", "-", "-", "-", "error"),
            ("anvil unix", "-", "-", "1", "anvil"),
            ("scache unix", "-", "-", "1", "scache"),
            ("proxymap unix", "-", "-", "-", "proxymap"),
            ("postlog unix-dgram", "n", "-", "1", "postlogd"),
        ] {
            writeln!(master, "{service} {private} - n {wakeup} {limit} {program}").expect("a line");
        }
        fs::write(path.join("etc/master.cf"), master).expect("written");
        let postfix = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), folder };
        let output = run(postfix.command().arg("start"));
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), postfix.log());
        postfix
    }

    fn command(&self) -> Command {
        let mut command = Command::new(POSTFIX);
        command.arg("-c").arg(self.folder.path().join("etc"));
        command
    }

    /// What lies in its folder: `log`, `queue`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Hands it a message from `sender`, VERP and all, to each of these local parts on the relay's domain.
    pub(crate) fn send(&self, sender: &str, recipients: &[&str]) {
        let mut client = Client::new(self.address);
        for (number, local) in recipients.iter().enumerate() {
            let relay = format!("{local}@privaterelay.appleid.com");
            let from = sender.replace("{verp}", &relay.replace('@', "="));
            assert!(client.say(&format!("MAIL FROM:<{from}>\r\n")).starts_with("250 "));
            assert!(client.say(&format!("RCPT TO:<{relay}>\r\n")).starts_with("250 "));
            assert!(client.say("DATA\r\n").starts_with("354 "));
            let message = format!(
                "From: Shop <shop@mail.example.com>\r\nTo: {relay}\r\nSubject: Your order\r\n\
                 Message-Id: <order-{number}@mail.example.com>\r\n\r\nThank you.\r\n.\r\n"
            );
            assert!(client.say(&message).starts_with("250 "));
        }
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // By the process id in its own folder.
        drop(self.command().arg("stop").output());
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}
