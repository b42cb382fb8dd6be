-- The keyed hash of an event as `uuid`: the same 16 bytes, in the same order, without the length that `bytea` puts before them, which
-- costs eight bytes in each row and eight in each entry of the key's index. The leaves keep their indexes.
ALTER TABLE event ALTER COLUMN hash TYPE uuid USING encode(hash, 'hex')::uuid;
