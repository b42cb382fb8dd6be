-- When each kind of notice last happened to an account, and to an address that it named: what a person said of their consent
-- holds for as long as the person is known, longer than the journal's entries are kept. Ids are those of `account` and `address`.
CREATE TABLE latest_notice (
    id      BIGINT   NOT NULL,
    at      BIGINT   NOT NULL,
    kind    SMALLINT NOT NULL,
    account BOOLEAN  NOT NULL,
    PRIMARY KEY (id, account, kind)
) WITH (fillfactor = 70);
INSERT INTO latest_notice (id, account, kind, at)
SELECT id, account, kind, max(at) FROM (
    SELECT e.account AS id, TRUE AS account, e.body::json ->> 'kind' AS name, e.at FROM entry e
        WHERE e.kind = 1 AND e.account IS NOT NULL
    UNION ALL SELECT e.address, FALSE, e.body::json ->> 'kind', e.at FROM entry e
        WHERE e.kind = 1 AND e.address IS NOT NULL
) n JOIN (VALUES ('email-disabled', 1), ('email-enabled', 2), ('consent-revoked', 3), ('account-deleted', 4)) AS k (name, kind)
    USING (name)
GROUP BY id, account, kind;
