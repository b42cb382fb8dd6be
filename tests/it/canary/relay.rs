//! A submission server that delivers, rewrites as the relay does, drops, holds or refuses, by the recipient's local part.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use crate::support::dovecot::Dovecot;

/// What becomes of mail to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Inbox,
    Junk,
    Drop,
    /// It is kept until it is released.
    Hold,
    Refuse(&'static str),
}

struct Shared {
    dovecot: Arc<Dovecot>,
    fates: Mutex<BTreeMap<&'static str, Fate>>,
    held: Mutex<Vec<String>>,
}

/// The server.
pub(super) struct Relay {
    pub(super) port: u16,
    shared: Arc<Shared>,
}

impl Relay {
    pub(super) fn start(dovecot: Arc<Dovecot>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared { dovecot, fates: Mutex::default(), held: Mutex::default() });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { port, shared }
    }

    pub(super) fn fate(&self, local: &'static str, fate: Fate) {
        self.shared.fates.lock().expect("whole").insert(local, fate);
    }

    /// Delivers what was held.
    pub(super) fn release(&self) {
        for message in self.shared.held.lock().expect("whole").drain(..) {
            self.shared.dovecot.deliver(false, &message);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok);
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        if !say("220 mta.example.com ESMTP") {
            return;
        }
        let mut fate = Fate::Inbox;
        let mut relayed = false;
        while let Some(line) = lines.next() {
            let answer = match line.split([' ', ':']).next().unwrap_or_default() {
                "RCPT" => {
                    let local = line.split(['<', '@']).nth(1).unwrap_or_default();
                    relayed = line.contains("@privaterelay.appleid.com");
                    fate = self.fates.lock().expect("whole").get(local).copied().unwrap_or(Fate::Inbox);
                    match fate {
                        Fate::Refuse(text) => text,
                        _ => "250 2.1.5 Ok",
                    }
                }
                "DATA" => {
                    if !say("354 go") {
                        return;
                    }
                    let message: Vec<String> = lines.by_ref().take_while(|line| line != ".").collect();
                    self.take(&message, fate, relayed);
                    "250 2.0.0 Ok"
                }
                "QUIT" => {
                    say("221 2.0.0 Bye");
                    return;
                }
                _ => "250 2.1.0 Ok",
            };
            if !say(answer) {
                return;
            }
        }
    }

    /// As the relay does it: another From, its own message id, no header that it does not know.
    fn take(&self, message: &[String], fate: Fate, relayed: bool) {
        let mut text = String::new();
        if relayed {
            text += "Authentication-Results: mx.icloud.com; spf=pass smtp.mailfrom=bounces@mail.mydomain.example\r\n";
        }
        for line in message {
            let line = match line.split(':').next() {
                Some("From") if relayed => "From: dev_at_mydomain_example_x7q9@icloud.com",
                Some("Message-ID") if relayed => "Message-ID: <1234@icloud.com>",
                Some("X-Relaywatch-Canary") if relayed => continue,
                _ => line,
            };
            text += line;
            text += "\r\n";
        }
        match fate {
            Fate::Inbox => self.dovecot.deliver(false, &text),
            Fate::Junk => self.dovecot.deliver(true, &text),
            Fate::Hold => self.held.lock().expect("whole").push(text),
            Fate::Drop | Fate::Refuse(_) => {}
        }
    }
}
