//! The JSON form of a key: encrypted, or plain and bound to a development network.
//!
//! The encryption binds address and public key as associated data, so a file whose public part was
//! exchanged does not open. Files are created with mode 0600, never overwritten, and synced.

use super::{AccountKey, KeyError, Material};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use skerry_types::ids::{Address, Digest};
use std::io::Write as _;
use std::path::Path;
use zeroize::Zeroizing;

const VERSION: u32 = 1;
/// Bounds of the cost that a file may ask for, so that a bad file cannot take all memory (1 GiB).
const LOG_N_MAX: u8 = 20;

/// A key as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    version: u32,
    /// The account.
    pub(super) address: Address,
    /// Hex of the ed25519 public key.
    public_key: String,
    /// Whether the key is for development only.
    #[serde(default)]
    pub(super) development: bool,
    /// The only network that a development key may be used on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chain_id: Option<Digest>,
    secret: Secret,
}

/// The secret part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Secret {
    Plain { material: String, value: String },
    Encrypted(Sealed),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    material: String,
    kdf: String,
    log_n: u8,
    r: u32,
    p: u32,
    salt: String,
    cipher: String,
    nonce: String,
    ciphertext: String,
}

/// How costly it is to try a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// For people's keys: 128 MiB and a few tenths of a second.
    Standard,
    /// For tests.
    Light,
}

impl Strength {
    const fn log_n(self) -> u8 {
        match self {
            Self::Standard => 17,
            Self::Light => 8,
        }
    }
}

/// How a file keeps its secret.
#[derive(Clone, Copy, Debug)]
pub enum Protection<'a> {
    /// Encrypted.
    Passphrase(&'a str, Strength),
    /// Plain, for one development network.
    Development(Digest),
}

impl KeyFile {
    /// Puts a key into a file's form.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn seal(key: &AccountKey, protection: Protection<'_>) -> Result<Self, KeyError> {
        let (material, bytes) = match &key.material {
            Material::Phrase(entropy) => ("bip39-entropy", entropy.as_slice()),
            Material::Seed(seed) => ("ed25519-seed", seed.as_slice()),
        };
        let address = key.address();
        let public_key = format!("0x{}", hex::encode(key.secret.public_key().0));
        let (chain_id, secret) = match protection {
            Protection::Development(chain_id) => {
                let (material, value) = (material.to_owned(), hex::encode(bytes));
                (Some(chain_id), Secret::Plain { material, value })
            }
            Protection::Passphrase(passphrase, strength) => {
                let public = associated(&address, &public_key, material);
                (
                    None,
                    encrypt(material, bytes, &public, passphrase, strength)?,
                )
            }
        };
        let development = chain_id.is_some();
        Ok(Self {
            version: VERSION,
            address,
            public_key,
            development,
            chain_id,
            secret,
        })
    }

    /// Opens the file; `passphrase` is asked only when it is needed.
    ///
    /// # Errors
    /// When the passphrase is missing or wrong, or the file does not fit together.
    pub fn open(
        &self,
        passphrase: impl FnOnce() -> Result<Zeroizing<String>, KeyError>,
    ) -> Result<AccountKey, KeyError> {
        let (material, bytes) = match &self.secret {
            Secret::Plain { material, value } => {
                if !self.development || self.chain_id.is_none() {
                    return Err(KeyError::Damaged(
                        "a plain secret belongs to development keys",
                    ));
                }
                (material, Zeroizing::new(unhex(value)?))
            }
            Secret::Encrypted(sealed) => {
                let public = associated(&self.address, &self.public_key, &sealed.material);
                (&sealed.material, decrypt(sealed, &public, &passphrase()?)?)
            }
        };
        let key = match material.as_str() {
            "bip39-entropy" => AccountKey::of_entropy(bytes)?,
            "ed25519-seed" => {
                let seed = <[u8; 32]>::try_from(bytes.as_slice());
                AccountKey::from_seed(seed.map_err(|_| KeyError::Damaged("seed length"))?)
            }
            _ => return Err(KeyError::Damaged("unknown kind of material")),
        };
        if key.address() != self.address {
            let (stated, actual) = (self.address, key.address());
            return Err(KeyError::AddressMismatch { stated, actual });
        }
        Ok(key)
    }

    /// The account.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether the key is for development only.
    pub fn is_development(&self) -> bool {
        self.development
    }

    /// Whether opening it takes a passphrase.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.secret, Secret::Encrypted(_))
    }

    /// Refuses a development key on any network but its own.
    ///
    /// # Errors
    /// When the key is a development key of another network.
    pub fn check_network(&self, used_on: Digest) -> Result<(), KeyError> {
        match self.chain_id {
            Some(made_for) if made_for != used_on => {
                Err(KeyError::DevelopmentKey { made_for, used_on })
            }
            None if self.development => Err(KeyError::Damaged("a development key names its chain")),
            _ => Ok(()),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no key file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new);
        let text = text.map_err(|source| io(path, "read", source))?;
        let file: Self = serde_json::from_str(&text).map_err(|source| KeyError::Format {
            path: path.to_owned(),
            source,
        })?;
        if file.version == VERSION {
            Ok(file)
        } else {
            Err(KeyError::Damaged("unknown version"))
        }
    }

    /// Writes a new file with mode 0600; never overwrites one.
    ///
    /// # Errors
    /// When there is a file already or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let text = serde_json::to_string_pretty(self).map(Zeroizing::new);
        let text = text.map_err(|source| KeyError::Format {
            path: path.to_owned(),
            source,
        })?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options
            .open(path)
            .map_err(|source| io(path, "create", source))?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all());
        written.map_err(|source| io(path, "write", source))?;
        // Without the directory's own sync a crash may lose the name of the new file.
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let synced =
            std::fs::File::open(folder.unwrap_or(Path::new("."))).and_then(|d| d.sync_all());
        synced.map_err(|source| io(path, "sync", source))
    }
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> KeyError {
    KeyError::Io {
        path: path.to_owned(),
        action,
        source,
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, KeyError> {
    hex::decode(text).map_err(|_| KeyError::Damaged("a value is not hexadecimal"))
}

fn associated(address: &Address, public_key: &str, material: &str) -> Vec<u8> {
    format!("skerry key {VERSION} {address} {public_key} {material}").into_bytes()
}

fn cipher(
    passphrase: &str,
    salt: &[u8],
    cost: (u8, u32, u32),
) -> Result<XChaCha20Poly1305, KeyError> {
    let (log_n, r, p) = cost;
    if log_n > LOG_N_MAX || r > 16 || p > 16 {
        return Err(KeyError::Damaged("the scrypt cost is out of range"));
    }
    let params = scrypt::Params::new(log_n, r, p)
        .map_err(|_| KeyError::Damaged("the scrypt cost is out of range"))?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase.as_bytes(), salt, &params, &mut *key)
        .map_err(|_| KeyError::Derivation)?;
    XChaCha20Poly1305::new_from_slice(&*key).map_err(|_| KeyError::Derivation)
}

fn encrypt(
    material: &str,
    bytes: &[u8],
    public: &[u8],
    passphrase: &str,
    strength: Strength,
) -> Result<Secret, KeyError> {
    let (mut salt, mut nonce) = ([0; 32], [0; 24]);
    for part in [&mut salt[..], &mut nonce[..]] {
        getrandom::fill(part).map_err(|error| KeyError::Randomness(error.to_string()))?;
    }
    let (log_n, r, p) = (strength.log_n(), 8, 1);
    let payload = Payload {
        msg: bytes,
        aad: public,
    };
    let ciphertext = cipher(passphrase, &salt, (log_n, r, p))?
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| KeyError::Derivation)?;
    Ok(Secret::Encrypted(Sealed {
        material: material.to_owned(),
        kdf: "scrypt".to_owned(),
        log_n,
        r,
        p,
        salt: hex::encode(salt),
        cipher: "xchacha20-poly1305".to_owned(),
        nonce: hex::encode(nonce),
        ciphertext: hex::encode(ciphertext),
    }))
}

fn decrypt(
    sealed: &Sealed,
    public: &[u8],
    passphrase: &str,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if sealed.kdf != "scrypt" || sealed.cipher != "xchacha20-poly1305" {
        return Err(KeyError::Damaged("unknown kdf or cipher"));
    }
    let nonce = <[u8; 24]>::try_from(unhex(&sealed.nonce)?)
        .map_err(|_| KeyError::Damaged("nonce length"))?;
    let ciphertext = unhex(&sealed.ciphertext)?;
    let payload = Payload {
        msg: &ciphertext,
        aad: public,
    };
    cipher(
        passphrase,
        &unhex(&sealed.salt)?,
        (sealed.log_n, sealed.r, sealed.p),
    )?
    .decrypt(XNonce::from_slice(&nonce), payload)
    .map(Zeroizing::new)
    .map_err(|_| KeyError::Passphrase)
}
