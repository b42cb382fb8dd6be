//! A server that speaks SQS and SNS, which `scripts/test` starts, and something that stands between it and the daemon.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode},
};
use serde_json::{Value, json};

use super::daemon::Client;

/// The account and the region of everything.
const ACCOUNT: &str = "123456789012";
pub(crate) const REGION: &str = "eu-west-1";
/// How long anything may take before the test has failed.
const LIMIT: Duration = Duration::from_mins(1);

/// The server; `None` on a laptop without one (named as skipped), never in CI.
pub(crate) fn server() -> Option<Server> {
    let url = std::env::var("RELAYWATCH_TEST_SQS").ok().filter(|url| !url.is_empty());
    assert!(
        url.is_some() || std::env::var("CI").as_deref() != Ok("true"),
        "RELAYWATCH_TEST_SQS is not set: in CI no test of queues may be skipped; run scripts/test"
    );
    let Some(url) = url else {
        println!("skipped: nothing speaks SQS (RELAYWATCH_TEST_SQS is not set)");
        return None;
    };
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    Some(Server { address: address.parse().expect("an address and a port") })
}

/// What speaks SQS and SNS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
}

impl Server {
    fn post(self, service: &str, headers: &[(&str, &str)], body: &str) -> String {
        let who = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut all = vec![("authorization", who.as_str())];
        all.extend(headers);
        let mut client = Client::new(self.address).expect("connected");
        let answer = client.request("POST", "/", &all, body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// One action of SQS, by its JSON protocol.
    pub(crate) fn sqs(self, action: &str, input: &Value) -> Value {
        let target = format!("AmazonSQS.{action}");
        let headers = [("x-amz-target", target.as_str()), ("content-type", "application/x-amz-json-1.0")];
        let text = self.post("sqs", &headers, &input.to_string());
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
    }

    /// One action of SNS, by its query protocol.
    fn sns(self, action: &str, input: &[(&str, &str)]) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).extend_pairs(input);
        self.post("sns", &[("content-type", "application/x-www-form-urlencoded")], &form.finish());
    }

    /// A fresh queue.
    pub(crate) fn queue(self) -> Queue {
        let queue = Queue { server: self, name: format!("q{:016x}", rand::random::<u64>()) };
        self.sqs("CreateQueue", &json!({ "QueueName": queue.name }));
        queue
    }

    /// A fresh topic that publishes to a queue, as it is or in envelopes.
    pub(crate) fn topic(self, queue: &Queue, raw: bool) -> Topic {
        let name = format!("t{:016x}", rand::random::<u64>());
        let arn = format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
        let endpoint = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", queue.name);
        self.sns("CreateTopic", &[("Name", &name)]);
        self.sns(
            "Subscribe",
            &[
                ("TopicArn", &arn),
                ("Protocol", "sqs"),
                ("Endpoint", &endpoint),
                ("Attributes.entry.1.key", "RawMessageDelivery"),
                ("Attributes.entry.1.value", if raw { "true" } else { "false" }),
            ],
        );
        Topic { server: self, arn }
    }
}

/// A topic of SNS.
pub(crate) struct Topic {
    server: Server,
    arn: String,
}

impl Topic {
    pub(crate) fn publish(&self, message: &str) {
        self.server.sns("Publish", &[("TopicArn", &self.arn), ("Message", message)]);
    }
}

/// A queue of SQS.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    server: Server,
    pub(crate) name: String,
}

impl Queue {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/{ACCOUNT}/{}", self.server.address, self.name)
    }

    pub(crate) fn send(&self, body: &str) {
        self.server.sqs("SendMessage", &json!({ "QueueUrl": self.url(), "MessageBody": body }));
    }

    /// Messages that anybody can have, and those that somebody has.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let found =
            self.server.sqs("GetQueueAttributes", &json!({ "QueueUrl": self.url(), "AttributeNames": ["All"] }));
        let count = |name: &str| {
            let text = found["Attributes"][name].as_str().expect("a count");
            text.parse().expect("a number")
        };
        (count("ApproximateNumberOfMessages"), count("ApproximateNumberOfMessagesNotVisible"))
    }

    /// Waits until there are so many.
    pub(crate) fn wait_for(&self, counts: (u64, u64)) {
        let deadline = Instant::now() + LIMIT;
        while self.counts() != counts {
            assert!(Instant::now() < deadline, "the queue holds {:?} instead of {counts:?}", self.counts());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Shows what somebody has to everybody, as time does.
    pub(crate) fn show(&self, handle: &str) {
        let input = json!({ "QueueUrl": self.url(), "ReceiptHandle": handle, "VisibilityTimeout": 0 });
        self.server.sqs("ChangeMessageVisibility", &input);
    }

    /// The feed's table, through whatever stands between.
    pub(crate) fn table(&self, name: Option<&str>, endpoint: SocketAddr) -> String {
        let (url, address) = (self.url(), endpoint);
        let head = name.map_or_else(|| "[feeds.sqs]".to_owned(), |name| format!("[[feeds.sqs]]\nname = \"{name}\""));
        format!(
            "{head}\nqueue_url = \"{url}\"\nregion = \"{REGION}\"\nendpoint = \"http://{address}\"\nwait_seconds = 1\n"
        )
    }
}

/// What becomes of an action on its way.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// It never gets there, and is never answered.
    Hang,
    /// It never gets there; it is answered so.
    Answer(u16, Value),
    /// The first entry of a batch never gets there, and has failed.
    FirstFails,
}

#[derive(Debug, Default)]
struct Between {
    ways: BTreeMap<String, Way>,
    /// Action and input of all requests, and the output of those that got there.
    seen: Vec<(String, Value, Value)>,
}

/// What stands between the daemon and the server.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    server: Server,
    between: Arc<Mutex<Between>>,
    client: reqwest::Client,
}

impl Proxy {
    /// Lets everything through until it's told otherwise.
    pub(crate) async fn start(server: Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = relaywatch::http_client::build(LIMIT).expect("a client");
        let address = listener.local_addr().expect("an address");
        let proxy = Self { address, server, between: Arc::default(), client };
        let router = Router::new().fallback(pass).with_state(proxy.clone());
        tokio::spawn(async move {
            #[expect(clippy::disallowed_methods, reason = "a server of a test has no slow clients")]
            axum::serve(listener, router).await
        });
        proxy
    }

    /// From now on this becomes of an action; nothing stands in its way with `None`.
    pub(crate) fn set(&self, action: &str, way: Option<Way>) {
        let ways = &mut self.between.lock().expect("the proxy").ways;
        match way {
            Some(way) => drop(ways.insert(action.to_owned(), way)),
            None => drop(ways.remove(action)),
        }
    }

    /// The inputs and outputs of an action until now.
    pub(crate) fn seen(&self, action: &str) -> Vec<(Value, Value)> {
        let between = self.between.lock().expect("the proxy");
        let seen = between.seen.iter().filter(|(of, _, _)| of == action);
        seen.map(|(_, input, output)| (input.clone(), output.clone())).collect()
    }

    /// The messages that were handed out until now, by their handles.
    pub(crate) fn handed_out(&self) -> Vec<String> {
        let messages = self
            .seen("ReceiveMessage")
            .into_iter()
            .flat_map(|(_, output)| output["Messages"].as_array().cloned().unwrap_or_default());
        messages.map(|message| message["ReceiptHandle"].as_str().expect("a handle").to_owned()).collect()
    }

    /// Waits until an action was asked for so often.
    pub(crate) async fn wait_for(&self, action: &str, count: usize) {
        let asked = async {
            while self.seen(action).len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, asked).await.expect("it is asked for");
    }
}

async fn pass(State(proxy): State<Proxy>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let action = headers.get("x-amz-target").and_then(|target| target.to_str().ok()?.rsplit('.').next()).unwrap_or("?");
    let mut input: Value = serde_json::from_slice(&body).unwrap_or_default();
    let way = {
        let mut between = proxy.between.lock().expect("the proxy");
        let way = between.ways.get(action).cloned();
        if way.is_some() {
            between.seen.push((action.to_owned(), input.clone(), Value::Null));
        }
        way
    };
    let answer = |status: u16, output: &Value| {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
        answer.body(Body::from(output.to_string())).expect("an answer")
    };
    let mut failed = None;
    match way {
        Some(Way::Hang) => std::future::pending().await,
        Some(Way::Answer(status, output)) => return answer(status, &output),
        Some(Way::FirstFails) => failed = input["Entries"].as_array_mut().map(|entries| entries.remove(0)),
        None => {}
    }
    let output = if failed.is_some() && input["Entries"].as_array().is_some_and(Vec::is_empty) {
        json!({ "Successful": [], "Failed": [] })
    } else {
        let mut request = proxy.client.post(format!("http://{}/", proxy.server.address)).body(input.to_string());
        for name in ["x-amz-target", "content-type", "authorization"] {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let reply = request.send().await.expect("the server answers");
        let status = reply.status().as_u16();
        let output: Value = serde_json::from_slice(&reply.bytes().await.expect("a body")).unwrap_or_default();
        if status != 200 {
            return answer(status, &output);
        }
        output
    };
    let mut output = if output.is_null() { json!({}) } else { output };
    if let Some(entry) = failed {
        let failure = json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError" });
        let failures = output["Failed"].as_array().cloned().unwrap_or_default();
        output["Failed"] = Value::Array(failures.into_iter().chain([failure]).collect());
    } else {
        let mut between = proxy.between.lock().expect("the proxy");
        between.seen.push((action.to_owned(), input, output.clone()));
    }
    answer(200, &output)
}
