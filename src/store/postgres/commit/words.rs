//! Numbers for the words and streams of a batch.

use std::collections::{BTreeMap, HashSet};

use sqlx::{query, query_as};

use super::marks;
use crate::{
    model::{StreamKey, Timestamp},
    privacy::Purpose,
    store::{
        NewReply, PgStore, StoreError, Submission, WordKind,
        batch::{Numbers, stream_text},
        engine::{digest_of, storable},
    },
};

impl PgStore {
    /// Numbers every word that the submissions use.
    pub(super) async fn number_words(
        &self,
        submissions: &[&Submission],
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let mut samples: Vec<(&NewReply, Timestamp)> = Vec::new();
        let mut wanted: HashSet<(WordKind, String)> = HashSet::new();
        let mut streams: HashSet<&StreamKey> = HashSet::new();
        for submission in submissions {
            wanted.insert((WordKind::Feed, submission.feed.clone()));
            for event in &submission.events {
                streams.insert(&event.stream);
                wanted.extend(event.label.iter().map(|label| (WordKind::Label, label.clone())));
                if let Some(reply) = &event.reply {
                    wanted.insert((WordKind::Rule, reply.rule.clone()));
                    if self.caches.word(WordKind::Template, &reply.template).is_none()
                        && wanted.insert((WordKind::Template, reply.template.clone()))
                    {
                        samples.push((reply, event.key.at));
                    } else {
                        wanted.insert((WordKind::Template, reply.template.clone()));
                    }
                }
            }
            streams.extend(submission.control.iter().map(|c| &c.stream));
        }
        self.number(wanted, &streams, numbers).await?;
        for (reply, at) in samples {
            // One transaction each, so that no two processes wait for each other's samples in a ring.
            let mut transaction = self.pool.begin().await?;
            marks(&mut transaction).await?.heed(&self.caches, &self.keyring);
            let owner = digest_of(&reply.template);
            let sample = self.keyring.seal(Purpose::Sample, &owner, reply.sample.as_bytes())?;
            query(
                "INSERT INTO template_sample (template, first_seen, sample) VALUES ($1, $2, $3) \
                 ON CONFLICT (template) DO NOTHING",
            )
            .bind(numbers.word(WordKind::Template, &reply.template)?)
            .bind(at.as_millis())
            .bind(self.sealed.then_some(sample))
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Numbers words and streams, making rows for new ones.
    async fn number(
        &self,
        mut wanted: HashSet<(WordKind, String)>,
        streams: &HashSet<&StreamKey>,
        numbers: &mut Numbers,
    ) -> Result<(), StoreError> {
        let mut unnumbered: Vec<(&StreamKey, String)> = Vec::new();
        for key in streams {
            if let Some(id) = self.caches.stream(key) {
                numbers.words.insert_stream(key, id);
            } else {
                let text = stream_text(key);
                wanted.insert((WordKind::Stream, text.clone()));
                unnumbered.push((key, text));
            }
        }
        self.number_texts(wanted, numbers).await?;
        for (key, text) in unnumbered {
            numbers.words.insert_stream(key, numbers.word(WordKind::Stream, &text)?);
        }
        Ok(())
    }

    async fn number_texts(&self, wanted: HashSet<(WordKind, String)>, numbers: &mut Numbers) -> Result<(), StoreError> {
        let mut unknown: BTreeMap<(i16, [u8; 16]), (WordKind, String)> = BTreeMap::new();
        for (kind, text) in wanted {
            if let Some(id) = self.caches.word(kind, &text) {
                numbers.words.insert(kind, text, id);
            } else {
                unknown.insert((kind.code(), digest_of(&text)), (kind, text));
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let kinds: Vec<i16> = unknown.keys().map(|(kind, _)| *kind).collect();
        let digests: Vec<Vec<u8>> = unknown.keys().map(|(_, digest)| digest.to_vec()).collect();
        let texts: Vec<String> = unknown.values().map(|(_, text)| storable(text).into_owned()).collect();
        query(
            "INSERT INTO word (kind, digest, text) SELECT k, d, t FROM unnest($1::smallint[], $2::bytea[], $3::text[]) \
             AS w (k, d, t) WHERE NOT EXISTS (SELECT FROM word o WHERE o.kind = k AND o.digest = d) ORDER BY k, d \
             ON CONFLICT (kind, digest) DO NOTHING",
        )
        .bind(&kinds)
        .bind(&digests)
        .bind(&texts)
        .execute(&self.pool)
        .await?;
        let found: Vec<(i16, Vec<u8>, i32)> = query_as(
            "SELECT w.kind, w.digest, w.id FROM word w JOIN unnest($1::smallint[], $2::bytea[]) AS u (k, d) \
             ON w.kind = u.k AND w.digest = u.d",
        )
        .bind(&kinds)
        .bind(&digests)
        .fetch_all(&self.pool)
        .await?;
        let ids: Vec<i32> = found.iter().map(|(_, _, id)| *id).collect();
        query("UPDATE word SET unused_since = NULL WHERE id = ANY ($1) AND unused_since IS NOT NULL")
            .bind(&ids)
            .execute(&self.pool)
            .await?;
        for (kind, digest, id) in found {
            if let Ok(digest) = <[u8; 16]>::try_from(digest)
                && let Some((kind, text)) = unknown.remove(&(kind, digest))
            {
                numbers.words.insert(kind, text, id);
            }
        }
        Ok(())
    }

    /// The numbers of rules, as `file/name@version`, in their order; those that are new get one.
    pub(in crate::store) async fn rule_ids<'a>(
        &self,
        rules: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Vec<i32>, StoreError> {
        let mut numbers = Numbers::default();
        marks(&mut *self.pool.acquire().await?).await?.heed(&self.caches, &self.keyring);
        let wanted = rules.clone().map(|rule| (WordKind::Rule, rule.to_owned())).collect();
        self.number_texts(wanted, &mut numbers).await?;
        let ids = rules.map(|rule| numbers.word(WordKind::Rule, rule)).collect();
        self.caches.keep_words(numbers.words);
        ids
    }

    pub(in crate::store) async fn stream_ids(&self, keys: &[StreamKey]) -> Result<Vec<i32>, StoreError> {
        let mut numbers = Numbers::default();
        marks(&mut *self.pool.acquire().await?).await?.heed(&self.caches, &self.keyring);
        self.number(HashSet::new(), &keys.iter().collect(), &mut numbers).await?;
        let ids = keys.iter().map(|key| numbers.stream(key)).collect();
        self.caches.keep_words(numbers.words);
        ids
    }
}
