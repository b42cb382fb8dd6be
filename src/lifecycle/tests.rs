use std::{convert::Infallible, sync::atomic::AtomicUsize, sync::atomic::Ordering};

use tokio::sync::mpsc;

use super::*;

fn started(supervisor: Supervisor) -> (Lifecycle, mpsc::Sender<Signal>) {
    let (send, receive) = mpsc::channel(8);
    (Lifecycle::new(Signals::from_channel(receive), supervisor, DEFAULT_DRAIN), send)
}

/// A supervisor that writes down what it hears, one message an entry.
fn recorder(watchdog: Option<Duration>) -> (Supervisor, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let pen = Arc::clone(&heard);
    let supervisor = Supervisor::calling(
        move |states| {
            let words: Vec<_> = states.iter().map(ToString::to_string).collect();
            pen.lock().expect("pen").push(words.join(" "));
        },
        watchdog,
    );
    (supervisor, heard)
}

fn failure(result: &Result<Ending, LifecycleError>) -> (&str, &TaskFailure) {
    match result {
        Err(LifecycleError::TaskFailed { name, reason }) => (name, reason),
        other => panic!("no task failed: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_signal_drains_and_waits_for_what_is_begun() {
    let (lifecycle, signals) = started(Supervisor::none());
    let tasks = lifecycle.tasks();
    let order = Arc::new(Mutex::new(Vec::new()));
    for (name, seconds) in [("slow", 20), ("quick", 1)] {
        let (tasks, order) = (tasks.clone(), Arc::clone(&order));
        lifecycle.tasks().spawn_critical(name, async move {
            tasks.soft().cancelled().await;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert!(!tasks.hard().is_cancelled());
            order.lock().expect("order").push(name);
            Ok::<_, Infallible>(())
        });
    }
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Ok(Ending::Drained));
    assert_eq!(*order.lock().expect("order"), ["quick", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_takes_the_process_down_by_its_name() {
    let (lifecycle, _signals) = started(Supervisor::none());
    let tasks = lifecycle.tasks();
    let other = tasks.clone();
    tasks.spawn_critical("monitor", async { Err("the store is gone") });
    tasks.spawn_critical("listener", async move {
        other.soft().cancelled().await;
        Ok::<_, Infallible>(())
    });
    let result = lifecycle.run("running").await;
    assert_eq!(failure(&result), ("monitor", &TaskFailure::Error("the store is gone".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_returns_early_is_a_failure() {
    let (lifecycle, _signals) = started(Supervisor::none());
    lifecycle.tasks().spawn_critical("outbox", async { Ok::<_, Infallible>(()) });
    assert_eq!(failure(&lifecycle.run("running").await), ("outbox", &TaskFailure::Returned));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure() {
    let (lifecycle, _signals) = started(Supervisor::none());
    let hard = lifecycle.tasks().hard();
    lifecycle.tasks().spawn_critical::<Infallible>("decoder", async move {
        assert!(hard.is_cancelled(), "boom");
        Ok(())
    });
    assert_eq!(failure(&lifecycle.run("running").await), ("decoder", &TaskFailure::Panicked));
}

#[tokio::test(start_paused = true)]
async fn an_error_while_draining_is_a_failure() {
    let (lifecycle, signals) = started(Supervisor::none());
    let soft = lifecycle.tasks().soft();
    lifecycle.tasks().spawn_critical("writer", async move {
        soft.cancelled().await;
        Err("could not flush")
    });
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(failure(&lifecycle.run("running").await).0, "writer");
}

/// A task that heeds the hard token only, and the time at which it saw it.
fn stubborn(lifecycle: &Lifecycle) {
    let hard = lifecycle.tasks().hard();
    lifecycle.tasks().spawn_critical("stubborn", async move {
        hard.cancelled().await;
        Ok::<_, Infallible>(())
    });
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_hard() {
    let (lifecycle, signals) = started(Supervisor::none());
    stubborn(&lifecycle);
    let start = tokio::time::Instant::now();
    signals.send(Signal::Terminate).await.expect("send");
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Ok(Ending::Hard));
    assert!(start.elapsed() < Duration::from_secs(1), "it did not wait for the time-out");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_ends_hard() {
    let (lifecycle, signals) = started(Supervisor::none());
    stubborn(&lifecycle);
    let start = tokio::time::Instant::now();
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Ok(Ending::Hard));
    assert!((DEFAULT_DRAIN..DEFAULT_DRAIN + Duration::from_secs(1)).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn tasks_that_never_stop_are_named_after_a_bounded_wait() {
    let (lifecycle, signals) = started(Supervisor::none());
    stubborn(&lifecycle);
    lifecycle.tasks().spawn_critical::<Infallible>("deaf", std::future::pending());
    let start = tokio::time::Instant::now();
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Err(LifecycleError::TasksRemain { names: vec!["deaf".into()] }));
    let longest = DEFAULT_DRAIN + LAST_WAIT;
    assert!((longest..longest + Duration::from_secs(1)).contains(&start.elapsed()));
}

/// A part with one number as its setting; `wish` is what its file says, and odd numbers are mistakes.
struct Part {
    wish: AtomicUsize,
    value: Arc<AtomicUsize>,
    delay: Duration,
}

impl Part {
    fn wishing(wish: usize, delay: Duration) -> Arc<Self> {
        Arc::new(Self { wish: AtomicUsize::new(wish), value: Arc::default(), delay })
    }

    fn value(&self) -> usize {
        self.value.load(Ordering::SeqCst)
    }
}

impl Reload for Part {
    fn name(&self) -> &'static str {
        "part"
    }

    fn prepare(&self) -> Preparing<'_> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            let wish = self.wish.load(Ordering::SeqCst);
            if !wish.is_multiple_of(2) {
                return Err("odd".into());
            }
            let value = Arc::clone(&self.value);
            Ok(Box::new(move || value.store(wish, Ordering::SeqCst)) as Commit)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_is_all_or_nothing() {
    let (supervisor, heard) = recorder(None);
    let (mut lifecycle, signals) = started(supervisor);
    let (first, second) = (Part::wishing(2, Duration::ZERO), Part::wishing(3, Duration::ZERO));
    lifecycle.on_reload(Arc::<Part>::clone(&first));
    lifecycle.on_reload(Arc::<Part>::clone(&second));
    stubborn(&lifecycle);
    let soft = lifecycle.tasks().soft();
    let running = tokio::spawn(lifecycle.run("running"));

    signals.send(Signal::Reload).await.expect("send");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((first.value(), second.value()), (0, 0), "one refused, so none changed");
    assert!(!soft.is_cancelled(), "a refused reload does not stop the process");

    second.wish.store(4, Ordering::SeqCst);
    signals.send(Signal::Reload).await.expect("send");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((first.value(), second.value()), (2, 4));

    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(running.await.expect("run"), Ok(Ending::Hard));
    let heard = heard.lock().expect("heard");
    let kinds: Vec<_> = heard.iter().map(|line| line.split_whitespace().next().unwrap_or_default()).collect();
    assert_eq!(kinds, ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1", "STATUS=ending"]);
    assert!(heard.iter().any(|line| line.contains("MONOTONIC_USEC=")));
    assert!(heard.iter().any(|line| line.starts_with("STOPPING") && line.contains("EXTEND_TIMEOUT_USEC=70000000")));
}

#[tokio::test(start_paused = true)]
async fn a_signal_during_a_reload_drops_it_and_drains() {
    let (mut lifecycle, signals) = started(Supervisor::none());
    let part = Part::wishing(2, Duration::from_secs(10));
    lifecycle.on_reload(Arc::<Part>::clone(&part));
    signals.send(Signal::Reload).await.expect("send");
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Ok(Ending::Drained));
    assert_eq!(part.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_hangs_is_given_up_and_one_asked_for_meanwhile_follows() {
    let (supervisor, heard) = recorder(None);
    let (mut lifecycle, signals) = started(supervisor);
    let part = Part::wishing(2, RELOAD_TIMEOUT * 2);
    lifecycle.on_reload(Arc::<Part>::clone(&part));
    let soft = lifecycle.tasks().soft();
    let running = tokio::spawn(lifecycle.run("running"));
    signals.send(Signal::Reload).await.expect("send");
    signals.send(Signal::Reload).await.expect("send");
    tokio::time::sleep(RELOAD_TIMEOUT * 3).await;
    assert_eq!(part.value(), 0);
    assert!(!soft.is_cancelled());
    let reloads = heard.lock().expect("heard").iter().filter(|line| line.starts_with("RELOADING")).count();
    assert_eq!(reloads, 2);
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(running.await.expect("run"), Ok(Ending::Drained));
}

#[tokio::test(start_paused = true)]
async fn the_watchdog_hears_at_half_its_interval_also_while_draining() {
    let (supervisor, heard) = recorder(Some(Duration::from_secs(10)));
    let (lifecycle, signals) = started(supervisor);
    stubborn(&lifecycle);
    let running = tokio::spawn(lifecycle.run("12 feeds"));
    tokio::time::sleep(Duration::from_millis(30_100)).await;
    let beats = |heard: &Mutex<Vec<String>>| {
        heard.lock().expect("heard").iter().filter(|line| line.as_str() == "WATCHDOG=1").count()
    };
    assert_eq!(beats(&heard), 6);
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(running.await.expect("run"), Ok(Ending::Hard));
    assert!(beats(&heard) >= 6 + 11, "{}", beats(&heard));
    assert_eq!(heard.lock().expect("heard").first().map(String::as_str), Some("READY=1 STATUS=12 feeds"));
}

/// A part that keeps a queue open, as the feeds keep the writers' queue.
struct Holder(#[expect(dead_code, reason = "held, not used")] mpsc::Sender<()>);

impl Reload for Holder {
    fn name(&self) -> &'static str {
        "holder"
    }

    fn prepare(&self) -> Preparing<'_> {
        Box::pin(async { Ok(Box::new(|| ()) as Commit) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_reload_would_change_is_let_go_when_the_drain_begins() {
    let (mut lifecycle, signals) = started(Supervisor::none());
    let (work, mut queue) = mpsc::channel(1);
    lifecycle.on_reload(Arc::new(Holder(work)));
    lifecycle.tasks().spawn_critical("writer", async move {
        while queue.recv().await.is_some() {}
        Ok::<_, Infallible>(())
    });
    let start = tokio::time::Instant::now();
    signals.send(Signal::Terminate).await.expect("send");
    assert_eq!(lifecycle.run("running").await, Ok(Ending::Drained));
    assert!(start.elapsed() < Duration::from_secs(1), "the writer's queue was closed at once");
}
