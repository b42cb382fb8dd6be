-- The journal and its projections. Times are milliseconds since the epoch, UTC.
-- Hashes are keyed (HMAC-SHA-256, 128 bits); sealed values are AES-256-GCM under the key file.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every word that rows refer to by number: feeds, streams, rules, provider labels, reply templates.
CREATE TABLE word (
    id     INTEGER PRIMARY KEY,
    kind   INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    text   TEXT    NOT NULL,
    UNIQUE (kind, digest)
) STRICT;

-- One sealed verbatim sample of each reply template, and when it was first met.
CREATE TABLE template_sample (
    template   INTEGER PRIMARY KEY REFERENCES word (id),
    first_seen INTEGER NOT NULL,
    sample     BLOB
) STRICT;

-- The only place that knows an address. Deleting a row forgets it; the id elsewhere then means nobody.
CREATE TABLE address (
    id      INTEGER PRIMARY KEY,
    hash    BLOB    NOT NULL UNIQUE,
    sealed  BLOB
) STRICT;

-- The only place that knows a Sign in with Apple user.
CREATE TABLE account (
    id           INTEGER PRIMARY KEY,
    hash         BLOB    NOT NULL UNIQUE,
    team         TEXT    NOT NULL,
    sealed       BLOB,
    address      INTEGER,
    app          TEXT,
    signed_up_at INTEGER
) STRICT;
CREATE INDEX account_address ON account (address) WHERE address IS NOT NULL;

-- The journal of outcomes. `position` is the order of commit.
CREATE TABLE event (
    position    INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    kind        INTEGER NOT NULL,
    feed        INTEGER NOT NULL,
    exposure    INTEGER NOT NULL,
    class       INTEGER NOT NULL,
    destination INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    address     INTEGER NOT NULL,
    message     INTEGER NOT NULL,
    sent_at     INTEGER,
    label       INTEGER,
    template    INTEGER,
    code        INTEGER,
    enhanced    INTEGER,
    mx          INTEGER,
    cause       INTEGER,
    rule        INTEGER,
    confidence  INTEGER
) STRICT;
CREATE UNIQUE INDEX event_key ON event (at, hash);
CREATE INDEX event_message ON event (address, message);

-- The journal of everything else: notices, blind windows, notes, actions, settings. `body` is JSON without personal data.
CREATE TABLE entry (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    kind     INTEGER NOT NULL,
    account  INTEGER,
    address  INTEGER,
    body     TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX entry_key ON entry (at, hash);
CREATE INDEX entry_account ON entry (account) WHERE account IS NOT NULL;
CREATE INDEX entry_address ON entry (address) WHERE address IS NOT NULL;
CREATE INDEX entry_kind ON entry (kind, at);

-- The control group outside the relay domains: counts, with dedupe keys for as long as a provider can retry.
CREATE TABLE control_seen (
    at   INTEGER NOT NULL,
    hash BLOB    NOT NULL,
    PRIMARY KEY (at, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE control_cell (
    stream    INTEGER NOT NULL,
    bin       INTEGER NOT NULL,
    sent      INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    refused   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, bin)
) STRICT, WITHOUT ROWID;

-- Parts of deliveries that were authenticated and not understood; sealed, for a while.
CREATE TABLE set_aside (
    id          INTEGER PRIMARY KEY,
    hash        BLOB    NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    feed        INTEGER NOT NULL,
    reason      INTEGER NOT NULL,
    label       TEXT    NOT NULL,
    sealed      BLOB    NOT NULL
) STRICT;
CREATE INDEX set_aside_expiry ON set_aside (expires_at);

-- One-time tokens, each bound to the body that it came with.
CREATE TABLE one_time_token (
    hash       BLOB PRIMARY KEY,
    digest     BLOB    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX one_time_token_expiry ON one_time_token (expires_at);

-- Projections: everything below can be thrown away and made again from the journal.
CREATE TABLE journal_cursor (
    name     TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    row      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cell (
    destination INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    bin         INTEGER NOT NULL,
    exposed     INTEGER NOT NULL,
    refused     INTEGER NOT NULL,
    delivered   INTEGER NOT NULL,
    transient   INTEGER NOT NULL,
    deferred    INTEGER NOT NULL,
    complained  INTEGER NOT NULL,
    suppressed  INTEGER NOT NULL,
    unexposed   INTEGER NOT NULL,
    PRIMARY KEY (stream, bin, destination)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    address           INTEGER PRIMARY KEY,
    first_event_at    INTEGER NOT NULL,
    last_sent_at      INTEGER,
    last_delivered_at INTEGER,
    last_refused_at   INTEGER,
    last_cause        INTEGER,
    complained_at     INTEGER,
    unsubscribed_at   INTEGER,
    suppressed_at     INTEGER,
    destination       INTEGER NOT NULL
) STRICT;
