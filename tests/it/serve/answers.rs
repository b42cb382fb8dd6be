//! What providers wait for beside a status, when an endpoint is set up and after: methods other than POST, and bodies.

use serde_json::{Value, json};

use crate::support::{
    Engine,
    daemon::{AZURE_TOKEN, Answer, Client, Daemon, ELASTICEMAIL_TOKEN, Home},
    payload,
};

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut client = Client::new(daemon.public).expect("connected");
    client.request(method, path, headers, body.as_bytes()).expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_are_answered_and_other_methods_are_refused() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite is always there");
    let daemon = home.start();

    let azure = format!("/in/azure?token={AZURE_TOKEN}");
    let origin = [("webhook-request-origin", "eventgrid.azure.net")];
    let answer = ask(&daemon, "OPTIONS", &azure, &origin, "");
    assert_eq!((answer.status, answer.header("webhook-allowed-origin")), (200, Some("eventgrid.azure.net")));
    assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
    assert_eq!(ask(&daemon, "OPTIONS", "/in/azure", &origin, "").status, 401, "not without the token");
    let validation = json!([{ "id": "1", "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "data": { "validationCode": "512d38b6", "validationUrl": "http://127.0.0.1:1/" } }]);
    let answer = ask(&daemon, "POST", &azure, &[("aeg-event-type", "SubscriptionValidation")], &validation.to_string());
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
    assert_eq!(body, json!({ "validationResponse": "512d38b6" }));

    let elastic = format!("/in/elasticemail?token={ELASTICEMAIL_TOKEN}");
    assert_eq!(ask(&daemon, "GET", &elastic, &[], "").status, 200);
    let address = payload::relay_address(1).replace('@', "%40");
    let query = format!("{elastic}&to={address}&status=Sent&date=2026-11-01%2006:00:00&messageid=1");
    assert_eq!(ask(&daemon, "HEAD", &query, &[], "").status, 200, "a question, of which nothing is taken");
    assert_eq!(daemon.metric("relaywatch_journal_rows_added_total"), 0);
    assert_eq!(ask(&daemon, "GET", &query, &[], "").status, 200);
    daemon.wait_for_metric("relaywatch_journal_rows_added_total", 1);
    assert_eq!(ask(&daemon, "GET", "/in/elasticemail", &[], "").status, 401);

    for (method, path, allowed) in
        [("GET", "/in/ses", "POST"), ("PUT", "/in/azure", "POST, OPTIONS"), ("DELETE", "/in/elasticemail", "POST, GET")]
    {
        let answer = ask(&daemon, method, path, &[], "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allowed)), "{method} {path}");
        assert!(answer.text().contains(allowed), "{}", answer.text());
        let feed = path.trim_start_matches("/in/");
        assert!(answer.text().contains(&format!("the feed {feed} is here, for its provider")), "{}", answer.text());
    }
    assert_eq!(ask(&daemon, "GET", "/in/none", &[], "").status, 404);
    let log = daemon.stop();
    for secret in [AZURE_TOKEN, ELASTICEMAIL_TOKEN, "@privaterelay", "%40privaterelay", "127.0.0.1:1/"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}
