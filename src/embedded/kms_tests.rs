//! The emulator's KMS over the wire, with the real SDK.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::{BehaviorVersion, Region, SharedCredentialsProvider};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyState};
use tempfile::TempDir;

use super::*;

struct Rig {
    emulator: Emulator,
    client: Client,
}

fn start(dir: &Path, faults: &str) -> Rig {
    let emulator = Emulator::start(Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: dir.to_owned(),
        kms_faults: serde_json::from_str(faults).unwrap(),
        ..Config::default()
    })
    .unwrap();
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(emulator.endpoint_url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Rig { emulator, client: Client::from_conf(config) }
}

fn fresh() -> (TempDir, Rig) {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), "{}");
    (dir, rig)
}

fn context(stream: &str) -> HashMap<String, String> {
    HashMap::from([("standpipe:stream".to_owned(), stream.to_owned())])
}

impl Rig {
    /// A data key: in the clear, and wrapped.
    async fn generate(&self, key: &str) -> Result<(Vec<u8>, Blob), String> {
        let generate = self.client.generate_data_key().key_id(key).key_spec(DataKeySpec::Aes256);
        let made = generate.set_encryption_context(Some(context("a"))).send().await;
        let made = made.map_err(|error| code_of(&error))?;
        Ok((made.plaintext.unwrap().into_inner(), made.ciphertext_blob.unwrap()))
    }

    async fn decrypt(
        &self,
        key: Option<&str>,
        blob: &Blob,
        stream: &str,
    ) -> Result<Vec<u8>, String> {
        let decrypt = self.client.decrypt().set_key_id(key.map(str::to_owned));
        let decrypt = decrypt.ciphertext_blob(blob.clone());
        let opened = decrypt.set_encryption_context(Some(context(stream))).send().await;
        opened.map(|o| o.plaintext.unwrap().into_inner()).map_err(|error| code_of(&error))
    }

    async fn create(&self) -> String {
        self.client.create_key().send().await.unwrap().key_metadata.unwrap().arn.unwrap()
    }
}

fn code_of<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(refused) => refused.err().code().unwrap_or("none").to_owned(),
        _ => String::from("cut"),
    }
}

#[tokio::test]
async fn a_data_key_comes_back_only_by_its_key_and_its_exact_context() {
    let (_dir, rig) = fresh();
    let arn = rig.emulator.key_arn();
    assert_eq!(arn, "arn:aws:kms:us-east-1:000000000000:key/5ea1ed00-0000-4000-8000-000000000001");
    let (plaintext, blob) = rig.generate(arn).await.unwrap();
    assert_eq!(plaintext.len(), 32);
    assert_eq!(rig.decrypt(Some(arn), &blob, "a").await.as_ref(), Ok(&plaintext));
    assert_eq!(rig.decrypt(None, &blob, "a").await.as_ref(), Ok(&plaintext), "the blob names it");
    let invalid = Err("InvalidCiphertextException".to_owned());
    assert_eq!(rig.decrypt(Some(arn), &blob, "b").await, invalid);
    assert_eq!(rig.decrypt(Some(arn), &Blob::new("nothing of ours"), "a").await, invalid);
    let other = rig.create().await;
    let incorrect = Err("IncorrectKeyException".to_owned());
    assert_eq!(rig.decrypt(Some(&other), &blob, "a").await, incorrect);
    let unknown = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000";
    for missing in [unknown, "alias/mine", "arn:aws:kms:eu-west-1:000000000000:key/x"] {
        assert_eq!(rig.generate(missing).await.unwrap_err(), "NotFoundException", "{missing}");
    }
    assert_ne!(rig.generate(arn).await.unwrap().0, plaintext);
}

#[tokio::test]
async fn a_key_that_is_disabled_or_to_be_deleted_does_nothing_until_it_is_enabled() {
    let (_dir, rig) = fresh();
    let arn = rig.create().await;
    let (_, blob) = rig.generate(&arn).await.unwrap();
    rig.client.disable_key().key_id(&arn).send().await.unwrap();
    assert_eq!(rig.generate(&arn).await.unwrap_err(), "DisabledException");
    assert_eq!(rig.decrypt(Some(&arn), &blob, "a").await.unwrap_err(), "DisabledException");
    rig.client.enable_key().key_id(&arn).send().await.unwrap();
    assert!(rig.generate(&arn).await.is_ok());

    let schedule = rig.client.schedule_key_deletion().key_id(&arn).pending_window_in_days(7);
    let scheduled = schedule.send().await.unwrap();
    assert!(scheduled.deletion_date.is_some());
    assert_eq!(rig.generate(&arn).await.unwrap_err(), "KMSInvalidStateException");
    let enabled = rig.client.enable_key().key_id(&arn).send().await;
    assert_eq!(code_of(&enabled.unwrap_err()), "KMSInvalidStateException");
    let described = rig.client.describe_key().key_id(&arn).send().await.unwrap();
    let metadata = described.key_metadata.unwrap();
    assert_eq!(metadata.key_state, Some(KeyState::PendingDeletion));
    assert!(!metadata.enabled && metadata.deletion_date.is_some());
    rig.client.cancel_key_deletion().key_id(&arn).send().await.unwrap();
    assert_eq!(rig.generate(&arn).await.unwrap_err(), "DisabledException");
    rig.client.enable_key().key_id(&arn).send().await.unwrap();
    assert!(rig.decrypt(Some(&arn), &blob, "a").await.is_ok());
}

#[tokio::test]
async fn an_alias_is_a_name_of_its_key_until_it_is_deleted() {
    let (dir, rig) = fresh();
    let arn = rig.create().await;
    let create =
        |alias: &str| rig.client.create_alias().alias_name(alias).target_key_id(&arn).send();
    create("alias/mine").await.unwrap();
    assert_eq!(code_of(&create("alias/mine").await.unwrap_err()), "AlreadyExistsException");
    for bad in ["mine", "alias/", "alias/aws/mine"] {
        assert_eq!(code_of(&create(bad).await.unwrap_err()), "InvalidAliasNameException", "{bad}");
    }
    rig.emulator.stop().unwrap();
    let rig = start(dir.path(), "{}");
    let (_, blob) = rig.generate("alias/mine").await.unwrap();
    let alias_arn = "arn:aws:kms:us-east-1:000000000000:alias/mine";
    assert!(rig.decrypt(Some(alias_arn), &blob, "a").await.is_ok());
    let listed = rig.client.list_aliases().send().await.unwrap();
    let names: Vec<_> = listed.aliases().iter().map(|alias| alias.alias_name.as_deref()).collect();
    assert_eq!(names, [Some("alias/aws/kinesis"), Some("alias/mine")]);
    rig.client.delete_alias().alias_name("alias/mine").send().await.unwrap();
    assert_eq!(rig.generate("alias/mine").await.unwrap_err(), "NotFoundException");
}

#[tokio::test]
async fn keys_outlive_the_emulator_in_a_file_of_its_owner() {
    let (dir, rig) = fresh();
    let arn = rig.create().await;
    let of_both = [rig.emulator.key_arn().to_owned(), arn.clone()];
    let mut blobs = Vec::new();
    for arn in &of_both {
        blobs.push(rig.generate(arn).await.unwrap());
    }
    rig.client.disable_key().key_id(&arn).send().await.unwrap();
    rig.emulator.stop().unwrap();
    let file = dir.path().join("keys.json");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    let rig = start(dir.path(), "{}");
    assert_eq!(rig.decrypt(Some(&arn), &blobs[1].1, "a").await.unwrap_err(), "DisabledException");
    rig.client.enable_key().key_id(&arn).send().await.unwrap();
    for (arn, (plaintext, blob)) in of_both.iter().zip(&blobs) {
        assert_eq!(rig.decrypt(Some(arn), blob, "a").await.as_ref(), Ok(plaintext));
    }
    let listed = rig.client.list_keys().limit(1).send().await.unwrap();
    assert_eq!((listed.keys().len(), listed.truncated), (1, true));
    let rest = rig.client.list_keys().set_marker(listed.next_marker).send().await.unwrap();
    assert_eq!((rest.keys().len(), rest.truncated), (1, false));
}

#[tokio::test]
async fn kms_has_faults_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let rig = start(dir.path(), r#"{"fail_next":1}"#);
    let arn = rig.emulator.key_arn();
    assert_eq!(rig.generate(arn).await.unwrap_err(), "ThrottlingException");
    let (_, blob) = rig.generate(arn).await.unwrap();
    rig.emulator.stop().unwrap();
    for (faults, generated, decrypted) in [
        (r#"{"outage":"unavailable"}"#, "DependencyTimeoutException", "DependencyTimeoutException"),
        (r#"{"outage":"refuse"}"#, "cut", "cut"),
        (
            r#"{"actions":["Decrypt"],"error_code":"KMSInternalException"}"#,
            "",
            "KMSInternalException",
        ),
    ] {
        let rig = start(dir.path(), faults);
        let arn = rig.emulator.key_arn();
        let code = |result: Result<(), String>| result.err().unwrap_or_default();
        assert_eq!(code(rig.generate(arn).await.map(|_| ())), generated, "{faults}");
        assert_eq!(code(rig.decrypt(None, &blob, "a").await.map(|_| ())), decrypted, "{faults}");
        rig.emulator.stop().unwrap();
    }
}
