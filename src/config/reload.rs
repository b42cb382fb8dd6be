//! What a running process takes up of a changed configuration, and what waits for a restart.

use super::{Config, Feeds, Limits, Log};

impl Config {
    /// The settings that differ and that a running process can't take up: `[store]`, or `[limits] max_connections`.
    #[must_use]
    pub fn diff_needs_restart(old: &Self, new: &Self) -> Vec<&'static str> {
        new.clone().taken_up_by(old).1
    }

    /// What differs, in words: `feeds + braze`, `feeds: ses`, `notify`.
    #[must_use]
    pub fn changes(old: &Self, new: &Self) -> Vec<String> {
        // Every section stands here; where the settings come from is no setting.
        let Self {
            listen,
            store,
            relay,
            team,
            canary,
            dns,
            feeds: to,
            notify,
            privacy,
            rules,
            detect,
            limits,
            log,
            lifecycle,
            provenance: _,
        } = new;
        let mut all = Feeds::changes(&old.feeds, to);
        let sections = [
            (*listen != old.listen, "listen"),
            (*store != old.store, "store"),
            (*relay != old.relay, "relay"),
            (*team != old.team, "team"),
            (*canary != old.canary, "canary"),
            (*dns != old.dns, "dns"),
            (*notify != old.notify, "notify"),
            (*privacy != old.privacy, "privacy"),
            (*rules != old.rules, "rules"),
            (*detect != old.detect, "detect"),
            (*limits != old.limits, "limits"),
            (*log != old.log, "log"),
            (*lifecycle != old.lifecycle, "lifecycle"),
        ];
        all.extend(sections.into_iter().filter(|(changed, _)| *changed).map(|(_, name)| name.to_owned()));
        all
    }

    /// This configuration as a process that runs by `running` can take it up: what needs a restart stays as it is, and is
    /// named.
    ///
    /// Every section stands here, and every key of a section of which one part is taken up and another isn't: a new one
    /// doesn't compile until somebody has decided.
    #[must_use]
    pub fn taken_up_by(mut self, running: &Self) -> (Self, Vec<&'static str>) {
        fn keep<T: PartialEq + Clone>(new: &mut T, old: &T, name: &'static str, left: &mut Vec<&'static str>) {
            if new != old {
                new.clone_from(old);
                left.push(name);
            }
        }

        let Self {
            // Bound, opened and created once.
            listen,
            store,
            privacy,
            // Each mailbox has a task that keeps its connection.
            canary,
            // The detectors' state was built by them.
            detect,
            // The endpoint, the operators' socket, the feeds and the notifiers are exchanged as wholes.
            relay: _,
            team: _,
            feeds: _,
            notify: _,
            // Read anew with every reload.
            rules: _,
            // The watch takes up the servers and its budget.
            dns: _,
            limits,
            log,
            lifecycle,
            provenance,
        } = &mut self;
        let Limits { body_bytes: _, request_timeout_seconds: _, max_connections, max_concurrent_requests } = limits;
        let Log { level: _, format } = log;

        let mut left = Vec::new();
        keep(listen, &running.listen, "[listen]", &mut left);
        keep(store, &running.store, "[store]", &mut left);
        keep(privacy, &running.privacy, "[privacy]", &mut left);
        keep(canary, &running.canary, "[[canary]]", &mut left);
        keep(detect, &running.detect, "[detect]", &mut left);
        keep(max_connections, &running.limits.max_connections, "[limits] max_connections", &mut left);
        keep(
            max_concurrent_requests,
            &running.limits.max_concurrent_requests,
            "[limits] max_concurrent_requests",
            &mut left,
        );
        keep(format, &running.log.format, "[log] format", &mut left);
        keep(lifecycle, &running.lifecycle, "[lifecycle]", &mut left);
        provenance.state_directory.clone_from(&running.provenance.state_directory);
        (self, left)
    }
}
