//! The second half of the floor: the AWS SDK as production sets it up, sending full batches.

use std::cell::Cell;
use std::io::Write as _;
use std::iter::Cycle;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_firehose::config::{Credentials, StalledStreamProtectionConfig};
use aws_sdk_firehose::primitives::Blob;
use aws_sdk_firehose::types::Record;
use aws_sdk_firehose::{Client, Config};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use crate::common::fault::{During as _, Fault};
use crate::common::records::{POOL_BYTES, SEED, STREAM, record};
use crate::common::roles::Orders;

/// How many requests are under way at once.
const REQUESTS_IN_FLIGHT: usize = 4;

/// The bounds of `PutRecordBatch`: records, and raw bytes.
const BATCH_RECORDS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// For each order sends, and then says how many records. An order is a number of milliseconds, and a
/// number of records a second, or 0 for as many as can be.
pub(super) async fn send(
    sink: SocketAddr,
    record_bytes: usize,
    mut orders: Orders,
) -> Result<(), Fault> {
    let client = client(sink)?;
    let records = delimited(record_bytes);
    let batch_records = (BATCH_BYTES_MAX / (record_bytes + 1)).min(BATCH_RECORDS_MAX);
    let mut source = records.iter().cycle();
    writeln!(std::io::stdout(), "ready").during("saying that it is ready")?;
    while let Some(order) = orders.recv().await {
        let order = Order::parse(&order)?;
        let sent = send_for(&client, &mut source, batch_records, &order).await?;
        writeln!(std::io::stdout(), "{sent}").during("saying what was sent")?;
    }
    Ok(())
}

/// How long, and how fast.
#[derive(Debug)]
struct Order {
    time: Duration,
    /// How long a record takes at the wanted rate. Nothing, when there is none.
    interval: Duration,
}

impl Order {
    fn parse(line: &str) -> Result<Self, Fault> {
        let (time_ms, rate) = line.split_once(' ').ok_or_else(|| Fault::new("half an order"))?;
        let rate: u32 = rate.parse().during("an order")?;
        Ok(Self {
            time: Duration::from_millis(time_ms.parse().during("an order")?),
            interval: Duration::from_secs(1).checked_div(rate).unwrap_or(Duration::ZERO),
        })
    }
}

async fn send_for(
    client: &Client,
    source: &mut Cycle<std::slice::Iter<'_, Vec<u8>>>,
    batch_records: usize,
    order: &Order,
) -> Result<usize, Fault> {
    let begin = Instant::now();
    let mut under_way = JoinSet::new();
    let sent = Cell::new(0);
    let settle = |settled: Option<Result<Result<(), Fault>, tokio::task::JoinError>>| {
        sent.set(sent.get() + batch_records);
        settled.map_or(Ok(()), |settled| settled.during("a request")?)
    };
    let batch_interval = order.interval * u32::try_from(batch_records).unwrap_or(u32::MAX);
    let mut due = begin + batch_interval;
    while due.max(Instant::now()) < begin + order.time {
        sleep_until(due.into()).await;
        due += batch_interval;
        if under_way.len() == REQUESTS_IN_FLIGHT {
            settle(under_way.join_next().await)?;
        }
        let batch: Vec<Vec<u8>> = source.take(batch_records).cloned().collect();
        under_way.spawn(put(client.clone(), batch));
    }
    while !under_way.is_empty() {
        settle(under_way.join_next().await)?;
    }
    Ok(sent.get())
}

/// Records with their newlines, as the service gets them.
fn delimited(record_bytes: usize) -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(SEED);
    let count = POOL_BYTES.div_ceil(record_bytes);
    let mut records = Vec::with_capacity(count);
    records.resize_with(count, || {
        let mut record = record(&mut rng, record_bytes);
        record.push(b'\n');
        record
    });
    records
}

async fn put(client: Client, batch: Vec<Vec<u8>>) -> Result<(), Fault> {
    let mut put = client.put_record_batch().delivery_stream_name(STREAM);
    for data in batch {
        let record = Record::builder().data(Blob::new(data)).build();
        put = put.records(record.during("a record")?);
    }
    let answer = put.send().await.during("PutRecordBatch")?;
    if answer.failed_put_count == 0 {
        Ok(())
    } else {
        Err(Fault::new(format!("{} records failed", answer.failed_put_count)))
    }
}

fn client(sink: SocketAddr) -> Result<Client, Fault> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(30))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
        .endpoint_url(format!("http://{sink}"))
        .http_client(http_client()?)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Ok(Client::from_conf(config))
}

fn http_client() -> Result<SharedHttpClient, Fault> {
    let store = TrustStore::empty().with_native_roots(true);
    let context = TlsContext::builder().with_trust_store(store).build().during("TLS")?;
    let client = Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context.clone())
            .proxy_config(ProxyConfig::disabled());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build()
    });
    Ok(client)
}
