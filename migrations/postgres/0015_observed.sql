-- A projection: the last observation of each record, source and stream that is watched in DNS, and of what is wrong with it. The
-- journal has all of them; `rebuild` makes the rows again. `looked_at` is when it was last looked at, changed or not.
CREATE TABLE observed (
    about     TEXT PRIMARY KEY,
    at        BIGINT NOT NULL,
    body      TEXT   NOT NULL,
    looked_at BIGINT
);
