//! swaks at the corners of the protocol.

use std::{net::SocketAddr, process::Command};

use super::{RETURN_PATH, bounce, is_there, outcomes, run, start};
use crate::support::{Engine, daemon::Home};

const SWAKS: &str = "/usr/bin/swaks";

/// Runs swaks; gives its exit code and what it shows.
fn swaks(address: SocketAddr, mail: &str, options: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mail");
    // swaks takes the line ends of the system, and reads two backslashes and a letter as something else.
    std::fs::write(&file, mail.replace("\r\n", "\n")).expect("written");
    let mut command = Command::new(SWAKS);
    command
        .env_clear()
        .env("HOME", folder.path())
        .env("PATH", "/usr/bin:/bin")
        .args(["--server", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--helo", "client.example.com", "--from", "<>", "--timeout", "30"])
        .arg("--data")
        .arg(format!("@{}", file.display()))
        .args(options);
    if !options.contains(&"--to") {
        command.args(["--to", RETURN_PATH]);
    }
    let output = run(&mut command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("a code"), text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_brings_mail_in_every_way() {
    if !is_there(SWAKS) {
        return;
    }
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    for name in ["certificate.pem", "key.pem"] {
        std::fs::copy(format!("tests/fixtures/tls/{name}"), home.path(name)).expect("copied");
    }
    let tls = "tls_certificate = \"certificate.pem\"\ntls_key = \"key.pem\"\n";
    let (daemon, address) = start(&home, &format!("{tls}max_bytes = 65536\n"));

    let (code, said) = swaks(address, &bounce(1), &["--pipeline"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = swaks(address, &bounce(2), &["--tls"]);
    assert!(code == 0 && said.contains("TLS started") && said.contains("<~  250 2.6.0 taken"), "{said}");
    let (code, said) = swaks(address, &bounce(3), &["--protocol", "SMTP"]);
    assert_eq!(code, 0, "HELO: {said}");
    let (code, said) = swaks(address, &bounce(4), &["--to", "who@elsewhere.example"]);
    assert!(code == 24 && said.contains("550 5.7.1"), "{said}");
    let (code, said) = swaks(address, &("Subject: large\r\n\r\n".to_owned() + &"0123456789\r\n".repeat(6_000)), &[]);
    assert!(code == 26 && said.contains("552 5.3.4"), "{said}");
    let (code, said) = swaks(address, &bounce(5), &["--protocol", "LMTP"]);
    assert!(code != 0 && said.contains("500 5.5.1"), "{said}");
    let (code, said) = swaks(address, &bounce(6), &["--auth-user", "a", "--auth-password", "b"]);
    assert!(code != 0 && !said.contains("250 2.6.0"), "nobody is authenticated: {said}");
    assert_eq!(outcomes(&home.store().await, 3).await.len(), 3);
    daemon.stop();

    let (daemon, address) = start(&home, &format!("{tls}require_tls = true\n"));
    let (code, said) = swaks(address, &bounce(7), &[]);
    assert!(code == 23 && said.contains("530 5.7.0"), "{said}");
    let (code, said) = swaks(address, &bounce(7), &["--tls", "--pipeline"]);
    assert_eq!(code, 0, "{said}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaks_speaks_lmtp_through_a_socket() {
    if !is_there(SWAKS) {
        return;
    }
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let socket = home.path("lmtp.sock");
    home.configure(&format!(
        "[feeds.mail]\nlisten = \"unix:{}\"\nprotocol = \"lmtp\"\nrecipients = [\"bounces.example.com\"]\n",
        socket.display()
    ));
    let daemon = home.start();
    let file = home.path("mail");
    std::fs::write(&file, bounce(1).replace("\r\n", "\n")).expect("written");
    let output = run(Command::new(SWAKS)
        .args(["--protocol", "LMTP", "--socket"])
        .arg(&socket)
        .args(["--from", "<>", "--to", "a@bounces.example.com,b@bounces.example.com", "--data"])
        .arg(format!("@{}", file.display())));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("220 ") && said.contains("250 2.6.0 taken"), "{said}");
    assert_eq!(outcomes(&home.store().await, 1).await.len(), 1, "one report, for two recipients");
    daemon.stop();
}
