-- Who leads the monitors: one row, compared with this database's clock alone. Every write of a leader locks it in its own
-- transaction, so that a takeover waits for those under way and refuses those that come later. An epoch names one reign
-- and never comes again; `holder` is the leader's random id, for people.
CREATE TABLE lease (
    name       TEXT PRIMARY KEY,
    epoch      BIGINT NOT NULL,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
INSERT INTO lease (name, epoch, holder, expires_at) VALUES ('monitor', 0, '', 0);
