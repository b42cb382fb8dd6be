//! Whatever a peer says, and however it is cut, the answers are the same and well formed, and mail is taken within the limits and for
//! configured recipients only.

use std::sync::Arc;

use bytes::BytesMut;
use relaywatch::{
    config::{MailProtocol, RecipientPattern},
    ingest::{
        http::body::Budget,
        smtp::{
            Taking,
            session::{Open, Session, Terms, Turn},
        },
    },
};

const MAX_BYTES: usize = 200;

fn open(protocol: MailProtocol) -> Session {
    let recipients = ["bounces+*@example.com", "lists.example.com"];
    let terms = Terms {
        hostname: "mx.example.com".to_owned(),
        protocol,
        recipients: recipients.iter().filter_map(|text| RecipientPattern::parse(text)).collect(),
        max_bytes: MAX_BYTES,
        tls: false,
        require_tls: false,
        budget: Budget::new(10 * MAX_BYTES),
    };
    Session::new(Arc::new(terms), Box::new(Open))
}

/// What it says to these pieces, and the mails.
fn talk(mut session: Session, pieces: &[&[u8]]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut said, mut mails, mut input) = (Vec::new(), Vec::new(), BytesMut::new());
    session.greet();
    said.extend(session.take_output());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let turn = session.advance(&mut input);
            said.extend(session.take_output());
            match turn {
                Turn::More => break,
                Turn::Close => return (said, mails),
                Turn::StartTls => unreachable!("it is not offered"),
                Turn::Mail(mail) => {
                    assert!(mail.content.len() <= MAX_BYTES && !mail.recipients.is_empty());
                    assert!(mail.recipients.iter().all(|to| to.to_lowercase().contains("example.com")));
                    mails.push(mail.content);
                    session.answer(if mails.len() % 2 == 0 { Taking::Later } else { Taking::Committed });
                }
            }
        }
    }
    (said, mails)
}

/// Checks one input.
pub fn check(data: &[u8]) {
    let Some((&choice, script)) = data.split_first() else { return };
    let protocol = if choice & 1 == 0 { MailProtocol::Smtp } else { MailProtocol::Lmtp };
    let whole = talk(open(protocol), &[script]);
    for line in whole.0.split_inclusive(|byte| *byte == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() > 5 && line[..3].iter().all(u8::is_ascii_digit));
    }
    let pieces: Vec<&[u8]> = script.chunks(usize::from(choice >> 1).max(1)).collect();
    assert_eq!(talk(open(protocol), &pieces), whole);
}
