//! Keys for personal data: keyed hashes that identify, sealed forms that can be opened again.
//!
//! The key file lies outside the database. Without it, the database tells nothing about any address; with only the
//! hash key, it tells whether a given address is in it; with the sealing keys, stored addresses can be read.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
/// How long a process waits at least before it looks into the key file again for keys that it does not know.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it waits at least before it says again that its key file lacks a key.
const WARN_AGAIN: Duration = Duration::from_mins(1);

/// What a keyed hash or a sealed value is about. Values of different purposes never equal each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A mail address, in its comparison form.
    Address,
    /// An account: team and `sub`.
    Subject,
    /// What makes an event the same event.
    Event,
    /// A provider's message id together with its recipient.
    Message,
    /// A one-time token.
    Token,
    /// A body that was set aside.
    Body,
    /// One verbatim sample of a reply template.
    Sample,
    /// What waits in the outbox.
    Outbox,
    /// The mark of a canary.
    Canary,
}

impl Purpose {
    const fn separator(self) -> &'static [u8] {
        match self {
            Self::Address => b"address\0",
            Self::Subject => b"subject\0",
            Self::Event => b"event\0",
            Self::Message => b"message\0",
            Self::Token => b"token\0",
            Self::Body => b"body\0",
            Self::Sample => b"sample\0",
            Self::Outbox => b"outbox\0",
            Self::Canary => b"canary\0",
        }
    }
}

/// Why a key file or a sealed value can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivacyError {
    /// The key file can't be read.
    #[error("cannot read the key file {}", path.display())]
    Read {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file can't be written.
    #[error("cannot write the key file {}", path.display())]
    Write {
        /// Where it shall lie.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file is no key file.
    #[error("{} is no relaywatch key file: {reason}", path.display())]
    Invalid {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it; never a part of a key.
        reason: &'static str,
    },
    /// The machine gives no random numbers.
    #[error("the system's random number generator failed")]
    Random,
    /// The value was sealed by a key that is not in the key file.
    #[error(
        "the value was sealed with key {key}, which the key file {file} lacks; copy the key file from the process where the keys \
         were rotated, or restore its backup"
    )]
    UnknownKey {
        /// The key's id.
        key: u16,
        /// Where the key file lies.
        file: String,
    },
    /// The value was changed, or belongs to something else.
    #[error("the sealed value does not open: it was changed or belongs to something else")]
    Broken,
}

/// The form of the key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    hash_key: String,
    current: u16,
    sealing_keys: BTreeMap<u16, String>,
}

/// The keys that seal, by id. One of them seals now; the others only open.
struct Sealing {
    keys: BTreeMap<u16, (RandomizedNonceKey, Zeroizing<Vec<u8>>)>,
    current: u16,
}

impl Sealing {
    fn new(raw: BTreeMap<u16, Zeroizing<Vec<u8>>>, current: u16) -> Option<Self> {
        if !raw.contains_key(&current) {
            return None;
        }
        let keys = raw
            .into_iter()
            .map(|(id, raw)| Some((id, (RandomizedNonceKey::new(&AES_256_GCM, &raw).ok()?, raw))))
            .collect::<Option<BTreeMap<_, _>>>()?;
        Some(Self { keys, current })
    }

    fn raw(&self) -> BTreeMap<u16, Zeroizing<Vec<u8>>> {
        self.keys.iter().map(|(id, (_, raw))| (*id, raw.clone())).collect()
    }
}

/// The keys of one installation. Sealing keys can be rotated while the process runs; the hash key never changes.
pub struct Keyring {
    hash_key: hmac::Key,
    raw_hash_key: Zeroizing<Vec<u8>>,
    sealing: RwLock<Sealing>,
    /// The key file, which other processes may share; none for keys that live in memory only.
    file: Option<PathBuf>,
    /// When the key file was last looked into for unknown keys.
    looked: Mutex<Option<Instant>>,
    /// When it was last said that the key file lacks the key that was announced.
    warned: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sealing = self.read();
        write!(f, "Keyring({} sealing keys, current {})", sealing.keys.len(), sealing.current)
    }
}

impl Keyring {
    /// Fresh keys, for a new installation.
    ///
    /// # Errors
    /// Where the machine gives no random numbers.
    pub fn generate() -> Result<Self, PrivacyError> {
        let mut sealing = BTreeMap::new();
        sealing.insert(1, random_key()?);
        Self::assemble(random_key()?, sealing, 1, None).ok_or(PrivacyError::Random)
    }

    fn assemble(
        hash_key: Zeroizing<Vec<u8>>,
        sealing: BTreeMap<u16, Zeroizing<Vec<u8>>>,
        current: u16,
        file: Option<PathBuf>,
    ) -> Option<Self> {
        if hash_key.len() != KEY_BYTES {
            return None;
        }
        Some(Self {
            hash_key: hmac::Key::new(hmac::HMAC_SHA256, &hash_key),
            raw_hash_key: hash_key,
            sealing: RwLock::new(Sealing::new(sealing, current)?),
            file,
            looked: Mutex::new(None),
            warned: Mutex::new(None),
        })
    }

    // A poisoned lock guards keys that are whole: they are exchanged in one step.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Sealing> {
        self.sealing.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(&self, sealing: Sealing) {
        *self.sealing.write().unwrap_or_else(PoisonError::into_inner) = sealing;
    }

    /// Reads the key file.
    ///
    /// # Errors
    /// Where it's missing, unreadable or no key file.
    pub fn load(path: &Path) -> Result<Self, PrivacyError> {
        let text = Zeroizing::new(
            fs::read_to_string(path).map_err(|source| PrivacyError::Read { path: path.to_owned(), source })?,
        );
        let invalid = |reason| PrivacyError::Invalid { path: path.to_owned(), reason };
        let file: KeyFile =
            serde_json::from_str(&text).map_err(|_| invalid("it is not the JSON that relaywatch wrote"))?;
        if file.version != 1 {
            return Err(invalid("its version is newer than this relaywatch"));
        }
        let decode = |text: &str| BASE64.decode(text).map(Zeroizing::new).map_err(|_| invalid("a key is no base64"));
        let sealing = file
            .sealing_keys
            .iter()
            .map(|(id, key)| Ok((*id, decode(key)?)))
            .collect::<Result<BTreeMap<_, _>, PrivacyError>>()?;
        Self::assemble(decode(&file.hash_key)?, sealing, file.current, Some(path.to_owned()))
            .ok_or_else(|| invalid("a key has the wrong length, or the current one is missing"))
    }

    /// Reads the key file, or makes one (mode 0600) where there is none. Gives whether it was made.
    ///
    /// # Errors
    /// As [`Keyring::load`]; and where the file can't be written.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), PrivacyError> {
        match Self::load(path) {
            Err(PrivacyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let keyring = Self { file: Some(path.to_owned()), ..Self::generate()? };
                match keyring.write(path, true) {
                    Ok(()) => Ok((keyring, true)),
                    // Somebody else made it in the meantime: theirs is the one.
                    Err(PrivacyError::Write { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                        Ok((Self::load(path)?, false))
                    }
                    Err(error) => Err(error),
                }
            }
            other => other.map(|keyring| (keyring, false)),
        }
    }

    /// Writes the key file whole (mode 0600): first beside it, then moved in place, so that a crash leaves the old one.
    ///
    /// # Errors
    /// Where the folder can't be written; with `new`, also where the file exists.
    pub fn write(&self, path: &Path, new: bool) -> Result<(), PrivacyError> {
        let sealing = self.read();
        let (keys, current) = (sealing.raw(), sealing.current);
        drop(sealing);
        self.write_file(path, &keys, current, new)
    }

    fn write_file(
        &self,
        path: &Path,
        keys: &BTreeMap<u16, Zeroizing<Vec<u8>>>,
        current: u16,
        new: bool,
    ) -> Result<(), PrivacyError> {
        use std::os::unix::fs::OpenOptionsExt;

        let failed = |source| PrivacyError::Write { path: path.to_owned(), source };
        let file = KeyFile {
            version: 1,
            hash_key: BASE64.encode(&*self.raw_hash_key),
            current,
            sealing_keys: keys.iter().map(|(id, raw)| (*id, BASE64.encode(&**raw))).collect(),
        };
        let text = Zeroizing::new(serde_json::to_string_pretty(&file).map_err(|error| failed(error.into()))?);
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new.{}", std::process::id()));
        let beside = PathBuf::from(name);
        let write = || -> io::Result<()> {
            let mut out = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
            out.sync_all()?;
            if new {
                // A hard link refuses to replace, unlike a rename: two first starts at once end with one key file.
                fs::hard_link(&beside, path)?;
                fs::remove_file(&beside)?;
            } else {
                fs::rename(&beside, path)?;
            }
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::File::open(folder)?.sync_all()?;
            }
            Ok(())
        };
        write().map_err(|source| {
            // The first error is the one to tell; a leftover beside the key file is only tidied away.
            drop(fs::remove_file(&beside));
            failed(source)
        })
    }

    /// Adds a fresh sealing key and makes it the current one; older values stay readable.
    ///
    /// The key file is written first: whatever is sealed with the new key can be opened after a crash.
    ///
    /// # Errors
    /// Where the machine gives no random numbers, all 65,535 ids are used up, or the key file can't be written: nothing
    /// has changed then.
    pub fn rotate(&self) -> Result<u16, PrivacyError> {
        self.change(|keys, _| {
            let id = keys.keys().next_back().and_then(|last| last.checked_add(1)).ok_or(PrivacyError::Random)?;
            keys.insert(id, random_key()?);
            Ok(id)
        })
    }

    /// The ids of the sealing keys that [`Keyring::forget_old_keys`] would drop now, by the key file.
    ///
    /// # Errors
    /// Where the key file can't be read.
    pub fn old_keys(&self) -> Result<Vec<u16>, PrivacyError> {
        let others = |sealing: &Sealing| sealing.keys.keys().copied().filter(|id| *id != sealing.current).collect();
        Ok(match &self.file {
            Some(path) => others(&self.load_sealing(path)?),
            None => others(&self.read()),
        })
    }

    /// Drops every sealing key but the current one, from the key file too; gives how many went. Values sealed by them can
    /// never be opened again.
    ///
    /// # Errors
    /// Where the key file can't be written: nothing has changed then.
    pub fn forget_old_keys(&self) -> Result<usize, PrivacyError> {
        let mut gone = 0;
        self.change(|keys, current| {
            let before = keys.len();
            keys.retain(|id, _| *id == current);
            gone = before - keys.len();
            Ok(current)
        })?;
        Ok(gone)
    }

    /// Changes the sealing keys: on disk, then in memory. `change` gets the keys and the current id and gives the new one.
    fn change(
        &self,
        change: impl FnOnce(&mut BTreeMap<u16, Zeroizing<Vec<u8>>>, u16) -> Result<u16, PrivacyError>,
    ) -> Result<u16, PrivacyError> {
        let Some(path) = &self.file else {
            let (mut keys, current) = {
                let sealing = self.read();
                (sealing.raw(), sealing.current)
            };
            let current = change(&mut keys, current)?;
            self.exchange(Sealing::new(keys, current).ok_or(PrivacyError::Random)?);
            return Ok(current);
        };
        let failed = |source| PrivacyError::Write { path: path.clone(), source };
        // Held until the end: processes that share the file change it one after the other. The folder is locked, since
        // the file itself is replaced.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let lock = fs::File::open(folder).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let sealing = self.load_sealing(path)?;
        let mut keys = sealing.raw();
        let current = change(&mut keys, sealing.current)?;
        let changed = Sealing::new(keys.clone(), current).ok_or(PrivacyError::Random)?;
        self.write_file(path, &keys, current, false)?;
        self.exchange(changed);
        Ok(current)
    }

    /// The sealing keys in the file as it is now.
    fn load_sealing(&self, path: &Path) -> Result<Sealing, PrivacyError> {
        let file = Self::load(path)?;
        if file.fingerprint() != self.fingerprint() {
            return Err(PrivacyError::Invalid {
                path: path.to_owned(),
                reason: "it was exchanged for another one while this process ran",
            });
        }
        Ok(file.sealing.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up keys that another process has put into the key file: at most once a second. Gives whether the file was read.
    fn refresh(&self) -> bool {
        let Some(path) = &self.file else { return false };
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
                return false;
            }
            *looked = Some(Instant::now());
        }
        match self.load_sealing(path) {
            Ok(sealing) => {
                self.exchange(sealing);
                true
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the key file can't be read again");
                false
            }
        }
    }

    /// Takes note of the sealing key that the store's users shall seal with; looks into the key file where it is another one.
    pub(crate) fn keep_up(&self, announced: u16) {
        if self.current_key() != announced && self.refresh() && self.current_key() != announced && self.may_warn() {
            tracing::warn!(
                announced,
                current = self.current_key(),
                file = self.file.as_ref().map(|file| tracing::field::display(file.display())),
                "the keys were rotated elsewhere and the key file of this process lacks the new key: copy the key file from the \
                 process where they were rotated; it is taken up without a restart"
            );
        }
    }

    /// Whether the last warning is long enough ago.
    fn may_warn(&self) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN);
        if due {
            *warned = Some(Instant::now());
        }
        due
    }

    fn unknown_key(&self, key: u16) -> PrivacyError {
        let file = self.file.as_ref().map_or_else(|| "in memory".to_owned(), |file| file.display().to_string());
        PrivacyError::UnknownKey { key, file }
    }

    /// The id of the key that seals now.
    #[must_use]
    pub fn current_key(&self) -> u16 {
        self.read().current
    }

    /// The ids of all sealing keys, ascending.
    #[must_use]
    pub fn key_ids(&self) -> Vec<u16> {
        self.read().keys.keys().copied().collect()
    }

    /// A fingerprint of the hash key, by which a store recognises the key file that it was made with.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut input = b"relaywatch hash key fingerprint\0".to_vec();
        input.extend_from_slice(&self.raw_hash_key);
        hex::encode(digest::digest(&digest::SHA256, &input).as_ref().get(..8).unwrap_or_default())
    }

    /// The keyed 128-bit hash of a value: HMAC-SHA-256, truncated.
    #[must_use]
    pub fn hash(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.hash_key);
        context.update(purpose.separator());
        for (index, part) in parts.iter().enumerate() {
            if index + 1 < parts.len() {
                context.update(&(part.len() as u64).to_le_bytes());
            }
            context.update(part);
        }
        let tag = context.sign();
        let mut out = [0; 16];
        for (to, from) in out.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        out
    }

    /// Seals a value (AES-256-GCM): key id, nonce, ciphertext, tag. It opens only for the same purpose and owner.
    ///
    /// # Errors
    /// Where the machine gives no random numbers.
    pub fn seal(&self, purpose: Purpose, owner: &[u8], value: &[u8]) -> Result<Vec<u8>, PrivacyError> {
        let sealing = self.read();
        let (key, _) = sealing.keys.get(&sealing.current).ok_or_else(|| self.unknown_key(sealing.current))?;
        let mut text = value.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(associated(purpose, owner)), &mut text)
            .map_err(|_| PrivacyError::Random)?;
        let mut sealed = Vec::with_capacity(2 + NONCE_BYTES + text.len());
        sealed.extend_from_slice(&sealing.current.to_le_bytes());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens what [`Keyring::seal`] made. For a key that it does not know it looks into the key file again, since another
    /// process may have rotated the keys.
    ///
    /// # Errors
    /// Where its key is gone, or it was changed or belongs to another purpose or owner.
    pub fn open(&self, purpose: Purpose, owner: &[u8], sealed: &[u8]) -> Result<Vec<u8>, PrivacyError> {
        let (id, rest) = sealed.split_first_chunk::<2>().ok_or(PrivacyError::Broken)?;
        let id = u16::from_le_bytes(*id);
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(PrivacyError::Broken)?;
        if !self.read().keys.contains_key(&id) {
            self.refresh();
        }
        let sealing = self.read();
        let (key, _) = sealing.keys.get(&id).ok_or_else(|| self.unknown_key(id))?;
        let mut text = text.to_vec();
        let opened = key
            .open_in_place(Nonce::from(nonce), Aad::from(associated(purpose, owner)), &mut text)
            .map_err(|_| PrivacyError::Broken)?;
        Ok(opened.to_vec())
    }

    /// The id of the key that sealed a value; `None` where it is no sealed value.
    #[must_use]
    pub fn key_of(sealed: &[u8]) -> Option<u16> {
        sealed.first_chunk::<2>().map(|id| u16::from_le_bytes(*id))
    }
}

fn associated(purpose: Purpose, owner: &[u8]) -> Vec<u8> {
    let mut bytes = purpose.separator().to_vec();
    bytes.extend_from_slice(owner);
    bytes
}

fn random_key() -> Result<Zeroizing<Vec<u8>>, PrivacyError> {
    let mut key = Zeroizing::new(vec![0; KEY_BYTES]);
    SystemRandom::new().fill(&mut key).map_err(|_| PrivacyError::Random)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
