-- The journal and its projections. Times are milliseconds since the epoch, UTC.
-- Hashes are keyed (HMAC-SHA-256, 128 bits); sealed values are AES-256-GCM under the key file.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Every word that rows refer to by number: feeds, streams, rules, provider labels, reply templates.
CREATE TABLE word (
    id     INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind   SMALLINT NOT NULL,
    digest BYTEA    NOT NULL,
    text   TEXT     NOT NULL,
    UNIQUE (kind, digest)
);

-- One sealed verbatim sample of each reply template, and when it was first met.
CREATE TABLE template_sample (
    template   INTEGER PRIMARY KEY REFERENCES word (id),
    first_seen BIGINT NOT NULL,
    sample     BYTEA
);

-- The only place that knows an address. Deleting a row forgets it; the id elsewhere then means nobody.
CREATE TABLE address (
    id     BIGINT PRIMARY KEY,
    hash   BYTEA  NOT NULL UNIQUE,
    sealed BYTEA
);

-- The only place that knows a Sign in with Apple user.
CREATE TABLE account (
    id           BIGINT PRIMARY KEY,
    hash         BYTEA  NOT NULL UNIQUE,
    team         TEXT   NOT NULL,
    sealed       BYTEA,
    address      BIGINT,
    app          TEXT,
    signed_up_at BIGINT
);
CREATE INDEX account_address ON account (address) WHERE address IS NOT NULL;

-- The journal of outcomes. `position` is the cluster's generation and the transaction id (generation * 2^48 + xid), `row`
-- the row in the transaction. Partitioned twice: by how long it is kept, then by time; the leaves are made as days come.
-- Wide columns first, so that none is padded.
CREATE TABLE event (
    position    BIGINT   NOT NULL,
    at          BIGINT   NOT NULL,
    address     BIGINT   NOT NULL,
    message     BIGINT   NOT NULL,
    sent_at     BIGINT,
    hash        BYTEA    NOT NULL,
    row         INTEGER  NOT NULL,
    stream      INTEGER  NOT NULL,
    label       INTEGER,
    template    INTEGER,
    enhanced    INTEGER,
    rule        INTEGER,
    feed        INTEGER  NOT NULL,
    kind        SMALLINT NOT NULL,
    exposure    SMALLINT NOT NULL,
    class       SMALLINT NOT NULL,
    destination SMALLINT NOT NULL,
    code        SMALLINT,
    mx          SMALLINT,
    cause       SMALLINT,
    confidence  SMALLINT,
    kept_long   BOOLEAN  NOT NULL
) PARTITION BY LIST (kept_long);
CREATE TABLE event_short PARTITION OF event FOR VALUES IN (FALSE) PARTITION BY RANGE (at);
CREATE TABLE event_long PARTITION OF event FOR VALUES IN (TRUE) PARTITION BY RANGE (at);
CREATE INDEX event_position ON event (position);
CREATE INDEX event_message ON event (address, message);

-- The journal of everything else: notices, blind windows, notes, actions, settings. `body` is JSON without personal data.
CREATE TABLE entry (
    position BIGINT   NOT NULL,
    row      INTEGER  NOT NULL,
    at       BIGINT   NOT NULL,
    hash     BYTEA    NOT NULL,
    kind     SMALLINT NOT NULL,
    account  BIGINT,
    address  BIGINT,
    body     TEXT     NOT NULL,
    PRIMARY KEY (at, hash)
);
CREATE INDEX entry_position ON entry (position);
CREATE INDEX entry_account ON entry (account) WHERE account IS NOT NULL;
CREATE INDEX entry_address ON entry (address) WHERE address IS NOT NULL;
CREATE INDEX entry_kind ON entry (kind, at);

-- The control group outside the relay domains: counts, with dedupe keys for as long as a provider can retry.
CREATE TABLE control_seen (
    at   BIGINT NOT NULL,
    hash BYTEA  NOT NULL,
    PRIMARY KEY (at, hash)
);
CREATE TABLE control_cell (
    stream    INTEGER NOT NULL,
    bin       BIGINT  NOT NULL,
    sent      BIGINT  NOT NULL DEFAULT 0,
    delivered BIGINT  NOT NULL DEFAULT 0,
    refused   BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, bin)
) WITH (fillfactor = 70);

-- Parts of deliveries that were authenticated and not understood; sealed, for a while.
CREATE TABLE set_aside (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash        BYTEA    NOT NULL UNIQUE,
    received_at BIGINT   NOT NULL,
    expires_at  BIGINT   NOT NULL,
    feed        INTEGER  NOT NULL,
    reason      SMALLINT NOT NULL,
    label       TEXT     NOT NULL,
    sealed      BYTEA    NOT NULL
);
CREATE INDEX set_aside_expiry ON set_aside (expires_at);

-- One-time tokens, each bound to the body that it came with.
CREATE TABLE one_time_token (
    hash       BYTEA PRIMARY KEY,
    digest     BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX one_time_token_expiry ON one_time_token (expires_at);

-- Projections: everything below can be thrown away and made again from the journal.
CREATE TABLE journal_cursor (
    name     TEXT PRIMARY KEY,
    position BIGINT  NOT NULL,
    row      INTEGER NOT NULL
);

CREATE TABLE cell (
    bin         BIGINT   NOT NULL,
    exposed     BIGINT   NOT NULL,
    refused     BIGINT   NOT NULL,
    delivered   BIGINT   NOT NULL,
    transient   BIGINT   NOT NULL,
    deferred    BIGINT   NOT NULL,
    complained  BIGINT   NOT NULL,
    suppressed  BIGINT   NOT NULL,
    unexposed   BIGINT   NOT NULL,
    stream      INTEGER  NOT NULL,
    destination SMALLINT NOT NULL,
    PRIMARY KEY (stream, bin, destination)
) WITH (fillfactor = 70);

CREATE TABLE ledger (
    address             BIGINT PRIMARY KEY,
    first_event_at      BIGINT NOT NULL,
    last_sent_at        BIGINT,
    last_delivered_at   BIGINT,
    last_refused_at     BIGINT,
    complained_at       BIGINT,
    unsubscribed_at     BIGINT,
    suppressed_at       BIGINT,
    last_cause          SMALLINT,
    destination         SMALLINT NOT NULL
) WITH (fillfactor = 70);
