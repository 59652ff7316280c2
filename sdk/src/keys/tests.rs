//! Key files open only with their passphrase, unchanged, and development keys only at home; words
//! and derivation follow the published vectors.

use super::{AccountKey, KeyError, KeyFile, Protection, Strength, derive};
use skerry_types::ids::Digest;
use zeroize::Zeroizing;

const PHRASE: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon \
                      abandon abandon about";

fn never() -> Result<Zeroizing<String>, KeyError> {
    Err(KeyError::PassphraseMissing)
}

fn given(text: &str) -> impl FnOnce() -> Result<Zeroizing<String>, KeyError> {
    let text = Zeroizing::new(text.to_owned());
    move || Ok(text)
}

/// SLIP-0010, test vector 1 for ed25519: chains m, m/0', m/0'/1', m/0'/1'/2'.
#[test]
fn derivation_follows_the_published_vectors() {
    let seed = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap();
    let cases: [(&[u32], &str); 4] = [
        (
            &[],
            "2b4be7f19ee27bbf30c667b642d5f4aa69fd169872f8fc3059c08ebae2eb19e7",
        ),
        (
            &[0],
            "68e0fe46dfb67e368c75379acec591dad19df3cde26e63b93a8e704f1dade7a3",
        ),
        (
            &[0, 1],
            "b1d0bad404bf35da785a64ca1ac54b2617211d2777696fbffaf208f746ae84f2",
        ),
        (
            &[0, 1, 2],
            "92a5b23c0b8a99e37d07df3fb9966917f5d06e02ddbd909c7e184371463e9fc9",
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(
            hex::encode(*derive::slip10(&seed, path).unwrap()),
            expected,
            "{path:?}"
        );
    }
}

#[test]
fn a_phrase_gives_the_same_account_for_ever() {
    let key = AccountKey::from_phrase(PHRASE).unwrap();
    assert_eq!(
        key.phrase().unwrap().as_str(),
        PHRASE.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    assert_eq!(
        key.address().to_string(),
        include_str!("../../tests/golden/phrase_address.txt").trim()
    );
    let wrong = PHRASE.replace("about", "abandon");
    assert!(matches!(
        AccountKey::from_phrase(&wrong),
        Err(KeyError::Phrase(_))
    ));
}

#[test]
fn an_encrypted_file_opens_with_its_passphrase_alone() {
    let key = AccountKey::generate().unwrap();
    let file = KeyFile::seal(&key, Protection::Passphrase("secret", Strength::Light)).unwrap();
    assert!(file.is_encrypted() && !file.is_development());
    let text = serde_json::to_string(&file).unwrap();
    assert!(!text.contains(&hex::encode(key.secret().seed())));
    assert_eq!(file.open(given("secret")).unwrap().address(), key.address());
    assert!(matches!(
        file.open(given("Secret")),
        Err(KeyError::Passphrase)
    ));
    assert!(matches!(file.open(never), Err(KeyError::PassphraseMissing)));
}

#[test]
fn a_file_whose_public_part_was_exchanged_does_not_open() {
    let protection = Protection::Passphrase("secret", Strength::Light);
    let seal = || KeyFile::seal(&AccountKey::generate().unwrap(), protection).unwrap();
    let (mut mine, other) = (seal(), seal());
    mine.address = other.address;
    assert!(matches!(
        mine.open(given("secret")),
        Err(KeyError::Passphrase)
    ));

    let protection = Protection::Development(Digest::ZERO);
    let seal = || KeyFile::seal(&AccountKey::generate().unwrap(), protection).unwrap();
    let (mut mine, other) = (seal(), seal());
    mine.address = other.address;
    assert!(matches!(
        mine.open(never),
        Err(KeyError::AddressMismatch { .. })
    ));
}

#[test]
fn a_development_key_needs_no_prompt_and_works_on_its_network_only() {
    let (home, other) = (Digest::new([1; 32]), Digest::new([2; 32]));
    let key = AccountKey::from_seed([7; 32]);
    let mut file = KeyFile::seal(&key, Protection::Development(home)).unwrap();
    assert_eq!(file.open(never).unwrap().address(), key.address());
    assert!(file.check_network(home).is_ok());
    assert!(matches!(
        file.check_network(other),
        Err(KeyError::DevelopmentKey { .. })
    ));
    // Taking the mark away does not make it a key for everywhere.
    (file.development, file.chain_id) = (false, None);
    assert!(matches!(file.open(never), Err(KeyError::Damaged(_))));
}

#[test]
fn files_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    let key = AccountKey::from_seed([7; 32]);
    let file = KeyFile::seal(&key, Protection::Development(Digest::ZERO)).unwrap();
    file.write(&path).unwrap();
    assert_eq!(KeyFile::read(&path).unwrap(), file);
    assert!(matches!(
        file.write(&path),
        Err(KeyError::Io {
            action: "create",
            ..
        })
    ));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(KeyFile::read(&path), Err(KeyError::Format { .. })));
}

#[test]
fn a_file_cannot_ask_for_all_memory() {
    let key = AccountKey::from_seed([7; 32]);
    let file = KeyFile::seal(&key, Protection::Passphrase("x", Strength::Light)).unwrap();
    let text = serde_json::to_string(&file)
        .unwrap()
        .replace("\"log_n\":8", "\"log_n\":40");
    let file: KeyFile = serde_json::from_str(&text).unwrap();
    assert!(matches!(file.open(given("x")), Err(KeyError::Damaged(_))));
}
