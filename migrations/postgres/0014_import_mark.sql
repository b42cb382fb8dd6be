-- As what a file was imported, and which of its records were no good: without that, a second run would be silent about both.
ALTER TABLE import_file ADD COLUMN format SMALLINT;
ALTER TABLE import_file ADD COLUMN exposure SMALLINT;
-- JSON: how many, and the places of the first of them; nothing of what they hold.
ALTER TABLE import_file ADD COLUMN faults TEXT;
