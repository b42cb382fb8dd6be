-- When each kind of notice last happened to an account, and to an address that it named: what a person said of their consent
-- holds for as long as the person is known, longer than the journal's entries are kept. Ids are those of `account` and `address`.
CREATE TABLE latest_notice (
    id      INTEGER NOT NULL,
    account INTEGER NOT NULL,
    kind    INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (id, account, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO latest_notice (id, account, kind, at)
SELECT id, account, CASE name WHEN 'email-disabled' THEN 1 WHEN 'email-enabled' THEN 2 WHEN 'consent-revoked' THEN 3 ELSE 4 END,
    max(at) FROM (
    SELECT e.account AS id, TRUE AS account, e.body ->> 'kind' AS name, e.at FROM entry e
        WHERE e.kind = 1 AND e.account IS NOT NULL
    UNION ALL SELECT e.address, FALSE, e.body ->> 'kind', e.at FROM entry e
        WHERE e.kind = 1 AND e.address IS NOT NULL
) WHERE name IN ('email-disabled', 'email-enabled', 'consent-revoked', 'account-deleted') GROUP BY 1, 2, 3;
