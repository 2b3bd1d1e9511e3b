//! The ring against a real KMS on loopback: the emulator, over its wire protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::testing::{SOON, control, http, wait};
use super::*;
use crate::aws::Credentials;
use crate::embedded::{self, Emulator};
use crate::record::StreamName;
use crate::spool::{DataKey, KeyRing, NoKey, UnwrapError, Unwrapped, WrappedKey};

const MS: Duration = Duration::from_millis(1);

/// An emulator of KMS, the keys, and their ring.
struct Rig {
    kms: Option<Emulator>,
    address: SocketAddr,
    dir: TempDir,
    keys: Keys,
    ring: Arc<dyn KeyRing>,
}

fn emulator(dir: &TempDir, listen: SocketAddr) -> Emulator {
    let data_dir = dir.path().to_owned();
    Emulator::start(embedded::Config { listen, data_dir, ..embedded::Config::default() }).unwrap()
}

fn config(kms: &Emulator) -> Config {
    Config {
        key: Some(kms.key_arn().to_owned()),
        upstream: Upstream {
            endpoint: Some(kms.endpoint_url()),
            credentials: Credentials::Embedded,
            ..Upstream::default()
        },
        backoff_min: MS,
        backoff_max: MS * 20,
        hold_min: MS * 20,
        hold_max: MS * 100,
        attempt_timeout: MS * 500,
        ..Config::default()
    }
}

fn name(stream: &str) -> StreamName {
    stream.parse().unwrap()
}

impl Rig {
    fn new(streams: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        Self::with_faults(streams, &json!({}), change)
    }

    fn with_faults(streams: &[&str], faults: &Value, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kms = emulator(&dir, SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = kms.local_addr();
        control(address, "PUT", "/emulator/kms/faults", faults);
        let mut config = config(&kms);
        change(&mut config);
        let streams: Vec<StreamName> = streams.iter().map(|stream| name(stream)).collect();
        let keys = Keys::start(&config, &streams).unwrap();
        let ring = keys.ring();
        Self { kms: Some(kms), address, dir, keys, ring }
    }

    /// Starts the keys anew, as another life of the process would.
    fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = config(self.kms.as_ref().unwrap());
        change(&mut config);
        self.keys = Keys::start(&config, &[]).unwrap();
        self.ring = self.keys.ring();
    }

    fn fault(&self, faults: &Value) {
        control(self.address, "PUT", "/emulator/kms/faults", faults);
    }

    fn heal(&self) {
        self.fault(&json!({}));
    }

    /// How often KMS was asked for this.
    fn calls(&self, action: &str) -> u64 {
        control(self.address, "GET", "/emulator/kms", &Value::Null)["calls"][action]
            .as_u64()
            .unwrap_or(0)
    }

    fn switch_key(&self, action: &str) {
        let body = json!({ "KeyId": self.kms.as_ref().unwrap().key_arn() }).to_string();
        let target = format!("TrentService.{action}");
        let answer = http(self.address, "POST", "/", &[("x-amz-target", &target)], &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn current(&self, stream: &str) -> Arc<DataKey> {
        wait("a key", || self.ring.current(&name(stream)).ok())
    }

    /// Another key than this one.
    fn renewed(&self, stream: &str, old: &DataKey) -> Arc<DataKey> {
        wait("a new key", || {
            self.ring.current(&name(stream)).ok().filter(|key| key.wrapped() != old.wrapped())
        })
    }

    fn ask(&self, stream: &str, wrapped: &WrappedKey) -> Unwrapped {
        self.ring.unwrap(&name(stream), wrapped, Box::new(|| {}))
    }

    /// Asks as the spool does: again whenever it is worth it, until there is an answer.
    fn unwrap(&self, stream: &str, wrapped: &WrappedKey) -> Result<Arc<DataKey>, UnwrapError> {
        loop {
            let (ready, is_ready) = crossbeam_channel::bounded(1);
            // Who was refused does not listen any more.
            let ready = Box::new(move || {
                let _is_heard = ready.send(()).is_ok();
            });
            match self.ring.unwrap(&name(stream), wrapped, ready) {
                Unwrapped::Ready(key) => return Ok(key),
                Unwrapped::Refused(error) => return Err(error),
                Unwrapped::Pending => is_ready.recv_timeout(SOON).expect("ready is called"),
            }
        }
    }

    fn stream(&self, stream: &str) -> StreamKeyStatus {
        let status = self.keys.status();
        status.streams.into_iter().find(|known| known.stream.as_str() == stream).unwrap()
    }
}

#[test]
fn keys_of_listed_streams_come_by_themselves_and_those_of_others_at_their_first_use() {
    let rig = Rig::new(&["a", "b"], |_| {});
    let (a, b) = (rig.current("a"), rig.current("b"));
    assert!(!a.is_same(&b), "each stream has its own");
    let expected = [("standpipe:application", "standpipe"), ("standpipe:stream", "a")];
    let context: Vec<(&str, &str)> =
        a.wrapped().context.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(context, expected);
    assert_eq!(a.wrapped().key_id, rig.kms.as_ref().unwrap().key_arn());
    assert!(matches!(rig.ring.current(&name("c")), Err(NoKey::NotYet)));
    rig.current("c");
    assert_eq!(rig.calls("GenerateDataKey"), 3);
    assert_eq!(rig.stream("c").state, KeyState::Ready);
    assert!(rig.keys.watcher().is_alive());
    let watcher = rig.keys.watcher();
    rig.keys.stop();
    assert!(!watcher.is_alive());
    assert!(rig.ring.current(&name("a")).is_ok(), "what is there stays");
}

#[test]
fn a_key_that_is_used_is_renewed_by_its_age_and_the_old_one_still_opens() {
    let rig = Rig::new(&["a"], |config| config.soft_age = MS * 50);
    let first = rig.current("a");
    rig.ring.used(&name("a"), 1);
    let second = rig.renewed("a", &first);
    assert!(!second.is_same(&first));
    let again = rig.unwrap("a", first.wrapped()).unwrap();
    assert!(again.is_same(&first));
}

#[test]
fn a_key_is_renewed_by_the_bytes_that_were_sealed_under_it() {
    let rig = Rig::new(&["a"], |config| config.key_bytes_max = 1_000);
    let first = rig.current("a");
    rig.ring.used(&name("a"), 999);
    assert_eq!(rig.stream("a").sealed_bytes, 999);
    rig.ring.used(&name("a"), 1);
    let second = rig.renewed("a", &first);
    assert!(!second.is_same(&first));
    assert_eq!(rig.calls("GenerateDataKey"), 2);
}

#[test]
fn past_its_hard_age_a_key_is_given_out_no_more_until_kms_is_back() {
    let rig = Rig::new(&["a"], |config| {
        config.soft_age = MS * 50;
        config.hard_age = MS * 1_500;
    });
    let first = rig.current("a");
    rig.fault(&json!({"outage": "unavailable"}));
    rig.ring.used(&name("a"), 1);
    wait("that it ages", || (rig.stream("a").state == KeyState::Aging).then_some(()));
    assert!(rig.ring.current(&name("a")).is_ok(), "until the hard age it is used");
    wait("that it is too old", || match rig.ring.current(&name("a")) {
        Err(NoKey::TooOld { age }) => Some(age),
        _ => None,
    });
    assert_eq!(rig.stream("a").state, KeyState::TooOld);
    let reason = rig.stream("a").reason.unwrap();
    assert_eq!((reason.code, reason.needs_operator), ("DependencyTimeoutException", false));
    rig.heal();
    rig.renewed("a", &first);
    assert_eq!((rig.stream("a").state, rig.stream("a").reason), (KeyState::Ready, None));
}

#[test]
fn without_kms_at_the_start_nothing_waits_and_all_comes_when_it_is_there() {
    for faults in [
        json!({"outage": "unavailable"}),
        json!({"outage": "refuse"}),
        json!({"outage": "hang"}),
        json!({"throttle_rate": 1}),
        json!({"error_code": "KMSInternalException"}),
    ] {
        let began_at = Instant::now();
        let rig = Rig::with_faults(&["a"], &faults, |_| {});
        assert!(began_at.elapsed() < SOON / 10, "{:?}", began_at.elapsed());
        let message = wait("a reason", || match rig.ring.current(&name("a")) {
            Err(NoKey::Unavailable { message }) => Some(message),
            Err(NoKey::NotYet) => None,
            other => panic!("{other:?}"),
        });
        assert!(!message.is_empty());
        assert_eq!(rig.stream("a").state, KeyState::Missing);
        rig.heal();
        rig.current("a");
    }
}

#[test]
fn kms_that_nobody_listens_for_is_found_when_it_comes_back() {
    let mut rig = Rig::new(&[], |_| {});
    rig.kms.take().unwrap().stop().unwrap();
    assert!(matches!(rig.ring.current(&name("a")), Err(NoKey::NotYet)));
    let reason = wait("a reason", || rig.stream("a").reason);
    assert_eq!(reason.code, "Connect");
    rig.kms = Some(emulator(&rig.dir, rig.address));
    rig.current("a");
}

#[test]
fn a_disabled_key_is_asked_for_slowly_until_an_operator_has_enabled_it() {
    let rig = Rig::new(&["a"], |config| {
        config.soft_age = MS * 50;
        config.hold_min = Duration::from_secs(1);
        config.hold_max = Duration::from_secs(1);
    });
    let first = rig.current("a");
    rig.switch_key("DisableKey");
    rig.ring.used(&name("a"), 1);
    let reason = wait("a reason", || rig.stream("a").reason);
    assert_eq!((reason.code, reason.needs_operator), ("DisabledException", true));
    assert!(rig.ring.current(&name("a")).is_ok(), "the one at hand stays in use");
    let (calls, began_at) = (rig.calls("GenerateDataKey"), Instant::now());
    rig.switch_key("EnableKey");
    rig.renewed("a", &first);
    // The wait is half of the ceiling at least, and began a little earlier.
    assert!(began_at.elapsed() > MS * 300, "{:?}", began_at.elapsed());
    assert!(rig.calls("GenerateDataKey") - calls <= 2);
}

#[test]
fn throttling_is_answered_by_waiting_and_not_by_asking_faster() {
    let rig = Rig::with_faults(&["a"], &json!({"throttle_rate": 1}), |config| {
        config.backoff_min = MS * 100;
        config.backoff_max = MS * 100;
    });
    wait("calls", || (rig.calls("GenerateDataKey") >= 2).then_some(()));
    let (calls, began_at) = (rig.calls("GenerateDataKey"), Instant::now());
    wait("more calls", || (rig.calls("GenerateDataKey") >= calls + 10).then_some(()));
    // Ten waits of 50 ms in the mean; who asked without one would be done in no time.
    assert!(began_at.elapsed() > MS * 100, "{:?}", began_at.elapsed());
    rig.heal();
    rig.current("a");
}

#[test]
fn segments_of_an_earlier_life_that_share_a_key_cost_one_call() {
    let mut rig = Rig::new(&["a"], |_| {});
    let key = rig.current("a");
    assert!(matches!(rig.ask("a", key.wrapped()), Unwrapped::Ready(_)), "it is the current one");
    assert_eq!(rig.calls("Decrypt"), 0);
    rig.restart(|_| {});
    for _ in 0..10 {
        assert!(rig.unwrap("a", key.wrapped()).unwrap().is_same(&key));
    }
    assert_eq!(rig.calls("Decrypt"), 1);
    let status = rig.keys.status();
    assert_eq!((status.unwrapped, status.unwrapping, status.waiting.len()), (1, 0, 0));
}

#[test]
fn a_key_that_the_configuration_does_not_list_is_never_asked_for() {
    let mut rig = Rig::new(&["a"], |_| {});
    let key = rig.current("a");
    let ours = rig.kms.as_ref().unwrap().key_arn().to_owned();
    let other = ours.replace("000000000001", "000000000002");
    rig.restart(|config| config.key = Some(other.clone()));
    let foreign = Err(UnwrapError::Foreign { key_id: ours.clone() });
    assert_eq!(rig.unwrap("a", key.wrapped()).map(drop), foreign);
    let mut of_a_file = key.wrapped().clone();
    of_a_file.provider = Provider::File;
    assert!(matches!(rig.unwrap("a", &of_a_file), Err(UnwrapError::Foreign { .. })));
    assert_eq!(rig.calls("Decrypt"), 0);
    rig.restart(|config| {
        config.key = Some(other);
        config.decrypt_only = vec![ours];
    });
    assert!(rig.unwrap("a", key.wrapped()).unwrap().is_same(&key));
}

#[test]
fn a_wrapped_key_of_another_context_is_invalid() {
    let mut rig = Rig::new(&["a"], |_| {});
    let key = rig.current("a");
    rig.restart(|_| {});
    let mut moved = key.wrapped().clone();
    moved.context.insert("standpipe:stream".to_owned(), "b".to_owned());
    let refused = rig.unwrap("b", &moved).unwrap_err();
    assert!(
        matches!(&refused, UnwrapError::Invalid { message } if message.contains("InvalidCiphertext"))
    );
    let asked = rig.calls("Decrypt");
    assert!(asked >= 1);
    // A segment that lies with another stream is not even asked for.
    assert!(matches!(rig.unwrap("b", key.wrapped()), Err(UnwrapError::Invalid { .. })));
    assert_eq!(rig.calls("Decrypt"), asked);
    let mut damaged = key.wrapped().clone();
    damaged.wrapped[20] ^= 1;
    assert!(matches!(rig.unwrap("a", &damaged), Err(UnwrapError::Invalid { .. })));
    assert_eq!(rig.keys.status().waiting.len(), 2);
    assert!(rig.unwrap("a", key.wrapped()).is_ok());
}

#[test]
fn an_old_segment_s_key_waits_for_kms_and_for_the_operator_and_its_reader_is_called() {
    let mut rig = Rig::new(&["a"], |_| {});
    let key = rig.current("a");
    rig.restart(|config| {
        config.hold_min = MS * 200;
        config.hold_max = MS * 200;
    });
    rig.switch_key("DisableKey");
    let refused = rig.unwrap("a", key.wrapped()).unwrap_err();
    assert!(matches!(refused, UnwrapError::Disabled { .. }), "{refused:?}");
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let ready = Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let refused = rig.ring.unwrap(&name("a"), key.wrapped(), ready);
    assert!(matches!(refused, Unwrapped::Refused(UnwrapError::Disabled { .. })), "{refused:?}");
    assert_eq!(rig.calls("Decrypt"), 1, "it is not asked again so soon");
    assert_eq!(rig.keys.status().waiting[0].stream, "a");
    rig.switch_key("EnableKey");
    wait("that it is worth asking again", || (calls.load(Ordering::Relaxed) == 1).then_some(()));
    assert!(rig.unwrap("a", key.wrapped()).unwrap().is_same(&key));
    assert!(rig.keys.status().waiting.is_empty());

    rig.restart(|_| {});
    rig.fault(&json!({"outage": "refuse"}));
    let refused = rig.unwrap("a", key.wrapped()).unwrap_err();
    assert!(matches!(refused, UnwrapError::Unavailable { .. }), "{refused:?}");
    rig.heal();
    wait("the key", || rig.unwrap("a", key.wrapped()).ok());
}

#[test]
fn calls_that_hang_are_few_and_leave_room_in_the_end() {
    let streams: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let rig = Rig::with_faults(&streams, &json!({"outage": "hang"}), |_| {});
    wait("calls", || (rig.calls("GenerateDataKey") >= 1).then_some(()));
    assert!(rig.calls("GenerateDataKey") <= u64::try_from(CALLS_MAX).unwrap());
    rig.heal();
    for stream in streams {
        rig.current(stream);
    }
}

#[test]
fn a_key_file_needs_no_kms_and_hands_over_to_it() {
    let mut rig = Rig::with_faults(&[], &json!({"outage": "refuse"}), |_| {});
    let path = rig.dir.path().join("spool.key");
    let file = |config: &mut Config| {
        config.provider = Provider::File;
        config.key = None;
        config.file = Some(path.clone());
    };
    rig.restart(file);
    let key = rig.current("a");
    assert_eq!(key.wrapped().provider, Provider::File);
    assert!(key.wrapped().key_id.starts_with("file:"));
    assert_eq!(rig.keys.status().provider, "file");
    rig.restart(file);
    assert!(rig.unwrap("a", key.wrapped()).unwrap().is_same(&key));
    let mut damaged = key.wrapped().clone();
    damaged.wrapped[20] ^= 1;
    assert!(matches!(rig.unwrap("a", &damaged), Err(UnwrapError::Invalid { .. })));
    assert_eq!(rig.calls("GenerateDataKey") + rig.calls("Decrypt"), 0);

    rig.heal();
    rig.restart(|config| config.file = Some(path.clone()));
    assert_eq!(rig.current("a").wrapped().provider, Provider::Kms);
    assert!(rig.unwrap("a", key.wrapped()).unwrap().is_same(&key), "old segments still open");
}

#[test]
fn a_look_says_whether_data_keys_could_be_had_and_leaves_nothing_behind() {
    let rig = Rig::new(&[], |_| {});
    let looked = |change: &dyn Fn(&mut Config)| {
        let mut config = config(rig.kms.as_ref().unwrap());
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(look(&config, &name("a"))).unwrap()
    };
    let well = looked(&|_| {});
    assert!(well.is_well && well.said.ends_with("makes data keys and opens them"), "{well:?}");
    assert_eq!((rig.calls("GenerateDataKey"), rig.calls("Decrypt")), (1, 1));
    rig.fault(&json!({"actions": ["Decrypt"], "error_code": "AccessDeniedException"}));
    let denied = looked(&|_| {});
    assert!(!denied.is_well && denied.said.contains("AccessDeniedException"), "{denied:?}");
    let path = rig.dir.path().join("not.there");
    let file = looked(&|config| {
        config.provider = Provider::File;
        config.file = Some(path.clone());
    });
    assert!(file.is_well && !path.exists(), "{file:?}");
}

#[test]
fn what_can_not_be_used_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let start = |change: fn(&mut Config, &std::path::Path)| {
        let mut config = Config { key: Some("arn".to_owned()), ..Config::default() };
        config.upstream.credentials = Credentials::Embedded;
        change(&mut config, dir.path());
        Keys::start(&config, &[]).map(drop).unwrap_err()
    };
    assert!(matches!(start(|config, _| config.key = None), StartError::NoKey));
    assert!(matches!(start(|config, _| config.provider = Provider::File), StartError::NoFile));
    let file = start(|config, dir| config.file = Some(dir.to_owned()));
    assert!(matches!(file, StartError::File(_)) && file.is_configuration());
    let upstream = start(|config, _| config.upstream.endpoint = Some("nowhere".to_owned()));
    assert!(upstream.to_string().starts_with("KMS can not be asked: the endpoint \"nowhere\""));
}

#[test]
fn no_key_is_shown_by_anything_that_can_be_printed() {
    let rig = Rig::new(&["a"], |_| {});
    let key = rig.current("a");
    let shown = format!("{key:?} {:?} {:?}", rig.keys, rig.keys.status());
    assert!(shown.contains(&key.wrapped().key_id));
    assert!(!shown.contains("plaintext:"), "{shown}");
    rig.keys.show_metrics();
}

#[test]
fn the_metrics_keep_to_the_rules() {
    assert_eq!(crate::telemetry::naming_faults(&[METRICS]), Vec::<String>::new());
}
