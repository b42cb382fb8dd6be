-- PostgreSQL's table of events changes here; SQLite keeps the same number, so that both engines are at one version.
SELECT 1;
