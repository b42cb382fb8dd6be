-- What the account map and the notices say of addresses on domains that hold ordinary mailboxes too: private or not, the
-- latest word stands. `folded` is a projection: whether the monitor counts the address's mail as relay mail. Rows outlive
-- the address: its id means nobody then, and rebuild makes the same projections.
CREATE TABLE relay_mark (
    address INTEGER PRIMARY KEY,
    private INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    folded  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX relay_mark_pending ON relay_mark (address) WHERE private <> folded;

-- Which account an address had that is forgotten: random ids that mean nobody, so that the notices about it still count
-- where an incident is explained.
CREATE TABLE tombstone (
    address INTEGER NOT NULL,
    account INTEGER NOT NULL,
    PRIMARY KEY (address, account)
) STRICT, WITHOUT ROWID;

-- The latest notice that the Apple Account is deleted, and the latest sign that its user is still there.
ALTER TABLE account ADD COLUMN deleted_at INTEGER;
ALTER TABLE account ADD COLUMN returned_at INTEGER;
CREATE INDEX account_deleted ON account (deleted_at) WHERE deleted_at IS NOT NULL;

-- What the journal's notices have said already.
UPDATE account SET
    deleted_at = (SELECT max(e.at) FROM entry e WHERE e.account = account.id AND e.kind = 1
        AND e.body ->> 'kind' = 'account-deleted'),
    returned_at = (SELECT max(e.at) FROM entry e WHERE e.account = account.id AND e.kind = 1
        AND e.body ->> 'kind' = 'email-enabled');
UPDATE account SET returned_at = max(ifnull(returned_at, signed_up_at), signed_up_at) WHERE signed_up_at IS NOT NULL;
INSERT INTO relay_mark (address, private, at)
SELECT address, e.body ->> 'private', max(at) FROM entry e
WHERE kind = 1 AND address IS NOT NULL AND json_type(e.body, '$.private') IN ('true', 'false') GROUP BY address;
