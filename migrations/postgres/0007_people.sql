-- What the account map and the notices say of addresses on domains that hold ordinary mailboxes too: private or not, the
-- latest word stands. `folded` is a projection: whether the monitor counts the address's mail as relay mail. Rows outlive
-- the address: its id means nobody then, and rebuild makes the same projections.
CREATE TABLE relay_mark (
    address BIGINT  PRIMARY KEY,
    at      BIGINT  NOT NULL,
    private BOOLEAN NOT NULL,
    folded  BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX relay_mark_pending ON relay_mark (address) WHERE private <> folded;

-- Which account an address had that is forgotten: random ids that mean nobody, so that the notices about it still count
-- where an incident is explained.
CREATE TABLE tombstone (
    address BIGINT NOT NULL,
    account BIGINT NOT NULL,
    PRIMARY KEY (address, account)
);

-- The latest notice that the Apple Account is deleted, and the latest sign that its user is still there.
ALTER TABLE account ADD COLUMN deleted_at BIGINT;
ALTER TABLE account ADD COLUMN returned_at BIGINT;
CREATE INDEX account_deleted ON account (deleted_at) WHERE deleted_at IS NOT NULL;

-- What the journal's notices have said already.
UPDATE account SET
    deleted_at = (SELECT max(e.at) FROM entry e WHERE e.account = account.id AND e.kind = 1
        AND e.body::json ->> 'kind' = 'account-deleted'),
    returned_at = greatest(signed_up_at, (SELECT max(e.at) FROM entry e WHERE e.account = account.id AND e.kind = 1
        AND e.body::json ->> 'kind' = 'email-enabled'));
INSERT INTO relay_mark (address, private, at)
SELECT DISTINCT ON (address) address, (e.body::json ->> 'private')::boolean, at FROM entry e
WHERE kind = 1 AND address IS NOT NULL AND e.body::json ->> 'private' IN ('true', 'false')
ORDER BY address, at DESC, e.body::json ->> 'private' DESC;
