-- What leaves by itself: pages and forwarded notices, each from the commit that made it until its sending is recorded.
-- `target` is the incident or the feed; rows that are `ordered` leave one after the other for each route and target.
-- `sealed` is AES-256-GCM under the key file, and goes when the row ends.
CREATE TABLE outbox (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key             TEXT     NOT NULL,
    route           SMALLINT NOT NULL,
    target          TEXT     NOT NULL,
    ordered         BOOLEAN  NOT NULL,
    paced           BOOLEAN  NOT NULL,
    created_at      BIGINT   NOT NULL,
    due_at          BIGINT   NOT NULL,
    state           SMALLINT NOT NULL,
    claimed_until   BIGINT,
    attempts        INTEGER  NOT NULL DEFAULT 0,
    possible_repeat BOOLEAN  NOT NULL DEFAULT FALSE,
    sealed          BYTEA,
    receipt         TEXT,
    last_error      TEXT,
    ended_at        BIGINT,
    UNIQUE (route, key)
);
CREATE INDEX outbox_open ON outbox (due_at) WHERE ended_at IS NULL;
CREATE INDEX outbox_target ON outbox (route, target, id);
CREATE INDEX outbox_ended ON outbox (ended_at) WHERE ended_at IS NOT NULL;
