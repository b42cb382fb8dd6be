-- What leaves by itself: pages and forwarded notices, each from the commit that made it until its sending is recorded.
-- `target` is the incident or the feed; rows that are `ordered` leave one after the other for each route and target.
-- `sealed` is AES-256-GCM under the key file, and goes when the row ends.
CREATE TABLE outbox (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    key             TEXT    NOT NULL,
    route           INTEGER NOT NULL,
    target          TEXT    NOT NULL,
    ordered         INTEGER NOT NULL,
    paced           INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    claimed_until   INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0,
    possible_repeat INTEGER NOT NULL DEFAULT 0,
    sealed          BLOB,
    receipt         TEXT,
    last_error      TEXT,
    ended_at        INTEGER,
    UNIQUE (route, key)
) STRICT;
CREATE INDEX outbox_open ON outbox (due_at) WHERE ended_at IS NULL;
CREATE INDEX outbox_target ON outbox (route, target, id);
CREATE INDEX outbox_ended ON outbox (ended_at) WHERE ended_at IS NOT NULL;
