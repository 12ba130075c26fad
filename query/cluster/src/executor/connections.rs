//! Connections to other executors, by which rows of earlier stages are fetched: one to each, for all tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use parking_lot::Mutex;

/// How long one is kept that nobody uses.
const UNUSED: Duration = Duration::from_secs(30);

/// They mend themselves when they break, so nothing is taken back.
#[derive(Default)]
pub(super) struct Connections(Mutex<HashMap<(String, u16), (BallistaClient, Instant)>>);

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Connections").field(&self.0.lock().len()).finish()
    }
}

#[async_trait]
impl BallistaClientPool for Connections {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        self.evict_idle().await;
        let to = (host.to_owned(), port);
        let known = self.0.lock().get_mut(&to).map(|(client, used)| {
            *used = Instant::now();
            client.clone()
        });
        if let Some(client) = known {
            return Ok(PooledClient::new(client, Box::new(drop)));
        }
        let client = BallistaClient::try_new(
            host,
            port,
            config.max_message_size,
            config.use_tls,
            customize_endpoint,
            config.io_retries_times,
            config.io_retry_wait_time_ms,
            config.initial_connection_window_size,
            config.initial_stream_window_size,
        );
        let client = client.await?;
        self.0.lock().insert(to, (client.clone(), Instant::now()));
        Ok(PooledClient::new(client, Box::new(drop)))
    }

    async fn evict_idle(&self) {
        self.0.lock().retain(|_, (_, used)| used.elapsed() < UNUSED);
    }
}
