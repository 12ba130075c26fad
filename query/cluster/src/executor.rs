//! `weir executor`: reads the store's files for questions that many machines answer together.

mod connections;
mod stage;

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use object_store::ObjectStore;
use url::Url;
use weir_query::spread;

use crate::settings::{self, AT_THE_START, HEARTBEAT, MESSAGE_BYTES, UNFETCHED};
use crate::{ClusterError, io};
use stage::Stages;

/// Footers of files are kept in memory up to this part of what tasks may use, beside it.
const FOOTERS_SHARE: usize = 8;
/// Spilled rows may take so many times the memory.
const SPILL_TIMES: u64 = 4;
/// Held by whoever has the work folder.
const LOCK: &str = "lock";
/// In the work folder.
const SPILL_FOLDER: &str = "spill";
const ROWS_FOLDER: &str = "rows";

/// What an executor is.
#[derive(Debug)]
pub struct Executor {
    /// The scheduler, `http://HOST:PORT`.
    pub scheduler: Url,
    /// Where it listens.
    pub listen: IpAddr,
    /// The port by which others fetch rows; 0: any.
    pub rows_port: u16,
    /// The port by which the scheduler gives it tasks; 0: any.
    pub tasks_port: u16,
    /// By which name others reach it; by default its address.
    pub advertised: Option<String>,
    /// Tasks at the same time; 0: as many as there are cores.
    pub threads: usize,
    /// What all tasks may take for sorting, grouping and joining, bytes.
    pub memory_bytes: usize,
    /// Rows on their way, and what doesn't fit into memory. What an earlier one left there is deleted.
    pub work_dir: PathBuf,
    /// The store's files.
    pub objects: Arc<dyn ObjectStore>,
}

/// One that is ready to begin.
pub struct Ready {
    config: ExecutorProcessConfig,
    /// Kept for its lock.
    _lock: File,
}

impl Executor {
    /// Takes its folder and finds its ports.
    ///
    /// # Errors
    /// When another executor has the folder, or there is no port.
    pub fn prepare(self) -> Result<Ready, ClusterError> {
        let lock = taken(&self.work_dir)?;
        let (spill, rows) = (self.work_dir.join(SPILL_FOLDER), self.work_dir.join(ROWS_FOLDER));
        for folder in [&spill, &rows] {
            empty(folder).map_err(io(format!("make {}", folder.display())))?;
        }
        let runtime = self.runtime(&spill)?;
        let host = self.scheduler.host_str();
        let (Some(host), Some(port)) = (host, self.scheduler.port_or_known_default()) else {
            return Err(ClusterError::Address(self.scheduler.to_string()));
        };
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let config = ExecutorProcessConfig {
            bind_host: self.listen.to_string(),
            external_host: Some(self.advertised.unwrap_or_else(|| self.listen.to_string())),
            port: port_of(self.listen, self.rows_port)?,
            grpc_port: port_of(self.listen, self.tasks_port)?,
            scheduler_host: host.to_owned(),
            scheduler_port: port,
            scheduler_connect_timeout_seconds: AT_THE_START.as_secs() as u16,
            vcores: threads,
            work_dir: Some(rows.display().to_string()),
            job_data_ttl_seconds: UNFETCHED.as_secs(),
            job_data_clean_up_interval_seconds: UNFETCHED.as_secs(),
            grpc_max_decoding_message_size: MESSAGE_BYTES as u32,
            grpc_max_encoding_message_size: MESSAGE_BYTES as u32,
            executor_heartbeat_interval_seconds: HEARTBEAT.as_secs(),
            memory_pool_size: Some(self.memory_bytes as u64),
            override_execution_engine: Some(Arc::new(Stages::new(self.objects, &runtime))),
            override_function_registry: Some(Arc::new(functions(&runtime))),
            override_runtime_producer: Some(Arc::new(move |_| Ok(runtime.clone()))),
            override_config_producer: Some(Arc::new(settings::session)),
            ..ExecutorProcessConfig::default()
        };
        Ok(Ready { config, _lock: lock })
    }

    fn runtime(&self, spill: &Path) -> Result<Arc<RuntimeEnv>, ClusterError> {
        // The memory is divided by Ballista, which gives each task its part.
        let runtime = RuntimeEnvBuilder::new()
            .with_temp_file_path(spill)
            .with_max_temp_directory_size((self.memory_bytes as u64).saturating_mul(SPILL_TIMES))
            .with_metadata_cache_limit(self.memory_bytes / FOOTERS_SHARE)
            .build_arc()?;
        let store = spread::store_url();
        runtime.register_object_store(AsRef::<Url>::as_ref(&store), self.objects.clone());
        Ok(runtime)
    }
}

impl Ready {
    /// Where it listens: for those that fetch rows, and for the scheduler.
    ///
    /// # Errors
    /// When the address isn't one.
    pub fn addresses(&self) -> [String; 2] {
        [self.config.port, self.config.grpc_port].map(|port| match self.config.bind_host.parse::<IpAddr>() {
            Ok(host) => SocketAddr::new(host, port).to_string(),
            Err(_) => format!("{}:{port}", self.config.bind_host),
        })
    }

    /// Works until SIGTERM or SIGINT, which it takes by itself: then it says so to the scheduler and ends its tasks.
    ///
    /// # Errors
    /// When the scheduler can't be reached, or didn't answer for some time: start it again then.
    pub async fn run(self) -> Result<(), ClusterError> {
        start_executor_process(Arc::new(self.config)).await.map_err(Into::into)
    }
}

/// Everything that plans may call.
fn functions(runtime: &Arc<RuntimeEnv>) -> BallistaFunctionRegistry {
    let known = spread::state(settings::session(), runtime.clone());
    BallistaFunctionRegistry {
        scalar_functions: known.scalar_functions().clone(),
        aggregate_functions: known.aggregate_functions().clone(),
        window_functions: known.window_functions().clone(),
        ..BallistaFunctionRegistry::default()
    }
}

/// The folder, for this process alone.
fn taken(folder: &Path) -> Result<File, ClusterError> {
    let tried = || format!("have {} for this executor alone", folder.display());
    std::fs::create_dir_all(folder).map_err(io(tried()))?;
    let lock = File::create(folder.join(LOCK)).map_err(io(tried()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            let taken =
                std::io::Error::other("another one has it: give this one a folder of its own (--work-dir)");
            Err(io(tried())(taken))
        }
        Err(std::fs::TryLockError::Error(err)) => Err(io(tried())(err)),
    }
}

/// Makes a folder that has nothing in it.
fn empty(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    std::fs::create_dir_all(folder)
}

/// The port, or a free one: what an executor tells others has to be known before Ballista listens.
fn port_of(host: IpAddr, port: u16) -> Result<u16, ClusterError> {
    let tried = || format!("listen on {}", SocketAddr::new(host, port));
    let listener = TcpListener::bind((host, port)).map_err(io(tried()))?;
    Ok(listener.local_addr().map_err(io(tried()))?.port())
}
