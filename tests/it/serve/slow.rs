//! Clients that dawdle are cut off, and nobody else waits for them.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use crate::support::{
    Engine,
    daemon::{Client, Home, SPARKPOST_TOKEN, head, now},
    payload,
};

#[tokio::test]
async fn slow_clients_are_cut_off_and_the_others_go_on() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    home.configure(&format!("[limits]\nrequest_timeout_seconds = 1\n{}", Home::feeds()));
    let daemon = home.start();
    let authorization = format!("Bearer {SPARKPOST_TOKEN}");
    let headers = [("authorization", authorization.as_str())];

    let mut in_headers = Client::new(daemon.public).expect("connected");
    in_headers.stream.write_all(b"POST /in/sparkpost HTTP/1.1\r\nhost: loc").expect("sent");
    let mut in_body = Client::new(daemon.public).expect("connected");
    in_body.stream.write_all(head("POST", "/in/sparkpost", &headers, 10_000).as_bytes()).expect("sent");

    // A byte now and then does not buy time: the request as a whole has its limit.
    let dribble = in_body.stream.try_clone().expect("cloned");
    let dribbling = std::thread::spawn(move || {
        let mut dribble = dribble;
        while dribble.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let mut other = Client::new(daemon.public).expect("connected");
    let began = Instant::now();
    let mut number = 0;
    let cut_off = std::thread::spawn(move || (in_body.answer().expect("an answer").status, began.elapsed()));
    while !cut_off.is_finished() {
        number += 1;
        let body = payload::sparkpost_batch([payload::sparkpost(number, now().as_millis(), false)]);
        let answer = other.request("POST", "/in/sparkpost", &headers, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let (status, after) = cut_off.join().expect("a status");
    assert_eq!(status, 408);
    assert!(after < Duration::from_secs(10), "{after:?}");
    assert!(number > 1, "the others went on");
    dribbling.join().expect("its connection was closed");

    let mut left = Vec::new();
    in_headers.stream.read_to_end(&mut left).expect("the connection was closed");
    assert!(!String::from_utf8_lossy(&left).contains(" 200 "));
    assert_eq!(daemon.metric("relaywatch_feed_rejections_total{feed=\"sparkpost\",reason=\"malformed\"}"), 1);
    daemon.stop();
}
