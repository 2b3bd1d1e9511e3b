//! The settings of the data keys: what is asked of them, and what reaches the stage.

use std::path::Path;
use std::time::Duration;

use super::{loaded, refused, sources};
use crate::aws::Credentials;
use crate::config::{Preset, load};
use crate::spool::Provider;

const STREAMS: (&str, &str) = ("STANDPIPE_STREAMS", "a");
const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-2";

#[test]
fn without_a_word_of_keys_there_are_none() {
    assert_eq!(loaded("", &[STREAMS]).config.keys, None);
    assert_eq!(loaded("[keys]\nsoft_age_ms = 60000\n", &[STREAMS]).config.keys, None);
}

#[test]
fn a_key_is_enough_and_its_region_is_where_it_is_asked_for() {
    let text = format!(
        "[keys]\nkey = \"{ARN}\"\n[upstream]\nregion = \"us-east-1\"\nproxy = \"http://p:1\"\n"
    );
    let keys = loaded(&text, &[STREAMS]).config.keys.unwrap();
    assert_eq!((keys.provider, keys.key.as_deref()), (Provider::Kms, Some(ARN)));
    assert_eq!(keys.upstream.region.as_deref(), Some("eu-west-1"));
    assert_eq!(keys.upstream.proxy.as_deref(), Some("http://p:1"), "the rest is that of upstream");
    assert_eq!((keys.soft_age, keys.hard_age), (Duration::from_hours(1), Duration::from_hours(24)));
    assert_eq!(keys.application, "standpipe");
}

#[test]
fn the_endpoint_of_kms_is_its_own() {
    let text = format!(
        "[keys]\nkey = \"{ARN}\"\n[upstream]\nendpoint = \"https://firehose.test\"\nca_file = \"ca\"\n"
    );
    let keys = loaded(&text, &[STREAMS]).config.keys.unwrap();
    assert_eq!(keys.upstream.endpoint, None);
    assert_eq!(keys.upstream.ca_file.as_deref(), Some(Path::new("ca")));
    let endpoint = ("STANDPIPE_KEYS_ENDPOINT", "https://kms.test");
    let keys = loaded(&text, &[STREAMS, endpoint]).config.keys.unwrap();
    assert_eq!(keys.upstream.endpoint.as_deref(), Some("https://kms.test"));
    let text = format!("[keys]\nkey = \"{ARN}\"\n[upstream]\nfips = true\n");
    assert!(loaded(&text, &[STREAMS]).config.keys.unwrap().upstream.fips);
    let keys = loaded(&text, &[STREAMS, endpoint]).config.keys.unwrap();
    assert!(!keys.upstream.fips, "an endpoint of one's own is none of FIPS");
}

#[test]
fn a_list_is_an_array_in_the_file_and_has_commas_in_a_variable() {
    let text = format!("[keys]\nkey = \"{ARN}\"\ndecrypt_only = [\"{OTHER}\", \"{ARN}\"]\n");
    let of_file = loaded(&text, &[STREAMS]);
    assert_eq!(of_file.config.keys.as_ref().unwrap().decrypt_only, [OTHER, ARN]);
    let list = format!("{OTHER} , {ARN},");
    let of_variable = loaded(
        &format!("[keys]\nkey = \"{ARN}\"\ndecrypt_only = []\n"),
        &[STREAMS, ("STANDPIPE_KEYS_DECRYPT_ONLY", &list)],
    );
    assert_eq!(of_variable.config, of_file.config);
    let shown = format!("decrypt_only = [\"{OTHER}\", \"{ARN}\"] # c.toml:3\n");
    assert!(of_file.show().contains(&shown), "{}", of_file.show());
}

#[test]
fn what_is_no_arn_of_a_key_is_refused_with_the_reason() {
    let key = refused("[keys]\nkey = \"alias/mine\"\n", &[STREAMS]);
    assert_eq!(
        key,
        "c.toml:2:7: keys.key must be the ARN of a KMS key, such as \
         \"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\" (no alias: \
         segments name their key, and an alias can come to mean another), not \"alias/mine\""
    );
    let list = |list: &str| {
        let text = format!("[keys]\nkey = \"{ARN}\"\ndecrypt_only = {list}\n");
        refused(&text, &[STREAMS])
    };
    assert!(list(&format!("[\"{OTHER}\", \"alias/x\"]")).ends_with(", not \"alias/x\""));
    assert!(list("[1]").ends_with(", not an array"));
    assert!(list(&format!("\"{OTHER}\"")).ends_with("; write it in brackets: [\"...\"]"));
    let variable = ("STANDPIPE_KEYS_DECRYPT_ONLY", "x,y");
    assert!(refused("", &[STREAMS, variable]).ends_with(", not \"x\""));
}

#[test]
fn each_provider_needs_what_it_wraps_with() {
    let only = refused(&format!("[keys]\ndecrypt_only = [\"{ARN}\"]\n"), &[STREAMS]);
    assert!(
        only.starts_with("c.toml:2:16: keys.key is not set, and KMS wraps the data keys"),
        "{only}"
    );
    let no_file = refused("[keys]\nprovider = \"file\"\n", &[STREAMS]);
    assert!(
        no_file.starts_with("c.toml:2:12: keys.provider = \"file\" needs keys.file"),
        "{no_file}"
    );
    let text = "[keys]\nprovider = \"file\"\nfile = \"/var/lib/standpipe/key\"\n";
    let keys = loaded(text, &[STREAMS]).config.keys.unwrap();
    assert_eq!((keys.provider, keys.key), (Provider::File, None));
    assert_eq!(keys.file.as_deref(), Some(Path::new("/var/lib/standpipe/key")));
}

#[test]
fn ages_regions_and_endpoints_have_to_fit() {
    let keys = |more: &str| refused(&format!("[keys]\nkey = \"{ARN}\"\n{more}"), &[STREAMS]);
    let ages = keys("soft_age_ms = 120000\nhard_age_ms = 60000\n");
    assert_eq!(
        ages,
        "c.toml:3:15: keys.soft_age_ms = 120000 is more than keys.hard_age_ms = 60000; make it at most that"
    );
    let regions = keys(&format!("decrypt_only = [\"{}\"]\n", ARN.replace("west", "north")));
    assert!(regions.contains("are in two Regions"), "{regions}");
    let looped = keys("endpoint = \"http://127.0.0.1:4573\"\n");
    assert!(looped.contains("is our own ingest.listen"), "{looped}");
}

#[test]
fn embedded_brings_its_own_kms() {
    let keys = load(&sources("", &[]), Preset::Embedded).unwrap().config.keys.unwrap();
    assert_eq!((keys.provider, keys.key), (Provider::Kms, None));
    assert_eq!(keys.upstream.credentials, Credentials::Embedded);
    let endpoint = load(&sources("[keys]\nendpoint = \"http://a:1\"\n", &[]), Preset::Embedded);
    assert_eq!(
        endpoint.unwrap_err().to_string(),
        "c.toml:2:12: --embedded brings its own KMS; drop keys.endpoint or --embedded"
    );
    let file = "[keys]\nprovider = \"file\"\nfile = \"key\"\n";
    let keys = load(&sources(file, &[]), Preset::Embedded).unwrap().config.keys.unwrap();
    assert_eq!(keys.provider, Provider::File);
}
