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
use tokio::task::JoinSet;

use super::Orders;
use crate::fault::{During as _, Fault};
use crate::records::{self, STREAM};

/// How many requests are under way at once.
const REQUESTS_IN_FLIGHT: usize = 4;

/// The bounds of `PutRecordBatch`: records, and raw bytes.
const BATCH_RECORDS_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// For each order, a number of milliseconds, sends so long, and then says how many records.
pub(super) async fn send(
    sink: SocketAddr,
    record_bytes: usize,
    mut orders: Orders,
) -> Result<(), Fault> {
    let client = client(sink)?;
    let records = records::delimited(record_bytes);
    let batch_records = (BATCH_BYTES_MAX / (record_bytes + 1)).min(BATCH_RECORDS_MAX);
    let mut source = records.iter().cycle();
    writeln!(std::io::stdout(), "ready").during("saying that it is ready")?;
    while let Some(order) = orders.recv().await {
        let time = Duration::from_millis(order.trim().parse().during("an order")?);
        let sent = send_for(&client, &mut source, batch_records, time).await?;
        writeln!(std::io::stdout(), "{sent}").during("saying what was sent")?;
    }
    Ok(())
}

async fn send_for(
    client: &Client,
    source: &mut Cycle<std::slice::Iter<'_, Vec<u8>>>,
    batch_records: usize,
    time: Duration,
) -> Result<usize, Fault> {
    let begin = Instant::now();
    let mut under_way = JoinSet::new();
    let sent = Cell::new(0);
    let settle = |settled: Option<Result<Result<(), Fault>, tokio::task::JoinError>>| {
        sent.set(sent.get() + batch_records);
        settled.map_or(Ok(()), |settled| settled.during("a request")?)
    };
    while begin.elapsed() < time {
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
